/**
 * A second data channel on a peer's connection, for ciphertext and the frames about it: it spares the bytes webtorrent's wire, its streams
 * and simple-peer's copies. The channel is negotiated (same number on both sides), so no `datachannel` event reaches
 * simple-peer. Works alike in tabs and, through webrtc-polyfill, in Node.
 */
import type { Connection } from '#webtorrent'
import type { Bytes } from '../../core/bytes.ts'
import {
  LANE_HEADER,
  LANE_PAYLOAD,
  LANE_STREAM,
  laneFrame,
  MAX_LANE_MESSAGE,
  lanePayload,
  readLane,
  writeLaneHeader,
  type Data,
} from '../../core/exchange/lane.ts'
import { MessageError } from '../../core/exchange/message.ts'
import { BLOCK } from '../../core/swarm/merkle.ts'
import { free } from './buffers.ts'

/** What waits in the channel goes out within about this time: frames are queued behind it. */
const AHEAD_MS = 200
/** Bytes that may wait in the channel; it is filled again when half of them have gone. */
const HIGH_WATER = { least: 256 * 1024, most: 4 * 1024 * 1024 } as const
/** A message is at most this part of it: on a slow line what comes in large pieces looks like silence. */
const PARTS = 8

type PeerConnection = NonNullable<Connection['_pc']>

/** Messages are copied by `send` before it returns, so that all lanes may share one buffer. */
const scratch = new Uint8Array(LANE_HEADER + LANE_PAYLOAD)

export type LaneEvents = Readonly<{
  /** Its bytes are there for the length of the call. */
  data(data: Data): void
  /** A frame as on the wire. */
  frame(bytes: Bytes): void
  /** What came is no message of the lane. */
  spoilt(why: string): void
}>

/** Longest message that this side takes; 0: no lanes here. */
export const laneLimit = (connection: PeerConnection | null | undefined): number => {
  if (!connection?.createDataChannel) return 0
  return Math.min(MAX_LANE_MESSAGE, connection.sctp?.maxMessageSize ?? MAX_LANE_MESSAGE)
}

export class Lane {
  readonly #channel: RTCDataChannel
  readonly #payload: number
  readonly #longest: number
  #waiting: (() => void)[] = []
  #highWater: number = HIGH_WATER.least
  /** When it was found full, and how full. */
  #full: Readonly<{ atMs: number; bytes: number }> | undefined

  /** Opens it on this side. `longest`: what the other side takes. @throws when the connection is no more */
  constructor(connection: PeerConnection, longest: number, events: LaneEvents) {
    this.#longest = Math.min(longest, laneLimit(connection))
    this.#payload = lanePayload(this.#longest)
    const channel = connection.createDataChannel?.('satpatch', { negotiated: true, id: LANE_STREAM })
    if (channel === undefined) throw new TypeError('no data channels here')
    this.#channel = channel
    channel.binaryType = 'arraybuffer'
    channel.bufferedAmountLowThreshold = this.#highWater / 2
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (!(data instanceof ArrayBuffer)) return events.spoilt('sent text on the lane')
      let read: ReturnType<typeof readLane>
      try {
        read = readLane(new Uint8Array(data) as Bytes)
      } catch (error) {
        if (!(error instanceof MessageError)) throw error
        return events.spoilt(error.message)
      }
      if (read.t === 'frame') return events.frame(read.bytes)
      events.data(read)
      free(read.bytes)
    }
    channel.onbufferedamountlow = () => {
      this.#measure()
      this.#wake()
    }
    channel.onclose = () => this.#wake()
    // The connection's own error ends the peer; without a listener Node would end the process.
    channel.onerror = () => this.#wake()
  }

  /** Bytes of ciphertext in one message. */
  get payload(): number {
    return Math.min(this.#payload, Math.floor(this.#highWater / PARTS / BLOCK) * BLOCK)
  }

  /** Bytes that may wait in it: what goes out within about `AHEAD_MS`. */
  get highWater(): number {
    return this.#highWater
  }

  get open(): boolean {
    return this.#channel.readyState === 'open'
  }

  /** At most `payload` bytes. */
  send(id: number, at: number, bytes: Uint8Array): void {
    const message = bytes.length === LANE_PAYLOAD ? scratch : new Uint8Array(LANE_HEADER + bytes.length)
    writeLaneHeader(message, id, at)
    message.set(bytes, LANE_HEADER)
    // As a whole buffer: of a view the polyfill makes one copy more.
    this.#channel.send(message.buffer)
  }

  /** False: it does not fit, nothing was sent. */
  sendFrame(frame: Uint8Array): boolean {
    const message = laneFrame(frame)
    if (!this.open || message.length > this.#longest) return false
    try {
      this.#channel.send(message.buffer)
      return true
    } catch {
      return false // closed, and not said so yet
    }
  }

  /** Bytes of frames that wait in it, at least: of ciphertext there is no more than the high water and a message. */
  get framesWaiting(): number {
    return Math.max(0, this.#channel.bufferedAmount - HIGH_WATER.most - LANE_PAYLOAD)
  }

  /** Resolves when there is room again, or the lane is closed. */
  async drained(): Promise<void> {
    while (this.open && this.#channel.bufferedAmount > this.#highWater) {
      this.#full ??= { atMs: performance.now(), bytes: this.#channel.bufferedAmount }
      await new Promise<void>((done) => this.#waiting.push(done))
    }
  }

  /** At most doubles: the first bytes vanish into the buffers below at once. */
  #measure(): void {
    if (this.#full === undefined) return
    const { atMs, bytes } = this.#full
    this.#full = undefined
    const rate = (bytes - this.#channel.bufferedAmount) / Math.max(1, performance.now() - atMs)
    const { least, most } = HIGH_WATER
    this.#highWater = Math.min(most, 2 * this.#highWater, Math.max(least, rate * AHEAD_MS))
    this.#channel.bufferedAmountLowThreshold = this.#highWater / 2
  }

  close(): void {
    this.#wake()
    this.#channel.onmessage = null
    if (this.#channel.readyState === 'open') this.#channel.close()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const go of waiting) go()
  }
}
