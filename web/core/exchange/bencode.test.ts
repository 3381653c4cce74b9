import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { utf8 } from '../bytes.ts'
import { BencodeError, decode, decodePrefix, encode, type BValue, type Decoded } from './bencode.ts'

const { value } = fc.letrec<{ value: BValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.maxSafeInteger(),
    fc.uint8Array({ maxLength: 40 }),
    fc.array(tie('value') as fc.Arbitrary<BValue>, { maxLength: 5 }),
    fc.dictionary(fc.string({ unit: 'binary', maxLength: 6 }), tie('value') as fc.Arbitrary<BValue>, {
      maxKeys: 5,
      noNullPrototype: true,
    }),
  ),
}))

/** Values with texts and byte strings alike, as decoding gives them. */
function plain(of: BValue | Decoded): unknown {
  if (of instanceof Uint8Array) return `bytes ${of.join()}`
  if (Array.isArray(of)) return of.map(plain)
  if (typeof of !== 'object') return Object.is(of, -0) ? 0 : of
  const entries = Object.entries(of).map(([key, item]) => [key, plain(item)] as const)
  return entries.sort(([a], [b]) => (a < b ? -1 : 1))
}

describe('BEP 3 bencoding', () => {
  test('what is encoded is decoded the same, from one encoding only', () => {
    fc.assert(
      fc.property(value, (given) => {
        const bytes = encode(given)
        const back = decode(bytes)
        expect(plain(back)).toEqual(plain(given))
        expect(encode(back)).toEqual(bytes)
      }),
    )
  })

  test('whatever bytes decode at all are the one encoding of what they decode to', () => {
    const hostile = fc.tuple(value, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([given, at, byte]) => {
      const bytes = encode(given)
      bytes[at % bytes.length] = byte
      return bytes
    })
    fc.assert(
      fc.property(fc.oneof(hostile, fc.uint8Array({ maxLength: 30 })), (bytes) => {
        let back: Decoded
        try {
          back = decode(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(BencodeError)
          return
        }
        expect([...encode(back)]).toEqual([...bytes])
      }),
    )
  })

  test('a payload may follow, and its place is told', () => {
    const [head, end] = decodePrefix(utf8('d1:ai1eeREST'))
    expect(plain(head)).toEqual([['a', 1]])
    expect(end).toBe(8)
  })

  test('keys are sorted as raw bytes, where UTF-16 would sort otherwise', () => {
    const bytes = encode({ '\u{ff5e}': 1, '\u{1f600}': 2 })
    expect(bytes[3]).toBe(0xef)
    expect(plain(decode(bytes))).toEqual([
      ['\u{1f600}', 2],
      ['\u{ff5e}', 1],
    ])
  })

  test.each([
    ['a leading zero in an integer', 'i01e'],
    ['minus zero', 'i-0e'],
    ['a plus sign', 'i+1e'],
    ['an empty integer', 'ie'],
    ['an integer without end', 'i1'],
    ['a fraction', 'i1.5e'],
    ['an integer past 2^53', 'i9007199254740992e'],
    ['a leading zero in a length', '01:a'],
    ['a negative length', '-1:a'],
    ['a length without text', '5:abc'],
    ['no length', ':a'],
    ['keys out of order', 'd1:bi1e1:ai1ee'],
    ['the same key twice', 'd1:ai1e1:ai2ee'],
    ['a key that is not a text', 'di1ei1ee'],
    ['a key without value', 'd1:ae'],
    ['a key that is not UTF-8', new Uint8Array([0x64, 0x31, 0x3a, 0xff, 0x69, 0x31, 0x65, 0x65])],
    ['a list without end', 'li1e'],
    ['a dict without end', 'd1:ai1e'],
    ['bytes after the end', 'i1ei2e'],
    ['nothing', ''],
    ['a stray end', 'e'],
  ])('%s is refused', (_, input) => {
    expect(() => decode(typeof input === 'string' ? utf8(input) : input)).toThrow(BencodeError)
  })

  test('values 16 levels down are decoded and encoded, deeper ones refused', () => {
    const nest = (levels: number) => utf8('l'.repeat(levels) + 'e'.repeat(levels))
    expect(() => decode(nest(17))).not.toThrow()
    expect(() => decode(nest(18))).toThrow('nested too deep')
    const list = (levels: number): BValue => (levels === 0 ? 1 : [list(levels - 1)])
    expect(() => encode(list(16))).not.toThrow()
    expect(() => encode(list(17))).toThrow('nested too deep')
  })

  test('100,000 items are decoded, one more is refused', () => {
    const items = (count: number) => utf8(`l${'0:'.repeat(count - 1)}e`)
    expect(decode(items(100_000))).toHaveLength(99_999)
    expect(() => decode(items(100_001))).toThrow('too many items')
  })

  test('what is not a safe integer is not encoded', () => {
    expect(() => encode(2 ** 53)).toThrow(BencodeError)
    expect(() => encode(0.5)).toThrow(BencodeError)
    expect(encode(-0)).toEqual(utf8('i0e'))
  })
})
