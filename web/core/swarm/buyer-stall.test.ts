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
    ...buyers.BUYER_DEFAULTS,
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
const strikesOf = (buyer: buyers.Buyer): number[] => [...buyer.keys.values()].map(({ strikes }) => strikes)

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
  expect(asked(buyer)).toBeGreaterThan(1)
  buyers.step(buyer, { tag: 'tick' }, 20_000)
  expect(asked(buyer)).toBe(0)
  buyers.step(buyer, { tag: 'left', peer: 'before' }, 25_000)
  join('after', 30_000)
  expect(asked(buyer)).toBeGreaterThan(0)
  expect(buyer.keys.get(SELLER)?.dropped).toBeUndefined()
})

const MINUTES = 60_000
const REST_MINUTES = [10, 20, 40, 60, 60]

/** A new wire of the seller, which falls silent and leaves. */
function fallSilent({ buyer, join }: ReturnType<typeof trading>, nowMs: number): void {
  const peer = `silent from ${nowMs}`
  join(peer, nowMs)
  expect(asked(buyer)).toBe(1)
  buyers.step(buyer, { tag: 'tick' }, nowMs + 15_001)
  expect(asked(buyer)).toBe(0)
  buyers.step(buyer, { tag: 'left', peer }, nowMs + 15_001)
}

test('a seller that falls silent three times over rests, longer each time, until it delivers', () => {
  const market = trading()
  const { buyer, join } = market
  let nowMs = 1000
  for (const waitMs of [30_000, 30_000, 0]) {
    fallSilent(market, nowMs)
    nowMs += 15_001 + waitMs
  }
  for (const minutes of REST_MINUTES) {
    nowMs += minutes * MINUTES
    join('early', nowMs - 1)
    expect(asked(buyer)).toBe(0)
    expect(buyer.wakeAtMs).toBe(nowMs)
    expect(buyers.outlook(buyer, nowMs - 5 * MINUTES)).toEqual({ tag: 'looking' })
    buyers.step(buyer, { tag: 'left', peer: 'early' }, nowMs - 1)
    fallSilent(market, nowMs)
    nowMs += 15_001
  }
  nowMs += 60 * MINUTES
  join('well again', nowMs)
  const [id = 0] = buyer.windows.keys()
  for (const event of [
    { tag: 'quoted', window: id, amount: msat(250), paymentHash: 'h', expiresAtMs: nowMs + 100_000 },
    { tag: 'settled', window: id, fees: msat(0) },
    { tag: 'opened', window: id, cheated: false },
  ] as const)
    buyers.step(buyer, event, nowMs)
  expect(asked(buyer)).toBeGreaterThan(1)
  // All of them are one strike, of three again.
  buyers.step(buyer, { tag: 'tick' }, nowMs + 15_001)
  expect(asked(buyer)).toBe(0)
  expect(strikesOf(buyer)).toEqual([1])
})

test('a seller that begins to rest keeps nothing from others: what comes in or waits to be paid is given up', () => {
  const { buyer, join } = trading()
  Object.assign(buyers.record(buyer, SELLER, 0), { settledBytes: MIB, strikes: 2 })
  join('mute', 1000)
  const [first = 0, second = 0] = buyer.windows.keys()
  expect(second).not.toBe(0)
  buyer.walletRestsUntilMs = Number.POSITIVE_INFINITY
  for (const bytes of [1, 2 * MIB, 4 * MIB])
    buyers.step(buyer, { tag: 'progress', window: first, bytes }, 1000 + bytes / MIB)
  const quote = { amount: msat(1000), paymentHash: 'h', expiresAtMs: 100_000 }
  buyers.step(buyer, { tag: 'quoted', window: second, ...quote }, 10_000)
  expect(buyer.windows.get(second)?.state).toBe('held')
  // The first lacks its quote.
  const effects = buyers.step(buyer, { tag: 'tick' }, 16_100)
  expect(effects).toContainEqual({ tag: 'cancel', window: second, peer: 'mute' })
  expect(buyer.windows.size).toBe(0)
  expect(buyer.picker.free).toBe(buyer.have.length)
  expect(effects.filter(({ tag }) => tag === 'drop')).toEqual([])
})

test('a rest is not cut short by a payment that fails meanwhile', () => {
  const { buyer, join } = trading()
  join('p', 1000)
  const [id = 0] = buyer.windows.keys()
  const quote = { amount: msat(250), paymentHash: 'h', expiresAtMs: 2_000_000 }
  buyers.step(buyer, { tag: 'quoted', window: id, ...quote }, 2000)
  buyers.record(buyer, SELLER, 0).strikes = 2
  // What ran ahead of the payment stalls.
  buyers.step(buyer, { tag: 'tick' }, 20_000)
  expect(asked(buyer)).toBe(0)
  buyers.step(buyer, { tag: 'pay-failed', window: id, code: 'payment-failed' }, 21_000)
  buyers.step(buyer, { tag: 'tick' }, 20_000 + 10 * MINUTES - 1)
  expect(asked(buyer)).toBe(0)
  buyers.step(buyer, { tag: 'tick' }, 20_000 + 10 * MINUTES)
  expect(asked(buyer)).toBeGreaterThan(0)
})

/** Silent twice, then it lets a lock run out. */
function stallThenLock(): ReturnType<typeof trading> & { id: number } {
  const market = trading()
  const { buyer, join } = market
  fallSilent(market, 1000)
  fallSilent(market, 50_000)
  join('locks', 100_000)
  const [id = 0] = buyer.windows.keys()
  const quote = { amount: msat(250), paymentHash: 'h', expiresAtMs: 2_000_000 }
  buyers.step(buyer, { tag: 'quoted', window: id, ...quote }, 100_000)
  buyers.step(buyer, { tag: 'tick' }, 170_000)
  buyers.step(buyer, { tag: 'left', peer: 'locks' }, 170_000)
  return { ...market, id }
}

test('a window that settles late strikes nothing out', () => {
  const { buyer, id } = stallThenLock()
  buyers.step(buyer, { tag: 'settled', window: id, fees: msat(0) }, 200_000)
  buyers.step(buyer, { tag: 'opened', window: id, cheated: false }, 200_000)
  expect(buyer.late.includes(1)).toBe(true)
  expect(strikesOf(buyer)).toEqual([2])
})

test('stalls and locks that came back late make one row of strikes', () => {
  const { buyer, join, id } = stallThenLock()
  buyers.step(buyer, { tag: 'pay-failed', window: id, code: 'payment-failed' }, 200_000)
  join('early', 200_000 + 10 * MINUTES - 1)
  expect(asked(buyer)).toBe(0)
  buyers.step(buyer, { tag: 'tick' }, 200_000 + 10 * MINUTES)
  expect(asked(buyer)).toBeGreaterThan(0)
})

test('a seller that drips is as silent as one that says nothing', () => {
  const { buyer, join } = trading()
  join('p', 1000)
  const [first] = buyer.windows.keys()
  for (let nowMs = 1000; nowMs < 120_000; nowMs += 10_000) {
    buyers.step(buyer, { tag: 'progress', window: first ?? 0 }, nowMs)
    buyers.step(buyer, { tag: 'tick' }, nowMs)
  }
  expect(buyer.windows.has(first ?? 0)).toBe(false)
})

/** Four sellers of a device whose line takes half a minute to bring a message of each. */
function crowded(): { buyer: buyers.Buyer; peers: readonly string[] } {
  const { buyer } = trading()
  const peers = ['a', 'b', 'c', 'd']
  for (const peer of peers) {
    const offer = { price: msat(1000), gift: false, money: MONEY, maxWindowBytes: 4 * MIB }
    buyers.step(buyer, { tag: 'joined', peer, key: peer.repeat(64) as PartyKey, ...offer }, 1000)
    const pieces = Array.from({ length: 256 }, (_, i) => i)
    buyers.step(buyer, { tag: 'has', peer, pieces }, 1000)
  }
  return { buyer, peers }
}

test('sellers that fall silent together are not blamed: half as many are asked, until one has the line', () => {
  const { buyer, peers } = crowded()
  expect(asked(buyer)).toBe(peers.length)
  buyers.step(buyer, { tag: 'tick' }, 17_000)
  expect(asked(buyer)).toBe(2)
  buyers.step(buyer, { tag: 'tick' }, 33_000)
  expect(asked(buyer)).toBe(1)
  expect(strikesOf(buyer)).toEqual([0, 0, 0, 0])
  // Alone and silent it is to blame, as ever; so is each of the others in its turn.
  for (let nowMs = 34_000; nowMs < 600_000; nowMs += 1000) buyers.step(buyer, { tag: 'tick' }, nowMs)
  expect(strikesOf(buyer)).toEqual([3, 3, 3, 3])
})

test('where one was fast, those that fall silent are to blame', () => {
  const { buyer } = crowded()
  const [first] = buyer.windows.keys()
  for (const [i, bytes] of [MIB / 16, MIB / 8, MIB / 4].entries())
    buyers.step(buyer, { tag: 'progress', window: first ?? 0, bytes }, 2000 + 100 * i)
  buyers.step(buyer, { tag: 'tick' }, 17_000)
  expect(strikesOf(buyer)).toEqual([0, 1, 1, 1])
})

test('a wallet that refuses is left alone: the quote is held, nothing more is asked for', () => {
  const { buyer, join } = trading()
  join('p', 1000)
  const [first] = buyer.windows.keys()
  const quoted = {
    tag: 'quoted',
    window: first ?? 0,
    amount: msat(250),
    paymentHash: 'h',
    expiresAtMs: 100_000,
  } as const
  const pays = (event: buyers.BuyerEvent, nowMs: number) =>
    buyers.step(buyer, event, nowMs).filter(({ tag }) => tag === 'pay').length
  const { balance } = buyer
  expect(pays(quoted, 2000)).toBe(1)
  expect(buyer.balance).toBe((balance ?? 0) - 250)
  const refused = { tag: 'pay-failed', window: first ?? 0, code: 'unauthorized' } as const
  expect(buyers.step(buyer, refused, 3000)).toEqual([])
  expect(buyer.balance).toBe(balance)
  expect(buyers.step(buyer, { tag: 'tick' }, 10_000)).toEqual([])
  expect(pays({ tag: 'tick' }, 40_000)).toBe(1)
})

test('cheats of keys that had settled count in what strangers may take', () => {
  const { buyer, join } = trading()
  buyer.policy = { ...buyer.policy, approved: [], unprovenBudget: msat(500) }
  join('p', 1000)
  for (
    let cheated = false, id = 1, nowMs = 2000;
    id < 40 && buyer.keys.get(SELLER)?.dropped === undefined;
    nowMs += 100
  ) {
    id = [...buyer.windows.keys()][0] ?? 40
    const amount = buyer.windows.get(id)?.amount ?? msat(0)
    buyers.step(
      buyer,
      { tag: 'quoted', window: id, amount, paymentHash: `h${id}`, expiresAtMs: 100_000 },
      nowMs,
    )
    buyers.step(buyer, { tag: 'settled', window: id, fees: msat(0) }, nowMs)
    buyers.step(buyer, { tag: 'opened', window: id, cheated }, nowMs)
    cheated = true
  }
  expect(buyer.lost).toBeGreaterThan(0)
  expect(buyer.unprovenSpent).toBeGreaterThanOrEqual(buyer.lost)
})

test('a seller that three times lets a lock run out rests, longer each time, until one settles in time', () => {
  const { buyer, join } = trading()
  const asked = () => [...buyer.windows.values()].find(({ state }) => state === 'asked')
  let nowMs = 1000
  /** The next window is quoted and paid. */
  const pay = (): number => {
    const id = asked()?.id ?? 0
    const quote = { amount: msat(250), paymentHash: `h${nowMs}`, expiresAtMs: nowMs + 100_000 }
    const effects = buyers.step(buyer, { tag: 'quoted', window: id, ...quote }, nowMs)
    expect(effects).toContainEqual({ tag: 'pay', window: id })
    return id
  }
  const letRunOut = (peer: string): void => {
    join(peer, nowMs)
    const id = pay()
    buyers.step(buyer, { tag: 'tick' }, nowMs + 61_000)
    buyers.step(buyer, { tag: 'left', peer }, nowMs + 61_000)
    nowMs += 600_000
    buyers.step(buyer, { tag: 'pay-failed', window: id, code: 'payment-failed' }, nowMs)
  }
  for (const life of ['1', '2', '3']) letRunOut(life)
  for (const restMs of REST_MINUTES.map((minutes) => minutes * MINUTES)) {
    join('early', nowMs + restMs - 1)
    expect(asked()).toBeUndefined()
    buyers.step(buyer, { tag: 'left', peer: 'early' }, nowMs + restMs - 1)
    nowMs += restMs
    letRunOut(`after ${restMs}`)
  }
  nowMs += 3_600_000
  join('well again', nowMs)
  const id = pay()
  buyers.step(buyer, { tag: 'settled', window: id, fees: msat(0) }, nowMs + 1000)
  buyers.step(buyer, { tag: 'opened', window: id, cheated: false }, nowMs + 1000)
  expect(buyer.keys.get(SELLER)).toMatchObject({ strikes: 0 })
  expect(buyer.keys.get(SELLER)?.dropped).toBeUndefined()
})

test('an invoice that is handed in again has its time to settle anew', () => {
  const { buyer, join } = trading()
  join('p', 1000)
  const [id = 0] = buyer.windows.keys()
  const quote = { amount: msat(250), paymentHash: 'h', expiresAtMs: 600_000 }
  buyers.step(buyer, { tag: 'quoted', window: id, ...quote }, 1000)
  buyers.step(buyer, { tag: 'pay-unknown', window: id }, 2000)
  expect(buyers.payAgain(buyer, id, 50_000)).toBe(true)
  buyers.step(buyer, { tag: 'tick' }, 109_000)
  expect(buyer.windows.get(id)?.elsewhere).toBe(false)
  buyers.step(buyer, { tag: 'tick' }, 111_000)
  expect(buyer.windows.get(id)?.elsewhere).toBe(true)
  expect(buyers.payAgain(buyer, id, 112_000)).toBe(false)
})
