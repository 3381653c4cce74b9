/** Routing fees: what play money takes, so that budgets are tried as on a real network, and what a real node may. */
import type { Msat } from '../../web/core/money/msat.ts'

const MILLION = 1_000_000n

/** Rounded up to a whole msat; `ppm` are parts per million. Exact for any safe amount. */
export const feeOf = (amount: number, ppm: number): Msat =>
  Number((BigInt(amount) * BigInt(ppm) + MILLION - 1n) / MILLION) as Msat

/** Of a payment over a real node, besides its amount: 5 %. */
export const NODE_FEE_PPM = 50_000
/** A small payment may cost as much again, up to so much: each hop takes a base, LND's by default 1 sat. */
export const NODE_BASE_FEES = 3000 as Msat

/** The most that a payment over a real node may cost on top: this much is locked with it, and is the node's limit. */
export const nodeReserve = (amount: number): Msat =>
  Math.max(feeOf(amount, NODE_FEE_PPM), Math.min(amount, NODE_BASE_FEES)) as Msat

/** The largest amount that together with its fee is within `spendable`; `base` as `NODE_BASE_FEES`. */
export function largestPayment(spendable: number, ppm: number, base = 0): Msat {
  const byBase = Math.max(Math.floor(spendable / 2), spendable - base)
  let amount = Math.min(byBase, Number((BigInt(spendable) * MILLION) / (MILLION + BigInt(ppm))))
  while (amount > 0 && amount + feeOf(amount, ppm) > spendable) amount--
  return amount as Msat
}
