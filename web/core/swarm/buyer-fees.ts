/**
 * What payments to a seller cost on top, and how large they must be for that to be little. A route takes a base whatever
 * the amount, and a share of it (BOLT 7, `fee_base_msat` and `fee_proportional_millionths`): both are estimated by least
 * squares over the payments made, in which older ones count less. Only the base is a reason to pay more at once.
 */
import type { Msat } from '../money/msat.ts'

/** Sums over past payments (amounts and fees in msat), each payment's part shrinking with every later one. */
export type FeeRecord = { payments: number; amounts: number; fees: number; squares: number; products: number }

/** Of an amount that fees may take; while they take more, windows grow. */
export const MOST_FEE_SHARE = 0.05
const FORGET = 0.9
/** Amounts that differ by less, as a share of their mean, do not tell a base from a rate. */
const ALIKE = 0.01
/** What rounding leaves of a base. */
const NO_BASE_MSAT = 2

export const noFees = (): FeeRecord => ({ payments: 0, amounts: 0, fees: 0, squares: 0, products: 0 })

/** A payment of `amount` cost `fee`. */
export function learnFee(of: FeeRecord, amount: Msat, fee: Msat): void {
  of.payments = of.payments * FORGET + 1
  of.amounts = of.amounts * FORGET + amount
  of.fees = of.fees * FORGET + fee
  of.squares = of.squares * FORGET + amount * amount
  of.products = of.products * FORGET + amount * fee
}

/** Estimated base (msat) and rate (a share). Of payments that were all alike, the whole fee is the base. */
export function feeLaw(of: FeeRecord): { base: number; rate: number } {
  const { payments, amounts, fees } = of
  if (payments === 0 || fees === 0) return { base: 0, rate: 0 }
  const mean = amounts / payments
  const variance = of.squares / payments - mean * mean
  if (variance <= (ALIKE * mean) ** 2) return { base: fees / payments, rate: 0 }
  const slope = (of.products / payments - (mean * fees) / payments) / variance
  const rate = Math.min(Math.max(0, slope), fees / amounts)
  return { base: fees / payments - rate * mean, rate }
}

/**
 * The least payment, in msat, of which fees take at most `MOST_FEE_SHARE`: 0 where any will do, infinite where the rate
 * alone takes that, so that a larger one is always cheaper.
 */
export function leastWorthPaying(of: FeeRecord): number {
  const { base, rate } = feeLaw(of)
  if (base <= NO_BASE_MSAT) return 0
  return rate >= MOST_FEE_SHARE ? Number.POSITIVE_INFINITY : base / (MOST_FEE_SHARE - rate)
}
