/** What happens to a desk, and what it wants done. */
import type { PartyKey } from '../bytes.ts'
import type { Money } from '../money/msat.ts'
import type { PeerId, Sale, SaleId } from './desk-state.ts'
import type { RefusalCode, Role } from './message.ts'

export type Debt = Pick<Sale, 'id' | 'buyer' | 'pieces' | 'bytes' | 'amount' | 'at' | 'unproven'>

export type DeskEvent =
  | {
      tag: 'asked'
      id: SaleId
      peer: PeerId
      buyer: PartyKey
      role: Role
      request: number
      pieces: readonly number[]
      has: (piece: number) => boolean
      /** How what is not given is paid; `atomic` unless said otherwise. */
      mode?: 'atomic' | 'credit'
      /** What it is paid in. */
      money?: Money | undefined
    }
  /** Delivered on credit before a restart, and not paid since. */
  | { tag: 'owed'; debt: Debt }
  | { tag: 'began'; id: SaleId }
  /** The last byte of the window is handed over; its quote is not. */
  | { tag: 'delivered'; id: SaleId }
  | { tag: 'sent'; id: SaleId; expiresAtMs: number }
  | { tag: 'failed'; id: SaleId; code: RefusalCode }
  | { tag: 'cancelled'; peer: PeerId; request: number }
  | { tag: 'locked'; id: SaleId }
  | { tag: 'settled'; id: SaleId }
  | { tag: 'left'; peer: PeerId; buyer: PartyKey }
  | { tag: 'tick' }

/** The event of this tag. */
export type DeskEventOf<Tag extends DeskEvent['tag']> = Extract<DeskEvent, { tag: Tag }>

export type DeskEffect =
  | { tag: 'refuse'; peer: PeerId; request: number; code: RefusalCode }
  | { tag: 'serve'; sale: Sale }
  /** The buyer's sats are locked: release them with the secret, at once. */
  | { tag: 'settle'; sale: Sale }
  | { tag: 'give-key'; sale: Sale }
  /** A debt is paid; its buyer may now have `bytes` unpaid. */
  | { tag: 'raise-credit'; sale: Sale; bytes: number }
  /** Nobody pays this invoice any more. */
  | { tag: 'forget'; sale: Sale }
