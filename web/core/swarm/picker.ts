/**
 * Which pieces next: the rarest that the seller has and nobody fetches, ties in an order drawn from a seed, so that
 * buyers with equal views do not all start at the same piece. Free pieces lie in one bucket for each number of
 * holders; a change moves one piece, and picking walks the buckets from the rarest. Peers that have everything change
 * no order and are not counted.
 */

export type Picker = {
  readonly count: number
  /** Peers that have the piece, but those that have all. */
  readonly holders: Uint16Array
  /** The piece's place in its bucket; -1 when it is not free. */
  readonly slot: Int32Array
  readonly buckets: number[][]
  /** Pieces that are wanted and that nobody fetches. */
  free: number
  /** Of the generator for ties (mulberry32). */
  random: number
}

export function openPicker(count: number, seed: number): Picker {
  const picker: Picker = {
    count,
    holders: new Uint16Array(count),
    slot: new Int32Array(count).fill(-1),
    buckets: [[]],
    free: 0,
    random: seed >>> 0,
  }
  for (let piece = 0; piece < count; piece++) put(picker, piece)
  return picker
}

export const isFree = (picker: Picker, piece: number): boolean => picker.slot[piece] !== -1

/** Takes a piece out of what may be picked. */
export function take(picker: Picker, piece: number): void {
  const slot = picker.slot[piece] as number
  if (slot === -1) return
  const bucket = picker.buckets[picker.holders[piece] as number] as number[]
  const last = bucket.pop() as number
  if (last !== piece) {
    bucket[slot] = last
    picker.slot[last] = slot
  }
  picker.slot[piece] = -1
  picker.free--
}

/** Puts a piece (back) to what may be picked, at a random place among the equally rare. */
export function put(picker: Picker, piece: number): void {
  if (picker.slot[piece] !== -1) return
  const rarity = picker.holders[piece] as number
  while (picker.buckets.length <= rarity) picker.buckets.push([])
  const bucket = picker.buckets[rarity] as number[]
  const end = bucket.push(piece) - 1
  const at = Math.floor(draw(picker) * bucket.length)
  if (at !== end) {
    const other = bucket[at] as number
    bucket[end] = other
    picker.slot[other] = end
    bucket[at] = piece
  }
  picker.slot[piece] = at
  picker.free++
}

/** One peer more, or less, has the piece. */
export function count(picker: Picker, piece: number, by: 1 | -1): void {
  const free = isFree(picker, piece)
  if (free) take(picker, piece)
  picker.holders[piece] = Math.max(0, (picker.holders[piece] as number) + by)
  if (free) put(picker, piece)
}

/** How many have the rarest of the free pieces; infinite where none is free. */
export function rarestFree({ buckets }: Picker): number {
  const rarity = buckets.findIndex((bucket) => bucket.length > 0)
  return rarity === -1 ? Number.POSITIVE_INFINITY : rarity
}

/**
 * At most `most` free pieces that the peer has and `may` allows, rarest first; given ascending. Of the equally rare one
 * that is drawn brings its neighbours: they are read, sent and written together.
 */
export function pick(
  picker: Picker,
  peer: Readonly<{ has: Uint8Array; all: boolean }>,
  most: number,
  may?: (piece: number) => boolean,
): number[] {
  const picked = new Set<number>()
  const fits = (piece: number, rarity: number): boolean =>
    peer.has[piece] === 1 &&
    picker.holders[piece] === rarity &&
    isFree(picker, piece) &&
    !picked.has(piece) &&
    may?.(piece) !== false
  // What a peer has that does not have all is held by at least one that counts.
  for (let rarity = peer.all ? 0 : 1; rarity < picker.buckets.length; rarity++) {
    for (const drawn of picker.buckets[rarity] as number[]) {
      if (!fits(drawn, rarity)) continue
      for (let piece = drawn; picked.size < most && fits(piece, rarity); piece++) picked.add(piece)
      for (let piece = drawn - 1; picked.size < most && fits(piece, rarity); piece--) picked.add(piece)
      if (picked.size === most) return ascending(picked)
    }
  }
  return ascending(picked)
}

const ascending = (pieces: ReadonlySet<number>): number[] => [...pieces].sort((a, b) => a - b)

function draw(picker: Picker): number {
  picker.random = (picker.random + 0x6d2b79f5) >>> 0
  let t = Math.imul(picker.random ^ (picker.random >>> 15), picker.random | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
