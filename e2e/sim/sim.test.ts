import { beforeAll, expect, test } from 'vitest'
import { loadSecp } from '#secp'
import { simMakespan } from './coarse.ts'
import { runSeed } from './fine.ts'
import { failedOnce, failedTight, failedWide } from './seeds.ts'
import { simSwarm } from './swarm.ts'

beforeAll(loadSecp)

const LIMIT_MS = 120_000
const MIB = 1024 * 1024

test.each(failedOnce)('seed $seed, which once found $found', { timeout: LIMIT_MS }, ({ seed }) => {
  expect(runSeed(seed, { cheap: true }).verdicts).toEqual([])
})

test.each(failedWide)('wide seed $seed, which once found $found', { timeout: LIMIT_MS }, ({ seed }) => {
  expect(runSeed(seed, { cheap: true, wide: true }).verdicts).toEqual([])
})

test.each(failedTight)('tight seed $seed, which once found $found', { timeout: LIMIT_MS }, ({ seed }) => {
  expect(runSeed(seed, { cheap: true, tight: true }).verdicts).toEqual([])
})

test(
  'random worlds with the product’s own signatures and ciphers pass every judge',
  { timeout: LIMIT_MS },
  () => {
    for (let seed = 1000; seed < 1008; seed++)
      expect({ seed, says: runSeed(seed).verdicts }).toEqual({ seed, says: [] })
  },
)

test('more random worlds with cheap ones', { timeout: LIMIT_MS }, () => {
  for (let seed = 2013; seed < 2060; seed++)
    expect({ seed, says: runSeed(seed, { cheap: true }).verdicts }).toEqual({ seed, says: [] })
})

test('budgets that only just suffice are kept, fees included', { timeout: LIMIT_MS }, () => {
  for (let seed = 3000; seed < 3015; seed++)
    expect({ seed, says: runSeed(seed, { cheap: true, tight: true }).verdicts }).toEqual({ seed, says: [] })
})

test('one seed is one run, bit for bit', { timeout: LIMIT_MS }, () => {
  for (const seed of [3]) {
    const [first, again] = [runSeed(seed), runSeed(seed)]
    expect(again.digest).toBe(first.digest)
    expect(again.facts).toBe(first.facts)
  }
  expect(runSeed(3).digest).not.toBe(runSeed(17).digest)
})

test('a swarm of eight ends soon after the bound, paid as free', () => {
  for (const paid of [false, true]) {
    const { ratio, outcome } = simSwarm({ fileBytes: 24 * MIB, paid })
    expect(outcome.verdicts).toEqual([])
    expect(ratio).toBeGreaterThanOrEqual(1)
    expect(ratio).toBeLessThan(1.3)
  }
})

test('the first copy sells each piece once before it sells one twice', () => {
  const sold: number[] = []
  let vendor: string | undefined
  simSwarm({ fileBytes: 24 * MIB, paid: true }, (fact) => {
    if (fact.t !== 'pays') return
    // Nobody else has anything to sell before it has sold something.
    vendor ??= fact.seller
    if (fact.seller === vendor) sold.push(...fact.pieces)
  })
  const pieces = new Set(sold).size
  expect(pieces).toBe(96)
  expect(new Set(sold.slice(0, pieces + 4)).size).toBe(pieces)
})

test('a thousand devices need hardly more steps than any schedule must, and a seed is one run', () => {
  const { ratio, steps, bound, digest } = simMakespan({ devices: 1000, seed: 1 })
  expect(steps).toBeGreaterThanOrEqual(bound)
  expect(ratio).toBeLessThan(1.1)
  expect({ steps, digest }).toEqual({ steps: 140, digest: '89fed3fc' })
  expect(simMakespan({ devices: 100, seed: 2 }).digest).not.toBe(
    simMakespan({ devices: 100, seed: 3 }).digest,
  )
})
