import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MIB, msat, priceOf } from './msat.ts'

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
