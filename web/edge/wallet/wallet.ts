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
  pay(bolt11: string): Promise<PayResult>
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
  onEvent(run: (event: WalletEvent) => void): () => void
  close(): void
}
