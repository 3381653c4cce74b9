/**
 * The buyer's state (see `buyer.ts`). Sums over windows are kept as they change (`buyer-books.ts`): a step never
 * counts them anew.
 */
import type { PartyKey } from '../bytes.ts'
import { ZERO, type Money, type Msat } from '../money/msat.ts'
import { noFees, type FeeRecord } from './buyer-fees.ts'
import type { BuyerPolicy, Mode, Source } from './buyer-policy.ts'
import { piecesOf, type Shape } from './merkle.ts'
import { openPicker, type Picker } from './picker.ts'

export * from './buyer-policy.ts'

export type PeerId = string
export type WindowId = number

/** What is under way with a key or in all, in sums over windows. */
export type UnderWay = {
  /** Asked and not received yet, bytes; and the windows that wait for any. */
  queuedBytes: number
  asked: number
  /** Asked, held or with the wallet: what a seller has out unpaid, bytes. */
  unpaidBytes: number
  /** Asked or held, at a price: what will be paid, sats, bytes and windows. */
  promised: number
  promisedBytes: number
  promises: number
  /** With the wallet: sats, bytes and payments. */
  locked: number
  lockedBytes: number
  payments: number
  /** In memory. */
  heldBytes: number
}

export type BuyerPeer = {
  readonly id: PeerId
  readonly key: PartyKey
  /** Unverified haves of the peer, one byte a piece; how many, and how many of those are missing, and free. */
  readonly has: Uint8Array
  hasCount: number
  /** Pieces that it said it is sending to others, one byte a piece; `undefined`: none yet. */
  sending: Uint8Array | undefined
  wants: number
  free: number
  /** It has every piece: `wants` and `free` are then those of the buyer. */
  all: boolean
  price: Msat
  gift: boolean
  money: Money | undefined
  maxWindowBytes: number
  source: Source
  mode: Mode
  /** Windows that its seller's desk counts as open. */
  open: number
  /** Bytes that its seller lets be out unpaid, as far as refusals have shown. */
  roomBytes: number
  refusals: number
  /** It offered nothing that a preferred seller lacks: not searched again before this time. */
  searchAtMs: number
  /** Asks nothing of it before this time, nor before its key's. */
  restUntilMs: number
  /** Its offer is passed over from this time on. */
  offerUntilMs: number
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
  readonly under: UnderWay
  /** Bytes that came, and the time that they took while some were waited for. */
  readonly meter: { bytes: number; ms: number; atMs: number }
  /** What its payments cost on top, since the start. */
  readonly feeRecord: FeeRecord
  /** Since when it has too little for a window that is worth its fees; 0: it has enough. */
  gathersSinceMs: number
  /** From a request to its first byte, when nothing else was waited for. */
  answerMs: number
  /** When it last sent anything; since when bytes are waited for; since when a payment to it has not settled. */
  heardAtMs: number
  waitsSinceMs: number
  paysSinceMs: number
  /** Came of windows that it refused then. */
  refusedBytes: number
  /** How often it fell silent, could not be paid, refused what had come or let a lock run out, with nothing delivered in time between; and when last. */
  strikes: number
  struckAtMs: number
  /** Until when nothing is asked of it for that. */
  restUntilMs: number
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
  /** When it counts as stalled, however steadily it drips. */
  readonly dueAtMs: number
  received: number
  progressAtMs: number
  payingAtMs: number
  paidAtMs: number
  doneAtMs: number
  /** A debt that could not be paid is tried, or renewed, again at this time. */
  retryAtMs: number
  /** Counted against the unproven budget when it was paid. */
  unproven: boolean
  /** It took over what another seller was asked for: nobody takes it over again, however slow all are. */
  takesOver: boolean
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
  missingBytes: number
  /** Pieces that came with a window paid late: whoever was paid for them meanwhile did not sell them twice. */
  readonly late: Uint8Array
  /** Window that is fetching the piece, or 0. */
  readonly assigned: Int32Array
  readonly picker: Picker
  readonly peers: Map<PeerId, BuyerPeer>
  /** Peers that lack pieces: their counts follow each piece. */
  readonly partial: Set<BuyerPeer>
  readonly keys: Map<PartyKey, KeyRecord>
  readonly windows: Map<WindowId, Window>
  readonly under: UnderWay
  /** Ends, in order of purchase; the latest `MAX_BOUGHT`. */
  readonly bought: Window[]
  /** Windows that wait for a piece which came by another way. */
  readonly unneeded: WindowId[]
  nextWindow: WindowId
  balance: Msat | undefined
  /** The wallet refuses for reasons of its own: nothing is asked for or paid before this time. */
  walletRestsUntilMs: number
  /** How many sellers are asked at once, since when, and how many windows went well since (`buyer-narrow.ts`). */
  readonly narrow: { atOnce: number; sinceMs: number; well: number }
  /** How long the wallet takes from being asked to the preimage, its spread, and opening after it; 0: not known. */
  readonly pace: { paymentMs: number; spreadMs: number; openingMs: number }
  paid: Msat
  fees: Msat
  /** Settled payments whose fees the wallet has not named yet, and their amounts. */
  readonly feesOpen: Map<WindowId, Msat>
  /** The highest fee so far, and the highest share of an amount. */
  readonly feePace: { most: number; rate: number }
  /** What payments to all keys cost on top: expected of a key that none was made to. */
  readonly feeRecord: FeeRecord
  paidBytes: number
  unprovenSpent: Msat
  /** The part of it that cheats have. */
  lost: Msat
  boughtTwice: number
  /** When a seller last brought anything; 0: not started. Rules the mirror. */
  broughtAtMs: number
  /** The next time at which something may be asked for that now rests: a tick is useful then. */
  wakeAtMs: number
  running: boolean
}

/** Ends that are remembered, and keys that are not trading: the oldest go first. */
export const MAX_BOUGHT = 1000
export const MAX_KEYS = 4096

export const nothingUnderWay = (): UnderWay => ({
  queuedBytes: 0,
  asked: 0,
  unpaidBytes: 0,
  promised: 0,
  promisedBytes: 0,
  promises: 0,
  locked: 0,
  lockedBytes: 0,
  payments: 0,
  heldBytes: 0,
})

export function openBuyer(shape: Shape, policy: BuyerPolicy, seed: number): Buyer {
  const count = piecesOf(shape)
  return {
    shape,
    money: undefined,
    policy,
    have: new Uint8Array(count),
    haveCount: 0,
    missingBytes: shape.length,
    late: new Uint8Array(count),
    assigned: new Int32Array(count),
    picker: openPicker(count, seed),
    peers: new Map(),
    partial: new Set(),
    keys: new Map(),
    windows: new Map(),
    under: nothingUnderWay(),
    bought: [],
    unneeded: [],
    nextWindow: 1,
    balance: undefined,
    walletRestsUntilMs: 0,
    narrow: { atOnce: Number.POSITIVE_INFINITY, sinceMs: 0, well: 0 },
    pace: { paymentMs: 0, spreadMs: 0, openingMs: 0 },
    paid: ZERO,
    fees: ZERO,
    feesOpen: new Map(),
    feePace: { most: 0, rate: 0 },
    feeRecord: noFees(),
    paidBytes: 0,
    unprovenSpent: ZERO,
    lost: ZERO,
    boughtTwice: 0,
    broughtAtMs: 0,
    wakeAtMs: Number.POSITIVE_INFINITY,
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
      under: nothingUnderWay(),
      meter: { bytes: 0, ms: 0, atMs: 0 },
      feeRecord: noFees(),
      gathersSinceMs: 0,
      answerMs: 0,
      heardAtMs: 0,
      waitsSinceMs: 0,
      paysSinceMs: 0,
      refusedBytes: 0,
      strikes: 0,
      struckAtMs: 0,
      restUntilMs: 0,
      firstAtMs: nowMs,
      lastAtMs: nowMs,
    }
    buyer.keys.set(key, of)
  }
  return of
}

/** Before this time nothing is asked of the peer. */
export const restUntilMs = (buyer: Buyer, peer: BuyerPeer): number =>
  Math.max(peer.restUntilMs, buyer.keys.get(peer.key)?.restUntilMs ?? 0)

/** Missing pieces that the peer has; and those of them that nobody fetches. */
export const wantsOf = (buyer: Buyer, peer: BuyerPeer): number =>
  peer.all ? buyer.have.length - buyer.haveCount : peer.wants
export const freeOf = (buyer: Buyer, peer: BuyerPeer): number => (peer.all ? buyer.picker.free : peer.free)
