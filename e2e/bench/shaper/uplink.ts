/**
 * One peer's uplink: so many bytes a second in order of arrival, a finite queue that drops at its tail, a delay, and loss
 * drawn from a seed. Everything that the peer sends shares it, whatever the connection.
 */

export type UplinkOptions = Readonly<{
  name: string
  /** Bytes a second of UDP and TCP payload; no limit without it. */
  bytesPerS?: number
  /** What waits at most, in bytes; then packets are dropped. */
  queueBytes?: number
  /** One way, on top of the queue. */
  delayMs?: number
  /** Share of packets lost, 0 to 1. */
  loss?: number
}>

/** What went through, and what did not. */
export type UplinkCount = { bytes: number; packets: number; dropped: number }

/** A tenth of a second at 10 MB/s: what a home router has. */
export const DEFAULT_QUEUE_BYTES = 256 * 1024

/** Entries that are done with are cleared away so many at a time. */
const SWEEP = 1024

export class Uplink {
  readonly count: UplinkCount = { bytes: 0, packets: 0, dropped: 0 }
  readonly #options: UplinkOptions
  readonly #nowMs: () => number
  readonly #later: (run: () => void, ms: number) => void
  readonly #waiting: { dueMs: number; bytes: number; send: () => void }[] = []
  #head = 0
  #timed = false
  /** When the last byte taken so far has left. */
  #freeAtMs = 0
  #random: number

  constructor(
    options: UplinkOptions,
    nowMs: () => number = () => performance.now(),
    later: (run: () => void, ms: number) => void = (run, ms) => void setTimeout(run, ms),
    seed = 1,
  ) {
    this.#options = options
    this.#nowMs = nowMs
    this.#later = later
    this.#random = seed
  }

  /** Takes a packet; `send` is called when it has gone through. `false`: dropped. */
  packet(bytes: number, send: () => void): boolean {
    const { bytesPerS, queueBytes = DEFAULT_QUEUE_BYTES, loss = 0 } = this.#options
    if (loss > 0 && this.#draw() < loss) return this.#drop()
    if (bytesPerS !== undefined && this.#queuedBytes(bytesPerS) + bytes > queueBytes) return this.#drop()
    this.#take(bytes, send)
    return true
  }

  /** Takes bytes of a stream, which waits and is never dropped. */
  stream(bytes: number): Promise<void> {
    return new Promise((done) => this.#take(bytes, done))
  }

  #take(bytes: number, send: () => void): void {
    const { bytesPerS, delayMs = 0 } = this.#options
    const nowMs = this.#nowMs()
    this.#freeAtMs =
      Math.max(nowMs, this.#freeAtMs) + (bytesPerS === undefined ? 0 : (bytes / bytesPerS) * 1000)
    const dueMs = this.#freeAtMs + delayMs
    if (dueMs <= nowMs && this.#head === this.#waiting.length) return this.#send(bytes, send)
    this.#waiting.push({ dueMs, bytes, send })
    this.#plan(nowMs)
  }

  #plan(nowMs: number): void {
    const next = this.#waiting[this.#head]
    if (this.#timed || next === undefined) return
    this.#timed = true
    this.#later(() => this.#release(), Math.max(0, next.dueMs - nowMs))
  }

  #release(): void {
    this.#timed = false
    const nowMs = this.#nowMs()
    for (
      let next = this.#waiting[this.#head];
      next !== undefined && next.dueMs <= nowMs;
      next = this.#waiting[this.#head]
    ) {
      this.#head++
      this.#send(next.bytes, next.send)
    }
    if (this.#head > SWEEP) {
      this.#waiting.splice(0, this.#head)
      this.#head = 0
    }
    this.#plan(nowMs)
  }

  #send(bytes: number, send: () => void): void {
    this.count.bytes += bytes
    this.count.packets++
    send()
  }

  #queuedBytes(bytesPerS: number): number {
    return (Math.max(0, this.#freeAtMs - this.#nowMs()) / 1000) * bytesPerS
  }

  #drop(): false {
    this.count.dropped++
    return false
  }

  /** Mulberry32. */
  #draw(): number {
    this.#random = (this.#random + 0x6d2b79f5) | 0
    let t = Math.imul(this.#random ^ (this.#random >>> 15), 1 | this.#random)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
