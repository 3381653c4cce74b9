import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { count, openPicker, pick, put, take } from './picker.ts'

const COUNT = 24
const all = { has: new Uint8Array(COUNT).fill(1), all: true }
const runs = (pieces: readonly number[]): number =>
  pieces.filter((piece, i) => i === 0 || piece !== (pieces[i - 1] as number) + 1).length

describe('the picker', () => {
  test('gives the rarest that the peer has, that are free and that may be', () => {
    const sets = fc.uint8Array({ minLength: COUNT, maxLength: COUNT, max: 1 })
    const holders = fc.array(fc.nat({ max: 3 }), { minLength: COUNT, maxLength: COUNT })
    fc.assert(
      fc.property(
        fc.nat(),
        holders,
        sets,
        sets,
        sets,
        fc.integer({ min: 1, max: COUNT }),
        (seed, held, taken, has, allowed, most) => {
          const picker = openPicker(COUNT, seed)
          for (const [piece, times] of held.entries())
            for (let i = 0; i <= times; i++) count(picker, piece, 1)
          for (const [piece, gone] of taken.entries()) if (gone === 1) take(picker, piece)
          const fits = (piece: number) => has[piece] === 1 && taken[piece] === 0 && allowed[piece] === 1
          const picked = pick(picker, { has, all: false }, most, (piece) => allowed[piece] === 1)
          const rarities = held.filter((_, piece) => fits(piece)).sort((a, b) => a - b)
          expect(picked.every(fits)).toBe(true)
          expect(picked).toEqual([...new Set(picked)].sort((a, b) => a - b))
          expect(picked.map((piece) => held[piece] as number).sort((a, b) => a - b)).toEqual(
            rarities.slice(0, most),
          )
        },
      ),
    )
  })

  test('gives neighbours where pieces are equally rare, from a place that the seed draws', () => {
    const firsts = new Set<number>()
    for (let seed = 0; seed < 100; seed++) {
      const picked = pick(openPicker(COUNT, seed), all, 6)
      expect(picked).toHaveLength(6)
      expect(runs(picked)).toBe(1)
      firsts.add(picked[0] as number)
    }
    expect(firsts.size).toBeGreaterThan(COUNT / 2)
  })

  test('a piece that is put back is picked again', () => {
    const picker = openPicker(COUNT, 1)
    for (let piece = 0; piece < COUNT; piece++) take(picker, piece)
    expect(pick(picker, all, 3)).toEqual([])
    put(picker, 7)
    expect(pick(picker, all, 3)).toEqual([7])
  })
})
