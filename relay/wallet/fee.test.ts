import fc from 'fast-check'
import { expect, test } from 'vitest'
import { feeOf, largestPayment, NODE_BASE_FEES, NODE_FEE_PPM, nodeReserve } from './fee.ts'

const anyAmount = fc.oneof(fc.integer({ min: 0, max: 200_000 }), fc.integer({ min: 0, max: 10 ** 14 }))

test('the largest payment and what it may cost fit, and one msat more does not', () => {
  fc.assert(
    fc.property(anyAmount, (spendable) => {
      const most = largestPayment(spendable, NODE_FEE_PPM, NODE_BASE_FEES)
      expect(most + nodeReserve(most)).toBeLessThanOrEqual(spendable)
      expect(most + 1 + nodeReserve(most + 1)).toBeGreaterThan(spendable)
    }),
  )
  fc.assert(
    fc.property(anyAmount, fc.integer({ min: 0, max: 100_000 }), (spendable, ppm) => {
      const most = largestPayment(spendable, ppm)
      expect(most + feeOf(most, ppm)).toBeLessThanOrEqual(spendable)
      expect(most + 1 + feeOf(most + 1, ppm)).toBeGreaterThan(spendable)
    }),
  )
})

test('over a node a payment may cost 5 %, a small one as much again, up to 3 sats', () => {
  const amounts = [1000, 3000, 60_000, 60_020, 1_000_000]
  expect(amounts.map(nodeReserve)).toEqual([1000, 3000, 3000, 3001, 50_000])
})
