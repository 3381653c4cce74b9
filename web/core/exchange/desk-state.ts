/** What a desk holds: its owner's policy, its sales, and an account for each buyer's key. */
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { ZERO, type Msat } from '../money/msat.ts'
import type { Shape } from '../swarm/merkle.ts'
import type { DeskPolicy } from './desk-policy.ts'

export type PeerId = string
export type SaleId = Sha256Hex // the quote's id

/**
 * How a sale is paid. `atomic`: ciphertext first, the payment's preimage is the key. `credit`: plain pieces and an
 * invoice, within the buyer's line. `free`: a gift.
 */
export type Mode = 'atomic' | 'credit' | 'free'

/**
 * `blocked`: on credit, until the buyer has paid for others. `preparing`: cipher, invoice and quote are being made and
 * sent. `waiting`: for the payment. `expired`: never paid; a later payment still counts.
 */
export type Sale = {
  readonly id: SaleId
  readonly peer: PeerId
  readonly buyer: PartyKey
  readonly request: number
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly amount: Msat
  readonly mode: Mode
  readonly at: number
  /** Its bytes count in the pool of keys that had not settled when it was asked for. */
  unproven: boolean
  /** Ciphertext is on its way: from here on giving up is not free. */
  begun: boolean
  /** All of it is handed over: on credit it is owed. */
  delivered: boolean
  state:
    'blocked' | 'preparing' | 'waiting' | 'locked' | 'paid' | 'given' | 'expired' | 'cancelled' | 'failed'
  expiresAtMs: number
  /** When its buyer gave it up. */
  cancelledAtMs?: number
}

export type Account = {
  settledBytes: number
  unpaidBytes: number
  /** Let lapse or given up once begun. */
  debtBytes: number
  /** The part of it that came in the clear. */
  owedBytes: number
  giftBytes: number
}

export type Desk = {
  readonly shape: Shape
  policy: DeskPolicy
  open: boolean
  readonly sales: Map<SaleId, Sale>
  readonly accounts: Map<PartyKey, Account>
  readonly gifted: Set<PartyKey>
  unpaidBytes: number
  /** The part of it beyond what each buyer's own record allows: the owner's limit is on this. */
  sharedBytes: number
  unprovenBytes: number
  soldPieces: number
  uploadedBytes: number
  earned: Msat
}

export function openDesk(shape: Shape, policy: DeskPolicy): Desk {
  return {
    shape,
    policy,
    open: true,
    sales: new Map(),
    accounts: new Map(),
    gifted: new Set(),
    unpaidBytes: 0,
    sharedBytes: 0,
    unprovenBytes: 0,
    soldPieces: 0,
    uploadedBytes: 0,
    earned: ZERO,
  }
}
