/**
 * What a device shows of itself on its own screen (`satpatch device run --kiosk`), one whole snapshot at a time.
 * No key, connection or other secret is in it. Made by `device/kiosk/showing.ts`, shown by `web/app/kiosk`.
 */
import * as v from 'valibot'
import { parseMoney, type Money } from '../money/msat.ts'
import { msatSchema } from '../release/target.ts'
import { deviceStates } from './messages.ts'

const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const moneySchema = v.custom<Money>((x) => typeof x === 'string' && parseMoney(x) !== undefined)

export const kioskSchema = v.object({
  v: v.literal(1),
  name: text(80),
  hardware: text(64),
  /** To compare with the one on the vendor's page: `deviceCode`. */
  code: text(9),
  /** The vendor's page about this device: the QR code. */
  page: text(500),
  accepted: v.boolean(),
  state: v.picklist(deviceStates),
  /** Why it waits or failed, in words for a person. */
  reason: v.optional(text(500)),
  /** What the wallet holds. Absent: no wallet, or it has not answered yet. */
  wallet: v.optional(v.object({ money: moneySchema, balanceMsat: msatSchema })),
  /** It waits for so much more; `invoice` (BOLT 11) brings it, from whoever pays. */
  need: v.optional(v.object({ msat: msatSchema, invoice: v.optional(text(2000)) })),
  installed: v.record(text(64), text(64)), // product -> version
  release: v.optional(
    v.object({
      product: text(64),
      version: text(64),
      pieces: count,
      /** Bitfield of verified pieces, base64. */
      have: text(24_000),
      /** Fees included. */
      paidMsat: msatSchema,
      /** Locked in payments whose outcome is open. */
      lockedMsat: msatSchema,
      rateBps: count,
      /** Sellers that deliver now. */
      sellers: count,
    }),
  ),
  /** Nostr relays: how many answer, of how many. */
  relays: v.object({ connected: count, all: count }),
})
export type KioskView = v.InferOutput<typeof kioskSchema>
