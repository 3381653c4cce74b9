import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'

const MIB = 1024 * 1024
const MONEY: Money = 'sandbox:x'
const SELLER = 'a'.repeat(64) as PartyKey

/** A buyer and one seller, which may come and go. */
function trading(): { buyer: buyers.Buyer; join(peer: string, nowMs: number): void } {
  const policy = {
    priceCap: msat(1000),
    budget: msat(1_000_000),
    riskBudget: msat(100_000),
    unprovenBudget: msat(100_000),
    lockedTimeoutMs: 60_000,
    approved: [SELLER],
  }
  const shape = { length: 64 * MIB, pieceLength: MIB / 4 }
  const buyer = buyers.openBuyer(shape, policy, 1)
  buyers.step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1_000_000) }, 0)
  const pieces = Array.from({ length: 256 }, (_, i) => i)
  const offer = { key: SELLER, price: msat(1000), gift: false, money: MONEY, maxWindowBytes: 4 * MIB }
  return {
    buyer,
    join(peer, nowMs) {
      buyers.step(buyer, { tag: 'joined', peer, ...offer }, nowMs)
      buyers.step(buyer, { tag: 'has', peer, pieces }, nowMs)
    },
  }
}

const asked = (buyer: buyers.Buyer): number =>
  [...buyer.windows.values()].filter(({ state }) => state === 'asked').length

test('a seller that dies with several windows under way is asked again when it is back', () => {
  const { buyer, join } = trading()
  join('before', 1000)
  // Its first window settles: from then on several are under way.
  const [first] = buyer.windows.keys()
  for (const event of [
    { tag: 'quoted', window: first ?? 0, amount: msat(250), paymentHash: 'h', expiresAtMs: 100_000 },
    { tag: 'settled', window: first ?? 0, fees: msat(0) },
    { tag: 'opened', window: first ?? 0, cheated: false },
  ] as const)
    buyers.step(buyer, event, 2000)
  expect(asked(buyer)).toBeGreaterThan(2)
  buyers.step(buyer, { tag: 'tick' }, 20_000)
  expect(asked(buyer)).toBe(0)
  buyers.step(buyer, { tag: 'left', peer: 'before' }, 25_000)
  join('after', 30_000)
  expect(asked(buyer)).toBeGreaterThan(0)
  expect(buyer.keys.get(SELLER)?.dropped).toBeUndefined()
})

test('a seller that falls silent three times over is left for good', () => {
  const { buyer, join } = trading()
  for (const [i, nowMs] of [1000, 100_000, 200_000].entries()) {
    expect(buyer.keys.get(SELLER)?.dropped).toBeUndefined()
    join(`p${i}`, nowMs)
    buyers.step(buyer, { tag: 'tick' }, nowMs + 20_000)
    buyers.step(buyer, { tag: 'left', peer: `p${i}` }, nowMs + 21_000)
  }
  expect(buyer.keys.get(SELLER)?.dropped).toContain('stall')
})
