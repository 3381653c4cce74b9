/**
 * Nostr Wallet Connect (NIP-47): what its messages hold, as both ends parse them. Amounts are msat, times Unix
 * seconds. Our additions: `preimage` in make_invoice, `satpatch` in get_info, `relays` from create_connection, the
 * methods of `MANAGING` and the notification `connection_updated` (ARCHITECTURE.md "NIP-47 extensions").
 */
import * as v from 'valibot'
import { MAX_INVOICE_LENGTH } from '../money/bolt11.ts'
import { isPoint } from './point.ts'

export const METHODS = [
  'get_info',
  'get_balance',
  'get_budget',
  'pay_invoice',
  'make_invoice',
  'lookup_invoice',
  'list_transactions',
  'make_hold_invoice',
  'settle_hold_invoice',
  'cancel_hold_invoice',
  'create_connection',
  'list_connections',
  'update_connection',
  'delete_connection',
] as const
/** Only with a real node behind the service. */
export const NODE_METHODS = ['pay_keysend'] as const
export type Method = (typeof METHODS)[number] | (typeof NODE_METHODS)[number]
/** Ours: what was made by create_connection is seen, changed and ended by these. */
export const MANAGING = ['list_connections', 'update_connection', 'delete_connection'] as const

export const NOTIFICATIONS = [
  'payment_received',
  'payment_sent',
  'hold_invoice_accepted',
  'connection_updated',
] as const
export type NotificationType = (typeof NOTIFICATIONS)[number]

export const ERROR_CODES = [
  'RATE_LIMITED',
  'NOT_IMPLEMENTED',
  'INSUFFICIENT_BALANCE',
  'QUOTA_EXCEEDED',
  'RESTRICTED',
  'UNAUTHORIZED',
  'INTERNAL',
  'UNSUPPORTED_ENCRYPTION',
  'PAYMENT_FAILED',
  'NOT_FOUND',
  'OTHER',
] as const
export type Nip47Code = (typeof ERROR_CODES)[number]

/** What a wallet answers instead of a result. */
export class Nip47Refusal extends Error {
  readonly code: Nip47Code
  constructor(code: Nip47Code, message: string) {
    super(message)
    this.name = 'Nip47Refusal'
    this.code = code
  }
}

/** All the bitcoin there will ever be, in msat: no amount is larger. */
export const MAX_AMOUNT_MSAT = 21_000_000 * 100_000_000 * 1000
export const MAX_EXPIRY_SECONDS = 31_536_000
export const MAX_LIST = 500
export const MAX_METADATA_CHARS = 4096
export const RENEWALS = ['never', 'hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const
export type Renewal = (typeof RENEWALS)[number]

const hex32 = v.pipe(v.string(), v.toLowerCase(), v.regex(/^[0-9a-f]{64}$/, 'not 64 hex digits'))
/** Of a connection: its holder is told things, encrypted to it. */
const clientKey = v.pipe(hex32, v.check(isPoint, 'no public key'))
const amount = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_AMOUNT_MSAT))
const price = v.pipe(amount, v.minValue(1, 'an invoice needs an amount'))
const time = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(2 ** 40))
const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const expiry = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_EXPIRY_SECONDS))
const invoiceText = text(MAX_INVOICE_LENGTH)
/** Clients send null for what they leave out as often as they leave it out. */
const maybe = <const S extends v.GenericSchema>(schema: S) =>
  v.pipe(
    v.nullish(schema),
    v.transform((value) => value ?? undefined),
  )

export const requestSchema = v.object({
  method: v.pipe(v.string(), v.maxLength(64)),
  params: maybe(v.record(v.string(), v.unknown())),
})

/** The client's own notes; given back with the transaction. */
const metadata = v.pipe(
  v.record(v.string(), v.unknown()),
  v.check((value) => JSON.stringify(value).length <= MAX_METADATA_CHARS, 'longer than 4096 characters'),
)

export const payInvoiceParams = v.object({
  invoice: invoiceText,
  amount: maybe(amount),
  metadata: maybe(metadata),
})
const tlvRecord = v.object({
  type: v.pipe(v.number(), v.safeInteger(), v.minValue(65_536)),
  value: v.pipe(v.string(), v.maxLength(2000), v.regex(/^([0-9a-f]{2})*$/i, 'not hex')),
})
export const payKeysendParams = v.object({
  amount: price,
  pubkey: v.pipe(v.string(), v.toLowerCase(), v.regex(/^0[23][0-9a-f]{64}$/, 'not a node key')),
  preimage: maybe(hex32),
  tlv_records: maybe(v.pipe(v.array(tlvRecord), v.maxLength(20))),
})
/** `amount` 0: the payer chooses. */
export const makeInvoiceParams = v.object({
  amount,
  description: maybe(text(2000)),
  description_hash: maybe(hex32),
  expiry: maybe(expiry),
  preimage: maybe(hex32),
  metadata: maybe(metadata),
})
export const makeHoldInvoiceParams = v.object({
  amount: price,
  description: maybe(text(2000)),
  description_hash: maybe(hex32),
  expiry: maybe(expiry),
  payment_hash: hex32,
  metadata: maybe(metadata),
})
export const settleHoldParams = v.object({ preimage: hex32 })
export const cancelHoldParams = v.object({ payment_hash: hex32 })
export const lookupInvoiceParams = v.object({ payment_hash: maybe(hex32), invoice: maybe(invoiceText) })
export const listTransactionsParams = v.object({
  from: maybe(time),
  until: maybe(time),
  limit: maybe(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  offset: maybe(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  unpaid: maybe(v.boolean()),
  type: maybe(v.picklist(['incoming', 'outgoing'])),
})
export const createConnectionParams = v.object({
  pubkey: clientKey,
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(100)),
  request_methods: v.pipe(
    v.array(v.picklist([...METHODS, ...NODE_METHODS])),
    v.minLength(1),
    v.maxLength(METHODS.length + NODE_METHODS.length),
  ),
  max_amount: maybe(amount),
  budget_renewal: maybe(v.picklist(RENEWALS)),
  expires_at: maybe(time),
  isolated: maybe(v.boolean()),
})
export type CreateConnection = v.InferOutput<typeof createConnectionParams>

/** `pubkey` names a connection that was cut from the asking one, or from one of those. What is absent stays. */
export const updateConnectionParams = v.object({
  pubkey: hex32,
  name: maybe(v.pipe(v.string(), v.minLength(1), v.maxLength(100))),
  max_amount: maybe(amount),
  budget_renewal: maybe(v.picklist(RENEWALS)),
  /** 0: never. */
  expires_at: maybe(time),
  paused: maybe(v.boolean()),
})
export type UpdateConnection = v.InferOutput<typeof updateConnectionParams>
export const deleteConnectionParams = v.object({ pubkey: hex32 })
export const listConnectionsParams = v.object({
  limit: maybe(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  offset: maybe(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
})

/** An invoice or payment as wallets tell it; foreign wallets leave out or null much of it. */
export const transactionSchema = v.object({
  type: v.picklist(['incoming', 'outgoing']),
  state: maybe(v.picklist(['pending', 'settled', 'accepted', 'expired', 'failed'])),
  invoice: maybe(invoiceText),
  description: maybe(v.string()),
  description_hash: maybe(v.string()),
  preimage: maybe(v.string()),
  payment_hash: hex32,
  amount,
  fees_paid: maybe(amount),
  created_at: time,
  expires_at: maybe(time),
  settled_at: maybe(time),
  /** A Unix time, or a block height where below 500,000,000 (the convention of Bitcoin's lock times). */
  settle_deadline: maybe(time),
})
export type Nip47Transaction = v.InferOutput<typeof transactionSchema>

export const LOCKTIME_THRESHOLD = 500_000_000

const satpatch = v.object({
  money: v.string(),
  preimage_invoices: maybe(v.boolean()),
  isolated: maybe(v.boolean()),
  /** Msat: smaller payments do not go. */
  least_amount: maybe(amount),
})
export const infoResult = v.object({
  alias: maybe(v.string()),
  pubkey: maybe(v.string()),
  network: maybe(v.string()),
  methods: v.array(v.string()),
  notifications: maybe(v.array(v.string())),
  satpatch: maybe(satpatch),
})
export const balanceResult = v.object({ balance: amount })
export const budgetResult = v.object({
  used_budget: maybe(amount),
  total_budget: maybe(amount),
  renews_at: maybe(time),
})
export const payResult = v.object({ preimage: hex32, fees_paid: maybe(amount) })
export const makeInvoiceResult = v.object({
  invoice: invoiceText,
  payment_hash: maybe(hex32),
  expires_at: maybe(time),
})
export const listResult = v.object({
  transactions: v.pipe(v.array(transactionSchema), v.maxLength(MAX_LIST)),
})
export const connectionResult = v.object({
  wallet_pubkey: hex32,
  relays: maybe(v.pipe(v.array(text(500)), v.maxLength(20))),
})
export const CONNECTION_STATES = ['active', 'paused', 'expired', 'revoked'] as const
/** The answer to update_connection, an entry of list_connections, and what connection_updated tells. */
export const connectionState = v.object({
  pubkey: hex32,
  parent: hex32,
  name: v.string(),
  state: v.picklist(CONNECTION_STATES),
  request_methods: v.array(v.string()),
  isolated: v.boolean(),
  /** Absent: no limit. Isolated: what its source has given it in all. */
  max_amount: maybe(amount),
  /** In this period, locked payments included. */
  used_budget: amount,
  locked: amount,
  /** Isolated ones only. */
  balance: maybe(amount),
  /** The largest payment that would go through now, all layers considered. */
  available: amount,
  budget_renewal: v.picklist(RENEWALS),
  renews_at: maybe(time),
  expires_at: maybe(time),
  created_at: time,
})
export type Nip47ConnectionState = v.InferOutput<typeof connectionState>
export const listConnectionsResult = v.object({
  connections: v.pipe(v.array(connectionState), v.maxLength(MAX_LIST)),
  total: amount,
})
export const emptyResult = v.unknown()

export const responseSchema = v.object({
  result_type: v.string(),
  error: maybe(v.object({ code: v.string(), message: v.fallback(v.string(), '') })),
  result: v.optional(v.unknown()),
})
export const notificationSchema = v.object({
  notification_type: v.string(),
  notification: v.optional(v.unknown()),
})
