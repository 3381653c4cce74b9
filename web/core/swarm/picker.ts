/** Which pieces next: the rarest that the seller has and nobody fetches, ties in an order drawn from a seed. */

export type Wanted = Readonly<{
  have: Uint8Array
  assigned: Int32Array
  holders: Uint16Array
  order: Uint32Array
}>

/** A permutation's ranks, so that peers with equal views do not all start at piece 0 (mulberry32, Fisher-Yates). */
export function shuffledOrder(count: number, seed: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  let state = seed >>> 0
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const swap = order[i] as number
    order[i] = order[j] as number
    order[j] = swap
  }
  return order
}

/** At most `count` pieces, ascending. */
export function pickPieces(wanted: Wanted, has: Uint8Array, count: number): number[] {
  const candidates: number[] = []
  for (let piece = 0; piece < wanted.have.length; piece++) {
    if (has[piece] === 1 && wanted.have[piece] === 0 && wanted.assigned[piece] === 0) candidates.push(piece)
  }
  const rank = (piece: number): number =>
    (wanted.holders[piece] as number) * 2 ** 32 + (wanted.order[piece] as number)
  if (candidates.length > count) candidates.sort((a, b) => rank(a) - rank(b))
  return candidates.slice(0, count).sort((a, b) => a - b)
}
