/**
 * The buyer's side of the exchange for one release: which pieces from whom, when to pay, whom to leave.
 * Rarest piece first; a key that has not settled is asked for one piece; sats at stake stay within the
 * budgets. Takes events, returns effects; the clock, the wires, the wallet and the ciphers are the caller's.
 */
import type { PartyKey } from '../bytes.ts'
import type { RefusalCode } from '../exchange/message.ts'
import { msat, ZERO } from '../money/msat.ts'
import { ask, mayStake } from './buyer-asks.ts'
import {
  BUSY_REST_MS,
  locked,
  record,
  WINDOWS_IN_FLIGHT,
  type Buyer,
  type BuyerEffect,
  type BuyerEvent,
  type BuyerPeer,
  type PeerId,
  type RestoredWindow,
  type Window,
  type WindowId,
  type WindowState,
} from './buyer-state.ts'

export * from './buyer-state.ts'
export { outlook } from './buyer-asks.ts'

/** Why a proven cheat is dropped. */
export const FRAUD = 'fraud: sold a block that is not the release’s'

const STALL_MS = 15_000
const REST_MS = 30_000
/** A window that comes more slowly than this, after a start, counts as stalled. */
const SLOWEST_BPS = 64 * 1024
const SLOWEST_MS = 60_000
/** A key that falls silent so often, asked anew each time, is left for good. A crash stalls all its windows at once. */
const MAX_STALLS = 3
/** Refusals that pass by themselves: a slot is free, a payment has come in, pieces have arrived. */
const SOON: ReadonlySet<RefusalCode> = new Set(['busy', 'unpaid', 'missing'])
const WALLET_REST_MS = { gone: 2_000, refusing: 30_000 }
const MAX_LOOKUP_MS = 30_000
/** A quote that is about to lapse is not paid. */
const EXPIRY_MARGIN_MS = 3_000

export function step(buyer: Buyer, event: BuyerEvent, nowMs: number): BuyerEffect[] {
  const effects = apply(buyer, event, nowMs)
  effects.push(...giveUpUnneeded(buyer))
  if (buyer.running) effects.push(...settleHeld(buyer, nowMs), ...ask(buyer, nowMs))
  return effects
}

function apply(buyer: Buyer, event: BuyerEvent, nowMs: number): BuyerEffect[] {
  switch (event.tag) {
    case 'joined': {
      const known = buyer.peers.get(event.peer)
      const { key, price, gift, money, maxWindowBytes, source = 'exchange' } = event
      const mode = event.mode ?? (gift || price === 0 ? 'free' : 'atomic')
      if (known !== undefined && known.key === key)
        Object.assign(known, { price, gift, money, maxWindowBytes, source, mode })
      else {
        const has = known?.has ?? new Uint8Array(buyer.have.length)
        buyer.peers.set(event.peer, {
          id: event.peer,
          key,
          has,
          price,
          gift,
          money,
          maxWindowBytes,
          source,
          mode,
          restUntilMs: 0,
        })
      }
      const why = buyer.keys.get(key)?.dropped
      return why === undefined ? [] : [{ tag: 'drop', peer: event.peer, key, why, ever: true }]
    }
    case 'has': {
      const peer = buyer.peers.get(event.peer)
      if (peer === undefined) return []
      for (const piece of event.pieces) {
        if (piece >= buyer.have.length || peer.has[piece] === 1) continue
        peer.has[piece] = 1
        buyer.holders[piece] = (buyer.holders[piece] ?? 0) + 1
      }
      return []
    }
    case 'left':
      return left(buyer, event.peer)
    case 'refused': {
      const window = open(buyer, event.window, 'asked')
      if (window === undefined) return []
      release(buyer, window, 'failed')
      const peer = buyer.peers.get(window.peer)
      if (peer !== undefined) {
        peer.restUntilMs = nowMs + (SOON.has(event.code) ? BUSY_REST_MS : REST_MS)
        if (event.code === 'missing') for (const piece of window.pieces) unhave(buyer, peer, piece)
      }
      return [{ tag: 'discard', window: window.id }]
    }
    case 'progress': {
      const window = buyer.windows.get(event.window)
      if (window !== undefined) window.progressAtMs = nowMs
      return []
    }
    case 'quoted': {
      const window = open(buyer, event.window, 'asked')
      if (window === undefined) return []
      if (event.amount > window.amount) return dearer(buyer, window, nowMs)
      window.amount = event.amount
      window.paymentHash = event.paymentHash
      window.quoteExpiresAtMs = event.expiresAtMs
      window.progressAtMs = nowMs
      // A gift's secret comes by itself; until then it waits like a payment that costs nothing.
      window.state = 'held'
      return []
    }
    case 'spoilt': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || window.state === 'opening') return []
      // With a payment out the window stays: if it settles, what was paid for is opened.
      if (window.state === 'paying' || window.state === 'unknown') return drop(buyer, window, event.why)
      release(buyer, window, 'failed')
      return [{ tag: 'discard', window: window.id }, ...drop(buyer, window, event.why)]
    }
    case 'settled': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || !awaitsSecret(window)) return []
      window.state = 'opening'
      window.paidAtMs = nowMs
      window.fees = event.fees
      buyer.paid = msat(buyer.paid + window.amount)
      buyer.fees = msat(buyer.fees + event.fees)
      return [{ tag: 'open', window: window.id }]
    }
    case 'pay-failed': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || (window.state !== 'paying' && window.state !== 'unknown')) return []
      unstake(buyer, window)
      if (window.elsewhere || buyer.keys.get(window.key)?.dropped !== undefined) return giveUp(buyer, window)
      if (event.code === 'insufficient-balance' || event.code === 'quota-exceeded') {
        // Kept until the quote lapses: the ciphertext is here, only sats are missing.
        window.state = 'held'
        buyer.balance = msat(Math.min(buyer.balance ?? 0, Math.max(0, window.amount - 1)))
        return []
      }
      const waitMs = walletWaitMs(event.code)
      if (waitMs !== undefined) {
        // The wallet's trouble, not the seller's: nothing more is asked for, and the same quote is paid when it is over.
        window.state = 'held'
        buyer.walletRestsUntilMs = nowMs + waitMs
        return []
      }
      const peer = buyer.peers.get(window.peer)
      if (peer !== undefined) peer.restUntilMs = nowMs + REST_MS
      return giveUp(buyer, window)
    }
    case 'pay-unknown': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || (window.state !== 'paying' && window.state !== 'unknown')) return []
      window.state = 'unknown'
      window.lookUpAtMs = nowMs + Math.min(MAX_LOOKUP_MS, 1000 * 2 ** Math.min(window.lookUps, 6))
      window.lookUps++
      return []
    }
    case 'opened':
      return opened(buyer, event.window, event.cheated, nowMs)
    case 'stored':
      for (const piece of event.pieces) store(buyer, piece)
      return []
    case 'wallet':
      buyer.money = event.money
      buyer.balance = event.balance
      return []
    case 'resumed':
      buyer.paid = event.paid
      buyer.fees = event.fees
      buyer.unprovenSpent = event.lost
      buyer.lost = event.lost
      return []
    case 'restored':
      restore(buyer, event.window, nowMs)
      return []
    case 'banned': {
      return ban(buyer, event.key, event.why, nowMs)
    }
    case 'tick':
      return tick(buyer, nowMs)
  }
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
    progressAtMs: nowMs,
    payingAtMs: nowMs,
    paidAtMs: 0,
    doneAtMs: 0,
    unproven: false,
    elsewhere: false,
    restored: true,
    lookUps: 0,
    lookUpAtMs: nowMs,
  }
  buyer.windows.set(window.id, window)
  stake(buyer, window)
  for (const piece of window.pieces) if (buyer.have[piece] === 0) buyer.assigned[piece] = window.id
}

const awaitsSecret = (window: Window): boolean =>
  window.state === 'paying' || window.state === 'unknown' || (window.state === 'held' && window.amount === 0)

function open(buyer: Buyer, id: WindowId, state: WindowState): Window | undefined {
  const window = buyer.windows.get(id)
  return window?.state === state ? window : undefined
}

function unhave(buyer: Buyer, peer: BuyerPeer, piece: number): void {
  if (peer.has[piece] !== 1) return
  peer.has[piece] = 0
  buyer.holders[piece] = Math.max(0, (buyer.holders[piece] ?? 0) - 1)
}

function left(buyer: Buyer, id: PeerId): BuyerEffect[] {
  const peer = buyer.peers.get(id)
  if (peer === undefined) return []
  buyer.peers.delete(id)
  for (let piece = 0; piece < peer.has.length; piece++) unhave(buyer, peer, piece)
  const effects: BuyerEffect[] = []
  for (const window of buyer.windows.values()) {
    if (window.peer !== id || window.state !== 'asked') continue
    release(buyer, window, 'failed')
    effects.push({ tag: 'discard', window: window.id })
  }
  return effects
}

function store(buyer: Buyer, piece: number): void {
  if (buyer.have[piece] !== 0) return
  buyer.have[piece] = 1
  buyer.haveCount++
}

/** Ends a window that brought nothing; its pieces are wanted again. */
function release(buyer: Buyer, window: Window, state: 'failed' | 'cheated'): void {
  window.state = state
  for (const piece of window.pieces) if (buyer.assigned[piece] === window.id) buyer.assigned[piece] = 0
  buyer.windows.delete(window.id)
}

function stake(buyer: Buyer, window: Window): void {
  const of = record(buyer, window.key, window.requestedAtMs)
  of.atStake = msat(of.atStake + window.amount)
  window.unproven = of.settledBytes === 0 && !buyer.policy.approved.includes(window.key)
  if (window.unproven) buyer.unprovenSpent = msat(buyer.unprovenSpent + window.amount)
}

function unstake(buyer: Buyer, window: Window): void {
  const of = buyer.keys.get(window.key)
  if (of !== undefined) of.atStake = msat(Math.max(0, of.atStake - window.amount))
  if (window.unproven) buyer.unprovenSpent = msat(Math.max(0, buyer.unprovenSpent - window.amount))
  window.unproven = false
}

const drop = (buyer: Buyer, window: Window, why: string): BuyerEffect[] =>
  ban(buyer, window.key, why, window.requestedAtMs)

/** Never again from this key: its wires go, and what it has not been paid for is wanted from others. */
function ban(buyer: Buyer, key: PartyKey, why: string, nowMs: number): BuyerEffect[] {
  record(buyer, key, nowMs).dropped = why
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    if (window.key !== key || (window.state !== 'asked' && window.state !== 'held')) continue
    release(buyer, window, 'failed')
    effects.push({ tag: 'discard', window: window.id })
  }
  for (const peer of buyer.peers.values())
    if (peer.key === key) effects.push({ tag: 'drop', peer: peer.id, key, why, ever: true })
  return effects
}

function giveUp(buyer: Buyer, window: Window): BuyerEffect[] {
  release(buyer, window, 'failed')
  return [
    { tag: 'cancel', window: window.id, peer: window.peer },
    { tag: 'discard', window: window.id },
  ]
}

/** The price rose between request and quote: not paid. An honest seller's new offer is on its way. */
function dearer(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) {
    peer.gift = false
    peer.restUntilMs = nowMs + BUSY_REST_MS
  }
  return giveUp(buyer, window)
}

/** A payment that settled late brought pieces that others were asked for: those are not paid. */
function giveUpUnneeded(buyer: Buyer): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    if (window.amount === 0 || (window.state !== 'asked' && window.state !== 'held')) continue
    if (window.pieces.some((piece) => buyer.have[piece] === 1)) effects.push(...giveUp(buyer, window))
  }
  return effects
}

/** Whether an invoice that the wallet never heard of may be handed in again: only while its pieces wait for it. */
export function mayPayAgain(buyer: Buyer, id: WindowId): boolean {
  const window = buyer.windows.get(id)
  if (window === undefined || window.elsewhere) return false
  return window.pieces.every((piece) => buyer.have[piece] === 0 && buyer.assigned[piece] === id)
}

function opened(buyer: Buyer, id: WindowId, cheated: boolean, nowMs: number): BuyerEffect[] {
  const window = open(buyer, id, 'opening')
  if (window === undefined) return []
  const of = record(buyer, window.key, nowMs)
  window.doneAtMs = nowMs
  of.paid = msat(of.paid + window.amount)
  of.fees = msat(of.fees + window.fees)
  of.windows++
  buyer.bought.push(window)
  if (cheated) {
    // What cheats took stays spent, whoever they were: it bounds what keys made to cheat can take together.
    if (!window.unproven) buyer.unprovenSpent = msat(buyer.unprovenSpent + window.amount)
    buyer.lost = msat(buyer.lost + window.amount)
    release(buyer, window, 'cheated')
    return drop(buyer, window, FRAUD)
  }
  unstake(buyer, window)
  of.stalls = 0
  // Only sats make a key trusted: a gift costs its giver nothing.
  if (window.amount > 0) of.settledBytes += window.bytes
  of.pieces += window.pieces.length
  of.bytes += window.bytes
  of.lastAtMs = nowMs
  for (const piece of window.pieces) {
    const here = buyer.have[piece] === 1 && buyer.late[piece] === 0
    if (here && !window.elsewhere && !window.restored && window.amount > 0) buyer.boughtTwice++
    if (!here) buyer.late[piece] = window.elsewhere ? 1 : 0
    store(buyer, piece)
    if (buyer.assigned[piece] === window.id) buyer.assigned[piece] = 0
  }
  window.state = 'done'
  buyer.windows.delete(window.id)
  return []
}

/** Silent, or dripping: the windows before it in the queue count in its time. */
function stalled(window: Window, nowMs: number): boolean {
  const allowedMs = SLOWEST_MS + (window.bytes * WINDOWS_IN_FLIGHT * 1000) / SLOWEST_BPS
  return nowMs - window.progressAtMs > STALL_MS || nowMs - window.requestedAtMs > allowedMs
}

function tick(buyer: Buyer, nowMs: number): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    if (window.state === 'asked' && stalled(window, nowMs)) {
      const peer = buyer.peers.get(window.peer)
      if (peer !== undefined) peer.restUntilMs = nowMs + REST_MS
      const of = record(buyer, window.key, nowMs)
      effects.push(...giveUp(buyer, window))
      if (window.requestedAtMs < of.stalledAtMs) continue
      of.stalledAtMs = nowMs
      if (++of.stalls >= MAX_STALLS)
        effects.push(...ban(buyer, window.key, 'let its windows stall again and again', nowMs))
    } else if (window.state === 'held') {
      const gift = window.amount === 0 && nowMs - window.progressAtMs > STALL_MS
      if (!gift && window.quoteExpiresAtMs - EXPIRY_MARGIN_MS > nowMs) continue
      effects.push(...giveUp(buyer, window))
    } else if (window.state === 'paying' || window.state === 'unknown') {
      if (!window.elsewhere && nowMs - window.payingAtMs > buyer.policy.lockedTimeoutMs) {
        window.elsewhere = true
        for (const piece of window.pieces) if (buyer.assigned[piece] === window.id) buyer.assigned[piece] = 0
        const peer = buyer.peers.get(window.peer)
        if (peer !== undefined) {
          peer.restUntilMs = Number.POSITIVE_INFINITY
          effects.push({
            tag: 'drop',
            peer: window.peer,
            key: window.key,
            why: 'took the lock and did not settle in time',
            ever: false,
          })
        }
      }
      if (window.state === 'unknown' && nowMs >= window.lookUpAtMs) {
        window.lookUpAtMs = nowMs + MAX_LOOKUP_MS
        effects.push({ tag: 'look-up', window: window.id })
      }
    }
  }
  return effects
}

/** How long to leave a wallet alone that failed for reasons of its own; `undefined`: this payment's own failure. */
function walletWaitMs(code: string): number | undefined {
  switch (code) {
    case 'unreachable':
    case 'rate-limited':
      return WALLET_REST_MS.gone
    case 'unauthorized':
    case 'restricted':
    case 'not-implemented':
    case 'unsupported-encryption':
    case 'internal':
      return WALLET_REST_MS.refusing
    default:
      return undefined
  }
}

/** Pays what is held, as far as budgets and balance go. */
function settleHeld(buyer: Buyer, nowMs: number): BuyerEffect[] {
  if (buyer.walletRestsUntilMs > nowMs) return []
  const effects: BuyerEffect[] = []
  for (const window of buyer.windows.values()) {
    if (window.state !== 'held' || window.amount === 0) continue
    if (window.quoteExpiresAtMs - EXPIRY_MARGIN_MS <= nowMs) continue
    if (!mayStake(buyer, window.key, window.amount, nowMs) || (buyer.balance ?? 0) < window.amount) continue
    if (buyer.paid + buyer.fees + locked(buyer) + window.amount > buyer.policy.budget) continue
    stake(buyer, window)
    window.state = 'paying'
    window.payingAtMs = nowMs
    buyer.balance = msat((buyer.balance ?? 0) - window.amount)
    effects.push({ tag: 'pay', window: window.id })
  }
  return effects
}
