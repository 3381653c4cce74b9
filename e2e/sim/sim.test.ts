import { beforeAll, expect, test } from 'vitest'
import { loadSecp } from '#secp'
import { simMakespan } from './coarse.ts'
import { runSeed } from './fine.ts'
import { failedOnce } from './seeds.ts'
import { simSwarm } from './swarm.ts'

beforeAll(loadSecp)

const LIMIT_MS = 120_000

test.each(failedOnce)('seed $seed, which once found $found', { timeout: LIMIT_MS }, ({ seed }) => {
  expect(runSeed(seed, { cheap: true }).verdicts).toEqual([])
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
    const { ratio, outcome } = simSwarm({ fileBytes: 16 * 1024 * 1024, paid })
    expect(outcome.verdicts).toEqual([])
    expect(ratio).toBeGreaterThanOrEqual(1)
    expect(ratio).toBeLessThan(3)
  }
})

test('a thousand devices need hardly more steps than any schedule must', () => {
  const { ratio, steps, bound } = simMakespan({ devices: 1000, seed: 1 })
  expect(steps).toBeGreaterThanOrEqual(bound)
  expect(ratio).toBeLessThan(1.1)
})
