/**
 * The buyer's books: every window enters a state and every piece changes hands through here, so that the sums in
 * `UnderWay`, the peers' counts and the picker always agree with them.
 */
import type { PartyKey } from '../bytes.ts'
import { msat } from '../money/msat.ts'
import type { BuyerEffect } from './buyer-events.ts'
import {
  MAX_BOUGHT,
  MAX_KEYS,
  record,
  type Buyer,
  type BuyerPeer,
  type UnderWay,
  type Window,
  type WindowId,
  type WindowState,
} from './buyer-state.ts'
import { pieceBytes } from './merkle.ts'
import * as picker from './picker.ts'

// Windows

/** A window that the seller's desk counts as open. */
export const openAtSeller = (window: Window): boolean =>
  window.state === 'asked' || window.state === 'held' || withWallet(window)

export const withWallet = (window: Window): boolean => window.state === 'paying' || window.state === 'unknown'

/** Goods that are here and not paid. */
export const isDebt = (window: Window): boolean => window.mode === 'credit' && window.state !== 'asked'

function add(to: UnderWay, window: Window, by: 1 | -1): void {
  const { state, bytes, amount } = window
  if (state === 'asked') {
    to.asked += by
    to.queuedBytes += by * (bytes - window.received)
  }
  if (!isDebt(window)) to.heldBytes += by * bytes
  if (amount === 0 || state === 'opening') return
  to.unpaidBytes += by * bytes
  if (withWallet(window)) {
    to.locked += by * amount
    to.lockedBytes += by * bytes
    to.payments += by
  } else {
    to.promised += by * amount
    to.promisedBytes += by * bytes
    to.promises += by
  }
}

function tally(buyer: Buyer, window: Window, by: 1 | -1): void {
  const of = record(buyer, window.key, window.requestedAtMs)
  add(buyer.under, window, by)
  add(of.under, window, by)
  // Between requests its line rests: that time says nothing about its rate.
  if (of.under.asked === 0) of.meter.atMs = 0
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined && peer.key === window.key && openAtSeller(window)) peer.open += by
}

export function begin(buyer: Buyer, window: Window): void {
  const of = record(buyer, window.key, window.requestedAtMs)
  if (of.under.asked === 0) of.waitsSinceMs = window.requestedAtMs
  buyer.windows.set(window.id, window)
  tally(buyer, window, 1)
}

/** Moves a window that is under way to another state; `change` is what else changes of it. */
export function enter(buyer: Buyer, window: Window, state: WindowState, change?: Partial<Window>): void {
  tally(buyer, window, -1)
  Object.assign(window, change)
  window.state = state
  if (state === 'done' || state === 'failed' || state === 'cheated') buyer.windows.delete(window.id)
  else tally(buyer, window, 1)
}

/** Ends a window that brought nothing; its pieces are wanted again. */
export function release(buyer: Buyer, window: Window, state: 'failed' | 'cheated'): void {
  unassignAll(buyer, window)
  enter(buyer, window, state)
}

export function giveUp(buyer: Buyer, window: Window): BuyerEffect[] {
  release(buyer, window, 'failed')
  const effects: BuyerEffect[] = [
    { tag: 'cancel', window: window.id, peer: window.peer },
    { tag: 'discard', window: window.id },
  ]
  // What ran ahead of a first payment cannot be paid when there is none: only a window of one piece can be the first.
  const of = record(buyer, window.key, window.requestedAtMs)
  if (window.mode !== 'atomic' || of.settledBytes > 0 || of.under.payments > 0 || of.under.promises === 0)
    return effects
  for (const other of buyer.windows.values())
    if (other.key === window.key && openAtSeller(other) && other.pieces.length === 1) return effects
  effects.push(...giveUpAll(buyer, window.key))
  return effects
}

/** Gives up whatever was asked of the key or is held unpaid, but debts. */
export function giveUpAll(buyer: Buyer, key: PartyKey): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const window of buyer.windows.values()) {
    if (window.key !== key || isDebt(window) || (window.state !== 'asked' && window.state !== 'held'))
      continue
    release(buyer, window, 'failed')
    effects.push(
      { tag: 'cancel', window: window.id, peer: window.peer },
      { tag: 'discard', window: window.id },
    )
  }
  return effects
}

export function remember(buyer: Buyer, window: Window): void {
  buyer.bought.push(window)
  if (buyer.bought.length > MAX_BOUGHT * 2) buyer.bought.splice(0, buyer.bought.length - MAX_BOUGHT)
}

// Stakes

export function stake(buyer: Buyer, window: Window): void {
  if (window.mode === 'credit') return
  const of = record(buyer, window.key, window.requestedAtMs)
  of.atStake = msat(of.atStake + window.amount)
  window.unproven = of.settledBytes === 0 && !buyer.policy.approved.includes(window.key)
  if (window.unproven) buyer.unprovenSpent = msat(buyer.unprovenSpent + window.amount)
}

export function unstake(buyer: Buyer, window: Window): void {
  if (window.mode === 'credit') return
  const of = buyer.keys.get(window.key)
  if (of !== undefined) of.atStake = msat(Math.max(0, of.atStake - window.amount))
  if (window.unproven) buyer.unprovenSpent = msat(Math.max(0, buyer.unprovenSpent - window.amount))
  window.unproven = false
}

// Pieces

export function assign(buyer: Buyer, piece: number, id: WindowId): void {
  buyer.assigned[piece] = id
  if (!picker.isFree(buyer.picker, piece)) return
  picker.take(buyer.picker, piece)
  for (const peer of buyer.partial) if (peer.has[piece] === 1) peer.free--
}

function unassign(buyer: Buyer, piece: number): void {
  buyer.assigned[piece] = 0
  if (buyer.have[piece] === 1) return
  picker.put(buyer.picker, piece)
  for (const peer of buyer.partial) if (peer.has[piece] === 1) peer.free++
}

/** Other windows that may bring the piece, their payments out or made: after a restart two may share it. */
export const othersPaid = (buyer: Buyer, piece: number, but: Window): Window[] =>
  [...buyer.windows.values()].filter(
    (window) =>
      window !== but &&
      !isDebt(window) &&
      (withWallet(window) || window.state === 'opening') &&
      window.pieces.includes(piece),
  )

/** Its pieces are wanted again, but those that another restored window is to bring in time. */
export function unassignAll(buyer: Buyer, window: Window): void {
  for (const piece of window.pieces) {
    if (buyer.assigned[piece] !== window.id) continue
    const others = window.restored ? othersPaid(buyer, piece, window) : []
    const heir = others.find(({ elsewhere }) => !elsewhere)
    if (heir === undefined) unassign(buyer, piece)
    else buyer.assigned[piece] = heir.id
  }
}

/** A piece is here, proven and on disk. Who else fetches it need not. */
export function store(buyer: Buyer, piece: number): void {
  if (buyer.have[piece] !== 0) return
  buyer.have[piece] = 1
  buyer.haveCount++
  buyer.missingBytes -= pieceBytes(buyer.shape, piece)
  const free = picker.isFree(buyer.picker, piece)
  if (free) picker.take(buyer.picker, piece)
  for (const peer of buyer.partial) {
    if (peer.has[piece] !== 1) continue
    peer.wants--
    if (free) peer.free--
  }
  const other = buyer.assigned[piece] as number
  if (other !== 0) buyer.unneeded.push(other)
}

/** A window's own pieces are here. */
export function storeAll(buyer: Buyer, window: Window): void {
  for (const piece of window.pieces) {
    if (buyer.assigned[piece] === window.id) buyer.assigned[piece] = 0
    store(buyer, piece)
  }
}

// Peers

/** Takes note of pieces that the peer has. Says whether it had nothing to fetch before, and has now. */
export function noteHaves(buyer: Buyer, peer: BuyerPeer, pieces: readonly number[]): boolean {
  if (peer.all) return false
  const { length } = buyer.have
  const before = peer.free
  const fresh: number[] = []
  for (const piece of pieces) {
    if (piece >= length || peer.has[piece] === 1) continue
    peer.has[piece] = 1
    fresh.push(piece)
  }
  const counted = peer.hasCount
  peer.hasCount += fresh.length
  if (peer.hasCount < length) {
    for (const piece of fresh) {
      picker.count(buyer.picker, piece, 1)
      if (buyer.have[piece] === 0) peer.wants++
      if (picker.isFree(buyer.picker, piece)) peer.free++
    }
    return before === 0 && peer.free > 0
  }
  if (counted > 0) {
    const isFresh = new Set(fresh)
    for (let piece = 0; piece < length; piece++)
      if (!isFresh.has(piece)) picker.count(buyer.picker, piece, -1)
  }
  peer.all = true
  buyer.partial.delete(peer)
  return before === 0 && buyer.picker.free > 0
}

/** Somebody is about to have these: they count as that much less rare, once a peer that says so. */
export function noteSending(buyer: Buyer, peer: BuyerPeer, pieces: readonly number[]): void {
  peer.sending ??= new Uint8Array(buyer.have.length)
  for (const piece of pieces) {
    if (piece >= buyer.have.length || peer.sending[piece] === 1) continue
    peer.sending[piece] = 1
    picker.count(buyer.picker, piece, 1)
  }
}

/** The peer lacks pieces that it said it had. */
export function noteLacks(buyer: Buyer, peer: BuyerPeer, pieces: readonly number[]): void {
  if (peer.all) {
    peer.all = false
    buyer.partial.add(peer)
    peer.wants = buyer.have.length - buyer.haveCount
    peer.free = buyer.picker.free
    for (let piece = 0; piece < buyer.have.length; piece++) picker.count(buyer.picker, piece, 1)
  }
  for (const piece of pieces) {
    if (peer.has[piece] !== 1) continue
    if (buyer.have[piece] === 0) peer.wants--
    if (picker.isFree(buyer.picker, piece)) peer.free--
    peer.has[piece] = 0
    peer.hasCount--
    picker.count(buyer.picker, piece, -1)
  }
}

export function forgetPeer(buyer: Buyer, peer: BuyerPeer): void {
  buyer.peers.delete(peer.id)
  buyer.partial.delete(peer)
  if (!peer.all)
    for (let piece = 0; piece < peer.has.length; piece++)
      if (peer.has[piece] === 1) picker.count(buyer.picker, piece, -1)
  peer.sending?.forEach((sends, piece) => {
    if (sends === 1) picker.count(buyer.picker, piece, -1)
  })
  forgetKeys(buyer, peer)
}

/** A key that left without any trade is nobody; of the others the oldest go, but who has taken sats. */
function forgetKeys(buyer: Buyer, gone: BuyerPeer): void {
  const idle = (key: PartyKey): boolean => {
    const of = buyer.keys.get(key)
    if (of === undefined || of.under.heldBytes > 0 || of.under.unpaidBytes > 0 || of.atStake > 0) return false
    for (const peer of buyer.peers.values()) if (peer.key === key) return false
    return true
  }
  const of = buyer.keys.get(gone.key)
  const clean = of?.windows === 0 && of.strikes === 0 && of.refusedBytes === 0
  if (clean && of.dropped === undefined && idle(gone.key)) buyer.keys.delete(gone.key)
  for (const [key, old] of buyer.keys) {
    if (buyer.keys.size <= MAX_KEYS) return
    if (old.paid === 0 && idle(key)) buyer.keys.delete(key)
  }
}
