/**
 * The lane: a data channel of its own for ciphertext, beside the wire on the same connection. PROTOCOL.md "The lane".
 * A message is the window's number and the offset in it, four bytes each, big-endian, then whole blocks; or `FRAME_MARK`,
 * zero, and a frame as on the wire, which a busy lane would keep waiting.
 */
import type { Bytes } from '../bytes.ts'
import { BLOCK } from '../swarm/merkle.ts'
import { MessageError, type Message } from './message.ts'
import { MAX_WINDOW_BYTES } from './quote.ts'

/**
 * Both sides open the channel with this number by themselves (RFC 8831 6.1); the wire has 0 or 1. A low one: usrsctp looks
 * through all streams below it with each packet.
 */
export const LANE_STREAM = 2
export const LANE_HEADER = 8
/** The longest that browsers take (`a=max-message-size`). */
export const MAX_LANE_MESSAGE = 262_144
/** What is sent where the other side takes it: a larger one gains nothing, and fits no 256 KiB with its header. */
export const LANE_PAYLOAD = 8 * BLOCK

/** In place of a window's number. */
const FRAME_MARK = 2 ** 32 - 1

export type Data = Extract<Message, { t: 'data' }>

/** Bytes of ciphertext in a message to a peer that takes messages of `longest`; none: too short for a lane. */
export const lanePayload = (longest: number): number =>
  Math.min(LANE_PAYLOAD, Math.floor((longest - LANE_HEADER) / BLOCK) * BLOCK)

export function writeLaneHeader(into: Uint8Array<ArrayBuffer>, id: number, at: number): void {
  const view = new DataView(into.buffer, into.byteOffset)
  view.setUint32(0, id)
  view.setUint32(4, at)
}

/** A frame of the wire as a message of the lane. */
export function laneFrame(frame: Uint8Array): Bytes {
  const message = new Uint8Array(LANE_HEADER + frame.length)
  writeLaneHeader(message, FRAME_MARK, 0)
  message.set(frame, LANE_HEADER)
  return message
}

/** `bytes` share the message's memory. @throws MessageError */
export function readLane(message: Bytes): Data | Readonly<{ t: 'frame'; bytes: Bytes }> {
  if (message.length <= LANE_HEADER) throw new MessageError('a lane message without data')
  if (message.length > MAX_LANE_MESSAGE) throw new MessageError('lane message too long')
  const view = new DataView(message.buffer, message.byteOffset)
  const id = view.getUint32(0)
  const at = view.getUint32(4)
  if (id === FRAME_MARK && at === 0) return { t: 'frame', bytes: message.subarray(LANE_HEADER) }
  if (id >= 2 ** 31 || at > MAX_WINDOW_BYTES) throw new MessageError('lane message out of range')
  return { t: 'data', id, at, bytes: message.subarray(LANE_HEADER) }
}
