/** The buyer's state, events and effects (see `buyer.ts`), and what its parts ask of the state. */
import type { PartyKey } from '../bytes.ts'
import type { RefusalCode } from '../exchange/message.ts'
import { ZERO, type Money, type Msat } from '../money/msat.ts'
import { piecesOf, type Shape } from './merkle.ts'
import { shuffledOrder } from './picker.ts'

export type PeerId = string
export type WindowId = number

/** Price against speed; the rule of each stands in `buyer-split.ts`. */
export type Preference = 'cheapest' | 'balanced' | 'fastest'
/** Whether a plain HTTP mirror is fetched from: not at all, when no seller brings anything, or beside the sellers. */
export type MirrorUse = 'never' | 'fallback' | 'always'
/** A peer that speaks the exchange, an ordinary BitTorrent peer, an HTTP mirror. The last two only give. */
export type Source = 'exchange' | 'plain' | 'mirror'
/**
 * How a window is paid, agreed per pair.
 *
 * `atomic`: `ask` → ciphertext and quote come, checked → event `quoted` → `pay` (quote and ciphertext on disk first) →
 * `settled` (the preimage is the key) → `open` (decrypt, prove, store, write the receipt) → `opened`. Sats are at stake
 * from `pay` to `opened`.
 *
 * `credit`: `ask` → plain pieces and an invoice come; the edge proves and stores the pieces and writes the debt down,
 * then `quoted`: the pieces count as had at once, and what is owed is paid whatever comes, after completion and after a
 * restart too → `pay` → `settled` → `open` (write the receipt, tell the seller the preimage) → `opened`. Nothing is at
 * stake: the goods are here. An invoice that lapsed unpaid gives `renew`: ask the seller for another, then `quoted` again.
 *
 * `free`: gifts, ordinary peers, mirrors. `ask` → `quoted` with amount 0 → `settled` (a gift's secret came; at once for
 * the others) → `open` → `opened`. Nothing is paid.
 */
export type Mode = 'atomic' | 'credit' | 'free'

export type BuyerPolicy = Readonly<{
  /** msat per MiB */
  priceCap: Msat
  /** For this release, fees included. */
  budget: Msat
  /** At stake with one key that has settled. */
  riskBudget: Msat
  /** At stake with all keys together that have not, for this release; what they keep stays spent. */
  unprovenBudget: Msat
  /** A payment locked longer than this lets its pieces be bought elsewhere. */
  lockedTimeoutMs: number
  approved: readonly PartyKey[]
  prefer: Preference
  /** Bytes that are paid for, for this release; gifts and mirrors do not count. `Infinity`: no limit. */
  budgetBytes: number
  /** Payments in flight at most; never more than `MAX_PAYMENT_SLOTS`. */
  paymentSlots: number
  /** Bytes of all windows under way together, from request until opened: they are in memory. One piece is always allowed. */
  memoryBytes: number
  mirror: MirrorUse
}>

export const DEFAULT_PREFER: Preference = 'balanced'
export const DEFAULT_BUDGET_BYTES = Number.POSITIVE_INFINITY
export const DEFAULT_PAYMENT_SLOTS = 64
/** HTLCs that one Lightning channel can carry in one direction (BOLT 2). */
export const MAX_PAYMENT_SLOTS = 483
export const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024
export const DEFAULT_MIRROR: MirrorUse = 'fallback'
/** A policy's part that has defaults. */
export const BUYER_DEFAULTS = {
  prefer: DEFAULT_PREFER,
  budgetBytes: DEFAULT_BUDGET_BYTES,
  paymentSlots: DEFAULT_PAYMENT_SLOTS,
  memoryBytes: DEFAULT_MEMORY_BYTES,
  mirror: DEFAULT_MIRROR,
} as const satisfies Partial<BuyerPolicy>

/** What windows may hold in memory on a machine with so much of it: a sixteenth, from 8 to 64 MiB. */
export const memoryBytesFor = (totalBytes: number): number =>
  Math.min(DEFAULT_MEMORY_BYTES, Math.max(8 * 1024 * 1024, Math.floor(totalBytes / 16)))

export type BuyerPeer = {
  readonly id: PeerId
  readonly key: PartyKey
  /** Unverified haves of the peer, one byte a piece. */
  readonly has: Uint8Array
  price: Msat
  gift: boolean
  money: Money | undefined
  maxWindowBytes: number
  source: Source
  mode: Mode
  /** Asks nothing of it before this time. */
  restUntilMs: number
}

export type KeyRecord = {
  settledBytes: number
  paid: Msat
  fees: Msat
  pieces: number
  bytes: number
  windows: number
  /** Paid for and not opened yet, in this session. */
  atStake: Msat
  /** How often it fell silent without delivering in between, and when it last did. */
  stalls: number
  stalledAtMs: number
  firstAtMs: number
  lastAtMs: number
  /** Never again, and why. */
  dropped?: string
}

/**
 * `asked`: ciphertext and quote are coming. `held`: both are here, a budget or the balance keeps it from being paid.
 * `paying`: the wallet has it. `unknown`: the wallet did not answer; looked up, never paid again. `opening`: the secret
 * is here. The rest are ends.
 */
export type WindowState = 'asked' | 'held' | 'paying' | 'unknown' | 'opening' | 'done' | 'failed' | 'cheated'

export type Window = {
  readonly id: WindowId
  readonly peer: PeerId
  readonly key: PartyKey
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly mode: Mode
  readonly source: Source
  /** What the offer makes of it; the quote may be lower. */
  amount: Msat
  fees: Msat
  state: WindowState
  paymentHash: string
  quoteExpiresAtMs: number
  readonly requestedAtMs: number
  progressAtMs: number
  payingAtMs: number
  paidAtMs: number
  doneAtMs: number
  /** Counted against the unproven budget when it was paid. */
  unproven: boolean
  /** Its pieces were given free to be bought elsewhere. */
  elsewhere: boolean
  /** From before a restart: pieces that are there already came from this very window. */
  restored: boolean
  lookUps: number
  lookUpAtMs: number
}

export type RestoredWindow = Pick<
  Window,
  'key' | 'pieces' | 'bytes' | 'amount' | 'paymentHash' | 'quoteExpiresAtMs' | 'requestedAtMs'
> &
  /** `credit`: goods that are here and not known to be paid; looked up, then paid. Else `atomic`. */
  Readonly<{ mode?: 'atomic' | 'credit' }>

export type Buyer = {
  readonly shape: Shape
  /** Not known before the wallet has answered. */
  money: Money | undefined
  policy: BuyerPolicy
  readonly have: Uint8Array // one byte a piece
  haveCount: number
  /** Pieces that came with a window paid late: whoever was paid for them meanwhile did not sell them twice. */
  readonly late: Uint8Array
  readonly holders: Uint16Array
  /** Window that is fetching the piece, or 0. */
  readonly assigned: Int32Array
  readonly order: Uint32Array
  readonly peers: Map<PeerId, BuyerPeer>
  readonly keys: Map<PartyKey, KeyRecord>
  readonly windows: Map<WindowId, Window>
  /** Ends, in order of purchase. */
  readonly bought: Window[]
  nextWindow: WindowId
  balance: Msat | undefined
  /** The wallet refuses for reasons of its own: nothing is asked for or paid before this time. */
  walletRestsUntilMs: number
  paid: Msat
  fees: Msat
  unprovenSpent: Msat
  /** The part of it that cheats have. */
  lost: Msat
  boughtTwice: number
  running: boolean
}

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
    }
  | { tag: 'has'; peer: PeerId; pieces: readonly number[] }
  | { tag: 'left'; peer: PeerId }
  | { tag: 'refused'; window: WindowId; code: RefusalCode }
  /** `bytes`: received of this window so far, all together. */
  | { tag: 'progress'; window: WindowId; bytes?: number }
  /** Atomic: ciphertext complete, quote checked. Credit: pieces stored, debt written down. Free: it is all here. */
  | { tag: 'quoted'; window: WindowId; amount: Msat; paymentHash: string; expiresAtMs: number }
  /** The peer sent what no honest one sends, before a sat was paid. */
  | { tag: 'spoilt'; window: WindowId; why: string }
  | { tag: 'settled'; window: WindowId; fees: Msat }
  /** Final: nothing went out. */
  | { tag: 'pay-failed'; window: WindowId; code: string }
  | { tag: 'pay-unknown'; window: WindowId }
  | { tag: 'opened'; window: WindowId; cheated: boolean }
  /** A piece was proven and stored by other means (resumed, or given). */
  | { tag: 'stored'; pieces: readonly number[] }
  | { tag: 'wallet'; money: Money; balance: Msat }
  /** Sums from before a restart: paid for, and taken by unproven keys that cheated; `bytes`: those that were paid for. */
  | { tag: 'resumed'; paid: Msat; fees: Msat; lost: Msat; bytes?: number }
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

/** Requests to one seller that may be open at once, when it is trusted. */
export const WINDOWS_IN_FLIGHT = 4
/** How long a seller that is busy is left alone. */
export const BUSY_REST_MS = 1_000

export function openBuyer(shape: Shape, policy: BuyerPolicy, seed: number): Buyer {
  const count = piecesOf(shape)
  return {
    shape,
    money: undefined,
    policy,
    have: new Uint8Array(count),
    haveCount: 0,
    late: new Uint8Array(count),
    holders: new Uint16Array(count),
    assigned: new Int32Array(count),
    order: shuffledOrder(count, seed),
    peers: new Map(),
    keys: new Map(),
    windows: new Map(),
    bought: [],
    nextWindow: 1,
    balance: undefined,
    walletRestsUntilMs: 0,
    paid: ZERO,
    fees: ZERO,
    unprovenSpent: ZERO,
    lost: ZERO,
    boughtTwice: 0,
    running: true,
  }
}

/** What is known of a key, from the first time it is met. */
export function record(buyer: Buyer, key: PartyKey, nowMs: number): KeyRecord {
  let of = buyer.keys.get(key)
  if (of === undefined) {
    of = {
      settledBytes: 0,
      paid: ZERO,
      fees: ZERO,
      pieces: 0,
      bytes: 0,
      windows: 0,
      atStake: ZERO,
      stalls: 0,
      stalledAtMs: 0,
      firstAtMs: nowMs,
      lastAtMs: nowMs,
    }
    buyer.keys.set(key, of)
  }
  return of
}

/** Sats in payments whose outcome is open. */
export const locked = (buyer: Buyer): number => {
  let total = 0
  for (const window of buyer.windows.values())
    if (window.state === 'paying' || window.state === 'unknown') total += window.amount
  return total
}
