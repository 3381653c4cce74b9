/**
 * The virtual network: nodes with an uplink and a downlink of finite rate, wires between them that are reliable and in
 * order (as data channels are: loss shows as delay), and that may break, at once for one end and later for the other.
 */
import type { Clock } from './clock.ts'
import type { Random } from './random.ts'
import type { Frame } from './ports.ts'

export type Line = Readonly<{
  upBps: number
  downBps: number
  /** One way to the middle of the network. */
  delayMs: number
  /** Part of the frames that have to be sent again. */
  loss: number
}>

/** What stands at one end of a wire. */
export interface End {
  message(side: Side, frame: Frame): void
  gone(side: Side): void
}

type Parcel = Readonly<{ frame: Frame; bytes: number; sent: ((ok: boolean) => void) | undefined }>

/**
 * Bytes of one wire on their way: a slow taker must not keep the sender's uplink busy with what it cannot take. Of a narrow
 * line less, as congestion control finds out.
 */
const IN_FLIGHT = 512 * 1024
const IN_FLIGHT_S = 2.5
const inFlightTo = ({ other }: Side): number => Math.min(IN_FLIGHT, IN_FLIGHT_S * other.port.line.downBps)
/** Below this a frame is not worth a place in the queues of the lines. */
const SMALL = 1500

/** One end of a wire, as its owner sees it. */
export class Side {
  readonly id: string
  readonly port: Port
  readonly key: string
  other!: Side
  open = true
  queue: Parcel[] = []
  inFlight = 0
  ringed = false
  /** Since when more waits to be sent than the other end takes. */
  fullSinceMs = Number.POSITIVE_INFINITY
  lastArrivalMs = 0
  lastReadyMs = 0

  /** `key`: the proven key of the party at the other end. */
  constructor(id: string, port: Port, key: string) {
    this.id = id
    this.port = port
    this.key = key
  }

  /** Hands a frame to the uplink; `sent` is told when it has left, or that the wire is gone. */
  send(frame: Frame, bytes: number, sent?: (ok: boolean) => void): void {
    if (!this.open) return void sent?.(false)
    if (bytes <= SMALL && this.queue.length === 0) {
      this.port.fly(this, frame, bytes)
      return void sent?.(true)
    }
    this.queue.push({ frame, bytes, sent })
    this.port.ring(this)
  }
}

/** A node's place in the network. */
export class Port {
  readonly line: Line
  readonly sides = new Map<string, Side>()
  readonly #clock: Clock
  readonly #random: Random
  readonly end: End
  #ring: Side[] = []
  #sending = false
  #downFreeMs = 0
  sentBytes = 0

  constructor(clock: Clock, random: Random, line: Line, end: End) {
    this.#clock = clock
    this.#random = random
    this.line = line
    this.end = end
  }

  ring(side: Side): void {
    if (side.ringed || !side.open || side.queue.length === 0) return
    if (side.inFlight >= inFlightTo(side)) {
      side.fullSinceMs = Math.min(side.fullSinceMs, this.#clock.nowMs)
      return
    }
    side.ringed = true
    this.#ring.push(side)
    this.#pump()
  }

  /** Wires take turns, frame by frame. */
  #pump(): void {
    while (!this.#sending) {
      const side = this.#ring.shift()
      if (side === undefined) return
      side.ringed = false
      const parcel = side.open ? side.queue.shift() : undefined
      if (parcel === undefined) continue
      this.#sending = true
      side.inFlight += parcel.bytes
      this.#clock.after((parcel.bytes * 1000) / this.line.upBps, () => {
        this.#sending = false
        this.sentBytes += parcel.bytes
        if (side.open) {
          this.fly(side, parcel.frame, parcel.bytes)
          parcel.sent?.(true)
          this.ring(side)
        } else parcel.sent?.(false)
        this.#pump()
      })
    }
  }

  /** From the uplink's end to the other node's hands. */
  fly(side: Side, frame: Frame, bytes: number): void {
    const there = side.other.port
    let delayMs = this.line.delayMs + there.line.delayMs
    const loss = this.line.loss + there.line.loss
    if (loss > 0)
      for (let tries = 0; tries < 5 && this.#random.chance(loss); tries++) delayMs += 2 * delayMs + 200
    const arrivalMs = Math.max(this.#clock.nowMs + delayMs, side.lastArrivalMs)
    side.lastArrivalMs = arrivalMs
    this.#clock.after(arrivalMs - this.#clock.nowMs, () => {
      const takenMs = bytes > SMALL ? there.#take(bytes) : 0
      // Small frames must not overtake large ones of the same wire.
      const readyMs = Math.max(this.#clock.nowMs + takenMs, side.lastReadyMs)
      side.lastReadyMs = readyMs
      if (readyMs <= this.#clock.nowMs) return this.#deliver(side, frame, bytes)
      this.#clock.after(readyMs - this.#clock.nowMs, () => this.#deliver(side, frame, bytes))
    })
  }

  #deliver(side: Side, frame: Frame, bytes: number): void {
    if (bytes > SMALL) {
      const full = side.inFlight >= inFlightTo(side)
      side.inFlight -= bytes
      side.fullSinceMs = Number.POSITIVE_INFINITY
      if (full) this.ring(side)
    }
    if (side.other.open) side.other.port.end.message(side.other, frame)
  }

  /** How long until so many bytes have come down the line, behind those that are before them. */
  #take(bytes: number): number {
    const { nowMs } = this.#clock
    this.#downFreeMs = Math.max(this.#downFreeMs, nowMs) + (bytes * 1000) / this.line.downBps
    return this.#downFreeMs - nowMs
  }

  /** Ends a wire here now, and at the other end when it notices. */
  cut(side: Side, noticedAfterMs: number): void {
    if (!side.open) return
    this.forget(side)
    this.#clock.after(noticedAfterMs, () => {
      if (side.other.open) side.other.port.forget(side.other)
    })
  }

  forget(side: Side): void {
    side.open = false
    this.sides.delete(side.id)
    const queue = side.queue
    side.queue = []
    this.end.gone(side)
    for (const parcel of queue) parcel.sent?.(false)
  }
}
