import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BITS, hold, keepRarest, memberAt, openHolders, WORDS } from './picker-bits.ts'
import { count, openPicker, pick, take } from './picker.ts'

const anySet = fc.uint8Array({ minLength: BITS, maxLength: BITS, max: 1 })
/** A few pieces, as most sellers have for a device that has nearly what they have. */
const smallSet = fc
  .array(fc.nat(BITS - 1), { maxLength: 4 })
  .map((pieces) => Uint8Array.from({ length: BITS }, (_, piece) => (pieces.includes(piece) ? 1 : 0)))
const wordsOf = (set: Uint8Array): Uint32Array => {
  const words = new Uint32Array(WORDS)
  set.forEach((bit, piece) => (words[piece >> 5]! |= bit << (piece & 31)))
  return words
}
const bitOf = (words: Uint32Array, piece: number): number => ((words[piece >> 5] ?? 0) >>> (piece & 31)) & 1

test('the rarest on bitsets are the rarest of the picker', () => {
  fc.assert(
    fc.property(
      fc.oneof(anySet, smallSet),
      fc.array(anySet, { minLength: 1, maxLength: 20 }),
      fc.nat(3),
      anySet,
      fc.nat(),
      (seller, others, unknown, have, seed) => {
        const known = [...others.slice(0, 1), seller, ...others.slice(1)]
        // Far apart, so that they lie in several words.
        const numbers = [...known.keys()].map((n) => 9 * n)
        const holders = openHolders(9 * known.length)
        for (const [n, has] of known.entries())
          has.forEach((bit, piece) => bit === 1 && hold(holders, 9 * n, piece))
        // Others than those that are counted lie around them.
        const around = Array.from({ length: unknown }, () => 0)
        const peers = Int32Array.from([...around, ...numbers, ...around])

        const picker = openPicker(BITS, seed)
        for (const has of known) has.forEach((bit, piece) => bit === 1 && count(picker, piece, 1))
        have.forEach((bit, piece) => bit === 1 && take(picker, piece))
        const [picked] = pick(picker, { has: seller, all: false }, 1)

        const wanted = seller.map((bit, piece) => (have[piece] === 1 ? 0 : bit))
        const free = wordsOf(wanted)
        const rarest = keepRarest(free, holders, peers, unknown, unknown + known.length)
        const expected = [...wanted.keys()].filter(
          (piece) => wanted[piece] === 1 && picker.holders[piece] === picker.holders[picked ?? 0],
        )
        expect([...Array(BITS).keys()].filter((piece) => bitOf(free, piece) === 1)).toEqual(expected)
        expect(rarest).toBe(expected.length)
        expect(expected.map((_, n) => memberAt(free, n))).toEqual(expected)
        expect(memberAt(free, rarest)).toBe(-1)
        expect(picked !== undefined).toBe(rarest > 0)
      },
    ),
  )
})
