/** What time costs a buyer: the seconds of ARCHITECTURE.md "What anyone can lose", in virtual time, to the millisecond. */
import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'

const KIB = 1024
const MIB = 1024 * KIB
const PIECE = 256 * KIB
const MONEY: Money = 'sandbox:x'
const SELLER = 'a'.repeat(64) as PartyKey
const START_MS = 1000

/** A buyer that has asked one seller for a first piece, which costs 250 msat. */
function asking(): { buyer: buyers.Buyer; window: number; at: At } {
  const policy = {
    ...buyers.BUYER_DEFAULTS,
    priceCap: msat(1000),
    budget: msat(1_000_000),
    riskBudget: msat(10_000),
    unprovenBudget: msat(10_000),
    lockedTimeoutMs: 60_000,
    approved: [],
  }
  const buyer = buyers.openBuyer({ length: 4 * MIB, pieceLength: PIECE }, policy, 1)
  const at: At = (ms, event = { tag: 'tick' }) => buyers.step(buyer, event, START_MS + ms)
  at(0, { tag: 'wallet', money: MONEY, balance: msat(1_000_000) })
  const offer = { key: SELLER, price: msat(1000), gift: false, money: MONEY, maxWindowBytes: 4 * MIB }
  at(0, { tag: 'joined', peer: 'p', ...offer })
  at(0, { tag: 'has', peer: 'p', pieces: Array.from({ length: 16 }, (_, i) => i) })
  return { buyer, window: [...buyer.windows.keys()][0] ?? -1, at }
}
type At = (ms: number, event?: buyers.BuyerEvent) => readonly buyers.BuyerEffect[]

const tags = (effects: readonly buyers.BuyerEffect[]): string[] => effects.map(({ tag }) => tag)
const quoted = (window: number): buyers.BuyerEvent => {
  return { tag: 'quoted', window, amount: msat(250), paymentHash: 'h', expiresAtMs: START_MS + 10_000_000 }
}

test('silence: 15 s, then the window is given up and its seller rests 30 s', () => {
  const { buyer, window, at } = asking()
  at(15_000)
  expect(buyer.windows.has(window)).toBe(true)
  expect(tags(at(15_001))).toEqual(['cancel', 'discard'])
  expect(tags(at(45_000))).toEqual([])
  expect(tags(at(45_001))).toEqual(['ask'])
})

test('a drip: 60 s, and the share of a line of 64 KiB/s', () => {
  const { buyer, window, at } = asking()
  const dueMs = 60_000 + (PIECE / (64 * KIB)) * 1000
  for (let ms = 5000; ms <= dueMs; ms += 1000) {
    at(ms, { tag: 'progress', window, bytes: ms })
    at(ms)
  }
  expect(buyer.windows.has(window)).toBe(true)
  at(dueMs + 1)
  expect(buyer.windows.has(window)).toBe(false)
})

test('a lock: 60 s, then its pieces may come from elsewhere', () => {
  const { buyer, window, at } = asking()
  expect(tags(at(0, quoted(window)))).toContain('pay')
  at(60_000)
  expect(buyer.windows.get(window)?.elsewhere).toBe(false)
  expect(tags(at(60_001))).toContain('drop')
  expect(buyer.windows.get(window)?.elsewhere).toBe(true)
})

test('an unknown payment is looked up after 1 s, then at twice the distance, up to 30 s', () => {
  const { window, at } = asking()
  at(0, quoted(window))
  let ms = 0
  at(ms, { tag: 'pay-unknown', window })
  for (const waitMs of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    expect(tags(at(ms + waitMs - 1))).not.toContain('look-up')
    expect(tags(at(ms + waitMs))).toContain('look-up')
    ms += waitMs
    at(ms, { tag: 'pay-unknown', window })
  }
})

test.each([
  ['busy', 250],
  ['unpaid', 250],
  ['missing', 250],
  ['closed', 30_000],
] as const)('refused as %s: asked again after %i ms', (code, restMs) => {
  const { window, at } = asking()
  expect(tags(at(0, { tag: 'refused', window, code }))).not.toContain('ask')
  expect(tags(at(restMs - 1))).not.toContain('ask')
  expect(tags(at(restMs))).toContain('ask')
})

test.each([
  ['unreachable', 2000],
  ['restricted', 30_000],
])('a wallet that is %s is tried again after %i ms, with the same quote', (code, restMs) => {
  const { window, at } = asking()
  at(0, quoted(window))
  at(0, { tag: 'pay-failed', window, code })
  expect(tags(at(restMs - 1))).not.toContain('pay')
  expect(at(restMs)).toContainEqual({ tag: 'pay', window })
})
