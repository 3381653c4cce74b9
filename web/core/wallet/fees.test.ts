import fc from 'fast-check'
import { expect, test } from 'vitest'
import { msat, type Msat } from '../money/msat.ts'
import { feeReserve, largestPayment } from './fees.ts'

const anyAmount = fc.integer({ min: 0, max: 10_000_000_000 }).map(msat)

test('the largest payment and its reserve fit, and one msat more does not', () => {
  fc.assert(
    fc.property(anyAmount, (spendable) => {
      const most = largestPayment(spendable, 'bitcoin')
      if (most === 0) {
        expect(spendable).toBeLessThanOrEqual(10_000)
        return
      }
      expect(most + feeReserve(most, 'bitcoin')).toBeLessThanOrEqual(spendable)
      expect(most + 1 + feeReserve((most + 1) as Msat, 'bitcoin')).toBeGreaterThan(spendable)
    }),
  )
})

test('play money pays no routing', () => {
  expect(feeReserve(msat(5_000_000), 'sandbox:abc')).toBe(0)
  expect(largestPayment(msat(5_000_000), 'sandbox:abc')).toBe(5_000_000)
})
