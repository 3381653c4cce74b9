import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { msat } from '../money/msat.ts'
import type { Shape } from '../swarm/merkle.ts'
import { step } from './desk.ts'
import type { DeskEffect } from './desk-events.ts'
import { creditLine, MAX_CREDIT_BYTES } from './desk-limits.ts'
import { openDesk } from './desk-state.ts'
import { BLOCK } from './sample.ts'

const PIECES = 40
const shape: Shape = { length: PIECES * BLOCK, pieceLength: BLOCK }
const EXPIRY_MS = 600_000
const policy = {
  price: msat(1000),
  gifts: { to: 'nobody' as const, copies: 0 },
  approved: [],
  unpaidBytes: 30 * BLOCK,
  unprovenBytes: 4 * BLOCK,
}
const key = (name: number): PartyKey => name.toString(16).padStart(64, 'f') as PartyKey
const idOf = (serial: number): Sha256Hex => serial.toString(16).padStart(64, '0') as Sha256Hex

/** A desk that sells on credit, and what a buyer may do to it. */
function creditDesk(over: Partial<typeof policy> = {}) {
  const desk = openDesk(shape, { ...policy, ...over })
  let serial = 0
  let nowMs = 0
  return {
    desk,
    ask(buyer: number, count: number, peer = `p${buyer}`): { id: Sha256Hex; effects: DeskEffect[] } {
      const id = idOf(++serial)
      const pieces = Array.from({ length: count }, (_, piece) => piece)
      const effects = step(
        desk,
        {
          tag: 'asked',
          id,
          peer,
          buyer: key(buyer),
          role: 'device',
          request: serial,
          pieces,
          has: () => true,
          mode: 'credit',
        },
        nowMs,
      )
      return { id, effects }
    },
    deliver(id: Sha256Hex): void {
      step(desk, { tag: 'began', id }, nowMs)
      step(desk, { tag: 'sent', id, expiresAtMs: nowMs + EXPIRY_MS }, nowMs)
    },
    pay: (id: Sha256Hex) => step(desk, { tag: 'settled', id }, nowMs),
    cancel: (id: Sha256Hex) => {
      const sale = desk.sales.get(id)
      return step(desk, { tag: 'cancelled', peer: sale?.peer ?? '', request: sale?.request ?? 0 }, nowMs)
    },
    hangUp: (buyer: number) => step(desk, { tag: 'left', peer: `p${buyer}`, buyer: key(buyer) }, nowMs),
    pass: (ms: number) => step(desk, { tag: 'tick' }, (nowMs += ms)),
  }
}

const codes = (effects: readonly DeskEffect[]) =>
  effects.map((effect) => (effect.tag === 'refuse' ? effect.code : effect.tag))

describe('the desk on credit', () => {
  test('starts with one piece and grows by what is paid', () => {
    const { desk, ask, deliver, pay } = creditDesk()
    expect(creditLine(desk, key(1))).toBe(BLOCK)
    expect(codes(ask(1, 2).effects)).toEqual(['unpaid'])
    for (const line of [1, 2, 4, 8]) {
      const { id, effects } = ask(1, line)
      expect(codes(effects)).toEqual(['serve'])
      deliver(id)
      expect(pay(id)).toMatchObject([{ tag: 'raise-credit', bytes: 2 * line * BLOCK }])
    }
    expect(creditLine(desk, key(1))).toBe(16 * BLOCK)
  })

  test('holds a request back until there is room, in order, and not for longer than five seconds', () => {
    const { ask, deliver, pay, pass } = creditDesk()
    const first = ask(1, 1)
    deliver(first.id)
    const second = ask(1, 1)
    const third = ask(1, 1)
    expect([...second.effects, ...third.effects]).toEqual([])
    expect(pay(first.id)).toMatchObject([
      { tag: 'raise-credit' },
      { tag: 'serve', sale: { id: second.id } },
      { tag: 'serve', sale: { id: third.id } },
    ])
    const fourth = ask(1, 1)
    expect(fourth.effects).toEqual([])
    expect(pass(4_999)).toEqual([])
    expect(codes(pass(1))).toEqual(['unpaid'])
  })

  test('a buyer that never pays has one piece and no more, whatever it does', () => {
    const { desk, ask, deliver, pass, cancel } = creditDesk()
    const { id } = ask(1, 1)
    deliver(id)
    expect(cancel(id)).toEqual([])
    expect(codes(ask(1, 1).effects)).toEqual([])
    expect(codes(pass(EXPIRY_MS + 30_000))).toEqual(['forget', 'unpaid'])
    expect(codes(ask(1, 1, 'another wire').effects)).toEqual(['unpaid'])
    expect(desk.unpaidBytes).toBe(0)
  })

  test('who pays late after all is trusted again', () => {
    const { ask, deliver, pass, pay } = creditDesk()
    const { id } = ask(1, 1)
    deliver(id)
    pass(EXPIRY_MS + 30_000)
    expect(pay(id)).toMatchObject([{ tag: 'raise-credit', bytes: 2 * BLOCK }])
    expect(codes(ask(1, 2).effects)).toEqual(['serve'])
  })

  test('hanging up on a window of several pieces costs as much as not paying it', () => {
    const { desk, ask, deliver, pay, hangUp } = creditDesk()
    const first = ask(1, 1)
    deliver(first.id)
    pay(first.id)
    const second = ask(1, 2)
    step(desk, { tag: 'began', id: second.id }, 0)
    hangUp(1)
    expect(creditLine(desk, key(1))).toBe(0)
    expect(codes(ask(1, 1).effects)).toEqual(['unpaid'])
  })

  test('a cut wire costs an honest newcomer nothing but the wire', () => {
    const { desk, ask, hangUp } = creditDesk()
    const { id } = ask(1, 1)
    step(desk, { tag: 'began', id }, 0)
    hangUp(1)
    expect(codes(ask(1, 1).effects)).toEqual(['serve'])
  })

  test('what was owed before a restart is owed after it', () => {
    const { desk, ask, pay } = creditDesk()
    const debt = {
      id: idOf(99),
      buyer: key(1),
      pieces: [0],
      bytes: BLOCK,
      amount: msat(16),
      at: 0,
      unproven: true,
    }
    step(desk, { tag: 'owed', debt }, 0)
    step(desk, { tag: 'owed', debt }, 0)
    expect(desk.unprovenBytes).toBe(BLOCK)
    expect(codes(ask(1, 1).effects)).toEqual(['unpaid'])
    expect(pay(debt.id)).toMatchObject([{ tag: 'raise-credit', bytes: 2 * BLOCK }])
    expect(desk.unprovenBytes).toBe(0)
    expect(pay(debt.id)).toEqual([])
  })

  test('the line has an end', () => {
    const big: Shape = { length: 64 * MAX_CREDIT_BYTES, pieceLength: MAX_CREDIT_BYTES / 16 }
    const desk = openDesk(big, policy)
    const of = key(1)
    step(
      desk,
      {
        tag: 'owed',
        debt: { id: idOf(1), buyer: of, pieces: [0], bytes: 0, amount: msat(1), at: 0, unproven: false },
      },
      0,
    )
    desk.accounts.get(of)!.settledBytes = 10 * MAX_CREDIT_BYTES
    expect(creditLine(desk, of)).toBe(MAX_CREDIT_BYTES)
  })

  const anyAct = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        act: fc.constant('ask' as const),
        buyer: fc.nat(2),
        count: fc.integer({ min: 1, max: 5 }),
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({ act: fc.constantFrom('deliver', 'pay', 'cancel'), sale: fc.nat(12) }),
    },
    { weight: 1, arbitrary: fc.record({ act: fc.constant('hang up' as const), buyer: fc.nat(2) }) },
    {
      weight: 1,
      arbitrary: fc.record({ act: fc.constant('pass' as const), ms: fc.constantFrom(100, 5_000, 700_000) }),
    },
  )

  test('no key ever has more unpaid than one piece and what it paid for; all strangers together, the pool', () => {
    fc.assert(
      fc.property(fc.array(anyAct, { maxLength: 60, size: 'max' }), (acts) => {
        const at = creditDesk()
        const served: {
          id: Sha256Hex
          buyer: number
          bytes: number
          delivered: boolean
          paid: boolean
          stranger: boolean
        }[] = []
        const paidBytes = [0, 0, 0]
        const see = (effects: readonly DeskEffect[]) => {
          for (const effect of effects) {
            if (effect.tag !== 'serve') continue
            const buyer = [0, 1, 2].find((name) => key(name) === effect.sale.buyer)!
            const { id, bytes } = effect.sale
            served.push({ id, buyer, bytes, delivered: false, paid: false, stranger: paidBytes[buyer] === 0 })
          }
        }
        for (const one of acts) {
          if (one.act === 'ask') see(at.ask(one.buyer, one.count).effects)
          else if (one.act === 'hang up') see(at.hangUp(one.buyer))
          else if (one.act === 'pass') see(at.pass(one.ms))
          else {
            const sale = served[one.sale]
            if (sale === undefined) continue
            if (one.act === 'deliver' && at.desk.sales.get(sale.id)?.state === 'preparing') {
              sale.delivered = true
              at.deliver(sale.id)
            }
            if (one.act === 'cancel') see(at.cancel(sale.id))
            if (one.act === 'pay' && sale.delivered && !sale.paid) {
              sale.paid = true
              paidBytes[sale.buyer]! += sale.bytes
              see(at.pay(sale.id))
            }
          }
          const unpaid = served.filter((sale) => sale.delivered && !sale.paid)
          const total = (of: typeof unpaid) => of.reduce((sum, { bytes }) => sum + bytes, 0)
          for (const buyer of [0, 1, 2])
            expect(total(unpaid.filter((sale) => sale.buyer === buyer))).toBeLessThanOrEqual(
              BLOCK + paidBytes[buyer]!,
            )
          expect(total(unpaid.filter((sale) => sale.stranger))).toBeLessThanOrEqual(policy.unprovenBytes)
          expect(at.desk.unpaidBytes).toBeLessThanOrEqual(policy.unpaidBytes)
        }
      }),
      { numRuns: 300 },
    )
  })
})

test('a fresh key that gives up what it has all of, before the quote, owes it: one piece and no more', () => {
  const desk = openDesk(shape, { ...policy, unpaidBytes: 100 * BLOCK, unprovenBytes: 100 * BLOCK })
  const thief = key(1)
  const taken: Sha256Hex[] = []
  for (let request = 0; request < 50; request++) {
    const [id, nowMs] = [idOf(request + 1), request * 100]
    const asked = {
      id,
      peer: 'w',
      buyer: thief,
      role: 'device',
      request,
      pieces: [request % PIECES],
    } as const
    const effects = step(desk, { tag: 'asked', ...asked, has: () => true, mode: 'credit' }, nowMs)
    if (effects[0]?.tag !== 'serve') continue
    step(desk, { tag: 'began', id }, nowMs)
    step(desk, { tag: 'delivered', id }, nowMs)
    taken.push(id)
    step(desk, { tag: 'cancelled', peer: 'w', request }, nowMs)
  }
  expect(taken).toHaveLength(1)
  step(desk, { tag: 'left', peer: 'w', buyer: thief }, 10_000)
  expect(creditLine(desk, thief)).toBe(0)
})
