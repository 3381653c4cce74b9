/**
 * The picker's rule (`picker.ts`) on bitsets, for worlds too large for a picker a device: of the pieces that are free and
 * that the seller has, one of those which the fewest peers have. A set is 4 words, one bit a piece; sets lie one after
 * the other, and a peer is the number of its set.
 */

export const WORDS = 4
export const BITS = 32 * WORDS

/** Which peers have a piece: one bit a peer, `stride` words a piece. Few pieces are asked after at a time: they stay in the cache. */
export type Holders = Readonly<{ bits: Uint32Array; stride: number }>

export function openHolders(peers: number): Holders {
  const stride = Math.ceil(peers / 32)
  return { bits: new Uint32Array(BITS * stride), stride }
}

export function hold({ bits, stride }: Holders, peer: number, piece: number): void {
  bits[piece * stride + (peer >>> 5)]! |= 1 << (peer & 31)
}

/**
 * Leaves in `free` only the rarest; gives how many those are. Counted are the peers at `from` up to, not with, `end` of
 * `peers`. Few pieces are free as a rule, so each is counted by itself.
 */
export function keepRarest(
  free: Uint32Array,
  { bits, stride }: Holders,
  peers: Int32Array,
  from: number,
  end: number,
): number {
  const members = membersIn(free)
  // A single one is the rarest whoever has it.
  if (members < 2) return members
  let least = Number.POSITIVE_INFINITY
  let count = 0
  for (let word = 0; word < WORDS; word++) {
    let rarest = 0
    for (let left = free[word] as number; left !== 0; left &= left - 1) {
      const bit = lowestIn(left)
      const start = (word * 32 + bit) * stride
      let holders = 0
      for (let at = from; at < end; at++) {
        const peer = peers[at] as number
        holders += ((bits[start + (peer >>> 5)] as number) >>> (peer & 31)) & 1
      }
      if (holders > least) continue
      if (holders < least) {
        least = holders
        rarest = count = 0
        free.fill(0, 0, word)
      }
      rarest |= 1 << bit
      count++
    }
    free[word] = rarest
  }
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
    return word * 32 + lowestIn(bits)
  }
  return -1
}

function membersIn(set: Uint32Array): number {
  let count = 0
  for (let word = 0; word < WORDS; word++) count += bitsIn(set[word] as number)
  return count
}

const lowestIn = (bits: number): number => 31 - Math.clz32(bits & -bits)

function bitsIn(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555)
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
