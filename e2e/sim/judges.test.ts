import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import type { Sabotage } from './buyer.ts'
import { Court } from './judges/court.ts'
import type { Charter } from './judges/judge.ts'
import { drawPlan, type Plan, type PlannedNode } from './plan.ts'
import { cheapPorts } from './ports-cheap.ts'
import type { Ports } from './ports.ts'
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

const importsOf = (file: string): string[] =>
  [...fs.readFileSync(file, 'utf8').matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)/g)].map(
    ([, name = '']) => name,
  )

test('judges import nothing of the product', () => {
  const judges = path.join(import.meta.dirname, 'judges')
  const files = fs.readdirSync(judges)
  const imports = files.flatMap((file) => importsOf(path.join(judges, file)))
  const own = files.map((file) => `./${file}`)
  expect(new Set(imports.filter((name) => !own.includes(name)))).toEqual(new Set(['../trace.ts']))
  expect(importsOf(path.join(import.meta.dirname, 'trace.ts'))).toEqual([])
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
  // It never ends before its time is over: an hour shows as much as a day.
  const briefly = (plan: Plan): Plan => ({ ...plan, healMs: 3_600_000 })
  expect(cries({ sabotage: lazy, plan: briefly }).join()).toContain('liveness: ')
})

// Facts straight to the court: one false step each.

const piece = Uint8Array.of(1)
const bounds = {
  priceCap: 1024,
  budget: 10_000,
  riskBudget: 2000,
  unprovenBudget: 1500,
  lockedTimeoutMs: 5000,
  syncMs: 1,
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
  // Handed in again, it has its time anew.
  const again = at(5500, pays('b'))
  expect(says([...first, ...at(10, pays('b')), ...again, ...at(6000, ...settles('b'))])).toContain('twice')
})

test('bounds: price cap, fresh key, strangers together, payment slots', () => {
  expect(says(at(1, pays('a', 1025)))).toContain('above its cap')
  expect(says(at(1, pays('a'), pays('b', 900, 1)))).toContain('at stake with the fresh key')
  expect(says(at(1, pays('a'), { ...pays('b'), seller: 'other' } as Fact))).toContain('never settled')
  const locks = settles('a').slice(0, 1)
  const more = settles('b').slice(0, 1)
  expect(says(at(1, pays('a', 500), pays('b', 500, 1), ...locks, ...more))).toContain('payments under way')
})

test('budget: fees count, but those that no wallet had named yet', () => {
  const paid = (hash: string, amount: number, fee: number, atMs: number): [number, Fact][] => {
    const sums = { hash, payer: 0, payee: 1, amount, fee }
    const opened: Fact = { t: 'opened', buyer: 0, hash, pieces: [] }
    return at(atMs, pays(hash, amount), { t: 'locked', ...sums }, { t: 'settled', ...sums }, opened)
  }
  const many = (last: number, fee: number): [number, Fact][] =>
    Array.from({ length: 10 }, (_, i) => paid(`${i}`, i === 9 ? last : 1000, i === 9 ? fee : 0, i + 1)).flat()
  const later = 70_000
  // All before the first fee could be known.
  expect(says(many(1000, 5))).toBe('')
  expect(says(many(1001, 0))).toContain('spent 10001 of 10000')
  const known = many(900, 5)
  expect(says([...known, ...paid('b', 95, 5, later)])).toBe('')
  expect(says([...known, ...paid('b', 95, 6, later)])).toContain('of 10000')
  const crash: Fact = { t: 'crashed', node: 0 }
  const named = paid('b', 50, 6, later)
  expect(says([...known, ...named, ...at(later + 1, crash), ...paid('c', 50, 0, later + 2)])).toBe('')
  const late = later + 60_001
  expect(says([...known, ...named, ...at(late, crash), ...paid('c', 50, 0, late)])).toContain('of 10000')
})

test('after losses: no key gets more than it brought since the start, as soon as the loss is on disk', () => {
  const wrong: Fact = {
    t: 'opened',
    buyer: 0,
    hash: 'cheat',
    pieces: [{ piece: 0, bytes: Uint8Array.of(9) }],
  }
  const cheated = [{ ...pays('cheat'), seller: 'cheat' } as Fact, ...settles('cheat').slice(0, 2), wrong]
  const earned = [...at(1, pays('a', 700), ...settles('a')), ...at(2, ...cheated)]
  expect(says([...earned, ...at(20, pays('b', 700, 1))])).toBe('')
  expect(says([...earned, ...at(20, pays('b', 701, 1))])).toContain('earned it only 700')
  expect(says([...earned, ...at(8, pays('b', 701, 1))])).toBe('')
  const started: Fact = { t: 'started', node: 0 }
  expect(says([...earned, ...at(20, started, pays('b', 500, 1))])).toBe('')
  expect(says([...earned, ...at(20, started, pays('b', 501, 1))])).toContain('earned it only 0')
  const again = settles('a').slice(2)
  expect(says([...earned, ...at(20, started, ...again, pays('b', 700, 1))])).toBe('')
  expect(says([...earned, ...at(20, started, ...again, ...again, pays('b', 701, 1))])).toContain('only 700')
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
  const quoted: Fact = {
    t: 'quoted',
    seller: 1,
    buyer: 'friend',
    sale: 'a',
    hash: 'a',
    bytes: 80,
    expiresAtMs: 120_000,
  }
  const [, paid] = settles('a') as [Fact, Fact]
  const earned = at(1, sent('friend', 'a', 80), quoted, paid)
  expect(says([...earned, ...at(2, sent('friend', 'b', 120))])).not.toContain('out unpaid')
  expect(says([...earned, ...at(2, sent('friend', 'b', 121))])).toContain('out unpaid')
  expect(says([...earned, ...at(2, sent('friend', 'b', 20), sent('other', 'c', 101))])).toContain(
    'out unpaid',
  )
})

test('seller: a quote that leaves no time to pay', () => {
  const sent: Fact = { t: 'sent', seller: 1, buyer: 'friend', sale: 'a', bytes: 1, gift: false }
  const quoted: Fact = {
    t: 'quoted',
    seller: 1,
    buyer: 'friend',
    sale: 'a',
    hash: 'h',
    bytes: 1,
    expiresAtMs: 120_000,
  }
  expect(says([...at(1, sent), ...at(90_000, quoted)])).toBe('')
  expect(says([...at(1, sent), ...at(90_001, quoted)])).toContain('30 s to pay')
})
