/**
 * The buyer's side of the exchange for one release: which pieces from whom, when to pay, whom to leave. Takes events,
 * returns effects; the clock, the wires, the wallet and the ciphers are the caller's.
 *
 * A window is under way from its request until its pieces are opened. Of a key that has not settled one piece is paid
 * first; while that payment is on its way ciphertext may run ahead, unpaid. From then on one window comes in and one is
 * queued at the seller, always; what has come is paid at once, however many payments that makes at a time. So bytes in flight
 * are rate × (payment time + round trip) by themselves, and payment gates the transfer only where a bound does:
 *
 *     rate ≤ budget / (price × payment time)
 *
 * `budget` being the least of the risk budget of the key, the seller's unpaid limit × price and memory × price. How large
 * a window is, and whose turn it is, stands in `buyer-split.ts`; the bounds in `buyer-limits.ts`. A step takes time in the
 * number of windows, peers and pieces that change, not in that of all pieces.
 */
import type { RefusalCode } from '../exchange/message.ts'
import { ZERO } from '../money/msat.ts'
import { ask, leaveToOthers } from './buyer-asks.ts'
import * as books from './buyer-books.ts'
import type { BuyerEffect, BuyerEvent } from './buyer-events.ts'
import { SELLER_ROOM } from './buyer-limits.ts'
import { received } from './buyer-meter.ts'
import { BUSY_REST_MS } from './buyer-outlook.ts'
import { feesNamed, open, opened, payFailed, payHeld, payUnknown, quoted, settled } from './buyer-pay.ts'
import {
  record,
  type Buyer,
  type BuyerPeer,
  type PeerId,
  type RestoredWindow,
  type Window,
} from './buyer-state.ts'
import { ban, countRefused, REST_MS, tick } from './buyer-tick.ts'

export * from './buyer-events.ts'
export * from './buyer-state.ts'
export { outlook, type Outlook } from './buyer-outlook.ts'
export { FRAUD, payAgain } from './buyer-pay.ts'
export { mirrorServes } from './buyer-split.ts'

/** Refusals that pass by themselves: a slot is free, a payment has come in, pieces have arrived. */
const SOON: ReadonlySet<RefusalCode> = new Set(['busy', 'unpaid', 'missing'])
/** The first rest after such a refusal, when it is not known how fast payments are; it doubles up to `BUSY_REST_MS`. */
const FIRST_REST_MS = { least: 25, unknown: 250 } as const

export function step(buyer: Buyer, event: BuyerEvent, nowMs: number): BuyerEffect[] {
  if (buyer.broughtAtMs === 0) buyer.broughtAtMs = nowMs
  if (event.tag === 'progress') {
    const window = buyer.windows.get(event.window)
    if (window === undefined) return []
    const waited = window.state === 'asked' ? buyer.under.queuedBytes : 0
    received(buyer, window, event.bytes, nowMs)
    // Bytes that come free no sats and no pieces; they make room in a seller's queue.
    const emptied = window.received === window.bytes && waited > 0
    return emptied || buyer.wakeAtMs <= nowMs ? follow(buyer, [], nowMs) : []
  }
  if (event.tag === 'has') {
    const peer = buyer.peers.get(event.peer)
    if (peer === undefined) return []
    const more = books.noteHaves(buyer, peer, event.pieces)
    const effects = leaveToOthers(buyer, event.pieces)
    return more || effects.length > 0 ? follow(buyer, effects, nowMs) : []
  }
  if (event.tag === 'sending') {
    const peer = buyer.peers.get(event.peer)
    if (peer === undefined) return []
    books.noteSending(buyer, peer, event.pieces)
    const effects = leaveToOthers(buyer, event.pieces)
    return effects.length > 0 ? follow(buyer, effects, nowMs) : []
  }
  return follow(buyer, apply(buyer, event, nowMs), nowMs)
}

/** What every change is followed by: give up what is not needed, pay what may be paid, ask for more. */
function follow(buyer: Buyer, effects: BuyerEffect[], nowMs: number): BuyerEffect[] {
  if (buyer.unneeded.length > 0) effects.push(...giveUpUnneeded(buyer))
  if (buyer.running) effects.push(...payHeld(buyer, nowMs), ...ask(buyer, nowMs))
  return effects
}

function apply(
  buyer: Buyer,
  event: Exclude<BuyerEvent, { tag: 'progress' | 'has' | 'sending' }>,
  nowMs: number,
): BuyerEffect[] {
  switch (event.tag) {
    case 'joined':
      return joined(buyer, event)
    case 'left':
      return left(buyer, event.peer)
    case 'refused':
      return refused(buyer, event, nowMs)
    case 'quoted':
      return quoted(buyer, event, nowMs)
    case 'spoilt': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || window.state === 'opening' || books.isDebt(window)) return []
      // With a payment out the window stays: if it settles, what was paid for is opened.
      if (books.withWallet(window)) return ban(buyer, window.key, event.why, nowMs)
      books.release(buyer, window, 'failed')
      return [{ tag: 'discard', window: window.id }, ...ban(buyer, window.key, event.why, nowMs)]
    }
    case 'settled':
      return settled(buyer, event, nowMs)
    case 'pay-failed':
      return payFailed(buyer, event, nowMs)
    case 'pay-unknown':
      return payUnknown(buyer, event, nowMs)
    case 'opened':
      return opened(buyer, event, nowMs)
    case 'stored':
      for (const piece of event.pieces) if (piece < buyer.have.length) books.store(buyer, piece)
      return []
    case 'wallet':
      buyer.money = event.money
      buyer.balance = event.balance
      return []
    case 'resumed':
      buyer.paid = event.paid
      buyer.fees = event.fees
      buyer.paidBytes = event.bytes ?? 0
      buyer.unprovenSpent = event.lost
      buyer.lost = event.lost
      return []
    case 'fees-named':
      feesNamed(buyer, event)
      return []
    case 'restored':
      restore(buyer, event.window, nowMs)
      return []
    case 'banned':
      return ban(buyer, event.key, event.why, nowMs)
    case 'tick':
      return tick(buyer, nowMs)
  }
}

function joined(buyer: Buyer, event: Extract<BuyerEvent, { tag: 'joined' }>): BuyerEffect[] {
  const { peer: id, key, price, gift, money, maxWindowBytes, source = 'exchange' } = event
  const offerUntilMs = event.offerUntilMs ?? Number.POSITIVE_INFINITY
  const mode = event.mode ?? (gift || price === 0 ? 'free' : 'atomic')
  const known = buyer.peers.get(id)
  if (known?.key === key)
    Object.assign(known, { price, gift, money, maxWindowBytes, source, mode, offerUntilMs })
  else {
    if (known !== undefined) books.forgetPeer(buyer, known)
    const peer: BuyerPeer = {
      id,
      key,
      has: new Uint8Array(buyer.have.length),
      hasCount: 0,
      sending: undefined,
      wants: 0,
      free: 0,
      all: false,
      price,
      gift,
      money,
      maxWindowBytes,
      source,
      mode,
      open: 0,
      roomBytes: SELLER_ROOM,
      refusals: 0,
      searchAtMs: 0,
      restUntilMs: 0,
      offerUntilMs,
    }
    for (const window of buyer.windows.values())
      if (window.peer === id && window.key === key && books.openAtSeller(window)) peer.open++
    buyer.peers.set(id, peer)
    buyer.partial.add(peer)
    if (known !== undefined) books.noteHaves(buyer, peer, havesOf(known))
  }
  const why = buyer.keys.get(key)?.dropped
  return why === undefined ? [] : [{ tag: 'drop', peer: id, key, why, ever: true }]
}

const havesOf = (peer: BuyerPeer): number[] =>
  Array.from(peer.has, (has, piece) => (has === 1 ? piece : -1)).filter((piece) => piece >= 0)

function left(buyer: Buyer, id: PeerId): BuyerEffect[] {
  const peer = buyer.peers.get(id)
  if (peer === undefined) return []
  const effects: BuyerEffect[] = []
  for (const window of buyer.windows.values()) {
    if (window.peer !== id || window.state !== 'asked') continue
    books.release(buyer, window, 'failed')
    effects.push({ tag: 'discard', window: window.id })
  }
  books.forgetPeer(buyer, peer)
  return effects
}

/** Payments are what frees a seller's room: the faster they are, the sooner it is asked again. */
function refused(buyer: Buyer, event: Extract<BuyerEvent, { tag: 'refused' }>, nowMs: number): BuyerEffect[] {
  const window = open(buyer, event.window, 'asked')
  if (window === undefined) return []
  books.release(buyer, window, 'failed')
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) {
    const { least, unknown } = FIRST_REST_MS
    const first = buyer.pace.paymentMs === 0 ? unknown : Math.max(least, buyer.pace.paymentMs / 4)
    const soonMs = Math.min(BUSY_REST_MS, first * 2 ** Math.min(peer.refusals++, 6))
    peer.restUntilMs = nowMs + (SOON.has(event.code) ? soonMs : REST_MS)
    if (event.code === 'missing') books.noteLacks(buyer, peer, window.pieces)
    if (event.code === 'unpaid')
      peer.roomBytes = Math.max(buyer.shape.pieceLength, record(buyer, peer.key, nowMs).under.unpaidBytes)
  }
  return [{ tag: 'discard', window: window.id }, ...countRefused(buyer, window, nowMs)]
}

function restore(buyer: Buyer, from: RestoredWindow, nowMs: number): void {
  const window: Window = {
    ...from,
    mode: from.mode ?? 'atomic',
    source: 'exchange',
    id: buyer.nextWindow++,
    peer: '',
    fees: ZERO,
    state: 'unknown',
    dueAtMs: Number.POSITIVE_INFINITY,
    received: from.bytes,
    progressAtMs: nowMs,
    payingAtMs: nowMs,
    paidAtMs: 0,
    doneAtMs: 0,
    retryAtMs: 0,
    unproven: false,
    takesOver: false,
    elsewhere: false,
    restored: true,
    lookUps: 0,
    lookUpAtMs: nowMs,
  }
  books.begin(buyer, window)
  books.stake(buyer, window)
  if (window.mode === 'credit') return
  for (const piece of window.pieces) if (buyer.have[piece] === 0) books.assign(buyer, piece, window.id)
}

/** A payment that settled late brought pieces that others were asked for: those are not paid. */
function giveUpUnneeded(buyer: Buyer): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const id of buyer.unneeded.splice(0)) {
    const window = buyer.windows.get(id)
    if (window === undefined || window.amount === 0 || books.isDebt(window)) continue
    if (window.state === 'asked' || window.state === 'held') effects.push(...books.giveUp(buyer, window))
  }
  return effects
}
