/** Sellers that bring windows and never let themselves be paid. */
import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'

const MONEY: Money = 'sandbox:x'
const KEY = 'b'.repeat(64) as PartyKey
const PIECE = 262_144
const ALL = Array.from({ length: 64 }, (_, piece) => piece)

/** A buyer of 64 pieces that knows one seller of all of them. */
function open(nowMs: number, gift = false) {
  const buyer = buyers.openBuyer(
    { length: ALL.length * PIECE, pieceLength: PIECE },
    {
      ...buyers.BUYER_DEFAULTS,
      priceCap: msat(4000),
      budget: msat(1e9),
      riskBudget: msat(1e6),
      unprovenBudget: msat(1e6),
      lockedTimeoutMs: 60_000,
      approved: [],
    },
    1,
  )
  const seller = {
    peer: 'p',
    key: KEY,
    price: msat(1000),
    gift,
    money: MONEY,
    maxWindowBytes: 1 << 24,
  }
  buyers.step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1e9) }, nowMs)
  buyers.step(buyer, { tag: 'joined', ...seller }, nowMs)
  const effects = buyers.step(buyer, { tag: 'has', peer: 'p', pieces: ALL }, nowMs)
  return { buyer, asked: asksOf(effects) }
}
const asksOf = (effects: readonly buyers.BuyerEffect[]) => effects.filter((effect) => effect.tag === 'ask')

test.each([
  ['dearer than asked', 1, 60_000],
  ['lapses at once', 0, 2500],
])('a seller whose quotes cannot be paid (%s) rests after three of them', (_, more, livesMs) => {
  let nowMs = 1
  const { buyer, asked } = open(nowMs)
  let brought = 0
  for (let round = 0; round < 20; round++) {
    const next: typeof asked = []
    const step = (event: buyers.BuyerEvent): void =>
      void next.push(...asksOf(buyers.step(buyer, event, nowMs)))
    for (const { window: id } of asked.splice(0)) {
      nowMs += 50
      const window = buyer.windows.get(id)
      if (window === undefined) continue
      brought += window.bytes
      step({ tag: 'progress', window: id, bytes: window.bytes })
      const amount = msat(window.amount + more)
      const expiresAtMs = nowMs + livesMs
      step({ tag: 'quoted', window: id, amount, paymentHash: `${round} ${id}`, expiresAtMs })
    }
    nowMs += 1100
    step({ tag: 'tick' })
    asked.push(...next)
  }
  expect(buyer.keys.get(KEY)).toMatchObject({ strikes: 3, restUntilMs: buyer.wakeAtMs })
  expect(buyer.wakeAtMs).toBeGreaterThan(600_000)
  expect(brought).toBeLessThan(4 * 1024 * 1024)
  expect(buyer.paid).toBe(0)
})

test('a giver whose secrets never come rests after three times', () => {
  const { buyer, asked } = open(1, true)
  let nowMs = 1
  let rounds = 0
  for (; asked.length > 0 && rounds < 20; rounds++) {
    for (let next = asked.pop(); next !== undefined; next = asked.pop()) {
      const free = { amount: msat(0), paymentHash: 'h', expiresAtMs: Number.POSITIVE_INFINITY }
      asked.push(...asksOf(buyers.step(buyer, { tag: 'quoted', window: next.window, ...free }, nowMs)))
    }
    nowMs += 15_001
    asked.push(...asksOf(buyers.step(buyer, { tag: 'tick' }, nowMs)))
  }
  expect(rounds).toBe(3)
  expect(buyer.wakeAtMs).toBe(nowMs + 600_000)
})

test('what payments cost is kept free in the budget, once it is known', () => {
  const { buyer, asked } = open(1)
  const [first] = asked
  if (first === undefined) throw new Error('nothing was asked')
  const quote = { paymentHash: 'a', expiresAtMs: 60_000 }
  buyers.step(buyer, { tag: 'quoted', window: first.window, amount: msat(250), ...quote }, 2)
  buyers.step(buyer, { tag: 'settled', window: first.window }, 3)
  expect([...buyer.feesOpen.values()]).toEqual([250])
  buyers.step(buyer, { tag: 'opened', window: first.window, cheated: false }, 4)
  buyers.step(buyer, { tag: 'settled', window: first.window, fees: msat(75) }, 5)
  buyers.step(buyer, { tag: 'settled', window: first.window, fees: msat(75) }, 6)
  expect(buyer.fees).toBe(75)
  expect(buyer.keys.get(KEY)?.fees).toBe(75)
  // 30 %: of two pieces' price only one can be paid beside its fee.
  buyer.policy = { ...buyer.policy, budget: msat(325 + 500) }
  for (const window of buyer.windows.values())
    buyers.step(buyer, { tag: 'refused', window: window.id, code: 'busy' }, 7)
  const effects = buyers.step(buyer, { tag: 'tick' }, 2000)
  const pieces = asksOf(effects).flatMap((ask) => ask.pieces)
  expect(pieces).toHaveLength(1)
})
