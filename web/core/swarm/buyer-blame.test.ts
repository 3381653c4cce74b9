/** Sellers that bring windows and never let themselves be paid. */
import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'
import { REFUSED_BYTES } from './buyer-tick.ts'

const MONEY: Money = 'sandbox:x'
const KEY = 'b'.repeat(64) as PartyKey
const PIECE = 262_144

/** A buyer that knows one seller of all pieces. */
function open(nowMs: number, gift = false, pieces = 64) {
  const all = Array.from({ length: pieces }, (_, piece) => piece)
  const buyer = buyers.openBuyer(
    { length: pieces * PIECE, pieceLength: PIECE },
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
  const effects = buyers.step(buyer, { tag: 'has', peer: 'p', pieces: all }, nowMs)
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

const BUDGET = REFUSED_BYTES
const MINUTE = 60_000

/** Hours alone with a seller that sends each window whole and then does as `answers` says: what came of it, in bytes. */
function alone(gift: boolean, hours: number, answers: (nth: number) => 'sells' | 'refuses') {
  let nowMs = 1
  const { buyer, asked } = open(nowMs, gift, 4096)
  const step = (event: buyers.BuyerEvent): void =>
    void asked.push(...asksOf(buyers.step(buyer, event, nowMs)))
  const of = { refused: 0, sold: 0, rests: 0, burst: 0 }
  for (let nth = 1; nowMs < hours * 60 * MINUTE && buyer.haveCount < buyer.have.length;) {
    const next = asked.shift()
    if (next === undefined) {
      const restMs = (buyer.keys.get(KEY)?.restUntilMs ?? 0) - nowMs
      if (restMs > 0) of.rests++
      nowMs += Math.max(100, restMs)
      step({ tag: 'tick' })
      continue
    }
    const id = next.window
    const window = buyer.windows.get(id)
    if (window?.state !== 'asked') continue
    const { bytes, amount } = window
    nowMs += 20
    of.burst = Math.max(of.burst, buyer.under.queuedBytes)
    step({ tag: 'progress', window: id, bytes })
    if (answers(nth++) === 'refuses') {
      of.refused += bytes
      step({ tag: 'refused', window: id, code: 'busy' })
      continue
    }
    of.sold += bytes
    step({ tag: 'quoted', window: id, amount, paymentHash: `${id}`, expiresAtMs: nowMs + MINUTE })
    step({ tag: 'settled', window: id, fees: msat(0) })
    step({ tag: 'opened', window: id, cheated: false })
  }
  return { ...of, buyer }
}

test.each([
  ['at a price', false],
  ['free', true],
])(
  'a seller that sends windows whole and refuses them then (%s) rests after three beyond its bound',
  (_, gift) => {
    const { refused, rests, burst, buyer } = alone(gift, 6, () => 'refuses')
    expect(rests).toBeGreaterThan(3)
    expect(rests).toBeLessThan(10)
    // Three strikes before the first rest, one before each later.
    expect(refused).toBeLessThanOrEqual(BUDGET + (3 + rests) * burst)
    expect(buyer.keys.get(KEY)?.refusedBytes).toBe(refused)
  },
)

test.each([2, 3, 8])('one window sold of %i does not buy the others off', (of) => {
  const { refused, sold, rests, burst } = alone(false, 6, (nth) => (nth % of === 1 ? 'sells' : 'refuses'))
  expect(sold).toBeGreaterThan(0)
  expect(refused).toBeLessThanOrEqual(BUDGET + sold + (3 + rests) * burst)
})

test('what a key had refused is not forgotten with its wire, and counts what comes before the refusal only', () => {
  const { buyer, asked } = open(1)
  const [first] = asked
  if (first === undefined) throw new Error('nothing was asked')
  buyers.step(buyer, { tag: 'progress', window: first.window, bytes: 100 }, 2)
  buyers.step(buyer, { tag: 'refused', window: first.window, code: 'closed' }, 3)
  buyers.step(buyer, { tag: 'left', peer: 'p' }, 4)
  expect(buyer.keys.get(KEY)?.refusedBytes).toBe(100)
})

test('a seller that gives up a window now and then is not blamed', () => {
  const { refused, rests, buyer } = alone(false, 1, (nth) => (nth % 3 === 0 ? 'refuses' : 'sells'))
  expect(refused).toBeGreaterThan(BUDGET)
  expect(rests).toBe(0)
  expect(buyer.keys.get(KEY)?.strikes).toBe(0)
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
