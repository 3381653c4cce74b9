import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { msat, priceOf } from '../money/msat.ts'
import { pieceBytes, type Shape } from '../swarm/merkle.ts'
import { step } from './desk.ts'
import { isGift, reserve } from './desk-gifts.ts'
import { MAX_CANCELS_PER_S, MAX_OPEN_PER_PEER } from './desk-limits.ts'
import type { DeskPolicy } from './desk-policy.ts'
import { openDesk, type Desk } from './desk-state.ts'
import type { Role } from './message.ts'
import { BLOCK } from './sample.ts'

const shape: Shape = { length: 5 * BLOCK - 1, pieceLength: BLOCK }
const EXPIRY_MS = 120_000
const keys = ['a', 'b', 'c'].map((name) => name.repeat(64) as PartyKey)
const key = (index: number): PartyKey => keys[index % keys.length] as PartyKey

const anyPolicy: fc.Arbitrary<DeskPolicy> = fc.record({
  price: fc.constantFrom(0, 64, 100).map(msat),
  gifts: fc.record({
    to: fc.constantFrom('nobody', 'approved', 'distributors'),
    copies: fc.nat({ max: 2 }),
  }),
  approved: fc.constantFrom<PartyKey[]>([], [key(0)]),
  unpaidBytes: fc.nat({ max: 6 }).map((blocks) => blocks * BLOCK),
  unprovenBytes: fc.nat({ max: 4 }).map((blocks) => blocks * BLOCK),
})
const anyEvent = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      tag: fc.constant('asked' as const),
      peer: fc.nat({ max: 2 }),
      request: fc.nat({ max: 3 }),
      pieces: fc.constantFrom<number[]>([0], [1], [0, 1], [2], [4], [3], [5]),
      role: fc.constantFrom<Role>('device', 'distributor'),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      tag: fc.constantFrom('began', 'sent', 'sent', 'failed', 'locked', 'settled', 'settled', 'cancelled'),
      sale: fc.nat({ max: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ tag: fc.constant('left' as const), peer: fc.nat({ max: 2 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({ tag: fc.constant('tick' as const), afterMs: fc.constantFrom(1, 200_000) }),
  },
)

/** The test's own books of a sale: nothing is read from the desk. */
type Entry = {
  id: Sha256Hex
  peer: number
  request: number
  bytes: number
  amount: number
  unproven: boolean
  begun: boolean
  sent: boolean
  state: 'open' | 'settled' | 'never sent' | 'lapsed' | 'given'
}

/** What each key let lapse or gave up, less what it paid since: by how the test's own entries change. */
class Debts {
  readonly #of = [0, 0, 0]
  #before: Entry['state'][] = []

  see(sales: readonly Entry[]): readonly number[] {
    for (const [i, { peer, bytes, amount, state }] of sales.entries()) {
      const before = this.#before[i] ?? 'open'
      if (before === state || amount === 0) continue
      const debt = this.#of[peer] as number
      if (state === 'lapsed') this.#of[peer] = debt + bytes
      if (state === 'settled') this.#of[peer] = Math.max(0, debt - (before === 'lapsed' ? 2 * bytes : bytes))
    }
    this.#before = sales.map(({ state }) => state)
    return this.#of
  }
}

function audit(desk: Desk, sales: readonly Entry[], policy: DeskPolicy, debts: readonly number[]): void {
  const total = (of: readonly Entry[]) => of.reduce((bytes, sale) => bytes + sale.bytes, 0)
  const paid = sales.filter((sale) => sale.amount > 0)
  const unpaid = total(paid.filter((sale) => sale.state === 'open'))
  const unproven = total(
    paid.filter((sale) => sale.unproven && (sale.state === 'open' || sale.state === 'lapsed')),
  )
  expect(desk.unpaidBytes).toBe(unpaid)
  expect(desk.unprovenBytes).toBe(unproven)
  const beyond = keys.map((_, peer) => {
    const of = paid.filter((sale) => sale.peer === peer)
    const at = (state: Entry['state']) => total(of.filter((sale) => sale.state === state))
    return Math.max(0, at('open') - Math.max(0, Math.floor(at('settled') / 4) - (debts[peer] as number)))
  })
  expect(desk.sharedBytes).toBe(beyond.reduce((sum, bytes) => sum + bytes, 0))
  expect(desk.sharedBytes).toBeLessThanOrEqual(policy.unpaidBytes)
  expect(unproven).toBeLessThanOrEqual(policy.unprovenBytes)
  const settled = sales.filter((sale) => sale.state === 'settled')
  expect(desk.earned).toBe(settled.reduce((sum, sale) => sum + sale.amount, 0))
}

describe('the seller’s desk', () => {
  test('keeps its limits and its books, and a settled sale gets its key whenever it settles', () => {
    fc.assert(
      fc.property(anyPolicy, fc.array(anyEvent, { maxLength: 40, size: 'max' }), (policy, events) => {
        const desk = openDesk(shape, policy)
        const sales: Entry[] = []
        const debts = new Debts()
        const settledKeys = new Set<PartyKey>()
        const gifted = new Set<PartyKey>()
        let nowMs = 0
        for (const event of events) {
          if (event.tag === 'asked') {
            const { peer, request, pieces, role } = event
            const id = sales.length.toString(16).padStart(64, '0') as Sha256Hex
            const buyer = key(peer)
            const has = (piece: number) => piece !== 3
            const [effect, ...more] = step(
              desk,
              { tag: 'asked', id, peer: `p${peer}`, buyer, role, request, pieces, has },
              nowMs,
            )
            expect(more).toEqual([])
            if (pieces.some((piece) => piece === 3 || piece === 5))
              expect(effect).toMatchObject({ tag: 'refuse', code: 'missing' })
            if (effect?.tag !== 'serve') continue
            const bytes = pieces.reduce((sum: number, piece) => sum + pieceBytes(shape, piece), 0)
            const { amount } = effect.sale
            if (amount === 0 && policy.price > 0) gifted.add(buyer)
            else expect(amount).toBe(priceOf(bytes, policy.price))
            const unproven = !settledKeys.has(buyer) && !policy.approved.includes(buyer)
            sales.push({
              id,
              peer,
              request,
              bytes,
              amount,
              unproven,
              begun: false,
              sent: false,
              state: 'open',
            })
          } else if (event.tag === 'left') {
            step(desk, { tag: 'left', peer: `p${event.peer}`, buyer: key(event.peer) }, nowMs)
            for (const sale of sales)
              if (sale.peer === event.peer && sale.state === 'open' && !sale.sent)
                sale.state = sale.begun ? 'lapsed' : 'never sent'
          } else if (event.tag === 'tick') {
            nowMs += event.afterMs
            for (const effect of step(desk, { tag: 'tick' }, nowMs)) {
              const sale = sales.find((at) => effect.tag === 'forget' && at.id === effect.sale.id) as Entry
              expect(sale).toMatchObject({ state: 'open', sent: true })
              sale.state = 'lapsed'
            }
          } else if (event.tag === 'cancelled') {
            const sale = sales[event.sale]
            if (sale === undefined) continue
            const peer = `p${sale.peer}`
            for (const effect of step(desk, { tag: 'cancelled', peer, request: sale.request }, nowMs)) {
              const gone = sales.find((at) => effect.tag === 'forget' && at.id === effect.sale.id) as Entry
              expect(gone.state).toBe('open')
              gone.state = gone.begun ? 'lapsed' : 'never sent'
            }
          } else {
            const sale = sales[event.sale]
            if (sale === undefined) continue
            if ((event.tag === 'locked' || event.tag === 'settled') && sale.amount === 0) continue
            // Nobody can pay before the quote is out.
            if ((event.tag === 'locked' || event.tag === 'settled') && !sale.sent) continue
            const { id } = sale
            const effects =
              event.tag === 'began'
                ? step(desk, { tag: 'began', id }, nowMs)
                : event.tag === 'sent'
                  ? step(desk, { tag: 'sent', id, expiresAtMs: nowMs + EXPIRY_MS }, nowMs)
                  : event.tag === 'failed'
                    ? step(desk, { tag: 'failed', id, code: 'wallet' }, nowMs)
                    : step(desk, { tag: event.tag === 'locked' ? 'locked' : 'settled', id }, nowMs)
            const tags = effects.map((effect) => effect.tag)
            if (event.tag === 'settled') {
              expect(tags).toEqual(sale.state === 'settled' ? [] : ['give-key'])
              sale.state = 'settled'
              settledKeys.add(key(sale.peer))
            }
            if (event.tag === 'locked') expect(tags).toEqual(sale.state === 'settled' ? [] : ['settle'])
            if (event.tag === 'began' && sale.state === 'open' && !sale.sent) sale.begun = true
            if (event.tag === 'sent' && sale.state === 'open' && !sale.sent) {
              sale.sent = sale.begun = true
              expect(tags).toEqual(sale.amount === 0 ? ['give-key'] : [])
              if (sale.amount === 0) sale.state = 'given'
            }
            if (event.tag === 'failed' && sale.state === 'open' && !sale.sent) {
              expect(tags).toEqual(['refuse'])
              sale.state = 'never sent'
            }
          }
          audit(desk, sales, policy, debts.see(sales))
          expect(gifted.size).toBeLessThanOrEqual(Math.max(policy.gifts.copies, 0))
        }
      }),
      { numRuns: 1000 },
    )
  })

  const saleId = (id: number) => id.toString(16).padStart(64, '0') as Sha256Hex
  const policy: DeskPolicy = {
    price: msat(64),
    gifts: { to: 'distributors', copies: 1 },
    approved: [],
    unpaidBytes: 100 * BLOCK,
    unprovenBytes: 100 * BLOCK,
  }
  const ask = (desk: Desk, id: number, peer = 'p', buyer = key(0), role: Role = 'device', nowMs = 0) =>
    step(
      desk,
      {
        tag: 'asked',
        id: id.toString(16).padStart(64, '0') as Sha256Hex,
        peer,
        buyer,
        role,
        request: id,
        pieces: [0],
        has: () => true,
      },
      nowMs,
    )[0]

  test('a peer may have eight requests open, not nine', () => {
    const desk = openDesk(shape, policy)
    for (let id = 0; id < MAX_OPEN_PER_PEER; id++) expect(ask(desk, id)).toMatchObject({ tag: 'serve' })
    expect(ask(desk, 99)).toMatchObject({ tag: 'refuse', code: 'busy' })
    expect(ask(desk, 99, 'other peer')).toMatchObject({ tag: 'serve' })
  })

  test('who has paid may have a fourth of it out unpaid beside the limit, less what it lets lapse', () => {
    const desk = openDesk(shape, { ...policy, unpaidBytes: BLOCK })
    let id = 0
    const buys = (buyer: PartyKey) => {
      expect(ask(desk, ++id, 'p', buyer)).toMatchObject({ tag: 'serve' })
      step(desk, { tag: 'settled', id: saleId(id) }, 0)
    }
    for (let i = 0; i < 3; i++) buys(key(0))
    expect(ask(desk, ++id, 'q', key(1))).toMatchObject({ tag: 'serve' })
    // Three fourths of a block are earned: a whole one does not fit beside the stranger's.
    expect(ask(desk, ++id)).toMatchObject({ code: 'unpaid' })
    step(desk, { tag: 'left', peer: 'q', buyer: key(1) }, 0)
    buys(key(0))
    expect(ask(desk, ++id, 'q', key(1))).toMatchObject({ tag: 'serve' })
    expect(ask(desk, ++id)).toMatchObject({ tag: 'serve' })
    expect(ask(desk, id + 1)).toMatchObject({ code: 'unpaid' })
    step(desk, { tag: 'began', id: saleId(id) }, 0)
    step(desk, { tag: 'cancelled', peer: 'p', request: id }, 0)
    expect(ask(desk, ++id)).toMatchObject({ code: 'unpaid' })
  })

  const LARGE: Shape = { length: 1024 * BLOCK, pieceLength: 256 * BLOCK }
  test('beside the limit no key has more than 8 MiB, whatever it paid', () => {
    const desk = openDesk(LARGE, { ...policy, unpaidBytes: 256 * BLOCK, unprovenBytes: 256 * BLOCK })
    let id = 0
    for (let i = 0; i < 20; i++) {
      expect(ask(desk, ++id)).toMatchObject({ tag: 'serve' })
      step(desk, { tag: 'settled', id: saleId(id) }, 0)
    }
    // 80 MiB paid for: 4 MiB by the limit, and two windows of 4 MiB.
    for (let i = 0; i < 3; i++) expect(ask(desk, ++id)).toMatchObject({ tag: 'serve' })
    expect(ask(desk, id + 1)).toMatchObject({ code: 'unpaid' })
    expect(desk.unpaidBytes).toBe(768 * BLOCK)
  })

  test('who gives up half way now and then, and pays otherwise, is not barred', () => {
    const desk = openDesk(shape, { ...policy, unprovenBytes: 8 * BLOCK })
    for (let id = 1; id < 200; id++) {
      const peer = `p${id}`
      expect(ask(desk, id, peer)).toMatchObject({ tag: 'serve' })
      step(desk, { tag: 'began', id: saleId(id) }, 0)
      if (id % 5 === 1 || id % 5 === 3) step(desk, { tag: 'settled', id: saleId(id) }, 0)
      else step(desk, { tag: 'cancelled', peer, request: id }, 0)
    }
  })

  test('what expired is forgotten once nobody can pay it any more', () => {
    const desk = openDesk(shape, { ...policy, approved: [key(0)] })
    expect(ask(desk, 1)).toMatchObject({ tag: 'serve' })
    step(desk, { tag: 'sent', id: saleId(1), expiresAtMs: 0 }, 0)
    step(desk, { tag: 'tick' }, 3_600_000)
    expect(desk.sales.get(saleId(1))?.state).toBe('expired')
    step(desk, { tag: 'tick' }, 3 * 3_600_000)
    expect(desk.sales.size).toBe(0)
  })

  test('whoever hangs up once ciphertext is on its way has its invoice forgotten', () => {
    const desk = openDesk(shape, policy)
    for (const id of [1, 2]) expect(ask(desk, id)).toMatchObject({ tag: 'serve' })
    step(desk, { tag: 'began', id: saleId(1) }, 0)
    expect(step(desk, { tag: 'left', peer: 'p', buyer: key(0) }, 0)).toMatchObject([
      { tag: 'forget', sale: { id: saleId(1) } },
    ])
  })

  test('a copy kept for a key is another’s when it leaves without having taken any', () => {
    const desk = openDesk(shape, policy)
    reserve(desk, key(0))
    expect(isGift(desk, key(1), 'distributor')).toBe(false)
    step(desk, { tag: 'left', peer: 'p', buyer: key(0) }, 0)
    expect(isGift(desk, key(1), 'distributor')).toBe(true)
    expect(isGift(desk, key(1), 'device')).toBe(false)
    expect(ask(desk, 1, 'q', key(1), 'distributor')).toMatchObject({ sale: { amount: 0 } })
    step(desk, { tag: 'left', peer: 'q', buyer: key(1) }, 0)
    expect(isGift(desk, key(0), 'distributor')).toBe(false)
  })

  test('sells no window for less than can be paid', () => {
    const nothing = { gifts: { to: 'nobody', copies: 0 } as const, approved: [] }
    const room = { unpaidBytes: MAX_OPEN_PER_PEER * BLOCK, unprovenBytes: MAX_OPEN_PER_PEER * BLOCK }
    const desk = openDesk(shape, { price: msat(64), ...nothing, ...room })
    const asked = {
      tag: 'asked',
      peer: 'w',
      buyer: key(0),
      role: 'device',
      pieces: [0],
      has: () => true,
    } as const
    const amounts = (['sandbox:test', 'bitcoin'] as const).map((money, request) => {
      const id = String(request).padStart(64, '1') as Sha256Hex
      const [effect] = step(desk, { ...asked, id, request, money }, 0)
      return effect?.tag === 'serve' ? effect.sale.amount : effect
    })
    expect(amounts).toEqual([1, 1000])
  })

  test('a key that only asked leaves nothing behind', () => {
    const nothing = {
      price: msat(64),
      gifts: { to: 'nobody', copies: 0 } as const,
      approved: [],
      unpaidBytes: 0,
    }
    const desk = openDesk(shape, { ...nothing, unprovenBytes: 0 })
    for (let i = 0; i < 100; i++) {
      const [peer, buyer] = [`w${i}`, i.toString(16).padStart(64, '0') as PartyKey]
      const id = i.toString(16).padStart(64, '1') as Sha256Hex
      const asked = {
        tag: 'asked',
        id,
        peer,
        buyer,
        role: 'device',
        request: 1,
        pieces: [0],
        has: () => true,
      } as const
      expect(step(desk, asked, i)).toMatchObject([{ tag: 'refuse' }])
      step(desk, { tag: 'left', peer, buyer }, i)
    }
    expect(desk.accounts.size).toBe(0)
  })

  test('a gift is a copy, not an endless tap', () => {
    const desk = openDesk(shape, policy)
    let taken = 0
    for (let id = 0; id < 100_000; id++) {
      const effect = ask(desk, id, `p${id}`, key(0), 'distributor')
      if (effect?.tag !== 'serve' || effect.sale.amount > 0) break
      taken += effect.sale.bytes
      step(desk, { tag: 'sent', id: effect.sale.id, expiresAtMs: 0 }, 0)
      if (id % 100 === 0) step(desk, { tag: 'tick' }, 0)
    }
    expect(taken).toBeGreaterThanOrEqual(shape.length)
    expect(taken).toBeLessThanOrEqual(2 * shape.length + 16 * 1024 * 1024)
  })

  test('who lets quotes lapse is barred until it has paid', () => {
    const desk = openDesk(shape, { ...policy, unprovenBytes: 8 * BLOCK })
    for (let id = 0; id < 5; id++) {
      expect(ask(desk, id, `p${id}`)).toMatchObject({ tag: 'serve' })
      step(desk, { tag: 'sent', id: id.toString(16).padStart(64, '0') as Sha256Hex, expiresAtMs: 0 }, 0)
    }
    step(desk, { tag: 'tick' }, 10 * EXPIRY_MS)
    expect(ask(desk, 10)).toMatchObject({ tag: 'refuse', code: 'barred' })
    for (let id = 0; id < 5; id++)
      step(desk, { tag: 'settled', id: id.toString(16).padStart(64, '0') as Sha256Hex }, 0)
    expect(ask(desk, 11)).toMatchObject({ tag: 'serve' })
  })

  test.each(['cancels', 'hangs up'] as const)(
    'who %s half way again and again is barred until it has paid; before the ciphertext is out it is free',
    (how) => {
      for (const begun of [true, false]) {
        const desk = openDesk(shape, { ...policy, unprovenBytes: 8 * BLOCK })
        for (let id = 0; id < 5; id++) {
          const [peer, sale] = [`p${id}`, id.toString(16).padStart(64, '0') as Sha256Hex]
          expect(ask(desk, id, peer)).toMatchObject({ tag: 'serve' })
          if (begun) step(desk, { tag: 'began', id: sale }, 0)
          if (how === 'cancels') step(desk, { tag: 'cancelled', peer, request: id }, 0)
          else step(desk, { tag: 'left', peer, buyer: key(0) }, 0)
        }
        expect(ask(desk, 10)).toMatchObject(begun ? { tag: 'refuse', code: 'barred' } : { tag: 'serve' })
      }
    },
  )

  test('a peer may give up sixteen requests a second, not seventeen', () => {
    const desk = openDesk(shape, policy)
    let id = 0
    const storm = (nowMs: number): string[] => {
      const codes: string[] = []
      for (let n = 0; n <= MAX_CANCELS_PER_S; n++) {
        const effect = ask(desk, ++id, 'p', key(0), 'device', nowMs)
        if (effect?.tag === 'refuse') codes.push(effect.code)
        step(desk, { tag: 'cancelled', peer: 'p', request: id }, nowMs)
      }
      return codes
    }
    expect(storm(0)).toEqual(['busy'])
    expect(storm(999)).toHaveLength(MAX_CANCELS_PER_S + 1)
    expect(storm(1000)).toEqual(['busy'])
    expect(ask(desk, ++id, 'other peer', key(0), 'device', 1000)).toMatchObject({ tag: 'serve' })
  })

  test('a closed desk and an id that was used are refused', () => {
    const desk = openDesk(shape, policy)
    expect(ask(desk, 1)).toMatchObject({ tag: 'serve' })
    expect(ask(desk, 1)).toMatchObject({ tag: 'refuse', code: 'closed' })
    desk.open = false
    expect(ask(desk, 2)).toMatchObject({ tag: 'refuse', code: 'closed' })
  })
})
