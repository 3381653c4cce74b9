import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MIB, msat } from '../money/msat.ts'
import { feeLaw, leastWorthPaying, learnFee, MOST_FEE_SHARE, noFees } from './buyer-fees.ts'
import { Market, type Terms } from './market.sample.ts'

const feeOf = (base: number, ppm: number) => (amount: number) =>
  msat(base + Math.floor((amount * ppm) / 1_000_000))

const anyBase = fc.integer({ min: 0, max: 10_000 })
const anyPpm = fc.integer({ min: 0, max: 45_000 })
const anyAmounts = fc.array(fc.integer({ min: 1000, max: 1_000_000 }), { minLength: 2, maxLength: 30 })

test('whatever a route takes, the next payment of the size that is worth it costs 5 % at most', () => {
  fc.assert(
    fc.property(anyBase, anyPpm, anyAmounts, (base, ppm, amounts) => {
      const [fee, of] = [feeOf(base, ppm), noFees()]
      for (const amount of amounts) learnFee(of, msat(amount), fee(amount))
      // Payments that are alike tell no base from a rate: the next ones, which are larger, do.
      for (let i = 0; i < 3; i++) {
        const next = Math.ceil(Math.max(1000, leastWorthPaying(of)))
        learnFee(of, msat(next), fee(next))
      }
      const amount = Math.ceil(Math.max(1000, leastWorthPaying(of)))
      // Fees are whole msat: the estimate may be out by as much.
      expect(fee(amount)).toBeLessThanOrEqual(amount * MOST_FEE_SHARE * 1.02 + 2)
      const needed = base / (MOST_FEE_SHARE - ppm / 1_000_000)
      expect(leastWorthPaying(of), 'no larger than it must be').toBeLessThanOrEqual(needed * 1.1 + 1000)
    }),
  )
})

test('a base and a rate are told apart; a rate alone is no reason to pay more at once', () => {
  const of = noFees()
  for (const amount of [1000, 4000, 9000, 2000]) learnFee(of, msat(amount), feeOf(100, 10_000)(amount))
  expect(feeLaw(of).base).toBeCloseTo(100, 6)
  expect(feeLaw(of).rate).toBeCloseTo(0.01, 6)
  expect(leastWorthPaying(of)).toBeCloseTo(2500, 3)
  const dear = noFees()
  for (const amount of [1000, 4000, 9000]) learnFee(dear, msat(amount), feeOf(0, 200_000)(amount))
  expect(leastWorthPaying(dear)).toBe(0)
  expect(leastWorthPaying(noFees())).toBe(0)
})

const market = (terms: Partial<Terms>): Market => {
  const found = new Market({
    bytes: 64 * MIB,
    pieceLength: MIB / 4,
    paymentMs: 200,
    lines: [{ rate: 4e6 }],
    ...terms,
  })
  found.run()
  expect(found.buyer.haveCount, 'complete').toBe(found.buyer.have.length)
  expect(found.buyer.boughtTwice).toBe(0)
  return found
}
/** Two sellers that come by a piece every 50 ms; what they have at first has come to the buyer by then. */
const trickling = (terms: Partial<Terms>): Market => {
  const lines = [0, 1].map(() => ({ rate: 8e6, pieces: [0] }))
  const market = new Market({ bytes: 64 * MIB, pieceLength: MIB / 4, paymentMs: 200, lines, ...terms })
  for (let piece = 1; piece < 256; piece++)
    for (const { peer } of market.sellers)
      market.at(piece * 50, () => market.step({ tag: 'has', peer, pieces: [piece] }))
  market.run()
  expect(market.buyer.haveCount, 'complete').toBe(market.buyer.have.length)
  return market
}

test('sellers that have little yet are given time to come by enough for a window that is worth its fees', () => {
  const [free, routed] = [trickling({}), trickling({ feeOf: feeOf(50, 0) })]
  expect(routed.paid.length).toBeLessThan(free.paid.length / 2)
  expect(share(routed)).toBeLessThan(0.08)
  // The pieces are there after 13 s.
  expect(routed.nowMs - routed.startMs).toBeLessThan(18_000)
})

test('of a seller that was never paid the fees are expected that others cost', () => {
  const lines = [{ rate: 0.15e6 }, { rate: 0.15e6, pieces: [] }]
  const late = new Market({
    ...{ bytes: 64 * MIB, pieceLength: MIB / 4, paymentMs: 2000, lines, feeOf: feeOf(200, 0) },
  })
  const [, second] = late.sellers
  const pieces = Array.from({ length: 256 }, (_, piece) => piece)
  late.at(60_000, () => late.step({ tag: 'has', peer: second?.peer ?? '', pieces }))
  late.run()
  const bytes = late.paid.flatMap((one) => (one.key === second?.key ? [one.bytes] : []))
  // The first is one piece, as ever; what ran ahead of its payment knew of the fees.
  expect(bytes[0]).toBe(MIB / 4)
  expect(bytes[1]).toBeGreaterThanOrEqual(4 * MIB)
})

test('one that comes by no more is not kept waiting for long', () => {
  const lines = [{ rate: 1e6 }, { rate: 1e6, pieces: [200, 201, 202] }]
  const found = market({ lines, money: 'bitcoin' })
  const [, few] = found.sellers
  const last = found.paid.findLast(({ key }) => key === few?.key)
  expect((last?.atMs ?? Infinity) - found.startMs).toBeLessThan(10_000)
})

const share = ({ buyer }: Market): number => buyer.fees / buyer.paid

test('windows grow until fees are below 5 % of the price, and no further', () => {
  const [free, routed] = [market({}), market({ feeOf: feeOf(200, 1000) })]
  expect(routed.paid.length).toBeLessThan(free.paid.length)
  // At 1 sat a MiB four MiB and a little; the first payment, of one piece, could not know.
  const later = routed.paid.slice(4, -3).map(({ bytes }) => bytes)
  expect(Math.min(...later)).toBeGreaterThanOrEqual(4 * MIB)
  expect(Math.max(...later)).toBeLessThanOrEqual(8 * MIB)
  expect(share(routed)).toBeLessThan(0.07)
})

test('of a file that leaves room for it, all payments together cost less than 5 % on top', () => {
  const lines = [0, 1, 2].map(() => ({ rate: 3e6 }))
  const large = market({ bytes: 160 * MIB, paymentMs: 1000, lines, feeOf: feeOf(200, 1000) })
  expect(share(large)).toBeLessThan(MOST_FEE_SHARE)
})

test('they grow as far as the risk budget, and complete, where no window is large enough', () => {
  const riskBudget = msat(9000)
  const most = market({ feeOf: feeOf(5000, 0), policy: { riskBudget } })
  expect(Math.max(...most.paid.map(({ bytes }) => bytes))).toBeLessThanOrEqual(3 * MIB)
  expect(share(most)).toBeGreaterThan(MOST_FEE_SHARE)
})

test('where channels carry whole sats, what a sat buys is asked for at once', () => {
  const cheap = market({ money: 'bitcoin', lines: [{ rate: 0.3e6, price: msat(250) }] })
  // But for the first payment, of one piece, and what is left at the end.
  expect(cheap.paid.filter(({ bytes }) => bytes < 4 * MIB).length).toBeLessThanOrEqual(2)
})
