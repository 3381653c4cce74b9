/** Bought on credit: the goods come first, and what is owed is paid whatever comes, while funds last. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { msat, type Money } from '../money/msat.ts'
import * as buyers from './buyer.ts'

const BLOCK = 16 * 1024
const MONEY: Money = 'sandbox:credit'
const SELLER = 'c'.repeat(64) as PartyKey
const PIECES = 6

class Credit {
  buyer: buyers.Buyer
  nowMs = 1_000_000
  wires = 0
  wire: string | undefined
  /** Owed for stored pieces, by the window's id; and what was paid. */
  owed = new Map<number, { amount: number; expiresAtMs: number; pieces: readonly number[]; sent: boolean }>()
  jobs: { tag: 'deliver' | 'pay' | 'open' | 'renew'; window: number }[] = []
  delivered = new Set<number>()
  paid = 0
  readonly policy: buyers.BuyerPolicy = {
    ...buyers.BUYER_DEFAULTS,
    priceCap: msat(64),
    budget: msat(1000),
    riskBudget: msat(0),
    unprovenBudget: msat(0),
    lockedTimeoutMs: 60_000,
    approved: [],
  }

  constructor() {
    this.buyer = this.open()
    this.connect()
  }
  open(): buyers.Buyer {
    const buyer = buyers.openBuyer({ length: PIECES * BLOCK, pieceLength: BLOCK }, this.policy, 3)
    buyers.step(buyer, { tag: 'wallet', money: MONEY, balance: msat(1000) }, this.nowMs)
    return buyer
  }
  connect(): void {
    if (this.wire !== undefined) return
    const peer = (this.wire = `w${++this.wires}`)
    const offer = { key: SELLER, price: msat(64), gift: false, money: MONEY, maxWindowBytes: 4 * BLOCK }
    this.step({ tag: 'joined', peer, ...offer, mode: 'credit' })
    this.step({ tag: 'has', peer, pieces: Array.from({ length: PIECES }, (_, i) => i) })
  }
  leave(): void {
    if (this.wire === undefined) return
    const peer = this.wire
    this.wire = undefined
    this.jobs = this.jobs.filter(({ tag }) => tag !== 'deliver' && tag !== 'renew')
    this.step({ tag: 'left', peer })
  }
  step(event: buyers.BuyerEvent): void {
    for (const effect of buyers.step(this.buyer, event, this.nowMs)) {
      if (effect.tag === 'ask') {
        for (const piece of effect.pieces) expect(this.delivered.has(piece)).toBe(false)
        this.jobs.push({ tag: 'deliver', window: effect.window })
      }
      if (effect.tag === 'pay') {
        const debt = this.owed.get(effect.window)
        expect(debt, 'only what is owed is paid').toBeDefined()
        expect(debt?.sent, 'and not while a payment of it is out').toBe(false)
        expect(debt?.expiresAtMs ?? 0).toBeGreaterThan(this.nowMs)
        if (debt !== undefined) debt.sent = true
        this.jobs.push({ tag: 'pay', window: effect.window })
      }
      if (effect.tag === 'renew') this.jobs.push({ tag: 'renew', window: effect.window })
      if (effect.tag === 'open') this.jobs.push({ tag: 'open', window: effect.window })
    }
    const key = this.buyer.keys.get(SELLER)
    expect(key?.atStake ?? 0, 'nothing is at stake on credit').toBe(0)
  }
  quote(window: number, amount: number): void {
    const expiresAtMs = this.nowMs + 120_000
    const debt = this.owed.get(window)
    if (debt !== undefined) debt.expiresAtMs = expiresAtMs
    this.step({ tag: 'quoted', window, amount: msat(amount), paymentHash: `h${this.nowMs}`, expiresAtMs })
  }
  run(at: number, chance: number): void {
    const [job] = this.jobs.splice(at % Math.max(1, this.jobs.length), 1)
    if (job === undefined) return
    const { window } = job
    const debt = this.owed.get(window)
    if (job.tag === 'deliver') {
      const known = this.buyer.windows.get(window)
      if (known?.state !== 'asked') return
      for (const piece of known.pieces) this.delivered.add(piece)
      const { amount, pieces } = known
      this.owed.set(window, { amount, expiresAtMs: 0, pieces, sent: false })
      return this.quote(window, amount)
    }
    if (debt === undefined) return job.tag === 'open' ? undefined : expect(job.tag).toBe('renew')
    if (job.tag === 'renew') return this.quote(window, debt.amount)
    if (job.tag === 'open') {
      this.owed.delete(window)
      return this.step({ tag: 'opened', window, cheated: false })
    }
    if (chance % 3 === 0) {
      debt.sent = false
      const code = chance % 2 === 0 ? 'payment-failed' : 'unreachable'
      return this.step({ tag: 'pay-failed', window, code })
    }
    this.paid += debt.amount
    this.step({ tag: 'settled', window, fees: msat(0) })
  }
  /** The journal has what is owed and was stored; the wallet knows what was paid, which here was taken up before. */
  restart(): void {
    if (this.jobs.some(({ tag }) => tag === 'pay' || tag === 'open')) return
    const debts = [...this.owed.values()]
    this.owed = new Map()
    this.jobs = []
    this.wire = undefined
    this.buyer = this.open()
    this.step({ tag: 'stored', pieces: [...this.delivered] })
    for (const debt of debts) {
      const id = this.buyer.nextWindow
      this.owed.set(id, { ...debt, sent: false })
      const { amount, pieces, expiresAtMs } = debt
      const bytes = pieces.length * BLOCK
      const common = { key: SELLER, pieces, bytes, paymentHash: `r${id}`, requestedAtMs: this.nowMs }
      const window = {
        ...common,
        amount: msat(amount),
        quoteExpiresAtMs: expiresAtMs,
        mode: 'credit',
      } as const
      this.step({ tag: 'restored', window })
      expect(buyers.payAgain(this.buyer, id, this.nowMs)).toBe(true)
      // The wallet never heard of it.
      this.step({ tag: 'pay-failed', window: id, code: 'expired' })
    }
    this.connect()
  }
}

test('every debt is paid once, over failures, lapsed invoices, lost wires and restarts; then all is here', () => {
  const anyAction = fc.record({
    tag: fc.constantFrom('run', 'run', 'run', 'run', 'wait', 'lapse', 'leave', 'connect', 'restart'),
    at: fc.nat({ max: 9 }),
    chance: fc.nat({ max: 29 }),
  })
  fc.assert(
    fc.property(fc.array(anyAction, { maxLength: 60, size: 'max' }), (actions) => {
      const world = new Credit()
      const wait = (ms: number): void => {
        world.nowMs += ms
        world.step({ tag: 'tick' })
      }
      for (const { tag, at, chance } of actions) {
        if (tag === 'run') world.run(at, chance)
        if (tag === 'wait') wait(2000)
        if (tag === 'lapse') wait(130_000)
        if (tag === 'leave') world.leave()
        if (tag === 'connect') world.connect()
        if (tag === 'restart') world.restart()
      }
      const settle = (): void => {
        for (let round = 0; round < 100; round++) {
          world.connect()
          for (let n = world.jobs.length; n > 0; n--) world.run(0, 1)
          wait(5000)
        }
        expect(world.owed.size, 'nothing is owed any more').toBe(0)
        expect(world.paid).toBe(world.delivered.size)
      }
      settle()
      // A key that stalled again and again rests for an hour at most: what is owed to it is paid meanwhile, and then all comes.
      if (world.delivered.size < PIECES) {
        expect(world.buyer.keys.get(SELLER)?.restUntilMs).toBeGreaterThan(world.nowMs)
        wait(3_600_000)
        settle()
      }
      expect(world.delivered.size).toBe(PIECES)
    }),
    { numRuns: 300 },
  )
})
