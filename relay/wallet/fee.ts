/** The routing fee that play money takes, so that budgets are tried as on a real network: a share of the amount. */
import type { Msat } from '../../web/core/money/msat.ts'

const MILLION = 1_000_000n

/** Rounded up to a whole msat; `ppm` are parts per million. Exact for any safe amount. */
export const feeOf = (amount: number, ppm: number): Msat =>
  Number((BigInt(amount) * BigInt(ppm) + MILLION - 1n) / MILLION) as Msat

/** The largest amount that together with its fee is within `spendable`. */
export function largestPayment(spendable: number, ppm: number): Msat {
  let amount = Number((BigInt(spendable) * MILLION) / (MILLION + BigInt(ppm)))
  while (amount > 0 && amount + feeOf(amount, ppm) > spendable) amount--
  return amount as Msat
}
