import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BITS, countSet, keepRarest, memberAt, openPlanes, WORDS } from './picker-bits.ts'
import { count, openPicker, pick, take } from './picker.ts'

const anySet = fc.uint8Array({ minLength: BITS, maxLength: BITS, max: 1 })
const wordsOf = (set: Uint8Array): Uint32Array => {
  const words = new Uint32Array(WORDS)
  set.forEach((bit, piece) => (words[piece >> 5]! |= bit << (piece & 31)))
  return words
}

test('the rarest on bitsets are the rarest of the picker', () => {
  fc.assert(
    fc.property(
      fc.array(anySet, { minLength: 1, maxLength: 20 }),
      anySet,
      fc.nat(),
      fc.nat(1000),
      (peers, have, seed, draw) => {
        const picker = openPicker(BITS, seed)
        const planes = openPlanes()
        for (const has of peers) {
          countSet(planes, wordsOf(has), 0)
          has.forEach((bit, piece) => bit === 1 && count(picker, piece, 1))
        }
        have.forEach((bit, piece) => bit === 1 && take(picker, piece))
        const seller = peers[0] ?? new Uint8Array(BITS)
        const free = wordsOf(seller.map((bit, piece) => (have[piece] === 1 ? 0 : bit)))
        const rarest = keepRarest(free, planes)
        const [picked] = pick(picker, { has: seller, all: false }, 1)
        if (picked === undefined) return expect(rarest).toBe(0)
        const piece = memberAt(free, draw % rarest)
        expect(picker.holders[piece]).toBe(picker.holders[picked])
        expect(((free[picked >> 5] ?? 0) >>> (picked & 31)) & 1).toBe(1)
        expect(seller[piece]).toBe(1)
        expect(have[piece]).toBe(0)
      },
    ),
  )
})
