/**
 * The one wallet port. Adapters: Nostr Wallet Connect (`nwc.ts`), WebLN, the simulator's fake; each passes
 * `wallet-suite.ts`. Amounts are msat, times Unix milliseconds, hashes and preimages 64 hex digits.
 */
import type { Money, Msat } from '../../core/money/msat.ts'
import type { Sha256Hex } from '../../core/bytes.ts'
import type { Live } from '../../core/live.ts'

export type WalletFeature =
  | 'pay'
  | 'receive'
  | 'look-up'
  | 'history'
  | 'hold-invoices' // make/settle/cancel hold invoice (NIP-47)
  | 'preimage-invoices' // make_invoice takes a `preimage` (ours, advertised in get_info)
  | 'notifications'
  | 'budget'
  | 'create-connection'
  | 'manage-connections' // list, update and delete those cut from this one (ours, advertised in get_info)

export type WalletInfo = Readonly<{
  money: Money
  alias: string
  features: ReadonlySet<WalletFeature>
  /** The wallet's own name for the node or account, if it tells. */
  pubkey?: string
}>

export type Invoice = Readonly<{ bolt11: string; paymentHash: Sha256Hex; amount: Msat; expiresAtMs: number }>

export type Transaction = Readonly<{
  direction: 'in' | 'out'
  state: 'pending' | 'accepted' | 'settled' | 'failed' | 'expired'
  paymentHash: Sha256Hex
  amount: Msat
  fees: Msat
  preimage?: string
  description?: string
  createdAtMs: number
  settledAtMs?: number
}>

/** A wallet may take a request to pay up so late (NIP-47's expiration); then it leaves it alone. */
export const LATEST_START_MS = 300_000

/** May I pay again? `final`: nothing went out. `unknown`: look it up first. */
export type PayResult =
  | { tag: 'paid'; preimage: string; fees: Msat }
  | { tag: 'failed'; code: WalletErrorCode; message: string }
  | { tag: 'unknown'; message: string }

export type WalletErrorCode =
  | 'rate-limited'
  | 'not-implemented'
  | 'insufficient-balance'
  | 'quota-exceeded'
  | 'restricted'
  | 'unauthorized'
  | 'internal'
  | 'unsupported-encryption'
  | 'payment-failed'
  | 'not-found'
  | 'expired'
  | 'unreachable'
  | 'other'

/** What every method but `pay` throws. The message is for a person: what happened, what to do. */
export class WalletError extends Error {
  readonly code: WalletErrorCode
  constructor(code: WalletErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'WalletError'
    this.code = code
  }
}

export type WalletEvent =
  | { tag: 'received'; transaction: Transaction }
  | { tag: 'sent'; transaction: Transaction }
  /** A hold invoice's HTLCs are locked: settle or cancel before `settleBy` (Unix ms). */
  | { tag: 'hold-accepted'; transaction: Transaction; settleByMs: number }

export type InvoiceRequest = Readonly<{
  amount: Msat
  description: string
  expirySeconds: number
  /** The receiver's own secret, 32 bytes hex; needs `preimage-invoices`. */
  preimage?: string
}>

export type HoldInvoiceRequest = Readonly<{
  amount: Msat
  description: string
  expirySeconds: number
  paymentHash: Sha256Hex
}>

export type Budget = Readonly<{ total: Msat; used: Msat; renewsAtMs?: number }>

export type ConnectionRequest = Readonly<{
  /** The new connection's client key (Nostr): its holder made it, nobody else ever has its secret. */
  client: string
  name: string
  limit: Msat
  /** `true`: `limit` moves into an account of its own. `false`: a budget on this wallet's balance. */
  isolated: boolean
  renewal: 'never' | 'hourly' | 'daily' | 'weekly' | 'monthly'
  expiresAtMs?: number
  may: ReadonlySet<'pay' | 'receive'>
}>

/**
 * A connection cut from another one, as the wallet keeps it: what both its holder and those above it see. `isolated`:
 * `limit` is what its source has given it in all, `balance` what it has. Otherwise `limit` is its budget, and every
 * payment also counts against each layer above.
 */
export type ConnectionState = Readonly<{
  /** Its client key. */
  client: string
  /** The connection that it was cut from. */
  parent: string
  name: string
  state: 'active' | 'paused' | 'expired' | 'revoked'
  isolated: boolean
  /** Absent: no limit of its own. */
  limit?: Msat
  /** Spent in this period, what is locked included. */
  used: Msat
  /** Of `used`: in payments that are not decided yet. */
  locked: Msat
  /** Isolated ones only. */
  balance?: Msat
  /** The largest payment that would go through now: its own and every layer's limit, and the balance below them. */
  available: Msat
  renewal: 'never' | 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly'
  renewsAtMs?: number
  expiresAtMs?: number
  may: ReadonlySet<'pay' | 'receive'>
  createdAtMs: number
}>

/**
 * What its makers may change while a connection is in use; what is absent stays. A limit below what is used starts no
 * new payment; those in flight finish and count. Isolated: raising `limit` moves the difference in, lowering it takes
 * back what is neither spent nor locked, so the limit answered may be above the one asked for.
 */
export type ConnectionChange = Readonly<{
  name?: string
  limit?: Msat
  renewal?: ConnectionState['renewal']
  expiresAtMs?: number | 'never'
  paused?: boolean
}>

export interface Wallet {
  /** Connected or not, and the last error in words. */
  readonly status: Live<{ connected: boolean; trouble?: string }>
  info(): Promise<WalletInfo>
  balance(): Promise<Msat>
  budget(): Promise<Budget | undefined>
  makeInvoice(request: InvoiceRequest): Promise<Invoice>
  makeHoldInvoice(request: HoldInvoiceRequest): Promise<Invoice>
  settleHoldInvoice(preimage: string): Promise<void>
  cancelHoldInvoice(paymentHash: Sha256Hex): Promise<void>
  /** Never throws for the payment's own fate; see `PayResult`. Idempotent per payment hash. */
  pay(
    bolt11: string,
    options?: { /** For an invoice without an amount. */ amount?: Msat },
  ): Promise<PayResult>
  /** `undefined`: this wallet has never heard of it. */
  lookUp(paymentHash: Sha256Hex): Promise<Transaction | undefined>
  history(options: {
    limit: number
    offset: number
    fromMs?: number
    untilMs?: number
  }): Promise<readonly Transaction[]>
  /** A connection cut from this wallet (NIP-47 `create_connection`); gives the NWC URI without its secret. */
  createConnection(request: ConnectionRequest): Promise<{ walletPubkey: string; relays: readonly string[] }>
  /** All connections cut from this one, and from those, oldest first; revoked ones are left out. */
  listConnections(): Promise<readonly ConnectionState[]>
  /** Changes one of them. @throws WalletError `not-found` for a key that was not cut from here */
  updateConnection(client: string, change: ConnectionChange): Promise<ConnectionState>
  /** Revokes it and all that was cut from it, for ever; what isolated ones had comes back, also what comes in later. */
  deleteConnection(client: string): Promise<void>
  onEvent(run: (event: WalletEvent) => void): () => void
  /** This connection, one above or one below it changed: a limit, a payment, a pause. Within a second of it. */
  onConnection(run: (connection: ConnectionState) => void): () => void
  close(): void
}
