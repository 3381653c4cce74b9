/** What happens to a buyer, and what it wants done (see `buyer.ts`; the order of each mode in `buyer-policy.ts`). */
import type { PartyKey } from '../bytes.ts'
import type { RefusalCode } from '../exchange/message.ts'
import type { Money, Msat } from '../money/msat.ts'
import type { Mode, Source } from './buyer-policy.ts'
import type { PeerId, RestoredWindow, WindowId } from './buyer-state.ts'

export type BuyerEvent =
  | {
      tag: 'joined'
      peer: PeerId
      key: PartyKey
      price: Msat
      gift: boolean
      money: Money | undefined
      maxWindowBytes: number
      /** `exchange` unless said otherwise. */
      source?: Source
      /** Unless said otherwise `free` for a gift or price 0, else `atomic`. */
      mode?: Mode
      /** When its offer expires; never unless said. */
      offerUntilMs?: number
    }
  | { tag: 'has'; peer: PeerId; pieces: readonly number[] }
  /** A seller that has everything sends these to somebody else, for the first time. */
  | { tag: 'sending'; peer: PeerId; pieces: readonly number[] }
  | { tag: 'left'; peer: PeerId }
  | { tag: 'refused'; window: WindowId; code: RefusalCode }
  /** `bytes`: received of this window so far, all together. */
  | { tag: 'progress'; window: WindowId; bytes?: number }
  /** Atomic: ciphertext complete, quote checked. Credit: pieces stored, debt written down. Free: it is all here. */
  | { tag: 'quoted'; window: WindowId; amount: Msat; paymentHash: string; expiresAtMs: number }
  /** The peer sent what no honest one sends, before a sat was paid. */
  | { tag: 'spoilt'; window: WindowId; why: string }
  /** Without `fees` where the secret came before the wallet's answer: told once more with them, be the window open or done. */
  | { tag: 'settled'; window: WindowId; fees?: Msat }
  /** Final: nothing went out. */
  | { tag: 'pay-failed'; window: WindowId; code: string }
  | { tag: 'pay-unknown'; window: WindowId }
  | { tag: 'opened'; window: WindowId; cheated: boolean }
  /** A piece was proven and stored by other means (resumed, or given). */
  | { tag: 'stored'; pieces: readonly number[] }
  | { tag: 'wallet'; money: Money; balance: Msat }
  /** Sums from before a restart: paid for, taken by keys that cheated, and the bytes that were paid for. */
  | { tag: 'resumed'; paid: Msat; fees: Msat; lost: Msat; bytes?: number }
  /** What a payment from before a restart cost: the wallet had not named it when it was written down. */
  | { tag: 'fees-named'; key: PartyKey; amount: Msat; fees: Msat }
  /** A purchase from before a restart: handed to the wallet, outcome not known. */
  | { tag: 'restored'; window: RestoredWindow }
  | { tag: 'banned'; key: PartyKey; why: string }
  | { tag: 'tick' }

export type BuyerEffect =
  | { tag: 'ask'; window: WindowId; peer: PeerId; pieces: readonly number[] }
  | { tag: 'cancel'; window: WindowId; peer: PeerId }
  /** Atomic: write quote and ciphertext to disk, then pay. Credit: the debt is on disk, pay. */
  | { tag: 'pay'; window: WindowId }
  | { tag: 'look-up'; window: WindowId }
  /** Credit only: the invoice lapsed unpaid. Ask the seller for another, write it down, then `quoted` again. */
  | { tag: 'renew'; window: WindowId; peer: PeerId }
  | { tag: 'open'; window: WindowId }
  | { tag: 'drop'; peer: PeerId; key: PartyKey; why: string; ever: boolean }
  /** The window's bytes are not needed any more. */
  | { tag: 'discard'; window: WindowId }
