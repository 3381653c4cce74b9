/** Why a device waits: one reason at a time, with the numbers that explain it, and the words for a person. */
import * as v from 'valibot'
import type { Money, Msat } from '../money/msat.ts'
import { unitOf } from '../money/msat.ts'
import { msatSchema } from '../release/target.ts'

const text = v.pipe(v.string(), v.maxLength(500))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

export const waitSchema = v.variant('why', [
  /** The vendor has not accepted the device yet. */
  v.object({ why: v.literal('not-accepted'), code: text }),
  v.object({ why: v.literal('no-wallet') }),
  v.object({ why: v.literal('wallet'), text }),
  v.object({ why: v.literal('funds'), needMsat: msatSchema, unit: text }),
  /** The clock stands before what the vendor has signed, or before this program was built. Unix seconds. */
  v.object({ why: v.literal('time'), nowS: count, floorS: count }),
  v.object({ why: v.literal('withdrawn') }),
  /** Encrypted, and its key is not wrapped for this device. */
  v.object({ why: v.literal('not-a-reader') }),
  v.object({ why: v.literal('money'), text }),
  v.object({ why: v.literal('price'), text }),
  v.object({ why: v.literal('budget'), text }),
  v.object({ why: v.literal('byte-budget'), limitBytes: count, untilS: count }),
  v.object({ why: v.literal('disk'), needBytes: count, freeBytes: count, path: text }),
  v.object({ why: v.literal('sellers') }),
  v.object({ why: v.literal('payment'), text }),
  v.object({ why: v.literal('mirror'), text }),
  /** A file of the device's own could not be read or written. */
  v.object({ why: v.literal('trouble'), text }),
])
export type Wait = v.InferOutput<typeof waitSchema>

const day = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ')
const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 100 * 2 ** 20 ? 1 : 0)} MiB`

/** Whole sats, rounded up: what must be sent so that it suffices. */
const satsUp = (amount: Msat): number => Math.ceil(amount / 1000)

/** One sentence or half of one, without the state's name before it. */
export function waitText(wait: Wait): string {
  switch (wait.why) {
    case 'not-accepted':
      return `not accepted by the vendor yet: compare the code ${wait.code} with the vendor’s page and accept it there`
    case 'no-wallet':
      return 'no wallet: set wallet.connection in device.toml, or ask the vendor for an allowance'
    case 'funds':
      return `needs ${satsUp(wait.needMsat)} ${wait.unit} more; it goes on by itself when they arrive`
    case 'time':
      return `no plausible time: the clock says ${day(wait.nowS)} UTC, the vendor signed at ${day(wait.floorS)} UTC. Set the clock; it goes on by itself`
    case 'withdrawn':
      return 'the vendor withdrew this release'
    case 'not-a-reader':
      return 'it is encrypted, and not for this device: it was enrolled after its keys were wrapped, or revoked. The vendor can let later devices read it, on the page of the release; then it goes on by itself'
    case 'byte-budget':
      return `the day’s byte budget of ${mib(wait.limitBytes)} is used up; it goes on at ${day(wait.untilS)} UTC`
    case 'disk':
      return `${wait.path} has ${mib(wait.freeBytes)} free, ${mib(wait.needBytes)} are needed. Free some space; what was bought is kept`
    case 'sellers':
      return 'nobody who has the missing pieces is connected; it goes on when a distributor returns'
    case 'wallet':
    case 'money':
    case 'price':
    case 'budget':
    case 'payment':
    case 'mirror':
    case 'trouble':
      return wait.text
    default:
      return wait satisfies never
  }
}

/** Same reason in the same numbers: not worth a write to disk. */
export const sameWait = (a: Wait, b: Wait): boolean => JSON.stringify(a) === JSON.stringify(b)

/** What is known before the first sat is spent on a release. */
export type Facts = Readonly<{
  accepted: boolean
  deviceCode: string
  nowS: number
  /** Latest of the program's build time and all times signed by the vendor. */
  floorS: number
  wallet:
    { tag: 'none' } | { tag: 'unreachable'; text: string } | { tag: 'ready'; money: Money; balance: Msat }
  /** Bytes still to buy, and to be free on disk. */
  missingBytes: number
  /** Of a confidential release the decrypted file beside; else 0. */
  plainBytes: number
  freeBytes: number
  dataDir: string
  /** Bytes that the day's budget still allows; `undefined` without one. */
  byteBudget: Readonly<{ leftBytes: number; limitBytes: number; untilS: number }> | undefined
  /** Highest price per MiB that is paid: 0 takes gifts only and needs no wallet. */
  priceCap: Msat
}>

/** Free space beyond the artifact's own bytes: the journal's ciphertext in flight and the file system's own. */
export const DISK_RESERVE_BYTES = 64 * 1024 * 1024

/** The first reason not to begin, or `undefined`. Prices and sums are the buyer's matter: sellers name them later. */
export function whyWait(facts: Facts): Wait | undefined {
  if (facts.nowS < facts.floorS) return { why: 'time', nowS: facts.nowS, floorS: facts.floorS }
  if (!facts.accepted) return { why: 'not-accepted', code: facts.deviceCode }
  const needBytes = facts.missingBytes + facts.plainBytes + DISK_RESERVE_BYTES
  if (facts.missingBytes > 0 && facts.freeBytes < needBytes) {
    return { why: 'disk', needBytes, freeBytes: facts.freeBytes, path: facts.dataDir }
  }
  if (facts.byteBudget !== undefined && facts.missingBytes > 0 && facts.byteBudget.leftBytes <= 0) {
    return { why: 'byte-budget', limitBytes: facts.byteBudget.limitBytes, untilS: facts.byteBudget.untilS }
  }
  if (facts.priceCap === 0 || facts.missingBytes === 0) return undefined
  if (facts.wallet.tag === 'none') return { why: 'no-wallet' }
  if (facts.wallet.tag === 'unreachable') return { why: 'wallet', text: facts.wallet.text }
  return undefined
}

/** In whole sats, so that the sum shown, the invoice and what arrives are one number. */
export const fundsWait = (need: Msat, money: Money): Wait => ({
  why: 'funds',
  needMsat: (satsUp(need) * 1000) as Msat,
  unit: unitOf(money),
})
