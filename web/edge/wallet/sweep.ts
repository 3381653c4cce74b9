/**
 * Sends what a wallet has above a sum to an address or an invoice. One payment at a time: it is on disk before it is
 * asked for, and while its end is not known no other one is made.
 */
import * as v from 'valibot'
import { fromUtf8, utf8, type Sha256Hex } from '../../core/bytes.ts'
import { decodeInvoice } from '../../core/money/bolt11.ts'
import { msat, type Msat } from '../../core/money/msat.ts'
import { sweepAmount, type SweepTarget } from '../../core/wallet/sweep.ts'
import type { Journal } from '../swarm/api.ts'
import { askAddress, invoiceFrom } from './lightning-address.ts'
import type { Wallet } from './wallet.ts'

export type SweepDeps = Readonly<{
  wallet: Wallet
  target: SweepTarget
  /** Stays in the wallet. */
  above: Msat
  journal: Journal
  nowMs: () => number
  fetch?: typeof fetch
  log: (event: 'swept' | 'sweep-failed' | 'sweep-unknown', detail: Readonly<Record<string, unknown>>) => void
}>

export interface Sweeper {
  /** Looks once; resolves when it has paid or has found nothing to do. Never throws: what is wrong is logged. */
  look(): Promise<void>
  /** Resolves when a payment that has begun is over, or not known. */
  stop(): Promise<void>
}

const EVERY_MS = 10 * 60_000
/** After earnings: many come one after the other. */
const SOON_MS = 5_000
const PENDING = 'sweep/pending'
const pendingSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ paymentHash: v.string(), amount: v.number(), expiresAtMs: v.number() }),
)
const NO_LIMITS = { least: msat(1), most: msat(Number.MAX_SAFE_INTEGER) }

/** Looks at once, after each earning, and every ten minutes, until `stop`. */
export function startSweeping(deps: SweepDeps): Sweeper {
  const { wallet, target, above, journal, nowMs, log } = deps
  let running: Promise<void> | undefined
  /** An invoice is paid once. */
  let done = false
  let soon: ReturnType<typeof setTimeout> | undefined

  /** The payment begun earlier is over, one way or the other. */
  const isFree = async (): Promise<boolean> => {
    const kept = await journal.get(PENDING)
    if (!kept) return true
    const pending = v.safeParse(pendingSchema, fromUtf8(kept))
    if (pending.success) {
      const { paymentHash, amount, expiresAtMs } = pending.output
      const found = await wallet.lookUp(paymentHash as Sha256Hex)
      const over =
        found === undefined ? nowMs() > expiresAtMs : found.state === 'settled' || found.state === 'failed'
      if (!over) return false
      if (found?.state === 'settled') swept(amount, found.fees)
    }
    await journal.delete(PENDING)
    return true
  }
  const invoiceToPay = async (): Promise<{ bolt11: string; amount: Msat; asked?: Msat } | undefined> => {
    const [balance, { money }] = [await wallet.balance(), await wallet.info()]
    if (target.tag === 'invoice') {
      const { bolt11, amount: fixed } = target
      const takes = fixed === undefined ? NO_LIMITS : { least: fixed, most: fixed }
      const amount = sweepAmount(balance, above, money, takes)
      return amount === undefined
        ? undefined
        : { bolt11, amount, ...(fixed === undefined && { asked: amount }) }
    }
    if (sweepAmount(balance, above, money, NO_LIMITS) === undefined) return undefined
    const terms = await askAddress(target.address, deps.fetch)
    const amount = sweepAmount(balance, above, money, terms)
    if (amount === undefined) return undefined
    return { bolt11: await invoiceFrom(terms, amount, money, deps.fetch), amount }
  }
  const swept = (amountMsat: number, feesMsat: number): void => {
    done = target.tag === 'invoice'
    log('swept', { amountMsat, feesMsat })
  }
  const attempt = async (): Promise<void> => {
    if (!(await isFree()) || done) return
    const wanted = await invoiceToPay()
    const read = wanted && decodeInvoice(wanted.bolt11)
    if (!wanted || !read?.ok) return
    const { paymentHash, expiresAtMs } = read.invoice
    const { amount, asked } = wanted
    await journal.put(PENDING, utf8(JSON.stringify({ paymentHash, amount, expiresAtMs })))
    const result = await wallet.pay(wanted.bolt11, asked === undefined ? {} : { amount: asked })
    if (result.tag === 'unknown') return log('sweep-unknown', { amountMsat: amount, why: result.message })
    await journal.delete(PENDING)
    if (result.tag === 'paid') swept(amount, result.fees)
    else log('sweep-failed', { amountMsat: amount, why: result.message })
  }
  const look = (): Promise<void> =>
    (running ??= attempt()
      .catch((error: unknown) =>
        log('sweep-failed', { why: error instanceof Error ? error.message : String(error) }),
      )
      .finally(() => (running = undefined)))

  const timer = setInterval(() => void look(), EVERY_MS)
  const end = wallet.onEvent((event) => {
    if (event.tag !== 'received') return
    soon ??= setTimeout(() => {
      soon = undefined
      void look()
    }, SOON_MS)
  })
  void look()
  return {
    look,
    async stop() {
      clearInterval(timer)
      clearTimeout(soon)
      end()
      await running
    },
  }
}
