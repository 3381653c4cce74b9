/** NIP-47's methods over the ledger: parameters parsed, answered or refused. No network, no encryption. */
import * as v from 'valibot'
import { peekInvoice } from '../../web/core/money/bolt11.ts'
import { LEAST_ON_LIGHTNING } from '../../web/core/money/msat.ts'
import * as nip47 from '../../web/core/wallet/nip47.ts'
import {
  METHODS,
  Nip47Refusal,
  NODE_METHODS,
  NOTIFICATIONS,
  type Method,
} from '../../web/core/wallet/nip47.ts'
import type { Backend } from './backend.ts'
import type { Connection, Connections } from './connections.ts'
import type { Ledger } from './ledger.ts'
import { payKeysend } from './keysend.ts'
import type { Managing } from './managing.ts'
import type { Prepared } from './node-first.ts'
import type { NodeBooks } from './node-books.ts'
import type { NodeDriver } from './node-driver.ts'
import type { Outcome, Paying, Payments } from './payments.ts'

/** `waiting`: the answer comes when the locked payment is decided. */
export type Answer = { tag: 'result'; result: unknown } | { tag: 'waiting'; paymentHash: string }
/** `afterwards` runs after the commit. `changed`: connections whose makers and holders are to hear of it. */
export type Done = Outcome & { answer: Answer; changed?: readonly string[]; afterwards?: () => void }

/** These change something: each request is executed once, whatever is replayed. */
export const CHANGES: ReadonlySet<Method> = new Set<Method>([
  'pay_invoice',
  'pay_keysend',
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
  /** Behind a real node. */
  node?: Readonly<{ books: NodeBooks; driver: () => NodeDriver }>
  /** The service's Nostr key. */
  walletPubkey: string
  relays: () => readonly string[]
}>

const NOTHING: Outcome = { notices: [], decided: [] }
const result = (value: unknown, outcome: Outcome = NOTHING): Done => ({
  ...outcome,
  answer: { tag: 'result', result: value },
})

export const isMethod = (name: string, backend: Backend): name is Method =>
  (methodsOf(backend) as readonly string[]).includes(name)

/**
 * Runs one method for one connection. @throws Nip47Refusal for whatever the client is to be told, NodeFirst for what the
 * node has to do before
 */
export function execute(
  context: MethodContext,
  connection: Connection,
  { method, params }: { method: Method; params: Record<string, unknown> },
  at: number,
  prepared?: Prepared,
): Done {
  const { connections, managing, payments } = context
  const { account } = connection
  if (!connection.methods.has(method))
    throw new Nip47Refusal('RESTRICTED', `The connection "${connection.name}" may not ${method}.`)
  const past = method === 'lookup_invoice' && connections.ended(connection, at)
  if (!past) connections.checkAlive(connection, STARTS.has(method), at)
  switch (method) {
    case 'get_info':
      return result(getInfo(context, connection))
    case 'get_balance':
      return result({ balance: balanceOf(context, connection, at) })
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
      const { invoice, amount, metadata } = parse(nip47.payInvoiceParams, params)
      const wanted = { text: invoice, amount, metadata: written(metadata) }
      return paying(context, payments.pay(connection, wanted, at, prepared))
    }
    case 'pay_keysend':
      return paying(context, payKeysend(context, connection, parse(nip47.payKeysendParams, params), at))
    case 'make_invoice': {
      const parsed = parse(nip47.makeInvoiceParams, params)
      const { preimage } = parsed
      return result(payments.makeInvoice(connection, { ...invoiceOf(parsed), preimage }, at, prepared))
    }
    case 'make_hold_invoice': {
      const parsed = parse(nip47.makeHoldInvoiceParams, params)
      const { payment_hash: paymentHash } = parsed
      const made = payments.makeInvoice(connection, { ...invoiceOf(parsed), paymentHash }, at, prepared)
      return { ...result(made), afterwards: () => context.node?.driver().hold(paymentHash) }
    }
    case 'settle_hold_invoice':
      return result(
        {},
        payments.settle(account, parse(nip47.settleHoldParams, params).preimage, at, prepared),
      )
    case 'cancel_hold_invoice':
      return result(
        {},
        payments.cancel(account, parse(nip47.cancelHoldParams, params).payment_hash, at, prepared),
      )
    case 'lookup_invoice': {
      const { payment_hash, invoice } = parse(nip47.lookupInvoiceParams, params)
      const hash = payment_hash ?? (invoice === undefined ? undefined : peekInvoice(invoice)?.paymentHash)
      if (hash === undefined)
        throw new Nip47Refusal('OTHER', 'lookup_invoice needs a payment_hash or an invoice.')
      const found = payments.lookUp(connection, hash, at, { onlyOwn: past })
      if (!found) throw new Nip47Refusal('NOT_FOUND', 'This wallet has neither made nor paid that invoice.')
      return result(found)
    }
    case 'list_transactions': {
      const transactions = payments.list(connection, parse(nip47.listTransactionsParams, params), at)
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
    default:
      return method satisfies never
  }
}

function paying(context: MethodContext, { paymentHash, preimage, fees, send, ...outcome }: Paying): Done {
  if (preimage !== undefined) return result({ preimage, fees_paid: fees }, outcome)
  const waiting: Done = { ...outcome, answer: { tag: 'waiting', paymentHash } }
  return send ? { ...waiting, afterwards: () => context.node?.driver().send(paymentHash) } : waiting
}

/** With a budget what is left of it, if that is less: the rest of the account is not its holder's. */
function balanceOf({ ledger, connections }: MethodContext, connection: Connection, at: number): number {
  const balance = ledger.balance(connection.account)
  const budget = connections.budget(connection, at)
  return budget ? Math.max(0, Math.min(balance, budget.totalMsat - budget.usedMsat)) : balance
}

const written = (metadata: Readonly<Record<string, unknown>> | undefined): string | undefined =>
  metadata && JSON.stringify(metadata)

const invoiceOf = (asked: {
  amount: number
  description?: string | undefined
  description_hash?: string | undefined
  expiry?: number | undefined
  metadata?: Readonly<Record<string, unknown>> | undefined
}) => ({
  amount: asked.amount,
  description: asked.description,
  descriptionHash: asked.description_hash,
  expirySeconds: asked.expiry,
  metadata: written(asked.metadata),
})

function getInfo({ backend }: MethodContext, connection: Connection): unknown {
  const { alias, pubkey, network, money } = backend
  const node = backend.tag === 'node' ? backend.status() : undefined
  return {
    alias: `${alias}: ${connection.name}`,
    color: '#000000',
    pubkey,
    network,
    block_height: node?.blockHeight ?? 0,
    block_hash: node?.blockHash ?? '0'.repeat(64),
    methods: methodsOf(backend).filter((method) => connection.methods.has(method)),
    notifications: NOTIFICATIONS,
    satpatch: {
      ...{ money, preimage_invoices: true, isolated: true },
      ...(node && { least_amount: LEAST_ON_LIGHTNING }),
    },
  }
}

/** What a backend can do. */
export const methodsOf = ({ tag }: Backend): readonly Method[] =>
  tag === 'node' ? [...METHODS, ...NODE_METHODS] : METHODS

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
