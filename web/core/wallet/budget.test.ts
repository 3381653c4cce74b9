import fc from 'fast-check'
import { expect, test } from 'vitest'
import { periodStart, renewsAt } from './budget.ts'
import { RENEWALS } from './nip47.ts'

const at = Date.parse('2026-11-21T09:12:34.567Z')
const iso = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms).toISOString())

test.each([
  ['never', 0, undefined],
  ['hourly', '2026-11-21T09:00:00.000Z', '2026-11-21T10:00:00.000Z'],
  ['daily', '2026-11-21T00:00:00.000Z', '2026-11-22T00:00:00.000Z'],
  ['weekly', '2026-11-16T00:00:00.000Z', '2026-11-23T00:00:00.000Z'],
  ['monthly', '2026-11-01T00:00:00.000Z', '2026-12-01T00:00:00.000Z'],
  ['yearly', '2026-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
] as const)('%s periods follow the calendar', (renewal, start, end) => {
  const began = periodStart(renewal, at)
  expect(start === 0 ? began : iso(began)).toBe(start)
  expect(iso(renewsAt(renewal, at))).toBe(end)
})

test('every moment is in exactly one period', () => {
  const anyTime = fc.integer({ min: 0, max: 4_000_000_000_000 })
  fc.assert(
    fc.property(fc.constantFrom(...RENEWALS), anyTime, (renewal, time) => {
      const start = periodStart(renewal, time)
      const end = renewsAt(renewal, time) ?? Infinity
      expect(start).toBeLessThanOrEqual(time)
      expect(end).toBeGreaterThan(time)
      expect(periodStart(renewal, start)).toBe(start)
      if (end !== Infinity) expect(periodStart(renewal, end)).toBe(end)
    }),
  )
})
