/** What an owner lets a buyer spend, risk and hold, and the ways in which a window may be paid. */
import type { PartyKey } from '../bytes.ts'
import { MIB, type Msat } from '../money/msat.ts'

/** Price against speed; the rule of each stands in `buyer-split.ts`. */
export type Preference = 'cheapest' | 'balanced' | 'fastest'
/** Whether a plain HTTP mirror is fetched from: not at all, when no seller brings anything, or beside the sellers. */
export type MirrorUse = 'never' | 'fallback' | 'always'
/** A peer that speaks the exchange, an ordinary BitTorrent peer, an HTTP mirror. The last two only give. */
export type Source = 'exchange' | 'plain' | 'mirror'
/**
 * How a window is paid, agreed per pair.
 *
 * `atomic`: `ask` → ciphertext and quote come, checked → event `quoted` → `pay` (quote and ciphertext on disk first) →
 * `settled` (the preimage is the key) → `open` (decrypt, prove, store, write the receipt) → `opened`. Sats are at stake
 * from `pay` to `opened`.
 *
 * `credit`: `ask` → plain pieces and an invoice come; the edge proves and stores the pieces and writes the debt down,
 * then `quoted`: the pieces count as had at once, and what is owed is paid whatever comes, after completion and after a
 * restart too → `pay` → `settled` → `open` (write the receipt, tell the seller the preimage) → `opened`. Nothing is at
 * stake: the goods are here. An invoice that lapsed unpaid gives `renew`: ask the seller for another, then `quoted` again.
 *
 * `free`: gifts, ordinary peers, mirrors. `ask` → `quoted` with amount 0 → `settled` (a gift's secret came; at once for
 * the others) → `open` → `opened`. Nothing is paid.
 */
export type Mode = 'atomic' | 'credit' | 'free'

export type BuyerPolicy = Readonly<{
  /** msat per MiB */
  priceCap: Msat
  /** For this release, fees included. */
  budget: Msat
  /** At stake with one key that has settled. */
  riskBudget: Msat
  /** At stake with all keys together that have not, for this release; what they keep stays spent. Unless set, the price of four pieces. */
  unprovenBudget: Msat | undefined
  /** A payment locked longer than this lets its pieces be bought elsewhere. */
  lockedTimeoutMs: number
  approved: readonly PartyKey[]
  prefer: Preference
  /** Bytes that are paid for, for this release; gifts and mirrors do not count. `Infinity`: no limit. */
  budgetBytes: number
  /** Payments in flight at most; never more than `MAX_PAYMENT_SLOTS`. */
  paymentSlots: number
  /** Bytes of all windows under way together, from request until opened: they are in memory. One piece is always allowed. */
  memoryBytes: number
  mirror: MirrorUse
  /** Sells on what it has: its windows are small, since a piece can be sold when the whole window is paid. */
  resells: boolean
}>

export const DEFAULT_PREFER: Preference = 'balanced'
export const DEFAULT_BUDGET_BYTES = Number.POSITIVE_INFINITY
export const DEFAULT_PAYMENT_SLOTS = 64
/** HTLCs that one Lightning channel can carry in one direction (BOLT 2). */
export const MAX_PAYMENT_SLOTS = 483
export const DEFAULT_MEMORY_BYTES = 64 * MIB
export const DEFAULT_MIRROR: MirrorUse = 'fallback'
/** A policy's part that has defaults. */
export const BUYER_DEFAULTS = {
  prefer: DEFAULT_PREFER,
  budgetBytes: DEFAULT_BUDGET_BYTES,
  paymentSlots: DEFAULT_PAYMENT_SLOTS,
  memoryBytes: DEFAULT_MEMORY_BYTES,
  mirror: DEFAULT_MIRROR,
  resells: false,
} as const satisfies Partial<BuyerPolicy>

/** What windows may hold in memory on a machine with so much of it: a sixteenth, from 8 to 64 MiB. */
export const memoryBytesFor = (totalBytes: number): number =>
  Math.min(DEFAULT_MEMORY_BYTES, Math.max(8 * MIB, Math.floor(totalBytes / 16)))
