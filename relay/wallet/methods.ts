/** NIP-47's methods over the ledger: parameters parsed, answered or refused. No network, no encryption. */
import * as v from 'valibot'
import { peekInvoice } from '../../web/core/money/bolt11.ts'
import * as nip47 from '../../web/core/wallet/nip47.ts'
import { METHODS, Nip47Refusal, NOTIFICATIONS, type Method } from '../../web/core/wallet/nip47.ts'
import type { Backend } from './backend.ts'
import type { Connection, Connections } from './connections.ts'
import type { Ledger } from './ledger.ts'
import type { Managing } from './managing.ts'
import type { Outcome, Payments } from './payments.ts'

/** `waiting`: the answer comes when the locked payment is decided. */
export type Answer = { tag: 'result'; result: unknown } | { tag: 'waiting'; paymentHash: string }
/** `changed`: connections whose makers and holders are to hear of it. */
export type Done = Outcome & { answer: Answer; changed?: readonly string[] }

/** These change something: each request is executed once, whatever is replayed. */
export const CHANGES: ReadonlySet<Method> = new Set<Method>([
  'pay_invoice',
  'make_invoice',
  'make_hold_invoice',
  'settle_hold_invoice',
  'cancel_hold_invoice',
  'create_connection',
  'update_connection',
  'delete_connection',
])
/** These begin something, so they rest while a connection is paused. */
const STARTS: ReadonlySet<Method> = new Set<Method>([
  'pay_invoice',
  'pay_keysend',
  'make_invoice',
  'make_hold_invoice',
  'create_connection',
])

/** Largest answer in bytes: with encryption and base64 it stays below a relay's 64 KiB message. */
export const MAX_RESULT_BYTES = 40_000

export type MethodContext = Readonly<{
  ledger: Ledger
  connections: Connections
  managing: Managing
  payments: Payments
  backend: Backend
  /** The service's Nostr key. */
  walletPubkey: string
  relays: () => readonly string[]
}>

const NOTHING: Outcome = { notices: [], decided: [] }
const result = (value: unknown, outcome: Outcome = NOTHING): Done => ({
  ...outcome,
  answer: { tag: 'result', result: value },
})

export const isMethod = (name: string): name is Method => (METHODS as readonly string[]).includes(name)

/** Runs one method for one connection. @throws Nip47Refusal for whatever the client is to be told */
export function execute(
  context: MethodContext,
  connection: Connection,
  method: Method,
  params: Record<string, unknown>,
  at: number,
): Done {
  const { ledger, connections, managing, payments } = context
  const { account } = connection
  if (!connection.methods.has(method))
    throw new Nip47Refusal('RESTRICTED', `The connection "${connection.name}" may not ${method}.`)
  connections.checkAlive(connection, STARTS.has(method), at)
  switch (method) {
    case 'get_info':
      return result(getInfo(context, connection))
    case 'get_balance':
      return result({ balance: ledger.balance(account) })
    case 'get_budget': {
      const budget = connections.budget(connection, at)
      if (!budget) return result({})
      const { usedMsat, totalMsat, renewsAtMs } = budget
      return result({
        used_budget: usedMsat,
        total_budget: totalMsat,
        ...(renewsAtMs !== undefined && { renews_at: renewsAtMs / 1000 }),
        renewal_period: connection.renewal,
      })
    }
    case 'pay_invoice': {
      const { invoice, amount } = parse(nip47.payInvoiceParams, params)
      const { paymentHash, preimage, fees, ...outcome } = payments.pay(connection, invoice, amount, at)
      if (preimage !== undefined) return result({ preimage, fees_paid: fees }, outcome)
      return { ...outcome, answer: { tag: 'waiting', paymentHash } }
    }
    case 'make_invoice': {
      const { amount, description, description_hash, expiry, preimage } = parse(
        nip47.makeInvoiceParams,
        params,
      )
      const request = {
        amount,
        description,
        descriptionHash: description_hash,
        expirySeconds: expiry,
        preimage,
      }
      return result(payments.makeInvoice(connection, request, at))
    }
    case 'make_hold_invoice': {
      const parsed = parse(nip47.makeHoldInvoiceParams, params)
      const { amount, description, description_hash, expiry, payment_hash } = parsed
      const options = { descriptionHash: description_hash, expirySeconds: expiry, paymentHash: payment_hash }
      return result(payments.makeInvoice(connection, { amount, description, ...options }, at))
    }
    case 'settle_hold_invoice':
      return result({}, payments.settle(account, parse(nip47.settleHoldParams, params).preimage, at))
    case 'cancel_hold_invoice':
      return result({}, payments.cancel(account, parse(nip47.cancelHoldParams, params).payment_hash, at))
    case 'lookup_invoice': {
      const { payment_hash, invoice } = parse(nip47.lookupInvoiceParams, params)
      const hash = payment_hash ?? (invoice === undefined ? undefined : peekInvoice(invoice)?.paymentHash)
      if (hash === undefined)
        throw new Nip47Refusal('OTHER', 'lookup_invoice needs a payment_hash or an invoice.')
      const found = payments.lookUp(account, hash, at)
      if (!found) throw new Nip47Refusal('NOT_FOUND', 'This wallet has neither made nor paid that invoice.')
      return result(found)
    }
    case 'list_transactions': {
      const transactions = payments.list(account, parse(nip47.listTransactionsParams, params), at)
      while (transactions.length > 0 && JSON.stringify(transactions).length > MAX_RESULT_BYTES)
        transactions.splice(Math.floor(transactions.length * 0.8))
      return result({ transactions })
    }
    case 'create_connection': {
      const request = parse(nip47.createConnectionParams, params)
      connections.cut(connection, request, at)
      const made = { wallet_pubkey: context.walletPubkey, relays: context.relays() }
      return { ...result(made), changed: [request.pubkey] }
    }
    case 'list_connections':
      return result(managing.list(connection, parse(nip47.listConnectionsParams, params), at))
    case 'update_connection': {
      const request = parse(nip47.updateConnectionParams, params)
      const state = managing.update(connection, request, at)
      return { ...result(state), changed: [request.pubkey, ...managing.below(request.pubkey)] }
    }
    case 'delete_connection': {
      const { pubkey } = parse(nip47.deleteConnectionParams, params)
      const below = managing.below(pubkey)
      managing.revoke(connection, pubkey, at)
      return { ...result({}), changed: [pubkey, ...below] }
    }
    case 'pay_keysend':
      throw new Nip47Refusal('NOT_IMPLEMENTED', 'Play money has no nodes to send to; pay an invoice.')
    default:
      return method satisfies never
  }
}

function getInfo(context: MethodContext, connection: Connection): unknown {
  return {
    alias: `${context.backend.alias}: ${connection.name}`,
    color: '#000000',
    pubkey: context.backend.pubkey,
    network: context.backend.network,
    block_height: 0,
    block_hash: '0'.repeat(64),
    methods: METHODS.filter((method) => connection.methods.has(method)),
    notifications: NOTIFICATIONS,
    satpatch: { money: context.backend.money, preimage_invoices: true, isolated: true },
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
