import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, MIB, type Money } from '../money/msat.ts'
import { BUYER_DEFAULTS } from './buyer-policy.ts'
import { openBuyer, record, step } from './buyer.ts'

const MONEY: Money = 'sandbox:test'
const PIECE = 64 * 1024

test('with `cheapest` a slow cheap seller and a fast dear one do not wait for each other', () => {
  const policy = {
    ...BUYER_DEFAULTS,
    prefer: 'cheapest' as const,
    priceCap: msat(8000),
    budget: msat(1_000_000),
    riskBudget: msat(2000),
    unprovenBudget: msat(2000),
    lockedTimeoutMs: 60_000,
    approved: [],
  }
  const buyer = openBuyer({ length: 2 * PIECE, pieceLength: PIECE }, policy, 1)
  const sellers = [
    { peer: 'slow', price: msat(5000), ms: 800 },
    { peer: 'fast', price: msat(7000), ms: 50 },
  ]
  for (const { peer, price, ms } of sellers) {
    const key = peer.padEnd(64, '0') as PartyKey
    const gift = false
    step(buyer, { tag: 'joined', peer, key, price, gift, money: MONEY, maxWindowBytes: MIB }, 1000)
    // Both have sold before: their rates are known.
    const of = record(buyer, key, 1000)
    of.settledBytes = PIECE
    of.paid = msat(500)
    of.answerMs = 500
    Object.assign(of.meter, { bytes: PIECE, ms })
    step(buyer, { tag: 'has', peer, pieces: [0, 1] }, 1000)
  }
  const effects = step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1_000_000) }, 1000)
  expect(effects).toContainEqual(expect.objectContaining({ tag: 'ask', peer: 'slow' }))
})
