import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Sha256Hex } from '../../core/bytes.ts'
import { msat, ZERO } from '../../core/money/msat.ts'
import type { Flow } from '../../edge/allowance/api.ts'
import { when } from '../ui/format.ts'
import { aboutFlow, rangeOf } from './allowance-words.ts'

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

test('a payment that nobody knows of says why, and when it comes back if it never got there', () => {
  const now = Date.UTC(2026, 0, 5, 12)
  const flow: Flow = {
    ...{ paymentHash: 'ab' as Sha256Hex, direction: 'out', state: 'unknown', amount: msat(1000), fees: ZERO },
    ...{ startedAtMs: now, why: 'It was on its way when this wallet was closed.' },
    deadAtMs: now + 360_000,
  }
  expect(aboutFlow(flow, now)).toBe(
    `unknown, kept back: It was on its way when this wallet was closed. If it never got there, it comes back at ${when(now + 360_000, now)}.`,
  )
  expect(aboutFlow(flow, now + 400_000)).toMatch(/closed\.$/)
  const { why: _why, deadAtMs: _dead, ...bare } = flow
  expect(aboutFlow({ ...bare, state: 'in-flight' }, now)).toBe('on its way')
  expect(aboutFlow({ ...bare, state: 'settled', endedAtMs: now }, now)).toBe('just now')
})
