/**
 * A Lightning node behind the wallet service. All of it is asynchronous and may be asked again: makes, settles, cancels
 * and pays are told apart by payment hash. Amounts are msat, hashes and preimages 64 hex digits, times Unix ms.
 */
import type { Money } from '../../web/core/money/msat.ts'

export type Network = 'mainnet' | 'testnet' | 'signet' | 'regtest'

export type NodeStatus = Readonly<{
  /** The node's key: compressed, 66 hex digits. */
  pubkey: string
  alias: string
  network: Network
  /** Two nodes of one chain have the same. */
  money: Money
  blockHeight: number
  blockHash: string
  /** What all channels together could send now. */
  spendableMsat: number
}>

export type InvoiceDraft = Readonly<{
  paymentHash: string
  /** Absent: a hold invoice. */
  preimage?: string
  /** 0: the payer chooses. */
  amount: number
  description: string
  descriptionHash?: string
  expirySeconds: number
}>

export type NodeInvoice =
  | { tag: 'open' }
  /** Locked by its payer, in full; to be settled or cancelled. */
  | { tag: 'accepted'; received: number }
  | { tag: 'settled'; received: number; preimage: string; atMs: number }
  | { tag: 'cancelled' }

export type Target =
  /** `amount` only where the invoice has none. */
  | { tag: 'invoice'; bolt11: string; amount?: number }
  /** `records`: TLV type (65536 and above) to hex. */
  | {
      tag: 'keysend'
      pubkey: string
      amount: number
      preimage: string
      records: Readonly<Record<string, string>>
    }

export type OutgoingPayment = Readonly<{ paymentHash: string; target: Target; maxFee: number }>

/** The node's last word on a payment. */
export type Paid = { tag: 'paid'; preimage: string; fee: number } | { tag: 'failed'; why: string }

export type NodeErrorCode =
  | 'unreachable'
  | 'wrong-certificate'
  | 'wrong-macaroon'
  | 'locked'
  | 'starting'
  | 'syncing'
  | 'not-a-node'
  /** The node's word: this was not done and will not be. */
  | 'refused'

/** `refused` apart, whether it was done is not known. The message says what happened and what to do. */
export class NodeError extends Error {
  override readonly name = 'NodeError'
  readonly code: NodeErrorCode
  constructor(code: NodeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

export interface LightningNode {
  /** @throws NodeError when it cannot work now: locked, syncing, unreachable, … */
  status(): Promise<NodeStatus>
  /** The BOLT 11 text; for a hash that has an invoice already, that one. @throws NodeError */
  makeInvoice(draft: InvoiceDraft): Promise<string>
  /** `undefined`: the node has never heard of it. @throws NodeError */
  lookUpInvoice(paymentHash: string): Promise<NodeInvoice | undefined>
  /** @throws NodeError */
  settle(preimage: string): Promise<void>
  /** @throws NodeError `refused` for one that is settled */
  cancel(paymentHash: string): Promise<void>
  /**
   * Waits for the node's last word. One that is under way or paid already is refused, not paid again: `track` it.
   * @throws NodeError
   */
  pay(payment: OutgoingPayment): Promise<Paid>
  /** Waits for the last word on a payment; `undefined`: the node has never heard of it. @throws NodeError */
  track(paymentHash: string): Promise<Paid | undefined>
  /**
   * Calls `invoice` for invoices that settle, and `connected` whenever the node has been asked to tell of them: what
   * happened until about then is to be looked up. The function that it gives ends it.
   */
  watchInvoices(on: {
    invoice: (paymentHash: string) => void
    connected: () => void
    lost: (error: NodeError) => void
  }): () => void
  /** The same for one hold invoice: calls when it is locked, settled or cancelled. */
  watchHold(paymentHash: string, changed: () => void): () => void
  close(): void
}
