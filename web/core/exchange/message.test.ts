import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat, toHex, utf8, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { BLOCK, HASH } from '../swarm/merkle.ts'
import { encode, type BDict } from './bencode.ts'
import {
  decodeMessage,
  encodeMessage,
  FRAME,
  MessageError,
  refusals,
  roles,
  type Message,
} from './message.ts'
import { MAX_QUOTE_BYTES, MAX_WINDOW_BYTES, MAX_WINDOW_PIECES } from './quote.ts'

const exactly = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const hex32 = exactly(32).map(toHex)
const id = fc.integer({ min: 0, max: 2 ** 31 - 1 })
const anyPieces = fc
  .uniqueArray(fc.nat(), { minLength: 1, maxLength: 20 })
  .map((pieces) => pieces.sort((a, b) => a - b))
const anyMessage = fc.oneof(
  fc.record(
    {
      t: fc.constant('hello' as const),
      key: hex32 as fc.Arbitrary<PartyKey>,
      nonce: exactly(32),
      role: fc.constantFrom(...roles),
      root: hex32 as fc.Arbitrary<Sha256Hex>,
      floor: fc.string({ unit: 'grapheme', maxLength: 200 }),
    },
    { requiredKeys: ['t', 'key', 'nonce', 'role', 'root'] },
  ),
  fc.record({ t: fc.constant('prove' as const), sig: exactly(64) }),
  fc.record({ t: fc.constant('offer' as const), event: fc.string({ maxLength: 300 }), gift: fc.boolean() }),
  fc.record({
    t: fc.constant('request' as const),
    id,
    pieces: anyPieces,
  }),
  fc.record({ t: fc.constant('refuse' as const), id, code: fc.constantFrom(...refusals) }),
  fc.record({
    t: fc.constant('leaves' as const),
    id,
    leaves: fc.integer({ min: 1, max: 12 }).chain((count) => exactly(count * HASH)),
  }),
  fc.record({
    t: fc.constant('data' as const),
    id,
    at: fc.integer({ min: 0, max: MAX_WINDOW_BYTES }),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 100 }),
  }),
  fc.record({
    t: fc.constant('quote' as const),
    id,
    quote: fc.uint8Array({ maxLength: 500 }),
    sig: exactly(64),
  }),
  fc.record({ t: fc.constant('key' as const), quote: hex32 as fc.Arbitrary<Sha256Hex>, secret: exactly(32) }),
  fc.record({ t: fc.constant('cancel' as const), id }),
  fc.record({ t: fc.constant('got' as const), id }),
  fc.record({ t: fc.constant('sending' as const), pieces: anyPieces }),
  fc.record({ t: fc.constant('credit' as const), bytes: fc.maxSafeNat() }),
  fc.record({
    t: fc.constant('paid' as const),
    quote: hex32 as fc.Arbitrary<Sha256Hex>,
    preimage: exactly(32),
  }),
  fc.record({ t: fc.constant('renew' as const), id, quote: hex32 as fc.Arbitrary<Sha256Hex> }),
) as fc.Arbitrary<Message>

const hello: BDict = {
  t: 'hello',
  v: 1,
  key: new Uint8Array(32),
  nonce: new Uint8Array(32),
  role: 'device',
  root: new Uint8Array(32),
}
const ascending = (count: number) => Array.from({ length: count }, (_, i) => i)
const without = (dict: BDict, key: string): BDict =>
  Object.fromEntries(Object.entries(dict).filter(([name]) => name !== key))

describe('frames', () => {
  test('what is sent is read the same', () => {
    fc.assert(
      fc.property(anyMessage, (message) => {
        expect(decodeMessage(encodeMessage(message))).toEqual(message)
      }),
    )
  })

  test('any bytes are read, passed over or refused with a MessageError', () => {
    const bent = fc.tuple(anyMessage, fc.nat(), fc.nat({ max: 255 })).map(([message, at, byte]) => {
      const frame = encodeMessage(message)
      frame[at % frame.length] = byte
      return frame
    })
    fc.assert(
      fc.property(fc.oneof(bent, fc.uint8Array({ maxLength: 50 })), (frame) => {
        try {
          decodeMessage(frame)
        } catch (error) {
          expect(error).toBeInstanceOf(MessageError)
        }
      }),
    )
  })

  test('a type and a refusal code of a later version do not end the wire', () => {
    expect(decodeMessage(encode({ t: 'later', x: 1 }))).toBeUndefined()
    expect(decodeMessage(encode({ t: 'refuse', id: 1, code: 'tired' }))).toEqual({
      t: 'refuse',
      id: 1,
      code: 'closed',
    })
    expect(decodeMessage(encode({ ...hello, v: 2, more: 'x' }))).toMatchObject({ t: 'hello' })
  })

  test.each<[string, Uint8Array, Uint8Array]>([
    [
      'a data payload',
      encodeMessage({ t: 'data', id: 1, at: 0, bytes: new Uint8Array(FRAME) }),
      encodeMessage({ t: 'data', id: 1, at: 0, bytes: new Uint8Array(FRAME + 1) }),
    ],
    [
      'a data offset',
      encodeMessage({ t: 'data', id: 1, at: MAX_WINDOW_BYTES, bytes: new Uint8Array(1) }),
      encodeMessage({ t: 'data', id: 1, at: MAX_WINDOW_BYTES + 1, bytes: new Uint8Array(1) }),
    ],
    [
      'the leaves of a window',
      encodeMessage({ t: 'leaves', id: 1, leaves: new Uint8Array((MAX_WINDOW_BYTES / BLOCK) * HASH) }),
      encodeMessage({ t: 'leaves', id: 1, leaves: new Uint8Array((MAX_WINDOW_BYTES / BLOCK + 1) * HASH) }),
    ],
    [
      'a quote',
      encodeMessage({ t: 'quote', id: 1, quote: new Uint8Array(MAX_QUOTE_BYTES), sig: new Uint8Array(64) }),
      encodeMessage({
        t: 'quote',
        id: 1,
        quote: new Uint8Array(MAX_QUOTE_BYTES + 1),
        sig: new Uint8Array(64),
      }),
    ],
    [
      'an offer',
      encodeMessage({ t: 'offer', event: 'x'.repeat(8192), gift: false }),
      encodeMessage({ t: 'offer', event: 'x'.repeat(8193), gift: false }),
    ],
    ['a floor', encode({ ...hello, floor: 'x'.repeat(8192) }), encode({ ...hello, floor: 'x'.repeat(8193) })],
    [
      'the pieces of a request',
      encodeMessage({ t: 'request', id: 1, pieces: ascending(MAX_WINDOW_PIECES) }),
      encodeMessage({ t: 'request', id: 1, pieces: ascending(MAX_WINDOW_PIECES + 1) }),
    ],
    [
      'a request’s number',
      encodeMessage({ t: 'cancel', id: 2 ** 31 - 1 }),
      encodeMessage({ t: 'cancel', id: 2 ** 31 }),
    ],
  ])('%s at its bound is read, one past it is refused', (_, last, past) => {
    expect(decodeMessage(last)).toBeDefined()
    expect(() => decodeMessage(past)).toThrow(MessageError)
  })

  test.each<[string, Uint8Array, RegExp]>([
    ['an empty frame', new Uint8Array(), /cut short/],
    ['a frame of 66,561 bytes', new Uint8Array(FRAME + 1025), /too long/],
    ['a list', utf8('le'), /not a dict/],
    ['a number', utf8('i1e'), /not a dict/],
    ['no type', encode({}), /t is no text/],
    ['a type of 17 letters', encode({ t: 'x'.repeat(17) }), /t is no text/],
    ['a type that is not UTF-8', encode({ t: new Uint8Array([0xff]) }), /not UTF-8/],
    ['keys out of order', utf8('d1:t6:cancel2:idi1ee'), /not sorted/],
    ['a payload behind a cancel', concat(encode({ t: 'cancel', id: 1 }), new Uint8Array(1)), /has a payload/],
    ['version 0', encode({ ...hello, v: 0 }), /version 0/],
    ['no version', encode(without(hello, 'v')), /v is not in/],
    ['a short key', encode({ ...hello, key: new Uint8Array(31) }), /key is not 32 bytes/],
    ['a short nonce', encode({ ...hello, nonce: new Uint8Array(31) }), /nonce is not 32 bytes/],
    ['an unknown role', encode({ ...hello, role: 'king' }), /unknown role/],
    ['a short root', encode({ ...hello, root: new Uint8Array(20) }), /root is not 32 bytes/],
    ['a short signature', encode({ t: 'prove', sig: new Uint8Array(63) }), /sig is not 64 bytes/],
    ['a gift of 2', encode({ t: 'offer', event: '{}', gift: 2 }), /gift is not in/],
    ['no pieces', encode({ t: 'request', id: 1, pieces: [] }), /no window/],
    ['pieces that do not ascend', encode({ t: 'request', id: 1, pieces: [1, 1] }), /do not ascend/],
    ['a negative piece', encode({ t: 'request', id: 1, pieces: [-1] }), /do not ascend/],
    ['a piece that is a text', encode({ t: 'request', id: 1, pieces: ['1'] }), /do not ascend/],
    ['a negative number', encode({ t: 'cancel', id: -1 }), /id is not in/],
    ['no leaves', encode({ t: 'leaves', id: 1 }), /not whole hashes/],
    ['half a leaf', concat(encode({ t: 'leaves', id: 1 }), new Uint8Array(16)), /not whole hashes/],
    ['no data', encode({ t: 'data', id: 1, at: 0 }), /wrong length/],
    [
      'a quote that is a number',
      encode({ t: 'quote', id: 1, quote: 1, sig: new Uint8Array(64) }),
      /no quote/,
    ],
    [
      'a secret of 31 bytes',
      encode({ t: 'key', quote: new Uint8Array(32), secret: new Uint8Array(31) }),
      /secret is not 32/,
    ],
  ])('%s is refused', (_, frame, why) => {
    expect(() => decodeMessage(frame)).toThrow(MessageError)
    expect(() => decodeMessage(frame)).toThrow(why)
  })
})
