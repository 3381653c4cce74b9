import { expect, test } from 'vitest'
import { movedSince } from './moving.ts'

test('what was moved while a change was made is not lost', () => {
  type Sliders = { price?: number; disk?: number; spend?: number }
  const sent: Sliders = { price: 2 }
  expect(movedSince<Sliders>({ price: 2 }, sent)).toEqual({})
  expect(movedSince<Sliders>({ price: 3 }, sent)).toEqual({ price: 3 })
  expect(movedSince<Sliders>({ price: 2, disk: 1 }, sent)).toEqual({ disk: 1 })
})
