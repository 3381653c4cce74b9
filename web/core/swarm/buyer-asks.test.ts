import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, MIB, type Money, type Msat } from '../money/msat.ts'
import { BUYER_DEFAULTS } from './buyer-policy.ts'
import { openBuyer, record, step } from './buyer.ts'

const MONEY: Money = 'sandbox:test'
const PIECE = 64 * 1024
const POLICY = {
  ...BUYER_DEFAULTS,
  priceCap: msat(8000),
  budget: msat(1_000_000),
  riskBudget: msat(2000),
  unprovenBudget: msat(2000),
  lockedTimeoutMs: 60_000,
  approved: [],
}

const joined = (peer: string, price: Msat) => {
  const key = peer.padEnd(64, '0') as PartyKey
  return { tag: 'joined', peer, key, price, gift: false, money: MONEY, maxWindowBytes: MIB } as const
}

/** One that sells on, and asked a vendor with everything for one piece of eight; `asked` is that piece. */
function resellerThatAsked() {
  const policy = { ...POLICY, resells: true }
  const buyer = openBuyer({ length: 8 * PIECE, pieceLength: PIECE }, policy, 1)
  step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1_000_000) }, 1000)
  step(buyer, joined('vendor', msat(1000)), 1000)
  const effects = step(buyer, { tag: 'has', peer: 'vendor', pieces: [0, 1, 2, 3, 4, 5, 6, 7] }, 1000)
  const [ask] = effects
  if (effects.length !== 1 || ask?.tag !== 'ask') throw new Error('it asked for something else')
  return { buyer, window: ask.window, asked: ask.pieces }
}

test.each(['sending', 'has'] as const)(
  'what waits at the vendor and is on its way to another (%s) is left to that one',
  (tag) => {
    const { buyer, window, asked } = resellerThatAsked()
    if (tag === 'has') step(buyer, joined('other', msat(9000)), 1000)
    const peer = tag === 'has' ? 'other' : 'vendor'
    const effects = step(buyer, { tag, peer, pieces: asked }, 1100)
    expect(effects).toContainEqual({ tag: 'cancel', window, peer: 'vendor' })
    const [again] = effects.filter((effect) => effect.tag === 'ask')
    expect(again).toMatchObject({ peer: 'vendor' })
    expect(again?.pieces).not.toEqual(asked)
  },
)

test('what has begun to come is taken, whoever else gets it', () => {
  const { buyer, window, asked } = resellerThatAsked()
  step(buyer, { tag: 'progress', window, bytes: 1000 }, 1100)
  const effects = step(buyer, { tag: 'sending', peer: 'vendor', pieces: asked }, 1200)
  expect(effects).toEqual([])
})

test('a piece counts once as being sent, and no more when who said so has left', () => {
  const { buyer } = resellerThatAsked()
  for (let i = 0; i < 3; i++) step(buyer, { tag: 'sending', peer: 'vendor', pieces: [3, 99] }, 1100)
  expect(buyer.picker.holders[3]).toBe(1)
  step(buyer, { tag: 'left', peer: 'vendor' }, 1200)
  expect([...buyer.picker.holders]).toEqual(Array(8).fill(0))
})

test('with `cheapest` a slow cheap seller and a fast dear one do not wait for each other', () => {
  const policy = { ...POLICY, prefer: 'cheapest' as const }
  const buyer = openBuyer({ length: 2 * PIECE, pieceLength: PIECE }, policy, 1)
  const sellers = [
    { peer: 'slow', price: msat(5000), ms: 800 },
    { peer: 'fast', price: msat(7000), ms: 50 },
  ]
  for (const { peer, price, ms } of sellers) {
    step(buyer, joined(peer, price), 1000)
    // Both have sold before: their rates are known.
    const of = record(buyer, joined(peer, price).key, 1000)
    of.settledBytes = PIECE
    of.paid = msat(500)
    of.answerMs = 500
    Object.assign(of.meter, { bytes: PIECE, ms })
    step(buyer, { tag: 'has', peer, pieces: [0, 1] }, 1000)
  }
  const effects = step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1_000_000) }, 1000)
  expect(effects).toContainEqual(expect.objectContaining({ tag: 'ask', peer: 'slow' }))
})

test('over Lightning a small window costs a sat, and none is asked for with less left', () => {
  const ask = (balance: number, money: Money) => {
    const buyer = openBuyer(
      { length: 8 * PIECE, pieceLength: PIECE },
      { ...POLICY, unprovenBudget: undefined },
      1,
    )
    step(buyer, { tag: 'wallet', money, balance: msat(balance) }, 1000)
    step(buyer, { ...joined('seller', msat(1000)), money }, 1000)
    const [effect] = step(buyer, { tag: 'has', peer: 'seller', pieces: [0, 1, 2, 3] }, 1000)
    const [window] = buyer.windows.values()
    return effect?.tag === 'ask' ? window?.amount : undefined
  }
  expect(ask(999, MONEY)).toBe(63)
  expect(ask(1000, 'bitcoin')).toBe(1000)
  expect(ask(999, 'bitcoin')).toBeUndefined()
})
