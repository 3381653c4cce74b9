/** What a payment may cost on top, before it is made. Amounts are msat. */
import { msat, type Money, type Msat } from '../money/msat.ts'

/**
 * What wallets keep back for routing: 1 % of the payment, at least 10 sats (the reserve of Alby Hub and LNDhub).
 * Play money moves inside its relay and is not routed.
 */
const RESERVE_SHARE = 100
const LEAST_RESERVE_MSAT = 10_000

export function feeReserve(amount: Msat, money: Money): Msat {
  if (money.startsWith('sandbox:')) return msat(0)
  return msat(Math.max(LEAST_RESERVE_MSAT, Math.ceil(amount / RESERVE_SHARE)))
}

/** The largest amount whose reserve still fits `spendable`. */
export function largestPayment(spendable: Msat, money: Money): Msat {
  if (money.startsWith('sandbox:')) return spendable
  const byShare = Math.floor((spendable * RESERVE_SHARE) / (RESERVE_SHARE + 1))
  return msat(Math.max(0, Math.min(byShare, spendable - LEAST_RESERVE_MSAT)))
}
