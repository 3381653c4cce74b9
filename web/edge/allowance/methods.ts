/** NIP-47's methods over one allowance: parameters parsed, answered or refused. No network of its own, no encryption. */
import * as v from 'valibot'
import { fromHex, sha256Hex, utf8, type Sha256Hex } from '../../core/bytes.ts'
import { closedFor, type PayRequest } from '../../core/allowance/allowance.ts'
import { leftOf, reservedOf, rolled, standingOf, type RequestId } from '../../core/allowance/state.ts'
import {
  DEFAULT_EXPIRY_SECONDS,
  decodeInvoice,
  explainRefusal,
  peekInvoice,
  prefixOf,
} from '../../core/money/bolt11.ts'
import { msat, ZERO, type Money, type Msat } from '../../core/money/msat.ts'
import { renewsAt } from '../../core/wallet/budget.ts'
import { feeReserve } from '../../core/wallet/fees.ts'
import * as nip47 from '../../core/wallet/nip47.ts'
import { Nip47Refusal, type Method, type Nip47ConnectionState } from '../../core/wallet/nip47.ts'
import type { Transaction, WalletFeature } from '../wallet/wallet.ts'
import { CUTTING, cutting } from './below.ts'
import * as incoming from './incoming.ts'
import type { Incoming } from './records.ts'
import { passOn, toTransaction, type Response, type Running } from './running.ts'

const LOOKING: readonly Method[] = [
  'get_info',
  'get_balance',
  'get_budget',
  'lookup_invoice',
  'list_transactions',
]
const HOLDING: readonly Method[] = ['make_hold_invoice', 'settle_hold_invoice', 'cancel_hold_invoice']
/** Executed once each, whatever is replayed. */
export const CHANGES: ReadonlySet<string> = new Set([
  ...['pay_invoice', 'make_invoice', ...HOLDING],
  ...['create_connection', 'update_connection', 'delete_connection'],
])

/** What this allowance offers now: its permissions, and what its source can do. */
export function methodsOf(running: Running): Method[] {
  const { may } = running.state.terms
  const features = running.source?.state.get().info?.features
  const has = (feature: WalletFeature): boolean => features === undefined || features.has(feature)
  return [
    ...LOOKING,
    ...(may.pay && has('pay') ? (['pay_invoice'] as const) : []),
    ...(may.receive && has('receive') ? (['make_invoice'] as const) : []),
    ...(may.receive && has('hold-invoices') ? HOLDING : []),
    ...(running.below ? CUTTING : []),
  ]
}

/**
 * A request that the source has not heard of by then is never executed: ours heed `expiration` (300 s), with a minute
 * for clocks. They are told by what no other wallet offers.
 */
const HEEDED_MS = 360_000
/** Others may execute it as long as the invoice is good. */
const AFTER_INVOICE_MS = 60_000
/** Largest answer in bytes: with encryption and base64 it stays below a relay's 64 KiB message. */
const MAX_RESULT_BYTES = 40_000

/** Answers, or `undefined` where the answer comes through `Front.answered`. */
export async function execute(
  running: Running,
  request: RequestId,
  method: string,
  params: Record<string, unknown>,
): Promise<Response | undefined> {
  await running.opened()
  if (!CHANGES.has(method)) return caught(() => look(running, method, params))
  if (method === 'pay_invoice') return pay(running, request, params)
  const known = running.answers.get(request)
  if (known) return JSON.parse(known.response) as Response
  const response = await caught(() =>
    CUTTING.some((one) => one === method) ? cut(running, method, params) : receive(running, method, params),
  )
  await running.remember(request, response)
  return response
}

async function caught(run: () => Promise<unknown>): Promise<Response> {
  try {
    return { result: await run() }
  } catch (error) {
    if (error instanceof Nip47Refusal) return { error: { code: error.code, message: error.message } }
    return passOn(error)
  }
}

async function look(running: Running, method: string, params: Record<string, unknown>): Promise<unknown> {
  // Whatever became of the allowance, its holder may learn what became of its payments.
  if (method !== 'lookup_invoice' && method !== 'list_transactions') checkOpen(running, 'look')
  switch (method) {
    case 'get_info':
      return infoOf(running)
    case 'get_balance':
      return { balance: await leftNow(running) }
    case 'get_budget':
      return budgetOf(running)
    case 'lookup_invoice':
      return lookUp(running, parse(nip47.lookupInvoiceParams, params))
    case 'list_transactions':
      return list(running, parse(nip47.listTransactionsParams, params))
    case 'list_connections':
      return cutting(running, method, params)
    default: {
      const known = (nip47.METHODS as readonly string[]).includes(method)
      throw new Nip47Refusal(
        'NOT_IMPLEMENTED',
        `This allowance ${known ? 'cannot do' : 'does not know'} ${method}.`,
      )
    }
  }
}

/** Whatever is cut while it is paused or over could not be used; ending and lowering is always possible. */
function cut(running: Running, method: string, params: Record<string, unknown>): Promise<unknown> {
  if (method === 'create_connection') checkOpen(running, 'look')
  return cutting(running, method, params)
}

async function pay(
  running: Running,
  request: RequestId,
  params: Record<string, unknown>,
): Promise<Response | undefined> {
  let asked: PayRequest
  try {
    asked = payRequest(running, request, params)
  } catch (error) {
    if (!(error instanceof Nip47Refusal)) throw error
    await running.refuse(request, error.code, error.message)
    return undefined
  }
  await running.pay(asked)
  return undefined
}

function payRequest(running: Running, request: RequestId, params: Record<string, unknown>): PayRequest {
  const { invoice, amount: given } = parse(nip47.payInvoiceParams, params)
  const info = running.source?.state.get().info
  if (!info)
    throw new Nip47Refusal(
      'INTERNAL',
      'The wallet behind this allowance has not answered yet; nothing was paid. Try again.',
    )
  const decoded = decodeInvoice(invoice.toLowerCase(), { prefix: prefixOf(info.money) })
  if (!decoded.ok)
    throw new Nip47Refusal('PAYMENT_FAILED', `${explainRefusal(decoded.why)} Nothing was paid.`)
  const { amount, paymentHash, expiresAtMs, description, text } = decoded.invoice
  if (amount !== undefined && given !== undefined && given !== amount)
    throw new Nip47Refusal('OTHER', `The invoice is over ${amount} msat, not ${given}; nothing was paid.`)
  const sum = amount ?? msat(given ?? 0)
  const heeds = info.features.has('preimage-invoices') || info.features.has('manage-connections')
  return {
    ...{ request, bolt11: text, paymentHash, expiresAtMs, amount: sum, ownAmount: amount === undefined },
    description: description ?? '',
    maxFee: feeReserve(sum, info.money),
    deadAtMs: heeds
      ? running.nowMs + HEEDED_MS
      : Math.max(running.nowMs + HEEDED_MS, expiresAtMs + AFTER_INVOICE_MS),
  }
}

async function receive(running: Running, method: string, params: Record<string, unknown>): Promise<unknown> {
  // What is locked for an invoice is settled or given back, also after the end.
  if (method === 'make_invoice' || method === 'make_hold_invoice') checkOpen(running, 'receive')
  const wallet = running.source?.wallet
  if (!wallet)
    throw new Nip47Refusal('INTERNAL', 'The wallet behind this allowance is not open. Try again later.')
  if (method === 'make_invoice' || method === 'make_hold_invoice') return makeInvoice(running, method, params)
  const paymentHash =
    method === 'settle_hold_invoice'
      ? sha256Hex(fromHex(parse(nip47.settleHoldParams, params).preimage))
      : (parse(nip47.cancelHoldParams, params).payment_hash as Sha256Hex)
  if (!running.incoming.find(paymentHash)?.hold)
    throw new Nip47Refusal('NOT_FOUND', 'This allowance has no hold invoice with that payment hash.')
  if (method === 'settle_hold_invoice')
    await wallet.settleHoldInvoice(parse(nip47.settleHoldParams, params).preimage)
  else {
    await wallet.cancelHoldInvoice(paymentHash)
    await running.incoming.cancelled(paymentHash)
  }
  return {}
}

async function makeInvoice(
  running: Running,
  method: string,
  params: Record<string, unknown>,
): Promise<unknown> {
  const wallet = running.source?.wallet
  if (!wallet)
    throw new Nip47Refusal('INTERNAL', 'The wallet behind this allowance is not open. Try again later.')
  const { nowMs } = running
  const common = parse(v.omit(nip47.makeInvoiceParams, ['preimage']), params)
  const description = common.description ?? ''
  const wanted = {
    amount: msat(common.amount),
    description,
    expirySeconds: common.expiry ?? DEFAULT_EXPIRY_SECONDS,
  }
  if (method === 'make_hold_invoice') {
    const paymentHash = parse(nip47.makeHoldInvoiceParams, params).payment_hash as Sha256Hex
    const made = await wallet.makeHoldInvoice({ ...wanted, paymentHash })
    return tellIncoming(await running.incoming.made(made, { description, hold: true, nowMs }), nowMs)
  }
  const { preimage } = parse(nip47.makeInvoiceParams, params)
  const made = await wallet.makeInvoice({ ...wanted, ...(preimage !== undefined && { preimage }) })
  return tellIncoming(await running.incoming.made(made, { description, hold: false, nowMs }), nowMs)
}

async function lookUp(
  running: Running,
  params: v.InferOutput<typeof nip47.lookupInvoiceParams>,
): Promise<unknown> {
  const hash =
    params.payment_hash ??
    (params.invoice === undefined ? undefined : peekInvoice(params.invoice)?.paymentHash)
  if (hash === undefined)
    throw new Nip47Refusal('OTHER', 'lookup_invoice needs a payment_hash or an invoice.')
  const paymentHash = hash as Sha256Hex
  const payment = running.state.open.get(paymentHash) ?? running.past.get(paymentHash)
  if (payment) return tellTransaction(toTransaction(payment), payment.bolt11)
  const known = running.incoming.find(paymentHash)
  if (!known) throw new Nip47Refusal('NOT_FOUND', 'This allowance has neither made nor paid that invoice.')
  const found = known.state === 'settled' ? undefined : await running.source?.wallet.lookUp(paymentHash)
  const now = found ? await running.inTurn(() => running.incoming.learned(found)) : known
  return tellIncoming(now ?? known, running.nowMs)
}

function list(running: Running, params: v.InferOutput<typeof nip47.listTransactionsParams>): unknown {
  const { nowMs } = running
  const { from = 0, until = Infinity, limit = nip47.MAX_LIST, offset = 0, unpaid = false, type } = params
  // What is tried again stands once, as it is now.
  const payments = [...new Map([...running.past, ...running.state.open]).values()]
  const all = [
    ...payments.map((payment) => ({ of: toTransaction(payment), bolt11: payment.bolt11 })),
    ...running.incoming.all.map((one) => ({ of: incoming.toTransaction(one, nowMs), bolt11: one.bolt11 })),
  ]
  const found = all
    .filter(
      ({ of }) => unpaid || of.state === 'settled' || (of.direction === 'out' && of.state === 'pending'),
    )
    .filter(({ of }) => type === undefined || type === (of.direction === 'in' ? 'incoming' : 'outgoing'))
    .filter(({ of }) => of.createdAtMs >= from * 1000 && of.createdAtMs <= until * 1000)
    .toSorted((a, b) => b.of.createdAtMs - a.of.createdAtMs || (a.of.paymentHash < b.of.paymentHash ? -1 : 1))
    .slice(offset, offset + Math.min(limit, nip47.MAX_LIST))
  return { transactions: fitting(found.map(({ of, bolt11 }) => tellTransaction(of, bolt11))) }
}

/** The first of them: as many as one answer holds. */
export function fitting<T>(all: readonly T[]): T[] {
  const found = [...all]
  while (found.length > 0 && utf8(JSON.stringify(found)).length > MAX_RESULT_BYTES)
    found.splice(Math.floor(found.length * 0.8))
  return found
}

export function infoOf(running: Running): unknown {
  const info = running.source?.state.get().info
  return {
    alias: running.state.terms.name,
    color: '#000000',
    pubkey: info?.pubkey ?? '',
    network: networkOf(info?.money),
    block_height: 0,
    block_hash: '0'.repeat(64),
    methods: methodsOf(running),
    notifications: nip47.NOTIFICATIONS,
    ...(info && {
      satpatch: {
        money: info.money,
        preimage_invoices: info.features.has('preimage-invoices'),
        allowance: true,
      },
    }),
  }
}

/** NIP-47's `network`. */
function networkOf(money: Money | undefined): string {
  if (money === undefined || money === 'bitcoin') return 'mainnet'
  return money === 'testnet' ? 'testnet' : 'regtest'
}

/** What could be paid now: its own rest or the source's, whichever is less. */
async function leftNow(running: Running): Promise<Msat> {
  if (!running.state.terms.may.pay) return running.incoming.received
  const known = running.available()
  if (known === undefined)
    throw new Nip47Refusal('INTERNAL', 'The wallet behind this allowance has not answered yet. Try again.')
  return standingOf(running.state, running.nowMs) === 'active' ? known : ZERO
}

function budgetOf(running: Running): unknown {
  const { nowMs } = running
  const { terms, extra, spent } = rolled(running.state, nowMs)
  const used = spent + reservedOf(running.state)
  const left = running.available() ?? leftOf(running.state, nowMs)
  const renews = renewsAt(terms.renewal, nowMs)
  return {
    used_budget: used,
    // A source that has less left than the limit says bounds it.
    total_budget: Math.min(terms.limit + extra, used + left),
    ...(renews !== undefined && { renews_at: renews / 1000 }),
    renewal_period: terms.renewal,
  }
}

/** As NIP-47 `connection_updated` tells it (ARCHITECTURE.md "NIP-47 extensions"). */
export function connectionState(running: Running): Nip47ConnectionState {
  const { meta, nowMs } = running
  const { terms, extra, spent } = rolled(running.state, nowMs)
  const locked = reservedOf(running.state)
  const renews = renewsAt(terms.renewal, nowMs)
  const state = standingOf(running.state, nowMs)
  return {
    pubkey: meta.client,
    parent: meta.service,
    ...{ name: terms.name, state, isolated: false, balance: undefined },
    request_methods: methodsOf(running),
    max_amount: terms.limit + extra,
    used_budget: spent + locked,
    locked,
    available: state === 'active' && terms.may.pay ? (running.available() ?? 0) : 0,
    budget_renewal: terms.renewal,
    renews_at: renews === undefined ? undefined : renews / 1000,
    expires_at: terms.expiresAtMs === undefined ? undefined : Math.floor(terms.expiresAtMs / 1000),
    created_at: Math.floor(meta.createdAtMs / 1000),
  }
}

function checkOpen(running: Running, what: 'receive' | 'look'): void {
  const trouble = closedFor(running.state, what, running.nowMs)
  if (trouble) throw new Nip47Refusal(trouble.code, trouble.message)
}

const tellIncoming = (invoice: Incoming, nowMs: number): unknown => ({
  ...tellTransaction(incoming.toTransaction(invoice, nowMs), invoice.bolt11),
  expires_at: Math.floor(invoice.expiresAtMs / 1000),
})

/** NIP-47's transaction object. */
export function tellTransaction(of: Transaction, invoice: string | undefined): Record<string, unknown> {
  return {
    type: of.direction === 'in' ? 'incoming' : 'outgoing',
    state: of.state,
    ...(invoice !== undefined && { invoice }),
    ...(of.description !== undefined && { description: of.description }),
    ...(of.preimage !== undefined && of.state === 'settled' && { preimage: of.preimage }),
    payment_hash: of.paymentHash,
    amount: of.amount,
    fees_paid: of.fees,
    created_at: Math.floor(of.createdAtMs / 1000),
    ...(of.settledAtMs !== undefined && { settled_at: Math.floor(of.settledAtMs / 1000) }),
  }
}

function parse<const S extends v.GenericSchema>(schema: S, params: unknown): v.InferOutput<S> {
  const parsed = v.safeParse(schema, params)
  if (parsed.success) return parsed.output
  const [issue] = parsed.issues
  const where = v.getDotPath(issue)
  throw new Nip47Refusal(
    'OTHER',
    `The request cannot be read${where ? ` at "${where}"` : ''}: ${issue.message}`,
  )
}
