/**
 * How many windows a seller sends at a time. One after the other is best where one taker fills the line: what is whole
 * can be sold on, half a window is worth nothing to anybody. Where one does not, several go out together. Which of the
 * two it is shows only by trying: now and then twice as many, kept if that brings more; or half, kept if it brings as much.
 */

export type Uplink = {
  /** Windows that may be on their way at once. */
  parallel: number
  /** Sent in the slice of time that is being measured. */
  bytes: number
  sinceMs: number
  /** As many as allowed were on their way for the whole slice, and another taker waited. */
  full: boolean
  up: boolean
  trial: Readonly<{ from: number; rate: number }> | undefined
  tryAtMs: number
}

export const MAX_PARALLEL = 32
const SLICE_MS = 500
const RETRY_MS = 10_000
/** The rate that a trial must bring, as a part of the rate before. */
const WORTH = { up: 1.2, down: 0.9 } as const

export const openUplink = (nowMs: number): Uplink => ({
  parallel: 1,
  bytes: 0,
  sinceMs: nowMs,
  full: true,
  up: true,
  trial: undefined,
  tryAtMs: nowMs,
})

/**
 * Bytes have gone out. `full`: `parallel` windows are on their way and another taker waits.
 *
 * @returns whether `parallel` has changed
 */
export function sent(uplink: Uplink, bytes: number, full: boolean, nowMs: number): boolean {
  uplink.bytes += bytes
  uplink.full &&= full
  const tookMs = nowMs - uplink.sinceMs
  if (tookMs < SLICE_MS) return false
  const before = uplink.parallel
  // A line that had room says nothing about what more, or less, would bring.
  if (uplink.full) judge(uplink, uplink.bytes / tookMs, nowMs)
  uplink.bytes = 0
  uplink.sinceMs = nowMs
  uplink.full = true
  return uplink.parallel !== before
}

function judge(uplink: Uplink, rate: number, nowMs: number): void {
  const { trial, up, parallel } = uplink
  if (trial === undefined && nowMs < uplink.tryAtMs) return
  const kept = trial === undefined || rate >= trial.rate * WORTH[up ? 'up' : 'down']
  const next = up ? Math.min(MAX_PARALLEL, parallel * 2) : Math.max(1, parallel / 2)
  if (kept && next !== parallel) {
    uplink.trial = { from: parallel, rate }
    uplink.parallel = next
    return
  }
  if (!kept) uplink.parallel = trial.from
  uplink.trial = undefined
  uplink.up = uplink.parallel === 1 || (!up && uplink.parallel < MAX_PARALLEL)
  uplink.tryAtMs = nowMs + RETRY_MS
}
