import fc from 'fast-check'
import { expect, test } from 'vitest'
import { rangeOf } from './allowance-words.ts'

test('any limit is on its slider, not at its very beginning, and steps are whole sats', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 9_000_000_000_000 }), (limit) => {
      const { max, step } = rangeOf(limit)
      expect(max).toBeGreaterThanOrEqual((2 * limit) / 1000)
      if (limit >= 50_000) expect(max).toBeLessThanOrEqual((5.01 * limit) / 1000)
      expect(Number.isInteger(step)).toBe(true)
    }),
  )
})
