/**
 * The coarse simulator: up to a million devices, 128 equal pieces, one purchase a step. The product's picker decides the
 * piece (on bitsets), its turn decides whom the first full copy serves; a device asks its neighbours in an order that is drawn.
 *
 * Each node uploads one piece a step, and a piece that came in a step goes on in the next. A device knows its
 * `DEGREE` neighbours and what they have, nothing else; within a step it asks one after the other until one is free.
 */
import { whoseTurn, type Waiting } from '../../web/core/exchange/turn.ts'
import {
  BITS,
  hold,
  keepRarest,
  memberAt,
  openHolders,
  WORDS,
  type Holders,
} from '../../web/core/swarm/picker-bits.ts'
import { Random } from './random.ts'

/** Peers that a device knows: what trackers and WebRTC give it. Even. */
const DEGREE = 32
/** Pieces that a device takes in a step at most: lines are faster down than up. */
const DOWN = 4
/** Words of 4 bytes. */
const CACHE_LINE = 16
/** Sellers whose rows are read together. */
const AHEAD = 32
const MOST_STEPS = 10 * BITS

export type Makespan = Readonly<{
  devices: number
  pieces: number
  /** Until the last device has everything. */
  steps: number
  /** M + floor(log2 N): no schedule is faster, whatever it knows. */
  bound: number
  /** max(F/u_s, F/d_min, N·F/(u_s + Σu_i)) in steps. */
  fluid: number
  ratio: number
  /** Of who took what, in that order: the same for the same seed. */
  digest: string
  seconds: number
}>

/** One seller with everything, `devices` that resell what they have. */
export function simMakespan({ devices, seed }: Readonly<{ devices: number; seed: number }>): Makespan {
  const startedMs = performance.now()
  const { steps, digest } = new Coarse(devices, seed).run()
  const bound = BITS + Math.floor(Math.log2(devices))
  const fluid = Math.max(BITS, BITS / DOWN, (devices * BITS) / (devices + 1))
  const seconds = (performance.now() - startedMs) / 1000
  return { devices, pieces: BITS, steps, bound, fluid, ratio: steps / bound, digest, seconds }
}

class Coarse {
  readonly #count: number
  readonly #random: Random
  /** Node 0 has everything. Each row: a node's neighbours. */
  readonly #neighbours: Int32Array
  readonly #have: Uint32Array
  /** What each had when the step began: only that can be sold in it. */
  readonly #before: Uint32Array
  /** By piece, when the step began, and now. */
  readonly #holders: Holders
  readonly #holdersNow: Holders
  readonly #taken: Uint8Array
  readonly #held: Uint8Array
  readonly #free = new Uint32Array(WORDS)
  readonly #read = new Int32Array(1)
  readonly #served = new Uint32Array(BITS)
  #complete = 0
  #digest = 0

  constructor(devices: number, seed: number) {
    this.#count = devices + 1
    this.#random = new Random(`coarse ${seed}`)
    this.#neighbours = this.#meet()
    this.#have = new Uint32Array(this.#count * WORDS)
    this.#have.fill(0xffffffff, 0, WORDS)
    this.#before = new Uint32Array(this.#count * WORDS)
    this.#holders = openHolders(this.#count)
    this.#holdersNow = openHolders(this.#count)
    for (let piece = 0; piece < BITS; piece++) hold(this.#holdersNow, 0, piece)
    this.#taken = new Uint8Array(this.#count)
    this.#held = new Uint8Array(this.#count)
    this.#held[0] = BITS
  }

  /** Everybody knows `DEGREE` others at random: the union of random rings. */
  #meet(): Int32Array {
    const neighbours = new Int32Array(this.#count * DEGREE)
    const ring = Int32Array.from({ length: this.#count }, (_, i) => i)
    for (let k = 0; k < DEGREE; k += 2) {
      this.#shuffle(ring)
      for (let i = 0; i < this.#count; i++) {
        const a = ring[i] as number
        const b = ring[(i + 1) % this.#count] as number
        neighbours[a * DEGREE + k] = b
        neighbours[b * DEGREE + k + 1] = a
      }
    }
    return neighbours
  }

  #shuffle(list: Int32Array): void {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.#random.u32() % (i + 1)
      const swap = list[i] as number
      list[i] = list[j] as number
      list[j] = swap
    }
  }

  run(): { steps: number; digest: string } {
    const order = Int32Array.from({ length: this.#count }, (_, i) => i)
    for (let step = 1; step <= MOST_STEPS; step++) {
      this.#before.set(this.#have)
      this.#holders.bits.set(this.#holdersNow.bits)
      this.#taken.fill(0)
      this.#shuffle(order)
      this.#sellAll(step)
      for (let at = 0; at < order.length; at++) {
        if (at % AHEAD === 0) this.#readAhead(order, at)
        const seller = order[at] as number
        if (seller !== 0 && this.#held[seller] !== 0) this.#sellOne(seller)
      }
      if (this.#complete === this.#count - 1) return { steps: step, digest: this.#digestText() }
    }
    throw new Error('not done in any reasonable time')
  }

  #digestText(): string {
    return (this.#digest >>> 0).toString(16).padStart(8, '0')
  }

  /** The full copy: all its neighbours ask, the product's turn decides. */
  #sellAll(step: number): void {
    const waiting: (Waiting & { buyer: number })[] = []
    const from = this.#random.u32() % DEGREE
    for (let k = 0; k < DEGREE; k++) {
      const buyer = this.#neighbours[(from + k) % DEGREE] as number
      if (this.#wants(buyer, 0)) waiting.push({ buyer, pieces: [this.#pick(buyer)], sinceMs: step })
    }
    const chosen = waiting[whoseTurn(waiting, this.#served, step)]
    const piece = chosen?.pieces[0]
    if (chosen === undefined || piece === undefined) return
    this.#served[piece]!++
    this.#take(chosen.buyer, piece)
  }

  /** Rows of a large world come from far: those that are read together are waited for once. */
  #readAhead(order: Int32Array, from: number): void {
    const end = Math.min(from + AHEAD, order.length)
    let read = 0
    for (let at = from; at < end; at++) {
      const seller = order[at] as number
      read ^= this.#before[seller * WORDS] as number
      for (let k = 0; k < DEGREE; k += CACHE_LINE) read ^= this.#neighbours[seller * DEGREE + k] as number
    }
    // What is used nowhere would not be read.
    this.#read[0] = read
  }

  /** A device sells to the first that asks: its neighbours come in a random order. */
  #sellOne(seller: number): void {
    const neighbours = this.#neighbours
    const taken = this.#taken
    const row = seller * DEGREE
    let k = this.#random.u32() % DEGREE
    for (let left = DEGREE; left > 0; left--, k = k + 1 === DEGREE ? 0 : k + 1) {
      const buyer = neighbours[row + k] as number
      if (taken[buyer] !== DOWN && this.#wants(buyer, seller)) return this.#take(buyer, this.#pick(buyer))
    }
  }

  /** Whether the seller has what the buyer has not; that is in `#free` then. */
  #wants(buyer: number, seller: number): boolean {
    const before = this.#before
    const have = this.#have
    const free = this.#free
    let any = 0
    for (let word = 0; word < WORDS; word++) {
      const wanted = (before[seller * WORDS + word] as number) & ~(have[buyer * WORDS + word] as number)
      free[word] = wanted
      any |= wanted
    }
    return any !== 0
  }

  /** What this device asks for: of what is in `#free` the rarest, by what its own neighbours have. */
  #pick(buyer: number): number {
    const from = buyer * DEGREE
    const count = keepRarest(this.#free, this.#holders, this.#neighbours, from, from + DEGREE)
    return memberAt(this.#free, this.#random.u32() % count)
  }

  #take(buyer: number, piece: number): void {
    this.#have[buyer * WORDS + (piece >> 5)]! |= 1 << (piece & 31)
    hold(this.#holdersNow, buyer, piece)
    this.#taken[buyer]!++
    if (++this.#held[buyer]! === BITS) this.#complete++
    this.#digest = Math.imul(this.#digest ^ (buyer * BITS + piece), 0x01000193)
  }
}
