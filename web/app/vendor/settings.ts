/** The vendor's terms for its own tab: what it asks and to whom it gives. Kept in this browser. */
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../core/exchange/desk-policy.ts'
import * as v from 'valibot'
import { msat, type Msat } from '../../core/money/msat.ts'
import type { PartyKey } from '../../core/bytes.ts'
import type { SellPolicy } from '../../edge/swarm/api.ts'

const KEY = 'satpatch.vendor.terms'
const schema = v.object({
  to: v.picklist(['nobody', 'approved', 'distributors']),
  copies: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1000)),
  priceMsat: v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(1_000_000)),
})
/** First copies: to whom, how many; and the tab's own price, msat per MiB. */
export type GiftPolicy = v.InferOutput<typeof schema>

const defaultGifts: GiftPolicy = { to: 'distributors', copies: 5, priceMsat: 1000 }

export function loadGifts(): GiftPolicy {
  try {
    const parsed = v.safeParse(schema, JSON.parse(localStorage.getItem(KEY) ?? 'null'))
    return parsed.success ? parsed.output : defaultGifts
  } catch {
    return defaultGifts
  }
}

export function keepGifts(gifts: GiftPolicy): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(gifts))
  } catch {
    // it holds until the page is closed
  }
}

export const sellPolicy = (gifts: GiftPolicy, cap: Msat, approved: readonly PartyKey[]): SellPolicy => ({
  // Never above what devices may pay.
  price: msat(Math.min(gifts.priceMsat, cap)),
  gifts: { to: gifts.to, copies: gifts.copies },
  approved,
  unpaidBytes: DEFAULT_UNPAID_BYTES,
  unprovenBytes: DEFAULT_UNPROVEN_BYTES,
})
