import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseSats, typedSats } from './amount.ts'

test.each([
  ['1', 1000],
  [' 1,000 ', 1_000_000],
  ['12 345 678', 12_345_678_000],
  ['0.001', 1],
  ['12.5', 12_500],
])('%s is read', (text, amount) => expect(parseSats(text).amount).toBe(amount))

test.each([
  '',
  '0',
  '0.000',
  '-1',
  '1,5',
  '1.2345',
  'ten',
  '1e3',
  '99999999999999999',
  '9999999999999999',
  '1..2',
])('%j is refused in words', (text) => {
  const { amount, fault } = parseSats(text)
  expect(amount).toBeUndefined()
  expect(fault).toMatch(/\.$/)
})

test('what is shown for typing is read back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2_000_000_000_000 }), (amount) => {
      expect(parseSats(typedSats(amount)).amount).toBe(amount)
    }),
  )
})
