/** A quote against what was asked for, its invoice read and checked with it. */
import {
  refuseQuote,
  type Quote,
  type QuoteExpectation,
  type QuoteRefusal,
} from '../../core/exchange/quote.ts'
import { decodeInvoice, prefixOf } from '../../core/money/bolt11.ts'
import type { Money } from '../../core/money/msat.ts'
import type { DownloadParts } from './download-parts.ts'

type Own = 'buyer' | 'root' | 'shape' | 'money' | 'cap' | 'nowMs' | 'invoice'

/** Why this quote is not paid, or `undefined`. */
export function refusalOf(
  { deps, session, buyer }: DownloadParts,
  quote: Quote,
  want: Omit<QuoteExpectation, Own>,
): QuoteRefusal | undefined {
  return refuseQuote(quote, {
    ...want,
    buyer: deps.identity.key,
    root: session.meta.piecesRoot,
    shape: session.meta,
    money: buyer.money ?? 'bitcoin',
    cap: deps.policy.priceCap,
    nowMs: deps.nowMs(),
    invoice: quote.amount === 0 ? undefined : readInvoice(quote.invoice, buyer.money),
  })
}

function readInvoice(
  text: string,
  money: Money | undefined,
): Exclude<QuoteExpectation['invoice'], undefined> {
  const decoded = decodeInvoice(text, money === undefined ? {} : { prefix: prefixOf(money) })
  if (!decoded.ok) return 'unreadable'
  const { paymentHash, amount, expiresAtMs } = decoded.invoice
  return amount === undefined ? 'unreadable' : { paymentHash, amount, expiresAtMs }
}
