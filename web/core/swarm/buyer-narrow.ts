/**
 * A line of our own that is too narrow for all who were asked: each falls silent or takes too long, and none of them is to
 * blame. While nobody has ever brought much, a stall is answered by asking fewer at once; after some windows that went well
 * by one more again.
 */
import * as books from './buyer-books.ts'
import type { BuyerEffect } from './buyer-events.ts'
import { rateOf } from './buyer-meter.ts'
import { SLOWEST_BPS } from './buyer-split.ts'
import type { Buyer, KeyRecord, Window } from './buyer-state.ts'

/** Windows that go well before one more seller is asked at once. */
const WELL = 8

/** Whether anybody that was met has brought what counts as a line. Not in sum: each may have had ours to itself. */
export function isFast(buyer: Buyer): boolean {
  for (const of of buyer.keys.values()) if (rateOf(of) * 1000 >= SLOWEST_BPS) return true
  return false
}

function waitedFor(buyer: Buyer): number {
  let keys = 0
  for (const of of buyer.keys.values()) if (of.under.asked > 0) keys++
  return keys
}

/** Whether a window of this key that stalls may do so for want of our own line. */
export const mayBeNarrow = (buyer: Buyer, of: KeyRecord): boolean =>
  (of.under.asked > 1 || waitedFor(buyer) > 1) && !isFast(buyer)

/** Gives up all but what has come furthest of half the sellers, which then have the line and new patience. */
export function askFewer(buyer: Buyer, nowMs: number): BuyerEffect[] {
  const { narrow } = buyer
  narrow.atOnce = Math.max(1, Math.floor(waitedFor(buyer) / 2))
  narrow.well = 0
  narrow.sinceMs = nowMs
  const kept = new Set<string>()
  const effects: BuyerEffect[] = []
  const asked = [...buyer.windows.values()].filter(({ state }) => state === 'asked')
  for (const window of asked.sort((a, b) => b.received / b.bytes - a.received / a.bytes)) {
    if (kept.size < narrow.atOnce && !kept.has(window.key)) kept.add(window.key)
    else if (buyer.windows.has(window.id)) effects.push(...books.giveUp(buyer, window))
  }
  return effects
}

/** Until when a window has time, that was asked for before others were given up for it. */
export const patienceFrom = ({ narrow }: Buyer, { requestedAtMs }: Window): number =>
  requestedAtMs <= narrow.sinceMs ? narrow.sinceMs : 0

export const mayAskOf = (buyer: Buyer, of: KeyRecord): boolean =>
  buyer.narrow.atOnce === Number.POSITIVE_INFINITY ||
  (of.under.asked === 0 && waitedFor(buyer) < buyer.narrow.atOnce)

/** A window was opened. */
export function wentWell(buyer: Buyer): void {
  const { narrow } = buyer
  if (narrow.atOnce === Number.POSITIVE_INFINITY) return
  if (isFast(buyer)) narrow.atOnce = Number.POSITIVE_INFINITY
  else if (++narrow.well >= WELL) {
    narrow.well = 0
    narrow.atOnce++
  }
}
