import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BITS, countPair, countSet, keepRarest, memberAt, openPlanes, WORDS } from './picker-bits.ts'
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
        const sets = new Uint32Array(peers.flatMap((has) => [...wordsOf(has)]))
        for (let i = 0; i + 1 < peers.length; i += 2) countPair(planes, sets, i * WORDS, (i + 1) * WORDS)
        if (peers.length % 2 === 1) countSet(planes, sets, (peers.length - 1) * WORDS)
        for (const has of peers) has.forEach((bit, piece) => bit === 1 && count(picker, piece, 1))
        have.forEach((bit, piece) => bit === 1 && take(picker, piece))
        const seller = peers[0] ?? new Uint8Array(BITS)
        const free = wordsOf(seller.map((bit, piece) => (have[piece] === 1 ? 0 : bit)))
        const rarest = keepRarest(free, planes)
        const [picked] = pick(picker, { has: seller, all: false }, 1)
        expect(rarest > 0).toBe(picked !== undefined)
        if (picked === undefined) return
        const piece = memberAt(free, draw % rarest)
        expect(picker.holders[piece]).toBe(picker.holders[picked])
        expect(((free[picked >> 5] ?? 0) >>> (picked & 31)) & 1).toBe(1)
        expect(seller[piece]).toBe(1)
        expect(have[piece]).toBe(0)
      },
    ),
  )
})
