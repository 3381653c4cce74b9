import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'
import {
  amountOfPiece,
  budgetAfter,
  budgetBytesLeft,
  budgetLeft,
  MAX_OPEN,
  mayStake,
  paymentSlots,
  roomFor,
  smallestMissing,
  stakeLimit,
  stakeToCome,
  unprovenBudget,
} from './buyer-limits.ts'

const MIB = 1024 * 1024
const MONEY: Money = 'sandbox:x'
const SELLER = 'a'.repeat(64) as PartyKey

/** A buyer of 16 pieces, which cost 250 msat each, that has met a seller. */
function meeting(policy: Partial<buyers.BuyerPolicy> = {}): buyers.Buyer {
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
  return buyer
}
/** The same, with one window of a piece asked for. */
function asking(policy: Partial<buyers.BuyerPolicy> = {}): { buyer: buyers.Buyer; window: number } {
  const buyer = meeting(policy)
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

type Changes = {
  policy?: Partial<buyers.BuyerPolicy>
  buyer?: Partial<buyers.Buyer>
  under?: Partial<buyers.UnderWay>
  key?: Partial<buyers.KeyRecord>
  keyUnder?: Partial<buyers.UnderWay>
  peer?: Partial<buyers.BuyerPeer>
}
/** A buyer and a seller of which nothing was asked yet, changed as a test needs it. */
function idle(changes: Changes = {}) {
  const buyer = meeting(changes.policy)
  const of = buyers.record(buyer, SELLER, 1)
  const peer = buyer.peers.get('p')
  if (peer === undefined) throw new Error('unreachable: it joined')
  Object.assign(buyer, changes.buyer)
  Object.assign(buyer.under, changes.under)
  Object.assign(of, changes.key)
  Object.assign(of.under, changes.keyUnder)
  Object.assign(peer, changes.peer)
  return { buyer, of, peer }
}

test('a piece costs its bytes at the cap, and on Lightning a sat at least; strangers may have four of them', () => {
  const shape = { length: 100_000, pieceLength: MIB / 4 }
  expect(amountOfPiece(idle({ buyer: { shape } }).buyer)).toBe(96)
  expect(amountOfPiece(idle({ buyer: { money: 'bitcoin' } }).buyer)).toBe(1000)
  expect(unprovenBudget(idle({ policy: { unprovenBudget: undefined } }).buyer)).toBe(1000)
})

test('the least that is missing is the short last piece, as long as it is', () => {
  const { buyer } = idle({ buyer: { shape: { length: 4 * MIB - 1000, pieceLength: MIB / 4 } } })
  expect(smallestMissing(buyer)).toBe(MIB / 4 - 1000)
  buyer.have[15] = 1
  expect(smallestMissing(buyer)).toBe(MIB / 4)
})

test('a key that earned more than the risk budget risks no more for that after losses', () => {
  const { buyer, of } = idle({
    buyer: { lost: msat(500) },
    key: { settledBytes: 1, paid: msat(20_000) },
  })
  expect(stakeLimit(buyer, SELLER, of)).toBe(10_000)
})

test('what runs ahead of a first payment may come to the risk budget, or a piece; later to what may be at stake', () => {
  const toCome = (changes: Changes): number => {
    const { buyer, of } = idle(changes)
    return stakeToCome(buyer, SELLER, of)
  }
  expect(toCome({})).toBe(10_000)
  expect(toCome({ policy: { riskBudget: msat(100) } })).toBe(250)
  expect(toCome({ buyer: { lost: msat(500) }, key: { settledBytes: 1, paid: msat(300) } })).toBe(300)
})

test('a key that has settled has several payments out, whatever strangers have left of their budget', () => {
  const { buyer } = idle({
    buyer: { unprovenSpent: msat(500) },
    key: { settledBytes: 1, atStake: msat(9000) },
  })
  expect(mayStake(buyer, SELLER, msat(1000), 1)).toBe(true)
  expect(mayStake(buyer, SELLER, msat(1001), 1)).toBe(false)
})

test.each([
  [0, 1],
  [5, 5],
  [483, 483],
  [484, 483],
])('of %i payment slots %i are used', (slots, used) => {
  expect(paymentSlots(idle({ policy: { paymentSlots: slots } }).buyer)).toBe(used)
})

/** 2000 paid at fees of 100; 1000 paid at a fee that is not known; two payments of 500 with the wallet. */
const spending = (most: number, rate: number): Changes => ({
  policy: { budget: msat(10_000) },
  buyer: {
    paid: msat(3000),
    fees: msat(100),
    feesOpen: new Map([[1, msat(1000)]]),
    feePace: { most, rate },
  },
  under: { locked: 500, payments: 2 },
})

test.each([
  ['the highest fee for each of four payments', 40, 0.1, 160],
  ['the dearest share of what is open, if that is less', 100, 0.1, 171],
  ['the mean share of it, if that is more', 10, 0.1, 86],
  ['the mean share, where the dearest was forgotten', 10, 0.01, 86],
])('a payment leaves in the budget what fees will take: %s', (_, most, rate, fees) => {
  expect(budgetAfter(idle(spending(most, rate)).buyer, 201)).toBe(10_000 - 3000 - 100 - 500 - 201 - fees)
})

/** Two windows of 500 asked for, and payments that cost so much so far. */
const promising = (most: number, rate: number, paid = 0, fees = 0): Changes => ({
  policy: { budget: msat(10_000) },
  buyer: { paid: msat(paid), fees: msat(fees), feePace: { most, rate } },
  under: { promised: 1000, promises: 2 },
})

test.each([
  ['all, where nothing costs a fee', promising(0, 0), 9000],
  ['the highest fee less', promising(40, 0.1), 8879],
  ['the dearest share less, if that is less', promising(4000, 0.1), 8089],
  ['the mean share less, if that is more than the highest fee', promising(40, 0.1, 2000, 100), 6494],
])('of the budget beside what is promised there is left to be asked for: %s', (_, changes, left) => {
  const { buyer } = idle(changes)
  expect(budgetLeft(buyer)).toBe(left)
  expect(budgetAfter(buyer, buyer.under.promised + left, 3)).toBeGreaterThanOrEqual(0)
})

test('of a budget of bytes there is left what is neither paid, with the wallet nor promised', () => {
  const { buyer } = idle({
    policy: { budgetBytes: 1000 },
    buyer: { paidBytes: 100 },
    under: { lockedBytes: 200, promisedBytes: 300 },
  })
  expect(budgetBytesLeft(buyer)).toBe(400)
})

test('a buyer has one request less open than a desk allows', () => {
  expect(MAX_OPEN).toBe(7)
})

type Asked = Changes & { price?: number; share?: number; wish?: number }
function room(asked: Asked): { firm: number; soft: number } {
  const { buyer, of, peer } = idle(asked)
  const { price = 1000, share = 1, wish = MIB } = asked
  return roomFor(buyer, peer, of, msat(price), share, wish)
}
/** A key that has settled: at 1000 msat per MiB the risk budget buys 10 MiB. */
const SETTLED = { settledBytes: 4 * MIB }
const settled = (asked: Asked): Asked => ({ ...asked, key: { ...SETTLED, ...asked.key } })
const KIB = 1024
const onLightning: Asked = { policy: { unprovenBudget: msat(4000) } }

test.each<[string, Asked, number]>([
  ['the risk budget', settled({}), 10 * MIB],
  [
    'less what is at stake or promised, two windows ahead',
    settled({ key: { atStake: msat(3000) }, keyUnder: { promised: 500 } }),
    8.5 * MIB,
  ],
  [
    'but no window ahead that is dearer than the risk budget',
    settled({ key: { atStake: msat(25_000) }, wish: 16 * MIB }),
    5 * MIB,
  ],
  [
    'the balance that is not promised',
    settled({ buyer: { balance: msat(3000) }, under: { promised: 1000 } }),
    2 * MIB,
  ],
  ['nothing without a balance', settled({ buyer: { balance: undefined } }), 0],
  ['nothing once more is promised', settled({ buyer: { balance: msat(1) }, under: { promised: 2 } }), 0],
  ['the budget', settled({ policy: { budget: msat(2000) } }), 2 * MIB],
  ['the budget of bytes', settled({ policy: { budgetBytes: MIB } }), MIB],
  [
    'nothing below the least payment',
    settled({ ...onLightning, buyer: { money: 'bitcoin', balance: msat(999) } }),
    0,
  ],
  ['the least payment', settled({ ...onLightning, buyer: { money: 'bitcoin', balance: msat(1000) } }), MIB],
  ['no byte that is not paid for', settled({ buyer: { balance: msat(100) }, price: 3 }), 34_952_533],
  ['a stranger: one piece', {}, MIB / 4],
  ['a stranger: what others left', { buyer: { unprovenSpent: msat(400) } }, 102_400 + 2457],
  ['a stranger that is paid: what may run ahead', { keyUnder: { payments: 1 } }, 10 * MIB],
  ['a stranger whose payment is not opened yet: nothing', { key: { atStake: msat(1) } }, 0],
  [
    'an approved stranger: one piece',
    { policy: { approved: [SELLER] }, buyer: { unprovenSpent: msat(500) } },
    MIB / 4,
  ],
  ['on credit: no stake', { peer: { mode: 'credit' }, buyer: { balance: msat(5000) } }, 5 * MIB],
  ['nothing is paid for what is free', { price: 0, buyer: { balance: msat(0) } }, Number.POSITIVE_INFINITY],
])('sats buy %s', (_, asked, bytes) => {
  expect(room(asked).firm).toBe(bytes)
})

test.each([
  ['slots times what settles while a quote is held', 2, 0, 60],
  ['64 a slot where payments are fast', 2, 10, 128],
  ['one a slot where they are slow', 2, 100_000, 2],
])('as many windows wait to be paid as %s', (_, slots, paymentMs, most) => {
  const pace = { paymentMs, spreadMs: 0, openingMs: 0 }
  const waiting = (promises: number): Asked =>
    settled({ policy: { paymentSlots: slots }, buyer: { pace }, under: { promises } })
  expect(room(waiting(most - 1)).firm).toBe(10 * MIB)
  expect(room(waiting(most))).toEqual({ firm: 0, soft: 0 })
})

const tiny = { length: 100_000, pieceLength: MIB / 4 }
const pace = { paymentMs: 1000, spreadMs: 0, openingMs: 0 }
/** With what `buyer-meter.ts` adds to it, so many bytes a millisecond. */
const meterOf = (rate: number) => ({ bytes: rate * 1000, ms: 990, atMs: 0 })
const out = (unpaidBytes: number) => ({ keyUnder: { unpaidBytes } })

test.each<[string, Asked, number]>([
  ['what the seller lets be out', settled({}), 32 * MIB],
  ['memory', settled({ policy: { memoryBytes: MIB } }), MIB],
  ['memory for what is free', { price: 0, policy: { memoryBytes: MIB } }, MIB],
  ['one piece in the least memory', settled({ policy: { memoryBytes: 1000 } }), MIB / 4],
  [
    'a file shorter than that',
    settled({ policy: { memoryBytes: 1000 }, buyer: { shape: tiny }, peer: { roomBytes: 1000 } }),
    100_000,
  ],
  ['memory that is not held', settled({ under: { heldBytes: 60 * MIB }, share: 0.5 }), 4 * MIB],
  [
    'its share of memory, less what it holds',
    settled({
      under: { heldBytes: 10 * MIB },
      keyUnder: { heldBytes: MIB },
      share: 0.125,
    }),
    7 * MIB,
  ],
  ['one piece of a seller whose room is smaller', settled({ peer: { roomBytes: 1000 } }), MIB / 4],
  [
    'on credit one piece and what it settled, less what is owed',
    { peer: { mode: 'credit' }, key: { settledBytes: MIB }, ...out(1000) },
    1.25 * MIB - 1000,
  ],
  [
    'on credit the seller’s room, less what is owed',
    { peer: { mode: 'credit', roomBytes: MIB }, key: { settledBytes: MIB }, ...out(1000) },
    MIB - 1000,
  ],
  ['three windows of a key that has settled, less what is out', settled(out(MIB)), 2 * MIB],
  [
    'two turns of its rate more',
    settled({ ...out(MIB), key: { meter: meterOf(1000) } }),
    2 * 1000 * 1050 + 2 * MIB,
  ],
  ['the room of its seller', settled({ ...out(MIB), peer: { roomBytes: 2 * MIB } }), MIB],
  ['8 MiB ahead of a first payment, less what is out', out(MIB), 7 * MIB],
  ['the same at a rate that is not known', { ...out(MIB), buyer: { pace } }, 7 * MIB],
  [
    'a turn of its rate and two windows, where both are known',
    { ...out(MIB), buyer: { pace }, key: { meter: meterOf(1000) } },
    1000 * 1050 + MIB,
  ],
  [
    '8 MiB of a seller that is fast',
    { ...out(MIB), buyer: { pace }, key: { meter: meterOf(100_000) } },
    7 * MIB,
  ],
  ['one piece of one that is slow', { ...slow(), ...out(KIB) }, MIB / 4 - KIB],
  ['the room of its seller ahead of a first payment', { ...out(MIB), peer: { roomBytes: 2 * MIB } }, MIB],
])('there is room for %s', (_, asked, bytes) => {
  expect(room(asked).soft).toBe(bytes)
})

function slow(): Asked {
  return { buyer: { pace }, key: { meter: meterOf(0.001) }, wish: 1000 }
}
