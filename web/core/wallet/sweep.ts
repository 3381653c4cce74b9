/** Sweeping earnings: what a wallet has above a sum goes to an invoice or a Lightning address (LUD-16). Amounts are msat. */
import { decodeInvoice } from '../money/bolt11.ts'
import { msat, type Money, type Msat } from '../money/msat.ts'

export type SweepTarget =
  | { tag: 'address'; address: string }
  /** Paid once. Without `amount` it takes what there is. */
  | { tag: 'invoice'; bolt11: string; amount?: Msat }

/** Smaller sums are not worth a payment. */
export const LEAST_SWEEP = msat(100_000)
/** Kept back for routing, of the amount: what the wallet services of this house lock, and more than others do. */
const RESERVE_SHARE = 20
const LEAST_RESERVE_MSAT = 10_000
const ADDRESS = /^[a-z0-9._+-]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?(?::\d{1,5})?$/i

export function parseSweepTarget(text: string): SweepTarget | undefined {
  const plain = text.trim().replace(/^lightning:/i, '')
  if (ADDRESS.test(plain)) return { tag: 'address', address: plain.toLowerCase() }
  const read = decodeInvoice(plain)
  if (!read.ok) return undefined
  const { amount } = read.invoice
  return { tag: 'invoice', bolt11: plain, ...(amount !== undefined && { amount }) }
}

/**
 * What to send of `balance` so that `above` stays, routing included: whole sats, within what the taker takes.
 * `undefined`: nothing yet.
 */
export function sweepAmount(
  balance: Msat,
  above: Msat,
  money: Money,
  takes: Readonly<{ least: Msat; most: Msat }>,
): Msat | undefined {
  const spare = balance - above
  const free = money.startsWith('sandbox:')
  const affordable = free
    ? spare
    : Math.min(Math.floor((spare * RESERVE_SHARE) / (RESERVE_SHARE + 1)), spare - LEAST_RESERVE_MSAT)
  const amount = Math.floor(Math.min(affordable, takes.most) / 1000) * 1000
  return amount < Math.max(LEAST_SWEEP, takes.least) ? undefined : msat(amount)
}
