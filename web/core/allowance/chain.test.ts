import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Chain, LIFE_MS, type Op } from './chain.sample.ts'

const small = fc.nat({ max: 30 })
const layer = fc.nat({ max: 2 })
const op = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ tag: fc.constant('ask' as const), layer, invoice: fc.nat({ max: 4 }) }),
  },
  {
    weight: 20,
    arbitrary: fc.record({ tag: fc.constant('deliver' as const), message: small }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ tag: fc.constantFrom('lose' as const, 'repeat' as const), message: small }),
  },
  { weight: 1, arbitrary: fc.record({ tag: fc.constant('again' as const), request: small }) },
  {
    weight: 2,
    arbitrary: fc.record({ tag: fc.constant('die' as const), layer, afterEffects: fc.nat({ max: 5 }) }),
  },
  { weight: 3, arbitrary: fc.record({ tag: fc.constant('wake' as const), layer }) },
  {
    weight: 2,
    arbitrary: fc.record({ tag: fc.constant('limit' as const), layer, limit: fc.nat({ max: 20 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ tag: fc.constant('top-up' as const), layer, amount: fc.nat({ max: 5 }) }),
  },
  { weight: 1, arbitrary: fc.record({ tag: fc.constant('pause' as const), layer, paused: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      tag: fc.constant('wait' as const),
      ms: fc.constantFrom(1_100, 1_100, 1_100, LIFE_MS, 1_200_000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ tag: fc.constant('give-up' as const), layer, invoice: small }) },
  {
    weight: 6,
    arbitrary: fc.record({ tag: fc.constant('decide' as const), invoice: small, pay: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ tag: fc.constant('show' as const), layer, invoice: small }) },
)

const run = (limits: number[], renewal: 'never' | 'hourly', ops: readonly Op[]): Chain => {
  const chain = new Chain(limits, renewal)
  for (const one of ops) chain.run(one)
  return chain
}

test('three layers, whatever is lost, repeated, killed or moved: limits hold, nothing is paid twice, all is counted', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 4, max: 40 }), { minLength: 3, maxLength: 3 }),
      fc.constantFrom('never' as const, 'hourly' as const),
      fc.array(op, { minLength: 20, maxLength: 120 }),
      (limits, renewal, ops) => {
        const chain = run(limits, renewal, ops)
        chain.heal()
        chain.audit()
        expect(chain.complaints).toEqual([])
      },
    ),
    { numRuns: 2500 },
  )
})

test('the schedules really pay, fail and kill', () => {
  let [paid, failed, unknown] = [0, 0, 0]
  const sample = fc.sample(fc.array(op, { minLength: 100, maxLength: 120 }), 100)
  for (const ops of sample) {
    const chain = run([40, 40, 40], 'hourly', ops)
    for (const { memory } of chain.layers)
      for (const { fate } of memory?.open.values() ?? []) if (fate.tag === 'unknown') unknown++
    chain.heal()
    for (const { state } of chain.executed.values()) {
      if (state === 'paid') paid++
      else failed++
    }
  }
  expect(Math.min(paid, failed, unknown)).toBeGreaterThan(50)
})

test('a limit moved to zero at the top starts nothing new, and what is in flight is counted at every layer', () => {
  const deliverAll = (chain: Chain): void => {
    while (chain.messages.length > 0) chain.run({ tag: 'deliver', message: 0 })
  }
  const chain = new Chain([20, 20, 20], 'never')
  chain.run({ tag: 'ask', layer: 2, invoice: 4 })
  deliverAll(chain)
  expect(chain.executed.size).toBe(1)
  chain.run({ tag: 'limit', layer: 0, limit: 0 })
  chain.run({ tag: 'ask', layer: 2, invoice: 3 })
  deliverAll(chain)
  expect(chain.executed.size).toBe(1)
  chain.heal()
  chain.audit()
  expect(chain.complaints).toEqual([])
  expect(chain.layers.map(({ memory }) => memory?.totalSpent)).toEqual([6, 6, 6])
})

test('a lost layer leaves its payment unknown and reserved below until it is back', () => {
  const chain = new Chain([20, 20, 20], 'never')
  chain.run({ tag: 'ask', layer: 2, invoice: 4 })
  for (let hop = 0; hop < 4; hop++) chain.run({ tag: 'deliver', message: 0 })
  chain.run({ tag: 'decide', invoice: 0, pay: true })
  chain.run({ tag: 'die', layer: 1, afterEffects: 0 })
  chain.run({ tag: 'give-up', layer: 2, invoice: 0 })
  for (let waits = 0; waits < 20; waits++) {
    chain.run({ tag: 'wait', ms: 60_000 })
    while (chain.messages.length > 0) chain.run({ tag: 'deliver', message: 0 })
  }
  const bottom = chain.layers[2]?.memory
  expect([...(bottom?.open.values() ?? [])].map(({ fate }) => fate.tag)).toEqual(['unknown'])
  chain.heal()
  chain.audit()
  expect(chain.complaints).toEqual([])
  expect(chain.layers.map(({ memory }) => memory?.totalSpent)).toEqual([6, 6, 6])
})
