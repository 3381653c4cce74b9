/**
 * The picker's rule (`picker.ts`) on bitsets, for worlds too large for a picker a device: of the pieces that are free and
 * that the seller has, one of those which the fewest peers have. A set is 4 words, one bit a piece.
 */

export const WORDS = 4
export const BITS = 32 * WORDS
/** Holders of each piece as a binary number, its lowest digits in the first plane: up to 127 peers. */
export const PLANES = 7

export const openPlanes = (): Uint32Array => new Uint32Array(PLANES * WORDS)

/** One peer more has what is in the set at `at`. */
export function countSet(planes: Uint32Array, sets: Uint32Array, at: number): void {
  for (let word = 0; word < WORDS; word++) carryInto(planes, word, sets[at + word] as number)
}

/** Two peers more: one full adder and one carry for both. */
export function countPair(planes: Uint32Array, sets: Uint32Array, a: number, b: number): void {
  for (let word = 0; word < WORDS; word++) {
    const ones = planes[word] as number
    const x = sets[a + word] as number
    const y = sets[b + word] as number
    const half = ones ^ x
    planes[word] = half ^ y
    carryInto(planes, word + WORDS, (ones & x) | (half & y))
  }
}

function carryInto(planes: Uint32Array, from: number, bits: number): void {
  let carry = bits
  for (let digit = from; carry !== 0 && digit < PLANES * WORDS; digit += WORDS) {
    const before = planes[digit] as number
    planes[digit] = before ^ carry
    carry &= before
  }
}

/** Leaves in `free` only the rarest; gives how many those are. */
export function keepRarest(free: Uint32Array, planes: Uint32Array): number {
  for (let digit = PLANES - 1; digit >= 0; digit--) {
    let any = 0
    for (let word = 0; word < WORDS; word++)
      any |= (free[word] as number) & ~(planes[digit * WORDS + word] as number)
    if (any === 0) continue
    for (let word = 0; word < WORDS; word++) free[word]! &= ~(planes[digit * WORDS + word] as number)
  }
  let count = 0
  for (let word = 0; word < WORDS; word++) count += bitsIn(free[word] as number)
  return count
}

/** The `n`th member of a set, from 0. */
export function memberAt(set: Uint32Array, n: number): number {
  let left = n
  for (let word = 0; word < WORDS; word++) {
    let bits = set[word] as number
    const here = bitsIn(bits)
    if (left >= here) {
      left -= here
      continue
    }
    for (; left > 0; left--) bits &= bits - 1
    return word * 32 + 31 - Math.clz32(bits & -bits)
  }
  return -1
}

export function bitsIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555)
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
