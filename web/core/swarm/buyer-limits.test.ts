import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'
import { mayStake, stakeLimit } from './buyer-limits.ts'

const MIB = 1024 * 1024
const MONEY: Money = 'sandbox:x'
const SELLER = 'a'.repeat(64) as PartyKey

/** A buyer with one window of a piece asked for; a piece costs 250 msat. */
function asking(policy: Partial<buyers.BuyerPolicy> = {}): { buyer: buyers.Buyer; window: number } {
  const buyer = buyers.openBuyer(
    { length: 4 * MIB, pieceLength: MIB / 4 },
    {
      ...buyers.BUYER_DEFAULTS,
      priceCap: msat(1000),
      budget: msat(1_000_000),
      riskBudget: msat(10_000),
      unprovenBudget: msat(500),
      lockedTimeoutMs: 60_000,
      approved: [],
      ...policy,
    },
    1,
  )
  buyers.step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1_000_000) }, 1)
  const offer = { key: SELLER, price: msat(1000), gift: false, money: MONEY, maxWindowBytes: 4 * MIB }
  buyers.step(buyer, { tag: 'joined', peer: 'p', ...offer }, 1)
  buyers.step(buyer, { tag: 'has', peer: 'p', pieces: Array.from({ length: 16 }, (_, i) => i) }, 1)
  return { buyer, window: [...buyer.windows.keys()][0] ?? 0 }
}
const quote = { amount: msat(250), paymentHash: 'h', expiresAtMs: 100_000 }

test('after losses as large as the budget for strangers a key risks no more than it was paid before', () => {
  const limitAfter = (lost: number, approved: PartyKey[] = []): number => {
    const { buyer, window } = asking({ approved })
    buyers.step(buyer, { tag: 'quoted', window, ...quote }, 2)
    buyers.step(buyer, { tag: 'settled', window, fees: msat(0) }, 3)
    buyers.step(buyer, { tag: 'opened', window, cheated: false }, 4)
    buyer.lost = msat(lost)
    const of = buyer.keys.get(SELLER)
    return of === undefined ? NaN : stakeLimit(buyer, SELLER, of)
  }
  expect(limitAfter(250)).toBe(10_000)
  expect(limitAfter(251)).toBe(250)
  expect(limitAfter(251, [SELLER])).toBe(10_000)
})

test('a budget of bytes that was lowered while a window came in is kept: it is not paid', () => {
  const { buyer, window } = asking()
  buyer.policy = { ...buyer.policy, budgetBytes: MIB / 4 - 1 }
  expect(buyers.step(buyer, { tag: 'quoted', window, ...quote }, 2).map(({ tag }) => tag)).not.toContain(
    'pay',
  )
  buyer.policy = { ...buyer.policy, budgetBytes: MIB / 4 }
  expect(buyers.step(buyer, { tag: 'tick' }, 3)).toContainEqual({ tag: 'pay', window })
})

test('a cheap stranger that no budget is left for keeps nobody dearer waiting', () => {
  const friend = 'b'.repeat(64) as PartyKey
  const { buyer, window } = asking({ prefer: 'cheapest', approved: [friend] })
  // A piece is 250; cheats left 249.
  buyer.unprovenSpent = msat(251)
  buyers.step(buyer, { tag: 'refused', window, code: 'closed' }, 2)
  const offer = { key: friend, price: msat(1000), gift: false, money: MONEY, maxWindowBytes: 4 * MIB }
  const later = 40_000
  buyers.step(buyer, { tag: 'joined', peer: 'p', ...offer, key: SELLER, price: msat(999) }, later)
  buyers.step(buyer, { tag: 'joined', peer: 'f', ...offer }, later)
  const pieces = Array.from({ length: 16 }, (_, i) => i)
  const asks = buyers.step(buyer, { tag: 'has', peer: 'f', pieces }, later)
  expect(asks).toContainEqual(expect.objectContaining({ tag: 'ask', peer: 'f' }))
})

test('one first payment at a time, one piece at most, and strangers together within their budget', () => {
  const { buyer } = asking()
  expect(mayStake(buyer, SELLER, msat(250), 1)).toBe(true)
  expect(mayStake(buyer, SELLER, msat(251), 1)).toBe(false)
  buyer.unprovenSpent = msat(250)
  expect(mayStake(buyer, SELLER, msat(250), 1)).toBe(true)
  buyer.unprovenSpent = msat(251)
  expect(mayStake(buyer, SELLER, msat(250), 1)).toBe(false)
})

test('an approved key stands outside the budget for strangers, has one first payment too, and nothing once it is dropped', () => {
  const { buyer } = asking({ approved: [SELLER], riskBudget: msat(100) })
  buyer.unprovenSpent = msat(500)
  expect(mayStake(buyer, SELLER, msat(250), 1)).toBe(true)
  const of = buyer.keys.get(SELLER)
  if (of === undefined) throw new Error('unreachable: it was asked')
  of.atStake = msat(1)
  expect(mayStake(buyer, SELLER, msat(249), 1)).toBe(false)
  // Once it has settled a piece may be at stake, however small the risk budget.
  of.settledBytes = 1
  expect(stakeLimit(buyer, SELLER, of)).toBe(250)
  of.dropped = 'sold wrong bytes'
  expect(mayStake(buyer, SELLER, msat(0), 1)).toBe(false)
})
