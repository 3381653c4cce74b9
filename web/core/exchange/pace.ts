/**
 * How fast a seller hands over what several takers wait for. Data channels heed loss alone: left to themselves they fill the
 * buffer of the uplink, and through a full one whatever its owner sends, requests and `got` among it, takes a good
 * part of a second, so that the lines of others idle. So no more is handed over than the line carries: what windows were
 * taken at of late, a little more while they are taken at once and less while they wait, as in LEDBAT (RFC 6817).
 */

export type Pace = {
  /** Bytes a second, all takers together; `undefined`: as fast as it goes. */
  bps: number | undefined
  /** Windows that began to go before were not paced all the way. */
  sinceMs: number
  /** What was taken while the line was full: bytes, windows. */
  slice: { bytes: number; windows: number; sinceMs: number }
  /** The most that was taken, bytes a second. */
  readonly best: Extreme
  /** The least time from a window's last byte until it was taken, ms: the way there and back. */
  readonly base: Extreme
  /** The same of the last windows, the latest last. */
  readonly delaysMs: number[]
  /** The pace, in parts of `best`. */
  reach: number
  /** So many windows more are slow, so that the buffer empties and the way shows. */
  draining: number
}

/** The extreme of the last one to two periods. */
type Extreme = { now: number | undefined; before: number | undefined; untilMs: number }

/** On a faster line a full buffer is gone at once. */
const MOST_BPS = 8_000_000
/** Slower, and a taker would wait for each frame so long that its seller seems gone. */
const LEAST_BPS = 200_000
const SLICE = { first: { ms: 1000, windows: 4 }, next: { ms: 3000, windows: 12 } } as const
/** As long as these count. */
const BEST_MS = 20_000
const BASE_MS = 60_000
/** What may wait in the uplink's buffer. */
const TARGET_MS = 100
/** The pace, in parts of `best`: a little more with each window that does not wait, at once less when they do. */
const REACH = { most: 1.4, step: 0.03, less: 0.05, least: 0.8 } as const
const DRAIN = { part: 0.85, windows: 4 } as const
/** Whoever waits longest says nothing of this line: the quickest of so many windows does. */
const WINDOWS = 3

export const openPace = (nowMs: number): Pace => ({
  bps: undefined,
  sinceMs: nowMs,
  slice: { bytes: 0, windows: 0, sinceMs: nowMs },
  best: { now: undefined, before: undefined, untilMs: nowMs + BEST_MS },
  base: { now: undefined, before: undefined, untilMs: nowMs + BASE_MS },
  delaysMs: [],
  reach: 1,
  draining: 0,
})

/** What is taken from now on is measured anew. */
export function startSlice(pace: Pace, nowMs: number): void {
  pace.slice = { bytes: 0, windows: 0, sinceMs: nowMs }
}

/** A window that went out from `goingMs` to `outMs` has been taken. `full`: others waited meanwhile. */
export function taken(
  pace: Pace,
  { bytes, goingMs, outMs }: Readonly<{ bytes: number; goingMs: number; outMs: number }>,
  full: boolean,
  nowMs: number,
): void {
  if (full) measure(pace, bytes, nowMs)
  else startSlice(pace, nowMs)
  if (pace.bps === undefined || goingMs < pace.sinceMs) return
  const delayMs = nowMs - outMs
  if (note(pace.base, delayMs, BASE_MS, Math.min, nowMs)) pace.draining = DRAIN.windows
  pace.delaysMs.push(delayMs)
  if (pace.delaysMs.length > WINDOWS) pace.delaysMs.shift()
  const queuedMs = Math.min(...pace.delaysMs) - (most(pace.base, Math.min) ?? 0)
  if (queuedMs < TARGET_MS / 2) pace.reach = Math.min(REACH.most, pace.reach + REACH.step)
  else pace.reach = Math.max(REACH.least, Math.min(pace.reach, 1 + REACH.less * (1 - queuedMs / TARGET_MS)))
  if (pace.draining > 0) pace.draining--
  follow(pace)
}

function measure(pace: Pace, bytes: number, nowMs: number): void {
  const { slice } = pace
  slice.bytes += bytes
  slice.windows++
  const tookMs = nowMs - slice.sinceMs
  const { ms, windows } = SLICE[pace.bps === undefined ? 'first' : 'next']
  if (tookMs < ms || slice.windows < windows) return
  const rate = (slice.bytes * 1000) / tookMs
  startSlice(pace, nowMs)
  note(pace.best, rate, BEST_MS, Math.max, nowMs)
  if (pace.bps !== undefined) return
  pace.sinceMs = nowMs
  pace.delaysMs.length = 0
  pace.draining = DRAIN.windows
  follow(pace)
}

function follow(pace: Pace): void {
  const best = most(pace.best, Math.max)
  if (best === undefined) return
  const bps = best * (pace.draining > 0 ? DRAIN.part : pace.reach)
  pace.bps = best < MOST_BPS ? Math.max(LEAST_BPS, bps) : undefined
}

const most = ({ now, before }: Extreme, of: (a: number, b: number) => number): number | undefined =>
  now === undefined || before === undefined ? (now ?? before) : of(now, before)

/** @returns whether a period has ended */
function note(
  extreme: Extreme,
  value: number,
  periodMs: number,
  of: (a: number, b: number) => number,
  nowMs: number,
): boolean {
  const ended = nowMs >= extreme.untilMs
  if (ended) {
    extreme.before = nowMs < extreme.untilMs + periodMs ? extreme.now : undefined
    extreme.now = undefined
    extreme.untilMs = nowMs + periodMs
  }
  extreme.now = of(extreme.now ?? value, value)
  return ended
}
