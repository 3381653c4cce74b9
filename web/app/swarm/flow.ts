/**
 * Marks on the threads. A mark is a piece that arrived or a payment that settled: they are made from what
 * changed between two states of the world, each crosses its thread once, and none is made up.
 */
import type { Thread } from './model.ts'

/** Most marks on screen; beyond it one mark stands for several. */
export const MAX_MARKS = 60
/** How long a mark takes across its thread, and over which span those of one change are let go. */
export const CROSS_MS = 1600
const SPREAD_MS = 1000

export type Mark = { thread: string; sort: 'piece' | 'payment'; startMs: number }

export type Tallies = ReadonlyMap<string, Readonly<{ pieces: number; paidMsat: number }>>

export const tallies = (threads: readonly Thread[]): Tallies =>
  new Map(threads.map((t) => [t.id, { pieces: t.pieces, paidMsat: t.paidMsat }]))

/** Marks for what changed since `before`; `free` is how many may still be drawn. */
export function marksFor(
  before: Tallies,
  threads: readonly Thread[],
  nowMs: number,
  free: number,
): { marks: Mark[]; perMark: number } {
  const changed = threads.flatMap((t) => {
    const old = before.get(t.id)
    // A thread seen for the first time tells nothing about the last second.
    if (!old) return []
    const pieces = Math.max(0, t.pieces - old.pieces)
    const paid = t.paidMsat > old.paidMsat ? 1 : 0
    return pieces > 0 || paid > 0 ? [{ thread: t.id, pieces, paid }] : []
  })
  const wanted = changed.reduce((a, c) => a + c.pieces + c.paid, 0)
  const perMark = Math.max(1, Math.ceil(wanted / Math.max(1, free)))
  const marks: Mark[] = []
  for (const c of changed) {
    const squares = Math.ceil(c.pieces / perMark)
    // Threads take their turns within the second, so that marks do not cross in rows.
    const turn = phase(c.thread)
    for (let i = 0; i < squares; i++) {
      marks.push({ thread: c.thread, sort: 'piece', startMs: nowMs + (SPREAD_MS * (i + turn)) / squares })
    }
    if (c.paid > 0) {
      marks.push({ thread: c.thread, sort: 'payment', startMs: nowMs + SPREAD_MS * ((turn + 0.5) % 1) })
    }
  }
  return { marks: marks.slice(0, Math.max(0, free)), perMark }
}

/** In [0, 1), the same for the same thread. */
const phase = (id: string): number =>
  ([...id].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) % 997, 7) * 0.618) % 1

/** A cubic thread from `(0, y1)` to `(width, y2)`. */
export const threadPath = (width: number, y1: number, y2: number): string =>
  `M0 ${y1}C${(width * 0.45).toFixed(1)} ${y1} ${(width * 0.55).toFixed(1)} ${y2} ${width} ${y2}`

/** The point at `t` (0..1) of that thread. */
export function threadPoint(width: number, y1: number, y2: number, t: number): [number, number] {
  const u = 1 - t
  const x = 3 * u * u * t * width * 0.45 + 3 * u * t * t * width * 0.55 + t * t * t * width
  const y = (u * u * u + 3 * u * u * t) * y1 + (3 * u * t * t + t * t * t) * y2
  return [x, y]
}
