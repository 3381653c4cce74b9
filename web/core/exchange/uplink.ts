/**
 * How many windows a seller sends at a time. Few are best where they fill the line: what is whole can be sold on, half a
 * window is worth nothing to anybody. Where they do not, more go out together. Which of the
 * two it is shows only by trying: now and then twice as many, kept if that brings more; or half, kept if it brings as much.
 */

export type Uplink = {
  /** Windows that may be on their way at once. */
  parallel: number
  /** Sent in the slice of time that is being measured: bytes and windows. */
  bytes: number
  windows: number
  sinceMs: number
  /** As many as allowed were on their way for the whole slice, and another taker waited. */
  full: boolean
  up: boolean
  trial: Readonly<{ from: number; rate: number }> | undefined
  tryAtMs: number
  /** Until the next trial after one that brought nothing. */
  retryMs: number
}

/**
 * What its taker has to say of a window, and a connection that starts slowly, leave a line idle with fewer: eight real
 * devices of 1 MB/s end later with two. With more, whole pieces come later.
 */
export const LEAST_PARALLEL = 3
export const MAX_PARALLEL = 32
/** A slice is at least so long, and at least so many windows for each that may be on its way. */
const SLICE_MS = 500
const SLICE_ROUNDS = 2
/** A trial costs the swarm time too: each that brings nothing doubles the wait for the next. */
const RETRY_MS = { down: 10_000, least: 30_000, most: 120_000 } as const
/** The rate that a trial must bring, as a part of the rate before. */
const WORTH = { up: 1.2, down: 0.9 } as const
/** Of the pace (`pace.ts`): whoever reaches it is held by it, and more at a time bring no more. */
const HELD = 0.85

export const openUplink = (nowMs: number): Uplink => ({
  parallel: LEAST_PARALLEL,
  bytes: 0,
  windows: 0,
  sinceMs: nowMs,
  full: true,
  up: true,
  trial: undefined,
  tryAtMs: nowMs,
  retryMs: RETRY_MS.least,
})

/** The line was empty until now. */
export function started(uplink: Uplink, nowMs: number): void {
  uplink.bytes = 0
  uplink.windows = 0
  uplink.sinceMs = nowMs
  uplink.full = true
}

/**
 * A window has gone out. `full`: `parallel` windows are on their way and another taker waits. `paceBps`: no more than that
 * was handed over.
 *
 * @returns whether `parallel` has changed
 */
export function sent(
  uplink: Uplink,
  bytes: number,
  full: boolean,
  nowMs: number,
  paceBps = Number.POSITIVE_INFINITY,
): boolean {
  uplink.bytes += bytes
  uplink.windows++
  uplink.full &&= full
  const tookMs = nowMs - uplink.sinceMs
  if (tookMs < SLICE_MS || uplink.windows < SLICE_ROUNDS * uplink.parallel) return false
  const before = uplink.parallel
  // A line that had room says nothing about what more, or less, would bring.
  if (uplink.full) judge(uplink, uplink.bytes / tookMs, paceBps / 1000, nowMs)
  started(uplink, nowMs)
  return uplink.parallel !== before
}

function judge(uplink: Uplink, rate: number, pace: number, nowMs: number): void {
  const { trial, up, parallel } = uplink
  const held = up && rate >= pace * HELD
  if (trial === undefined && nowMs < uplink.tryAtMs) return
  if (trial === undefined && held) {
    uplink.tryAtMs = nowMs + uplink.retryMs
    return
  }
  const kept = trial === undefined || (!held && rate >= trial.rate * WORTH[up ? 'up' : 'down'])
  const next = up ? Math.min(MAX_PARALLEL, parallel * 2) : Math.max(LEAST_PARALLEL, parallel / 2)
  if (kept && next !== parallel) {
    if (trial !== undefined) uplink.retryMs = RETRY_MS.least
    uplink.trial = { from: parallel, rate }
    uplink.parallel = next
    return
  }
  if (!kept) uplink.parallel = trial.from
  uplink.trial = undefined
  uplink.up = uplink.parallel === LEAST_PARALLEL || (!up && uplink.parallel < MAX_PARALLEL)
  uplink.tryAtMs = nowMs + (uplink.up ? uplink.retryMs : RETRY_MS.down)
  if (uplink.up) uplink.retryMs = Math.min(RETRY_MS.most, uplink.retryMs * 2)
}
