import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import type { Sabotage } from './buyer.ts'
import { Court, type Charter } from './judges.ts'
import { drawPlan, type Plan, type PlannedNode } from './plan.ts'
import { cheapPorts, type Ports } from './ports.ts'
import type { Fact } from './trace.ts'
import { World } from './world.ts'

const SEED = 12

/** The verdicts' judges over a world that is spoilt in one place. */
function cries(
  spoil: Readonly<{
    plan?: (plan: Plan) => Plan
    ports?: (ports: Ports) => Ports
    sabotage?: Sabotage
    world?: (world: World) => void
    seed?: number
  }>,
): string[] {
  const seed = spoil.seed ?? SEED
  const drawn = drawPlan(seed)
  const { sabotage } = spoil
  const planned: Plan =
    sabotage === undefined
      ? drawn
      : { ...drawn, nodes: drawn.nodes.map((node): PlannedNode => ({ ...node, sabotage })) }
  const plan = spoil.plan?.(planned) ?? planned
  const ports = cheapPorts({ length: plan.length, pieceLength: plan.pieceLength })
  const world = new World(plan, spoil.ports?.(ports) ?? ports, `world ${seed}`)
  spoil.world?.(world)
  return world.run().verdicts.map(({ judge, says }) => `${judge}: ${says}`)
}

test('the untouched world has nothing to cry about', () => {
  expect(cries({})).toEqual([])
})

test('judges import nothing of the product', () => {
  const source = fs.readFileSync(path.join(import.meta.dirname, 'judges.ts'), 'utf8')
  const imports = [...source.matchAll(/from '([^']+)'/g)].map((match) => match[1])
  expect(imports).toEqual(['./trace.ts'])
})

test('money: a bank that loses a msat a payment', () => {
  expect(cries({ world: ({ bank }) => void (bank.leak = 1) }).join()).toContain('money: ')
})

test('bytes: a buyer that takes any piece for proven', () => {
  const spoilt = (ports: Ports): Ports => ({
    ...ports,
    proves: () => true,
    unseal: (secret, id, cipher, pieces) =>
      ports.unseal(secret, id, cipher, pieces).map((_, i) => ports.spoilt(pieces[i] ?? 0)),
  })
  expect(cries({ ports: spoilt }).join()).toContain('bytes: ')
})

test('buyer: one that forgets what it has at stake', () => {
  const forgets: Sabotage = (effects, buyer) => {
    for (const of of buyer.keys.values()) of.atStake = msat(0)
    buyer.unprovenSpent = msat(0)
    return effects
  }
  const slowly = (plan: Plan): Plan => ({
    ...plan,
    nodes: plan.nodes.map((node) => ({
      ...node,
      wallet: { ...node.wallet, payMs: 8000, slots: 483 },
      ...(node.buys === undefined
        ? {}
        : { buys: { ...node.buys, riskBudget: 1, paymentSlots: 64, memoryBytes: 64 * 1024 * 1024 } }),
    })),
  })
  const heard = [1, 2, 3, 4, 5, 6, 7, 8].flatMap((seed) => cries({ seed, plan: slowly, sabotage: forgets }))
  expect(heard.join()).toContain('at stake with')
})

test('liveness: a buyer that stops asking', () => {
  const lazy: Sabotage = (effects, buyer) => {
    if (buyer.haveCount > 0) buyer.running = false
    return effects
  }
  expect(cries({ sabotage: lazy }).join()).toContain('liveness: ')
})

// Facts straight to the court: one false step each.

const piece = Uint8Array.of(1)
const bounds = {
  priceCap: 1024,
  budget: 10_000,
  riskBudget: 2000,
  unprovenBudget: 1500,
  lockedTimeoutMs: 5000,
  slots: 1,
  approved: [],
}
const charter: Charter = {
  content: [piece, piece],
  pieceLength: 1024 * 1024,
  buyers: new Map([[0, bounds]]),
  sellers: new Map([[1, { unpaidBytes: 100, unprovenBytes: 50, approved: ['friend'] }]]),
}
const says = (facts: readonly (readonly [number, Fact])[]): string => {
  const court = new Court(charter)
  court.see({ t: 'account', account: 0, msat: 1_000_000 }, 0)
  court.see({ t: 'account', account: 1, msat: 0 }, 0)
  for (const [atMs, fact] of facts) court.see(fact, atMs)
  return court.verdicts.map((verdict) => verdict.says).join('; ')
}
const pays = (hash: string, amount = 1000, at = 0): Fact => ({
  t: 'pays',
  buyer: 0,
  seller: 'seller',
  hash,
  amount,
  pieces: [at],
  bytes: 1024 * 1024,
  expiresAtMs: 120_000,
})
const settles = (hash: string): Fact[] => [
  { t: 'locked', hash, payer: 0, payee: 1, amount: 1000, fee: 0 },
  { t: 'settled', hash, payer: 0, payee: 1, amount: 1000, fee: 0 },
  { t: 'opened', buyer: 0, hash, pieces: [{ piece: 0, bytes: piece }] },
]
const at = (ms: number, ...facts: Fact[]): [number, Fact][] => facts.map((fact) => [ms, fact])

test('twice: the same piece from two purchases, unless one of them was late', () => {
  const first = at(1, pays('a'), ...settles('a'))
  expect(says([...first, ...at(10, pays('b'), ...settles('b'))])).toContain('bought piece 0 twice')
  expect(says([...first, ...at(10, pays('b')), ...at(6000, ...settles('b'))])).toBe('')
})

test('bounds: price cap, fresh key, strangers together, payment slots', () => {
  expect(says(at(1, pays('a', 1025)))).toContain('above its cap')
  expect(says(at(1, pays('a'), pays('b', 900, 1)))).toContain('at stake with the fresh key')
  expect(says(at(1, pays('a'), { ...pays('b'), seller: 'other' } as Fact))).toContain('never settled')
  const locks = settles('a').slice(0, 1)
  const more = settles('b').slice(0, 1)
  expect(says(at(1, pays('a', 500), pays('b', 500, 1), ...locks, ...more))).toContain('payments under way')
})

test('seller: ciphertext out unpaid, and to keys that never paid', () => {
  const sent = (buyer: string, sale: string, bytes: number): Fact => ({
    t: 'sent',
    seller: 1,
    buyer,
    sale,
    bytes,
    gift: false,
  })
  expect(says(at(1, sent('friend', 'a', 60), sent('friend', 'b', 41)))).toContain('out unpaid')
  expect(says(at(1, sent('stranger', 'a', 51)))).toContain('never paid')
})
