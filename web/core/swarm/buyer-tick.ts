/** What time does to windows: stalls, quotes that lapse, locks that last, look-ups, debts to be tried again. */
import type { PartyKey } from '../bytes.ts'
import { MIB } from '../money/msat.ts'
import * as books from './buyer-books.ts'
import type { BuyerEffect } from './buyer-events.ts'
import { SLOWEST_MS } from './buyer-split.ts'
import { askFewer, isFast, mayBeNarrow, patienceFrom } from './buyer-narrow.ts'
import { record, type Buyer, type KeyRecord, type Window } from './buyer-state.ts'

const STALL_MS = 15_000
export const REST_MS = 30_000
/** After so many strikes a key rests, twice as long after each further one. */
const MAX_STRIKES = 3
const KEY_REST_MS = { first: 600_000, most: 3_600_000 }
/** Beyond what it has brought, a key may have refused so much of windows that had come: a crowded line gives some up. */
export const REFUSED_BYTES = 16 * MIB
const MAX_LOOKUP_MS = 30_000
/** A quote that is about to lapse is not paid. */
const EXPIRY_MARGIN_MS = 3_000

export const lapses = (window: Pick<Window, 'quoteExpiresAtMs'>, nowMs: number): boolean =>
  window.quoteExpiresAtMs - EXPIRY_MARGIN_MS <= nowMs

export const lookUpAfter = (window: Window): number =>
  Math.min(MAX_LOOKUP_MS, 1000 * 2 ** Math.min(window.lookUps, 6))

export function tick(buyer: Buyer, nowMs: number): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    // Another window's end may have taken this one along.
    if (!buyer.windows.has(window.id)) continue
    switch (window.state) {
      case 'asked':
        effects.push(...stall(buyer, window, nowMs))
        break
      case 'held':
        effects.push(...(books.isDebt(window) ? renew(buyer, window, nowMs) : lapse(buyer, window, nowMs)))
        break
      case 'paying':
      case 'unknown':
        effects.push(...wait(buyer, window, nowMs))
        break
      default:
    }
  }
  return effects
}

/** Silent, or dripping: the windows before it in the queue count in its time. */
function stall(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  const of = record(buyer, window.key, nowMs)
  // One that has come and lacks its quote waits for nothing else.
  const heardAtMs =
    window.received === window.bytes
      ? window.progressAtMs
      : Math.max(window.progressAtMs, of.heardAtMs, of.waitsSinceMs)
  const fromMs = patienceFrom(buyer, window)
  const dueAtMs = Math.max(window.dueAtMs, fromMs + SLOWEST_MS)
  const silent = nowMs - Math.max(heardAtMs, fromMs) > STALL_MS
  if (!silent && nowMs <= dueAtMs) return []
  if (mayBeNarrow(buyer, of)) return askFewer(buyer, nowMs)
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) peer.restUntilMs = nowMs + REST_MS
  const effects = books.giveUp(buyer, window)
  // Slow, and nobody ever was fast: it may be crowded, or our line as slow.
  if (!silent && !isFast(buyer)) return effects
  return [...effects, ...blame(buyer, window, nowMs)]
}

/**
 * A strike for a window that came to nothing by its seller's doing. Those that were asked for before the last one count
 * with it: a crash stalls all windows at once.
 */
export function blame(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  const { struckAtMs } = record(buyer, window.key, nowMs)
  return window.requestedAtMs < struckAtMs ? [] : strike(buyer, window.key, nowMs)
}

/** Has refused more of what had come than the bound and all that it has brought. */
export const isWasteful = (of: KeyRecord): boolean => of.refusedBytes > REFUSED_BYTES + of.bytes

/** A window was refused: what had come of it came for nothing. */
export function countRefused(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  if (window.received === 0) return []
  const of = record(buyer, window.key, nowMs)
  of.refusedBytes += window.received
  return isWasteful(of) ? blame(buyer, window, nowMs) : []
}

/** Flaky lines and slow wallets are honest too, and may be well again later: longer rests, and no end. */
export function strike(buyer: Buyer, key: PartyKey, nowMs: number): BuyerEffect[] {
  const of = record(buyer, key, nowMs)
  of.struckAtMs = nowMs
  const beyond = ++of.strikes - MAX_STRIKES
  if (beyond < 0) return []
  of.restUntilMs = nowMs + Math.min(KEY_REST_MS.most, KEY_REST_MS.first * 2 ** beyond)
  return books.giveUpAll(buyer, key)
}

function lapse(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  if (lapses(window, nowMs)) return books.giveUp(buyer, window)
  if (window.amount > 0 || nowMs - window.progressAtMs <= STALL_MS) return []
  const effects = books.giveUp(buyer, window)
  return [...effects, ...blame(buyer, window, nowMs)]
}

/** A debt is not forgotten with its invoice. */
function renew(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  if (!lapses(window, nowMs) || window.retryAtMs > nowMs) return []
  for (const peer of buyer.peers.values()) {
    if (peer.key !== window.key) continue
    window.retryAtMs = nowMs + REST_MS
    return [{ tag: 'renew', window: window.id, peer: peer.id }]
  }
  return []
}

function wait(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  const late = nowMs - window.payingAtMs > buyer.policy.lockedTimeoutMs
  if (late && !window.elsewhere && !books.isDebt(window)) {
    window.elsewhere = true
    books.unassignAll(buyer, window)
    const peer = buyer.peers.get(window.peer)
    if (peer !== undefined) {
      peer.restUntilMs = Number.POSITIVE_INFINITY
      const why = 'took the lock and did not settle in time'
      effects.push({ tag: 'drop', peer: window.peer, key: window.key, why, ever: false })
    }
    // What is ready to be paid to this key, and has no room beside the lock, waits for it no longer.
    effects.push(...books.giveUpAll(buyer, window.key))
  }
  if (window.state === 'unknown' && nowMs >= window.lookUpAtMs) {
    window.lookUpAtMs = nowMs + MAX_LOOKUP_MS
    effects.push({ tag: 'look-up', window: window.id })
  }
  return effects
}

/** Never again from this key: its wires go, and what it has not been paid for is wanted from others. Debts stay. */
export function ban(buyer: Buyer, key: PartyKey, why: string, nowMs: number): BuyerEffect[] {
  record(buyer, key, nowMs).dropped = why
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    if (window.key !== key || books.isDebt(window)) continue
    if (window.state !== 'asked' && window.state !== 'held') continue
    books.release(buyer, window, 'failed')
    effects.push({ tag: 'discard', window: window.id })
  }
  for (const peer of buyer.peers.values())
    if (peer.key === key) effects.push({ tag: 'drop', peer: peer.id, key, why, ever: true })
  return effects
}
