/** Payments from before a restart that share a piece: its first was slow, so that it was bought elsewhere as well. */
import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'

const MONEY: Money = 'sandbox:x'
const PIECE = 262_144
const LOCK_MS = 60_000
/** Pieces that nobody has. */
const REST = 5
type Name = 'unheard' | 'heard'

/** A buyer that starts again with both; a third seller has the same pieces. */
function restarted(order: readonly Name[], pieces: Record<Name, readonly number[]>) {
  const buyer = buyers.openBuyer(
    { length: (3 + REST) * PIECE, pieceLength: PIECE },
    {
      ...buyers.BUYER_DEFAULTS,
      priceCap: msat(4000),
      budget: msat(1e9),
      riskBudget: msat(1e6),
      unprovenBudget: msat(1e6),
      lockedTimeoutMs: LOCK_MS,
      approved: [],
    },
    1,
  )
  const ids: Record<Name, number> = { unheard: 0, heard: 0 }
  for (const name of order) {
    ids[name] = buyer.nextWindow
    const window = {
      key: (name === 'heard' ? 'a' : 'b').repeat(64) as PartyKey,
      pieces: pieces[name],
      bytes: pieces[name].length * PIECE,
      amount: msat(250 * pieces[name].length),
      paymentHash: name,
      quoteExpiresAtMs: 120_000,
      requestedAtMs: 1,
    }
    buyers.step(buyer, { tag: 'restored', window }, 1)
  }
  buyers.step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1e9) }, 1)
  const fetches = (event: buyers.BuyerEvent, nowMs: number): number[] =>
    buyers.step(buyer, event, nowMs).flatMap((effect) => (effect.tag === 'ask' ? effect.pieces : []))
  const third = { peer: 'c', key: 'c'.repeat(64) as PartyKey, price: msat(0), gift: true, money: MONEY }
  fetches({ tag: 'joined', ...third, maxWindowBytes: 1 << 24 }, 1)
  expect(fetches({ tag: 'has', peer: 'c', pieces: [0, 1, 2] }, 1)).toEqual([])
  return { buyer, ids, fetches }
}

const orders: readonly (readonly Name[])[] = [
  ['unheard', 'heard'],
  ['heard', 'unheard'],
]
const shared = { unheard: [0, 1], heard: [1, 2] }

test.each(orders)('a payment that settles is the only one of its pieces (%s, %s)', (...order) => {
  const { buyer, ids, fetches } = restarted(order, shared)
  expect(buyers.payAgain(buyer, ids.unheard, 2)).toBe(false)
  expect(fetches({ tag: 'pay-unknown', window: ids.unheard }, 2)).toEqual([])
  buyers.step(buyer, { tag: 'settled', window: ids.heard, fees: msat(0) }, 3)
  expect(buyers.payAgain(buyer, ids.unheard, 4)).toBe(false)
  buyers.step(buyer, { tag: 'opened', window: ids.heard, cheated: false }, 5)
  expect(buyers.payAgain(buyer, ids.unheard, 6)).toBe(false)
  expect([...buyer.have.subarray(0, 3)]).toEqual([0, 1, 1])
  expect(buyer.paid).toBe(500)
  expect(fetches({ tag: 'pay-failed', window: ids.unheard, code: 'expired' }, 7)).toEqual([0])
})

test.each(orders)('when one fails the other may be handed in again (%s, %s)', (...order) => {
  const { buyer, ids, fetches } = restarted(order, { unheard: [0, 1, 2], heard: [0, 1, 2] })
  expect(fetches({ tag: 'pay-failed', window: ids.heard, code: 'payment-failed' }, 2)).toEqual([])
  expect(buyers.payAgain(buyer, ids.unheard, 3)).toBe(true)
})

test.each(orders)('what one may still bring is asked of nobody until it is late (%s, %s)', (...order) => {
  const { buyer, ids, fetches } = restarted(order, shared)
  expect(fetches({ tag: 'pay-failed', window: ids.unheard, code: 'expired' }, 2)).toEqual([0])
  expect(buyer.assigned[1]).toBe(ids.heard)
  buyers.step(buyer, { tag: 'left', peer: 'c' }, 3)
  buyers.step(buyer, { tag: 'tick' }, LOCK_MS)
  expect(buyer.picker.free).toBe(1 + REST)
  buyers.step(buyer, { tag: 'tick' }, LOCK_MS + 2)
  expect(buyer.picker.free).toBe(3 + REST)
})

test.each(orders)('both late, neither keeps their pieces (%s, %s)', (...order) => {
  const { buyer, fetches } = restarted(order, shared)
  expect(fetches({ tag: 'tick' }, LOCK_MS + 2)).toEqual([0, 1, 2])
  expect(buyer.picker.free).toBe(REST)
})
