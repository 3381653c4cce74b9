/**
 * The coarse simulator: up to a million devices, 128 equal pieces, one purchase a step. The product's picker decides the
 * piece (on bitsets), its order of sellers decides whom a device asks first, its turn decides whom a full copy serves first.
 *
 * Each node uploads one piece a step, and a piece that came in a step goes on in the next. A device knows its
 * `DEGREE` neighbours and what they have, nothing else; within a step it asks one after the other until one is free.
 */
import { whoseTurn, type Waiting } from '../../web/core/exchange/turn.ts'
import { BITS, countPair, keepRarest, memberAt, openPlanes, WORDS } from '../../web/core/swarm/picker-bits.ts'
import { Random } from './random.ts'

/** Peers that a device knows: what trackers and WebRTC give it. Even. */
const DEGREE = 32
/** Pieces that a device takes in a step at most: lines are faster down than up. */
const DOWN = 4
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
  seconds: number
}>

/** One seller with everything, `devices` that resell what they have. */
export function simMakespan({ devices, seed }: Readonly<{ devices: number; seed: number }>): Makespan {
  const startedMs = performance.now()
  const steps = new Coarse(devices, seed).run()
  const bound = BITS + Math.floor(Math.log2(devices))
  const fluid = Math.max(BITS, BITS / DOWN, (devices * BITS) / (devices + 1))
  const seconds = (performance.now() - startedMs) / 1000
  return { devices, pieces: BITS, steps, bound, fluid, ratio: steps / bound, seconds }
}

class Coarse {
  readonly #count: number
  readonly #random: Random
  /** Node 0 has everything. Each row: a node's neighbours. */
  readonly #neighbours: Int32Array
  readonly #have: Uint32Array
  /** What each had when the step began: only that can be sold in it. */
  readonly #before: Uint32Array
  readonly #taken: Uint8Array
  readonly #held: Uint8Array
  readonly #planes = openPlanes()
  readonly #free = new Uint32Array(WORDS)
  readonly #served = new Uint32Array(BITS)
  #complete = 0

  constructor(devices: number, seed: number) {
    this.#count = devices + 1
    this.#random = new Random(`coarse ${seed}`)
    this.#neighbours = this.#meet()
    this.#have = new Uint32Array(this.#count * WORDS)
    this.#have.fill(0xffffffff, 0, WORDS)
    this.#before = new Uint32Array(this.#count * WORDS)
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

  run(): number {
    const order = Int32Array.from({ length: this.#count }, (_, i) => i)
    for (let step = 1; step <= MOST_STEPS; step++) {
      this.#before.set(this.#have)
      this.#taken.fill(0)
      this.#shuffle(order)
      this.#sellAll(step)
      for (const seller of order) if (seller !== 0 && this.#held[seller] !== 0) this.#sellOne(seller)
      if (this.#complete === this.#count - 1) return step
    }
    throw new Error('not done in any reasonable time')
  }

  /** The full copy: all its neighbours ask, the product's turn decides. */
  #sellAll(step: number): void {
    const waiting: (Waiting & { buyer: number })[] = []
    const from = this.#random.u32() % DEGREE
    for (let k = 0; k < DEGREE; k++) {
      const buyer = this.#neighbours[(from + k) % DEGREE] as number
      const piece = this.#pick(buyer, 0)
      if (piece !== -1) waiting.push({ buyer, pieces: [piece], sinceMs: step })
    }
    const chosen = waiting[whoseTurn(waiting, this.#served, step)]
    const piece = chosen?.pieces[0]
    if (chosen === undefined || piece === undefined) return
    this.#served[piece]!++
    this.#take(chosen.buyer, piece)
  }

  /** A device sells to the first that asks: its neighbours come in a random order. */
  #sellOne(seller: number): void {
    const neighbours = this.#neighbours
    const taken = this.#taken
    const row = seller * DEGREE
    let k = this.#random.u32() % DEGREE
    for (let left = DEGREE; left > 0; left--, k = k + 1 === DEGREE ? 0 : k + 1) {
      const buyer = neighbours[row + k] as number
      if (taken[buyer] === DOWN) continue
      const piece = this.#pick(buyer, seller)
      if (piece !== -1) return this.#take(buyer, piece)
    }
  }

  /** What this device would ask of this seller: the rarest, by what its own neighbours have; -1: nothing. */
  #pick(buyer: number, seller: number): number {
    const before = this.#before
    const have = this.#have
    const free = this.#free
    let any = 0
    for (let word = 0; word < WORDS; word++) {
      const wanted = (before[seller * WORDS + word] as number) & ~(have[buyer * WORDS + word] as number)
      free[word] = wanted
      any |= wanted
    }
    if (any === 0) return -1
    const planes = this.#planes
    const neighbours = this.#neighbours
    planes.fill(0)
    const end = (buyer + 1) * DEGREE
    for (let at = buyer * DEGREE; at < end; at += 2)
      countPair(planes, before, (neighbours[at] as number) * WORDS, (neighbours[at + 1] as number) * WORDS)
    return memberAt(free, this.#random.u32() % keepRarest(free, planes))
  }

  #take(buyer: number, piece: number): void {
    this.#have[buyer * WORDS + (piece >> 5)]! |= 1 << (piece & 31)
    this.#taken[buyer]!++
    if (++this.#held[buyer]! === BITS) this.#complete++
  }
}
