/** A small generator of its own (mulberry32): the same seed is the same repository on every machine. */
export type Draw = Readonly<{
  below(n: number): number
  chance(p: number): boolean
  one<T>(of: readonly T[]): T
}>
export function drawFrom(seed: number): Draw {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number): number => Math.floor(next() * n)
  return {
    below,
    chance: (p) => next() < p,
    one: (of) => {
      const found = of[below(of.length)]
      if (found === undefined) throw new RangeError('nothing to draw from')
      return found
    },
  }
}
