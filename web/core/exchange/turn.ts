/**
 * Whose turn it is at a seller that cannot serve all at once: the window whose pieces went out least so far, so that
 * one first copy becomes many and no uplink is spent on what others can sell; whoever has waited long goes first.
 */

export type Waiting = Readonly<{ pieces: readonly number[]; sinceMs: number }>

/** Well within a buyer's patience. */
export const LONGEST_WAIT_MS = 8000

/** Index of the next one; -1 for nobody. `served`: how often each piece went out. Equals go in the order of coming. */
export function whoseTurn(waiting: readonly Waiting[], served: ArrayLike<number>, nowMs: number): number {
  let next = -1
  let least = Number.POSITIVE_INFINITY
  let oldest = -1
  let oldestMs = nowMs - LONGEST_WAIT_MS
  for (const [i, { pieces, sinceMs }] of waiting.entries()) {
    if (sinceMs <= oldestMs && (oldest === -1 || sinceMs < oldestMs)) {
      oldest = i
      oldestMs = sinceMs
    }
    let total = 0
    for (const piece of pieces) total += served[piece] ?? 0
    const mean = total / pieces.length
    if (mean >= least) continue
    least = mean
    next = i
  }
  return oldest === -1 ? next : oldest
}
