import fc from 'fast-check'
import { expect, test } from 'vitest'
import { msat } from '../money/msat.ts'
import { LEAST_SWEEP, parseSweepTarget, sweepAmount } from './sweep.ts'

const anything = { least: msat(1), most: msat(1e12) }

test('an address or an invoice is a target, nothing else is', () => {
  expect(parseSweepTarget(' Bob@Pay.Example ')).toEqual({ tag: 'address', address: 'bob@pay.example' })
  for (const text of [
    'bob',
    'bob@',
    '@pay.example',
    'bob@pay example',
    'lnbc1nonsense',
    'https://pay.example',
    '',
  ])
    expect(parseSweepTarget(text)).toBeUndefined()
})

test('what is swept is whole sats, leaves the sum and a reserve, and is what the taker takes', () => {
  const amount = fc.integer({ min: 0, max: 1e10 }).map(msat)
  fc.assert(
    fc.property(amount, amount, amount, amount, (balance, above, least, more) => {
      const takes = { least, most: msat(least + more) }
      const swept = sweepAmount(balance, above, 'bitcoin', takes)
      if (swept === undefined) return
      expect(swept % 1000).toBe(0)
      expect(swept).toBeGreaterThanOrEqual(Math.max(LEAST_SWEEP, least))
      expect(swept).toBeLessThanOrEqual(takes.most)
      expect(balance - swept - Math.max(10_000, swept / 20)).toBeGreaterThanOrEqual(above)
    }),
  )
})

test('play money needs no reserve; real money that is only just enough stays', () => {
  const [balance, above] = [msat(600_000), msat(500_000)]
  expect(sweepAmount(balance, above, 'sandbox:x', anything)).toBe(100_000)
  expect(sweepAmount(balance, above, 'bitcoin', anything)).toBeUndefined()
  expect(sweepAmount(msat(700_000), above, 'bitcoin', anything)).toBe(190_000)
  expect(sweepAmount(above, balance, 'sandbox:x', anything)).toBeUndefined()
})
