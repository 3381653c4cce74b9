/**
 * What the buyer asks for next: sellers in the order of the owner's preference, rarest pieces first, as far as balance,
 * budgets, memory and the risk with each key leave room; and near the end, what a slow seller was asked for again of an idle one.
 */
import { windowPrice, ZERO } from '../money/msat.ts'
import * as books from './buyer-books.ts'
import type { BuyerEffect } from './buyer-events.ts'
import { MAX_OPEN, roomFor } from './buyer-limits.ts'
import { answerMsOf, rateOf, turnMs } from './buyer-meter.ts'
import { mayAskOf } from './buyer-narrow.ts'
import {
  freeBytes,
  marketOf,
  QUIET_MS,
  shareOf,
  SLOWEST_BPS,
  SLOWEST_MS,
  windowSize,
  worthBytes,
  type Market,
  type Seller,
} from './buyer-split.ts'
import { freeOf, type Buyer, type KeyRecord, type Window } from './buyer-state.ts'
import { pieceBytes } from './merkle.ts'
import { pick, rarestFree } from './picker.ts'

/** How soon a seller that has nothing preferred ones lack is searched again. */
const SEARCH_MS = 250
/** How long a seller is given to have enough for a window that is worth its fees. */
const GATHER_MS = 3000
/** Another seller must be faster by so much before what was asked of one is asked of it: begun windows cost debt. */
const FASTER = { unbegun: 2, begun: 4 } as const
const WORTH_MS = { unbegun: 250, begun: 1000 } as const

/** Asks for windows wherever a seller has room. */
export function ask(buyer: Buyer, nowMs: number): BuyerEffect[] {
  buyer.wakeAtMs = Number.POSITIVE_INFINITY
  if (buyer.haveCount === buyer.have.length) return []
  const market = marketOf(buyer, nowMs)
  const effects: BuyerEffect[] = []
  // One window a seller in turn, so that none takes all there is before the next is asked.
  for (let more = true; more && buyer.picker.free > 0;) {
    more = false
    for (const seller of market.sellers) {
      const window = askOne(buyer, market, seller, nowMs)
      if (window === undefined) continue
      more = true
      effects.push({ tag: 'ask', window: window.id, peer: window.peer, pieces: window.pieces })
    }
  }
  if (buyer.under.asked + buyer.under.promises > 0) effects.push(...askAgain(buyer, market, nowMs))
  return effects
}

function askOne(buyer: Buyer, market: Market, seller: Seller, nowMs: number): Window | undefined {
  const { peer, of, price } = seller
  if (!seller.ready || peer.open >= MAX_OPEN || freeOf(buyer, peer) === 0) return undefined
  if (!mayAskOf(buyer, of)) return undefined
  const first = price > 0 && of.settledBytes === 0 && (peer.mode === 'credit' || of.under.payments === 0)
  if (first && of.under.unpaidBytes > 0) return undefined
  const { pieceLength } = buyer.shape
  const wish = first ? pieceLength : windowSize(buyer, market, seller)
  // One window comes in, one is queued; more where the answer takes long.
  const queue = Math.max(wish, 2 * seller.rate * answerMsOf(of), Math.min(4 * pieceLength, 1024 * 1024))
  if (of.under.asked > 1 && of.under.queuedBytes > queue) return undefined
  if (buyer.policy.resells && of.under.asked > 0 && (of.under.asked > 1 || !hasBegun(buyer, of)))
    return undefined
  const share = market.moving < 2 ? 1 : Math.max(1.25 * shareOf(market, seller), 0.5 / market.moving)
  const room = roomFor(buyer, peer, of, price, share, wish)
  if (room.soft < Math.min(wish, freeBytes(buyer)) / 2 && of.under.heldBytes > 0) return undefined
  const limit = Math.min(room.firm, room.soft, wish)
  if (!first && gathers(buyer, seller, limit, Math.min(wish, worthBytes(buyer, seller)), nowMs))
    return undefined
  return choose(buyer, market, seller, limit, nowMs)
}

/**
 * Whether a seller that has too little yet for a window worth its fees is given time to come by more, or room to come
 * free: while something else goes on, and not for long.
 */
function gathers(buyer: Buyer, { peer, of }: Seller, limit: number, worth: number, nowMs: number): boolean {
  const { under } = buyer
  const most = Math.min(limit, freeOf(buyer, peer) * buyer.shape.pieceLength)
  const goesOn = under.asked + under.promises + under.payments > 0
  if (!goesOn || most >= Math.min(worth, freeBytes(buyer))) {
    of.gathersSinceMs = 0
    return false
  }
  if (of.gathersSinceMs === 0) of.gathersSinceMs = nowMs
  const untilMs = of.gathersSinceMs + GATHER_MS
  if (nowMs >= untilMs) {
    of.gathersSinceMs = 0
    return false
  }
  buyer.wakeAtMs = Math.min(buyer.wakeAtMs, untilMs)
  return true
}

/**
 * Whether something of what the key was asked for comes in. Among buyers that sell on, whatever waits in a seller's queue
 * may be sold by somebody else before its turn comes.
 */
function hasBegun(buyer: Buyer, of: KeyRecord): boolean {
  for (const window of buyer.windows.values())
    if (window.state === 'asked' && window.received > 0 && buyer.keys.get(window.key) === of) return true
  return false
}

/** The pieces of a window of at most so many bytes. */
function choose(
  buyer: Buyer,
  market: Market,
  seller: Seller,
  limit: number,
  nowMs: number,
): Window | undefined {
  const { peer } = seller
  const { pieceLength } = buyer.shape
  const last = buyer.have.length - 1
  let may = allowed(buyer, market, seller)
  if (may === 'none') return undefined
  const whole = Math.floor(limit / pieceLength)
  if (whole < 1) {
    // The short last piece may fit where a whole one does not.
    if (limit < pieceBytes(buyer.shape, last)) return undefined
    const other = may
    may = (piece) => piece === last && other?.(piece) !== false
  }
  if (may !== undefined && peer.searchAtMs > nowMs) return undefined
  const pieces = pick(buyer.picker, peer, Math.max(1, whole), may)
  if (pieces.length > 0) return open(buyer, seller, pieces, nowMs)
  peer.searchAtMs = nowMs + SEARCH_MS
  return undefined
}

/** Which pieces a seller may be asked for: not what a preferred one has, nor, near the end, one that brings it sooner. */
function allowed(
  buyer: Buyer,
  market: Market,
  seller: Seller,
): ((piece: number) => boolean) | undefined | 'none' {
  const before = [...seller.behind]
  if (seller.rate > 0 && market.rate > 0) {
    const all = (freeBytes(buyer) + buyer.under.queuedBytes) / market.rate
    const mine = endMs(seller, buyer.shape.pieceLength)
    if (mine > all + answerMsOf(seller.of))
      for (const other of market.sellers)
        if (
          other !== seller &&
          // Who stands behind others waits for them: to wait for it would be to wait for each other.
          other.behind.length === 0 &&
          other.ready &&
          other.moving &&
          other.rate > 0 &&
          other.peer.open < MAX_OPEN
        )
          if (endMs(other, buyer.shape.pieceLength) * 1.5 + 100 < mine) before.push(other)
  }
  if (before.length === 0) return undefined
  if (before.some(({ peer }) => peer.all)) return 'none'
  return (piece) => before.every(({ peer }) => peer.has[piece] !== 1)
}

/** When the seller would have sent so much more, from now. */
const endMs = ({ of, rate }: Seller, bytes: number): number =>
  (of.under.queuedBytes + bytes) / rate + answerMsOf(of)

function open(buyer: Buyer, seller: Seller, pieces: readonly number[], nowMs: number): Window {
  const { peer, of, price } = seller
  const bytes = pieces.reduce((total, piece) => total + pieceBytes(buyer.shape, piece), 0)
  const window: Window = {
    id: buyer.nextWindow++,
    peer: peer.id,
    key: peer.key,
    pieces,
    bytes,
    mode: price === 0 ? 'free' : peer.mode,
    source: peer.source,
    amount: windowPrice(bytes, price, buyer.money),
    fees: ZERO,
    state: 'asked',
    paymentHash: '',
    quoteExpiresAtMs: 0,
    requestedAtMs: nowMs,
    dueAtMs: nowMs + SLOWEST_MS + ((of.under.queuedBytes + bytes) * 1000) / SLOWEST_BPS,
    received: 0,
    progressAtMs: nowMs,
    payingAtMs: 0,
    paidAtMs: 0,
    doneAtMs: 0,
    retryAtMs: 0,
    unproven: false,
    takesOver: false,
    elsewhere: false,
    restored: false,
    lookUps: 0,
    lookUpAtMs: 0,
  }
  books.begin(buyer, window)
  for (const piece of pieces) books.assign(buyer, piece, window.id)
  return window
}

/**
 * Among buyers that sell on, whoever has everything is for first copies: a piece that it was asked for and has not begun
 * to send is left to a peer that has come by it meanwhile, while there are pieces that fewer have.
 */
export function leaveToOthers(buyer: Buyer, pieces: readonly number[]): BuyerEffect[] {
  if (!buyer.policy.resells) return []
  const effects: BuyerEffect[] = []
  for (const piece of pieces) {
    const window = buyer.windows.get(buyer.assigned[piece] ?? 0)
    if (window === undefined || window.state !== 'asked' || window.received > 0 || window.takesOver) continue
    if (window.mode === 'credit' || buyer.peers.get(window.peer)?.all !== true) continue
    const rarer = rarestFree(buyer.picker)
    const { holders } = buyer.picker
    if (window.pieces.every((one) => (holders[one] ?? 0) > rarer))
      effects.push(...books.giveUp(buyer, window))
  }
  return effects
}

/**
 * The end game: a seller that idles takes over what a slower one was asked for and nothing was paid for. The other
 * request is given up first, so no piece is ever paid twice.
 */
function askAgain(buyer: Buyer, market: Market, nowMs: number): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const seller of market.sellers) {
    const { peer, of, price, rate } = seller
    const idle = seller.ready && seller.moving && rate > 0 && of.under.asked === 0 && peer.open < MAX_OPEN
    if (!idle || freeOf(buyer, peer) > 0 || (price > 0 && of.settledBytes === 0)) continue
    const slow = slowest(buyer, seller, nowMs)
    if (slow === undefined) continue
    const room = roomFor(buyer, peer, of, price, 1, slow.bytes)
    if (Math.min(room.firm, room.soft) < buyer.shape.pieceLength) continue
    const may = allowed(buyer, market, seller)
    if (may === 'none' || (may !== undefined && !slow.pieces.every(may))) continue
    effects.push(...books.giveUp(buyer, slow))
    const window = askOne(buyer, market, seller, nowMs)
    if (window === undefined) continue
    window.takesOver = true
    effects.push({ tag: 'ask', window: window.id, peer: window.peer, pieces: window.pieces })
  }
  return effects
}

/** The window that this seller would bring much sooner than the one that was asked for it, if there is one. */
function slowest(buyer: Buyer, seller: Seller, nowMs: number): Window | undefined {
  let found: Window | undefined
  let most = 0
  for (const window of buyer.windows.values()) {
    if (window.key === seller.peer.key || window.mode === 'credit' || window.takesOver) continue
    if (!window.pieces.every((piece) => seller.peer.has[piece] === 1)) continue
    const leftMs = leftMsOf(buyer, window, nowMs)
    const begun = window.received > 0 || window.state === 'held' ? 'begun' : 'unbegun'
    const mineMs = window.bytes / seller.rate + answerMsOf(seller.of)
    if (leftMs <= mineMs * FASTER[begun] + WORTH_MS[begun] || leftMs <= most) continue
    found = window
    most = leftMs
  }
  return found
}

/** How long a window that is not paid for will still take, about. */
function leftMsOf(buyer: Buyer, window: Window, nowMs: number): number {
  const of = buyer.keys.get(window.key)
  if (of === undefined) return 0
  // What ran ahead of a first payment waits until it settles.
  if (window.state === 'held' && window.amount > 0)
    return of.settledBytes === 0 && nowMs - of.paysSinceMs > 3 * turnMs(buyer) + QUIET_MS
      ? Number.MAX_VALUE
      : 0
  if (window.state !== 'asked') return 0
  if (nowMs - Math.max(of.heardAtMs, of.waitsSinceMs) > QUIET_MS) return Number.MAX_VALUE
  const rate = rateOf(of)
  return rate === 0 ? 0 : of.under.queuedBytes / rate
}
