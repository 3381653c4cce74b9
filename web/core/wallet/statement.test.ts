import fc from 'fast-check'
import { expect, test } from 'vitest'
import { msat } from '../money/msat.ts'
import { matches, toCsv, type StatementLine } from './statement.ts'

const line = (over: Partial<StatementLine> = {}): StatementLine => ({
  direction: 'out',
  state: 'settled',
  paymentHash: 'ab'.repeat(32),
  amount: msat(4_000),
  fees: msat(0),
  description: '4 pieces of firmware.img',
  createdAtMs: Date.UTC(2026, 10, 3, 14, 2),
  ...over,
})

test('a search finds description, day, direction and amount, all words at once', () => {
  expect(matches(line(), '')).toBe(true)
  expect(matches(line(), 'FIRMWARE 2026-11-03')).toBe(true)
  expect(matches(line(), 'sent 4')).toBe(true)
  expect(matches(line(), 'firmware received')).toBe(false)
  expect(matches(line(), 'abab')).toBe(true)
})

test('a statement is CSV: signs, quotes, and no formula from a stranger', () => {
  const csv = toCsv([line(), line({ direction: 'in', description: '=HYPERLINK("x")', settledAtMs: 0 })])
  const [head, first, second, end] = csv.split('\r\n')
  expect(head).toContain('amount (msat)')
  expect(first).toContain(',out,settled,-4000,0,4 pieces of firmware.img,')
  expect(second).toContain(`1970-01-01T00:00:00.000Z,in,settled,4000,0,"'=HYPERLINK(""x"")",`)
  expect(end).toBe('')
})

test('any description stays in its cell', () => {
  fc.assert(
    fc.property(fc.string(), (description) => {
      const csv = toCsv([line({ description })])
      expect((csv.match(/"/g) ?? []).length % 2).toBe(0)
      const outside = csv.replaceAll(/"(?:[^"]|"")*"/g, '')
      expect(outside.split('\r\n')).toHaveLength(3)
    }),
  )
})
