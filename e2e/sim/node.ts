/**
 * One party of the world: its key, its line, its disk, and the part it plays. A crash ends its life and everything that
 * was not on disk; a write that was under way may or may not have made it.
 */
import type { Bank, Lookup } from './bank.ts'
import { Life, wait, type Clock, type Job, type Wait } from './clock.ts'
import { Port, type End, type Line, type Side } from './net.ts'
import type { Frame, Party, Ports } from './ports.ts'
import type { Random } from './random.ts'
import type { NodeId, Seen } from './trace.ts'
import type { Role } from '../../web/core/exchange/message.ts'
import type { Bytes } from '../../web/core/bytes.ts'

/** What a buyer or a seller does with what happens; made anew with each life. */
export interface Part {
  start(): void
  joined(side: Side): void
  message(side: Side, frame: Frame): void
  gone(side: Side): void
}

export type Things = Readonly<{
  clock: Clock
  bank: Bank
  ports: Ports
  see: Seen
  /** Nostr: everybody hears a proof. */
  accuse: (proof: Bytes, by: NodeId) => void
}>

/** Records and pieces: durable when `resume` is called. */
export class Disk {
  readonly records = new Map<string, unknown>()
  readonly pieces = new Map<number, Bytes>()
  readonly #pending = new Set<() => void>()
  readonly #things: Things
  readonly #syncMs: number

  constructor(things: Things, syncMs: number) {
    this.#things = things
    this.#syncMs = syncMs
  }
  put(key: string, value: unknown): Wait<undefined> {
    return this.#write(() => this.records.set(key, value))
  }
  delete(key: string): Wait<undefined> {
    return this.#write(() => this.records.delete(key))
  }
  keep(piece: number, bytes: Bytes): Wait<undefined> {
    return this.#write(() => this.pieces.set(piece, bytes))
  }
  *keys(prefix: string): Generator<string> {
    for (const key of this.records.keys()) if (key.startsWith(prefix)) yield key
  }
  /** Writes under way make it, or not. */
  crash(random: Random): void {
    const pending = [...this.#pending]
    this.#pending.clear()
    for (const write of pending) if (random.chance(0.5)) write()
  }
  #write(commit: () => void): Wait<undefined> {
    return (resume) => {
      this.#pending.add(commit)
      this.#things.clock.after(this.#syncMs, () => {
        if (!this.#pending.delete(commit)) return
        commit()
        resume(undefined)
      })
    }
  }
}

export type NodeOptions = Readonly<{
  role: Role
  line: Line
  syncMs: number
  full: boolean
  /** Chance of a crash at each of its steps, while there is chaos. */
  crashes: number
}>

export class Node implements End {
  readonly id: NodeId
  party: Party
  readonly options: NodeOptions
  readonly things: Things
  readonly random: Random
  readonly port: Port
  readonly disk: Disk
  life: Life
  parts: Part[] = []
  /** What it plays, made anew after each crash. */
  makeParts: (node: Node) => Part[] = () => []
  chaos = false
  crashCount = 0
  onCrash: (node: Node) => void = () => undefined
  onGone: (side: Side) => void = () => undefined

  constructor(id: NodeId, party: Party, options: NodeOptions, things: Things, random: Random) {
    this.id = id
    this.party = party
    this.options = options
    this.things = things
    this.random = random
    this.port = new Port(things.clock, random.stream('line'), options.line, this)
    this.disk = new Disk(things, options.syncMs)
    this.life = new Life(() => this.#hazard())
    this.life.alive = false
    if (options.full)
      for (let piece = 0; piece < this.pieces; piece++)
        this.disk.pieces.set(piece, things.ports.genuine(piece))
  }

  get pieces(): number {
    const { length, pieceLength } = this.things.ports.shape
    return Math.ceil(length / pieceLength)
  }
  get nowMs(): number {
    return this.things.clock.nowMs
  }

  start(): void {
    this.life = new Life(() => this.#hazard())
    this.things.see({ t: 'started', node: this.id }, this.nowMs)
    this.parts = this.makeParts(this)
    for (const part of this.parts) part.start()
  }

  crash(): void {
    if (!this.life.alive) return
    this.life.alive = false
    this.crashCount++
    this.things.see({ t: 'crashed', node: this.id }, this.nowMs)
    this.things.bank.deafen(this.id)
    this.disk.crash(this.random)
    this.parts = []
    for (const side of [...this.port.sides.values()]) this.port.cut(side, this.random.pick([0, 100, 20_000]))
    this.onCrash(this)
  }

  /** Repeats until this life ends. */
  every(ms: number, run: () => void): void {
    const { life } = this
    const again = (): void => {
      if (!life.alive) return
      run()
      this.things.clock.after(ms, again)
    }
    this.things.clock.after(ms, again)
  }
  /** A call that does nothing when this life has ended meanwhile. */
  living<T extends unknown[]>(run: (...values: T) => void): (...values: T) => void {
    const { life } = this
    return (...values) => {
      if (life.alive) run(...values)
    }
  }

  /** What its wallet knows of a payment or an invoice. */
  *lookUp(hash: string): Job<Lookup> {
    return yield* wait<Lookup>((resume) => this.things.bank.lookUp(this.id, hash, resume))
  }

  has(piece: number): boolean {
    return this.disk.pieces.has(piece)
  }
  /** Proven and on disk: told to everybody. */
  announce(pieces: readonly number[]): void {
    for (const side of this.port.sides.values()) this.send(side, { t: 'have', pieces })
  }

  send(side: Side, frame: Frame, sent?: (ok: boolean) => void): void {
    const packed = this.things.ports.pack(frame)
    side.send(packed.frame, packed.size, sent)
  }
  joined(side: Side): void {
    for (const part of this.parts) part.joined(side)
  }
  message(side: Side, packed: Frame): void {
    const frame = this.things.ports.unpack(packed)
    if (frame === undefined) return
    if (frame === 'bad') return this.port.cut(side, 0)
    for (const part of this.parts) part.message(side, frame)
  }
  gone(side: Side): void {
    for (const part of this.parts) part.gone(side)
    this.onGone(side)
  }

  #hazard(): boolean {
    if (!this.chaos || !this.random.chance(this.options.crashes)) return false
    this.crash()
    return true
  }
}
