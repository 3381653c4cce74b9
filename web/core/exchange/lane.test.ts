import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Bytes } from '../bytes.ts'
import { BLOCK } from '../swarm/merkle.ts'
import {
  LANE_HEADER,
  LANE_PAYLOAD,
  laneFrame,
  lanePayload,
  MAX_LANE_MESSAGE,
  readLane,
  writeLaneHeader,
} from './lane.ts'
import { MessageError } from './message.ts'
import { MAX_WINDOW_BYTES } from './quote.ts'

const message = (id: number, at: number, payload: Uint8Array): Bytes => {
  const bytes = new Uint8Array(LANE_HEADER + payload.length)
  writeLaneHeader(bytes, id, at)
  bytes.set(payload, LANE_HEADER)
  return bytes
}

test('what is written is what is read', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 31 - 1),
      fc.nat(MAX_WINDOW_BYTES),
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      (id, at, payload) => {
        expect(readLane(message(id, at, payload))).toEqual({ t: 'data', id, at, bytes: payload })
      },
    ),
  )
})

test('a frame of the wire comes out as it went in', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), (frame) => {
      expect(readLane(laneFrame(frame))).toEqual({ t: 'frame', bytes: frame })
    }),
  )
})

test('a message without data, too long, or with numbers out of range is refused', () => {
  const one = new Uint8Array(1)
  for (const bad of [
    new Uint8Array(0),
    new Uint8Array(LANE_HEADER),
    new Uint8Array(MAX_LANE_MESSAGE + 1),
    message(2 ** 31, 0, one),
    message(0, MAX_WINDOW_BYTES + 1, one),
  ])
    expect(() => readLane(bad)).toThrow(MessageError)
  expect(readLane(new Uint8Array(MAX_LANE_MESSAGE)).bytes).toHaveLength(MAX_LANE_MESSAGE - LANE_HEADER)
})

test('a payload is whole blocks and fits the other side’s longest message with its header', () => {
  expect(lanePayload(MAX_LANE_MESSAGE)).toBe(LANE_PAYLOAD)
  expect(lanePayload(BLOCK + LANE_HEADER)).toBe(BLOCK)
  expect(lanePayload(BLOCK + LANE_HEADER - 1)).toBe(0)
  expect(lanePayload(65_536)).toBe(3 * BLOCK)
  expect(lanePayload(0)).toBeLessThanOrEqual(0)
})
