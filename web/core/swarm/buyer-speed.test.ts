/** Payments beside the transfer: one real buyer and real desks in virtual time, on lines of known rate. */
import { describe, expect, test } from 'vitest'
import { MIB, msat } from '../money/msat.ts'
import { outlook } from './buyer.ts'
import { Market, type Line, type Terms } from './market.sample.ts'

const PIECE = MIB / 2
const run = (terms: Partial<Terms> & { lines: readonly Line[] }): { market: Market; tookMs: number } => {
  const market = new Market({ bytes: 80_000_001, pieceLength: PIECE, paymentMs: 1000, ...terms })
  const tookMs = market.run()
  expect(market.buyer.haveCount, 'complete').toBe(market.buyer.have.length)
  expect(market.buyer.boughtTwice).toBe(0)
  return { market, tookMs }
}
const paidTo = (market: Market, seller: number): number =>
  market.paid.filter(({ key }) => key === market.sellers[seller]?.key).reduce((sum, at) => sum + at.bytes, 0)

describe('payments never gate the transfer, given the budget', () => {
  test.each([
    { rate: 4e6, paymentMs: 1000, latencies: 20, reach: 0.97 },
    { rate: 2e6, paymentMs: 8600, latencies: 20, reach: 0.95 },
    { rate: 40e6, paymentMs: 5, latencies: 1000, reach: 0.97 },
    { rate: 20e6, paymentMs: 1000, latencies: 20, reach: 0.95 },
  ])('$rate B/s, payments of $paymentMs ms', ({ rate, paymentMs, latencies, reach }) => {
    const freeMs = latencies * paymentMs
    const { market, tookMs } = run({ bytes: (rate * freeMs) / 1000, paymentMs, lines: [{ rate }] })
    expect((freeMs + paymentMs) / tookMs).toBeGreaterThanOrEqual(reach)
    expect(market.refusals).toEqual([])
  })

  test('at the defaults a GiB takes 256 payments at most', () => {
    for (const rate of [1e6, 10e6, 40e6]) {
      const { market } = run({ bytes: 2 ** 30, pieceLength: MIB, paymentMs: 50, lines: [{ rate }] })
      // At a megabyte a second a window is already six seconds long.
      expect(market.paid.length).toBeLessThanOrEqual(256)
    }
  })

  test('when payments queue up in the wallet windows grow, rather than become more', () => {
    const lines = [{ rate: 4e6 }]
    const { market, tookMs } = run({ bytes: 200e6, paymentMs: 100, paymentsPerS: 1, lines })
    expect(50_000 / tookMs).toBeGreaterThanOrEqual(0.9)
    expect(market.mostPayments).toBeLessThanOrEqual(8)
  })

  test('a budget gates it as the formula says: rate = budget / (price × payment time)', () => {
    // 2 MiB at stake, for a second each: about 2 MiB a second, where the line does four times as much.
    const policy = { riskBudget: msat(2000) }
    const { tookMs } = run({ bytes: 40 * MIB, policy, lines: [{ rate: 8 * MIB }] })
    expect(tookMs).toBeGreaterThan(18_000)
    expect(tookMs).toBeLessThan(26_000)
  })
})

describe('several sellers', () => {
  test('a fast and a slow one end together', () => {
    const { market, tookMs } = run({ bytes: 100e6, lines: [{ rate: 4e6 }, { rate: 1e6 }] })
    expect(21_000 / tookMs).toBeGreaterThanOrEqual(0.95)
    expect(paidTo(market, 1)).toBeGreaterThan(15e6)
  })

  test('a very slow one does not hold up the end', () => {
    const { tookMs } = run({ bytes: 16e6, paymentMs: 200, lines: [{ rate: 4e6 }, { rate: 0.1e6 }] })
    expect(tookMs).toBeLessThan(6000)
  })

  test('one that is silent holds pieces up for seconds, and they are paid to another once', () => {
    const { market, tookMs } = run({ bytes: 8e6, paymentMs: 50, lines: [{ rate: 4e6 }, { rate: 1 }] })
    expect(tookMs).toBeLessThan(8000)
    expect(paidTo(market, 0)).toBe(8e6)
  })

  test('a seller whose limit others use is asked again soon, for what it has room for', () => {
    const { market, tookMs } = run({ lines: [{ rate: 4e6, othersBytes: 24 * MIB }] })
    expect(21_000 / tookMs).toBeGreaterThanOrEqual(0.85)
    expect(market.mostShared).toBeLessThanOrEqual(8 * MIB)
  })

  test('each buys the pieces that only it has', () => {
    const pieces = Array.from({ length: 40 }, (_, i) => i)
    const lines = [
      { rate: 4e6, pieces: pieces.filter((i) => i % 2 === 0) },
      { rate: 4e6, pieces: pieces.filter((i) => i % 2 === 1) },
    ]
    const { market } = run({ bytes: 20 * MIB, paymentMs: 100, lines })
    expect([paidTo(market, 0), paidTo(market, 1)]).toEqual([10 * MIB, 10 * MIB])
  })
})

describe('price against speed', () => {
  const lines = [
    { rate: 4e6, price: msat(1000) },
    { rate: 0.5e6, price: msat(4000) },
    { rate: 3e6, price: msat(1500) },
  ]
  const shares = (prefer: 'cheapest' | 'balanced' | 'fastest'): number[] => {
    const { market } = run({ bytes: 100e6, paymentMs: 100, policy: { prefer }, lines })
    return lines.map((_, i) => paidTo(market, i) / 1e6)
  }
  test('cheapest: none but the cheapest, while it brings something', () => {
    const [cheap, dear, middle] = shares('cheapest')
    expect([cheap, dear, middle]).toEqual([100, 0, 0])
  })
  test('balanced: the dearer one that speeds it up, not the one that is dear and slow, but for a trial', () => {
    const [cheap = 0, dear, middle] = shares('balanced')
    expect(dear).toBeLessThan(2)
    expect(middle).toBeGreaterThan(30)
    expect(cheap).toBeGreaterThan(45)
  })
  test('fastest: all', () => {
    const [, dear, middle] = shares('fastest')
    expect(dear).toBeGreaterThan(4)
    expect(middle).toBeGreaterThan(30)
  })
})

describe('a mirror', () => {
  const mirror: Line = { rate: 10e6, source: 'mirror' }
  const seller: Line = { rate: 1e6 }
  test('never: not even when nobody sells', () => {
    const market = new Market({
      bytes: 4e6,
      pieceLength: PIECE,
      paymentMs: 10,
      policy: { mirror: 'never' },
      lines: [mirror],
    })
    market.run(120_000)
    expect(market.buyer.haveCount).toBe(0)
  })
  test('fallback: when no seller has brought anything for half a minute, and not while one does', () => {
    const { tookMs } = run({ bytes: 4e6, policy: { mirror: 'fallback' }, lines: [mirror] })
    expect(tookMs).toBeGreaterThan(30_000)
    expect(tookMs).toBeLessThan(32_000)
    const { market } = run({ bytes: 40e6, policy: { mirror: 'fallback' }, lines: [mirror, seller] })
    expect(market.sellers[0]?.sentBytes).toBe(0)
  })
  test('always: one more source, which drives no seller out', () => {
    const policy = { mirror: 'always', prefer: 'cheapest' } as const
    const { market } = run({ bytes: 110e6, policy, lines: [mirror, seller] })
    expect(paidTo(market, 1)).toBeGreaterThan(5e6)
    expect(market.sellers[0]?.sentBytes).toBeGreaterThan(90e6)
  })
})

describe('bounds', () => {
  test('memory, payments in flight and bytes bought', () => {
    const lines = Array.from({ length: 4 }, () => ({ rate: 4e6 }))
    const policy = { memoryBytes: 10 * MIB, paymentSlots: 3 }
    const { market } = run({ policy, lines })
    expect(market.mostHeldBytes).toBeLessThanOrEqual(10 * MIB)
    expect(market.mostPayments).toBeLessThanOrEqual(3)
    const tight = new Market({
      bytes: 20 * MIB,
      pieceLength: PIECE,
      paymentMs: 10,
      policy: { budgetBytes: 8 * MIB },
      lines,
    })
    tight.run(60_000)
    expect(tight.buyer.paidBytes).toBe(8 * MIB)
    expect(outlook(tight.buyer, tight.nowMs)).toEqual({ tag: 'budget', of: 'bytes' })
  })
})
