import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MIB, msat, priceOf, windowPrice } from './msat.ts'

test('a price is rounded up to a whole msat, exactly, however large', () => {
  const anyBytes = fc.oneof(fc.nat({ max: 2 ** 31 - 1 }), fc.nat({ max: 2 ** 36 }))
  fc.assert(
    fc.property(anyBytes, fc.nat({ max: 2 ** 30 }), (bytes, perMiB) => {
      const exact = (BigInt(bytes) * BigInt(perMiB) + BigInt(MIB) - 1n) / BigInt(MIB)
      if (exact > BigInt(Number.MAX_SAFE_INTEGER)) return
      expect(BigInt(priceOf(bytes, msat(perMiB)))).toBe(exact)
    }),
  )
})

test('a window costs no less than can be paid: a sat over Lightning, the very price in play money, nothing where bytes are free', () => {
  const quarter = MIB / 4
  expect(windowPrice(quarter, msat(1000), 'sandbox:test')).toBe(250)
  expect(windowPrice(quarter, msat(1000), 'bitcoin')).toBe(1000)
  expect(windowPrice(2 * MIB, msat(1000), 'regtest:chain')).toBe(2000)
  expect(windowPrice(quarter, msat(0), 'bitcoin')).toBe(0)
})
