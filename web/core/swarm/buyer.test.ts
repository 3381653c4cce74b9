/** The buyer under random order, losses, restarts and hostile sellers; then the world heals and the download has to complete. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { msat } from '../money/msat.ts'
import { World, type Nature, type Seller, type Setup } from './buyer-world.sample.ts'

const anySetup: fc.Arbitrary<Setup> = fc.record({
  pieces: fc.integer({ min: 1, max: 6 }),
  short: fc.boolean(),
  budget: fc.constantFrom(1, 4, 7, 12, 40),
  riskBudget: fc.nat({ max: 6 }),
  unprovenBudget: fc.nat({ max: 5 }),
  paymentSlots: fc.integer({ min: 1, max: 4 }),
  memoryPieces: fc.integer({ min: 1, max: 8 }),
  budgetPieces: fc.constantFrom(Infinity, Infinity, 3, 8),
  balance: fc.constantFrom(0, 2, 6, 30),
  feeMsat: fc.constantFrom(0, 0, 1),
  sellers: fc.array(
    fc.record({
      nature: fc.constantFrom<Nature>('honest', 'honest', 'cheats', 'cheats', 'holds', 'silent'),
      price: fc.constantFrom(0, 1, 1, 2, 2, 3),
      approved: fc.boolean(),
    }),
    { minLength: 1, maxLength: 4 },
  ),
})
type Action = { tag: 'run' | 'lose' | 'back' | 'wait' | 'restart' | 'fund'; at: number; chance: number }
const action = (tag: Action['tag'], weight: number) => ({
  weight,
  arbitrary: fc.record({
    tag: fc.constant(tag),
    at: fc.nat({ max: 20 }),
    chance: fc.nat({ max: 69 }),
  }) as fc.Arbitrary<Action>,
})
const anyAction = fc.oneof(
  action('run', 14),
  action('lose', 1),
  action('back', 2),
  action('wait', 2),
  action('restart', 1),
  action('fund', 1),
)
const WAITS = [500, 2_000, 16_000, 70_000]

function act(world: World, { tag, at, chance }: Action): void {
  const seller = world.sellers[at % world.sellers.length] as Seller
  if (tag === 'run' && world.jobs.length > 0) world.run(at, chance)
  if (tag === 'lose') world.disconnect(seller)
  if (tag === 'back') world.connect(seller)
  if (tag === 'wait') world.wait(WAITS[at % WAITS.length] as number)
  if (tag === 'restart') world.restart()
  if (tag === 'fund') world.fund(at % 5)
}

describe('buyer, sellers and wallet', () => {
  test('fees count: what they have used up is not paid, though it was asked for before', () => {
    const world = new World({
      pieces: 2,
      short: false,
      budget: 4,
      riskBudget: 9,
      unprovenBudget: 9,
      paymentSlots: 9,
      memoryPieces: 9,
      budgetPieces: Infinity,
      balance: 9,
      feeMsat: 0,
      sellers: [
        { nature: 'honest', price: 2, approved: false },
        { nature: 'honest', price: 2, approved: false },
      ],
    })
    const [one, two] = [...world.buyer.windows.values()].map(({ id }) => id)
    const quoted = (window = 0) => ({
      tag: 'quoted' as const,
      window,
      amount: msat(2),
      paymentHash: `h${window} s${window}`,
      expiresAtMs: world.nowMs + 120_000,
    })
    world.step(quoted(one))
    world.step({ tag: 'settled', window: one ?? 0, fees: msat(1) })
    world.step(quoted(two))
    expect(world.payments).toHaveLength(1)
    expect(world.buyer.windows.get(two ?? 0)?.state).toBe('held')
  })

  test('keep every bound in any order, and complete once an honest seller stays', () => {
    fc.assert(
      fc.property(anySetup, fc.array(anyAction, { maxLength: 80, size: 'max' }), (setup, actions) => {
        const world = new World(setup)
        for (const next of actions) act(world, next)
        world.heal()
        expect(world.complete, 'complete').toBe(true)
        expect(world.buyer.haveCount).toBe(setup.pieces)
        expect(world.buyer.boughtTwice).toBe(0)
        const kept = world.payments.filter((at) => at.opened !== 'no')
        expect(world.buyer.paid).toBe(kept.reduce((sum, at) => sum + at.amount, 0))
        expect(world.buyer.fees).toBe(kept.length * setup.feeMsat)
      }),
      { numRuns: 500 },
    )
  })
})
