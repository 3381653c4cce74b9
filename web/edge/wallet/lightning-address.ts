/** Invoices from a Lightning address (LUD-16) or LNURL (LUD-06). Whoever serves it chooses the invoice: it is checked. */
import * as v from 'valibot'
import { sha256Hex, utf8 } from '../../core/bytes.ts'
import { decodeInvoice, explainRefusal, prefixOf } from '../../core/money/bolt11.ts'
import { msat, type Money, type Msat } from '../../core/money/msat.ts'
import { WalletError } from './wallet.ts'

const TIMEOUT_MS = 15_000
const MAX_ANSWER_CHARS = 100_000

const amount = v.pipe(v.number(), v.safeInteger(), v.minValue(1))
const termsSchema = v.object({
  tag: v.literal('payRequest'),
  callback: v.pipe(v.string(), v.maxLength(2000), v.url()),
  minSendable: amount,
  maxSendable: amount,
  metadata: v.optional(v.string(), ''),
})
const invoiceSchema = v.object({ pr: v.string() })
const errorSchema = v.object({ status: v.literal('ERROR'), reason: v.string() })

/** What the address takes, msat; `address` names it to people. */
export type AddressTerms = Readonly<{
  address: string
  callback: string
  least: Msat
  most: Msat
  /** As served: an invoice that commits to a description commits to this one (LUD-06). */
  metadata: string
}>

/** @throws WalletError in words when the address does not answer as one */
export async function askAddress(address: string, fetcher: typeof fetch = fetch): Promise<AddressTerms> {
  const [name = '', host = ''] = address.split('@')
  return askTerms(address, `https://${host}/.well-known/lnurlp/${encodeURIComponent(name)}`, fetcher)
}

/** The same from an LNURL's address. @throws WalletError also when it is for something else than paying */
export const askLnurl = (url: string, fetcher: typeof fetch = fetch): Promise<AddressTerms> =>
  askTerms(new URL(url).host, url, fetcher)

async function askTerms(address: string, url: string, fetcher: typeof fetch): Promise<AddressTerms> {
  const terms = await ask(fetcher, url, address, termsSchema)
  const { callback, minSendable, maxSendable, metadata } = terms
  const most = msat(Math.max(minSendable, maxSendable))
  return { address, callback, least: msat(minSendable), most, metadata }
}

/** An invoice in `money` over `amount`. @throws WalletError */
export async function invoiceFrom(
  { address, callback, metadata }: AddressTerms,
  amount: Msat,
  money: Money,
  fetcher: typeof fetch = fetch,
): Promise<string> {
  const url = new URL(callback)
  if (url.protocol !== 'https:')
    throw new WalletError('other', `${address} answers over plain HTTP, where anybody could change it.`)
  url.searchParams.set('amount', String(amount))
  const { pr } = await ask(fetcher, url.href, address, invoiceSchema)
  const read = decodeInvoice(pr, { prefix: prefixOf(money) })
  if (!read.ok) throw new WalletError('other', `${address}: ${explainRefusal(read.why)} Nothing was paid.`)
  const { descriptionHash } = read.invoice
  const described = descriptionHash === undefined || descriptionHash === sha256Hex(utf8(metadata))
  if (read.invoice.amount !== amount || !described)
    throw new WalletError('other', `${address} gave an invoice for something else. Nothing was paid.`)
  return pr
}

async function ask<const S extends v.GenericSchema>(
  fetcher: typeof fetch,
  url: string,
  address: string,
  schema: S,
): Promise<v.InferOutput<S>> {
  let body: string
  try {
    const response = await fetcher(url, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
    })
    body = (await response.text()).slice(0, MAX_ANSWER_CHARS)
  } catch (cause) {
    const message = `${address} does not answer this browser. Check the spelling, or ask for an invoice.`
    throw new WalletError('unreachable', message, { cause })
  }
  const json = v.safeParse(v.pipe(v.string(), v.parseJson()), body)
  const refused = v.safeParse(errorSchema, json.output)
  if (refused.success)
    throw new WalletError('other', `${address} refuses: ${refused.output.reason.slice(0, 200)}`)
  const parsed = v.safeParse(schema, json.output)
  if (parsed.success) return parsed.output
  throw new WalletError('not-found', `${address} is nothing that can be paid here.`)
}
