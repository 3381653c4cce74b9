/**
 * Buyer, desks and a toy wallet under random order, losses, restarts and hostile sellers; then the world heals and
 * the download has to complete. The auditor keeps books of its own and reads nothing from the machines it judges.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import * as desks from '../exchange/desk.ts'
import type { DeskEvent } from '../exchange/desk-events.ts'
import { openDesk, type Desk, type Sale } from '../exchange/desk-state.ts'
import { msat, priceOf, type Money, type Msat } from '../money/msat.ts'
import * as buyers from './buyer.ts'
import { pieceBytes, type Shape } from './merkle.ts'

const BLOCK = 16 * 1024
const MONEY: Money = 'sandbox:x'
const LOCK_MS = 60_000
/** msat per MiB that make `n` msat a piece of one block. */
const perPiece = (n: number): Msat => msat(n * 64)

type Nature = 'honest' | 'cheats' | 'holds' | 'silent'
type Seller = { key: PartyKey; nature: Nature; price: number; peer: string | undefined; desk: Desk }
type Payment = {
  hash: string
  key: PartyKey
  amount: number
  pieces: readonly number[]
  window: number | undefined
  sale: Sha256Hex
  state: 'sent' | 'locked' | 'settled' | 'failed'
  paidAtMs: number
  /** A restart forgot how long it had been locked. */
  restored: boolean
  /** When the buyer heard that it settled. */
  heardAtMs: number | undefined
  unproven: boolean
  /** The buyer unlocked it, rightly or as a cheat. */
  opened: 'no' | 'good' | 'cheated'
}
type Job =
  | { tag: 'request'; peer: string; window: number; pieces: readonly number[] }
  | { tag: 'cancel'; peer: string; window: number }
  | { tag: 'serve'; seller: Seller; sale: Sale }
  | { tag: 'to buyer'; peer: string; event: buyers.BuyerEvent }
  | { tag: 'pay'; hash: string }
  | { tag: 'look up'; window: number }
  | { tag: 'open'; window: number }

type Setup = {
  pieces: number
  short: boolean
  budget: number
  riskBudget: number
  unprovenBudget: number
  paymentSlots: number
  memoryPieces: number
  budgetPieces: number
  balance: number
  feeMsat: number
  sellers: readonly { nature: Nature; price: number; approved: boolean }[]
}

/** What the buyer keeps as sums is what its windows and pieces say. */
function expectBooks(buyer: buyers.Buyer): void {
  const under = buyers.nothingUnderWay()
  let free = 0
  for (const window of buyer.windows.values()) {
    const { state, bytes, amount } = window
    under.heldBytes += bytes
    if (state === 'asked') {
      under.asked++
      under.queuedBytes += bytes - window.received
    }
    if (amount === 0 || state === 'opening') continue
    under.unpaidBytes += bytes
    if (state === 'paying' || state === 'unknown') {
      under.payments++
      under.locked += amount
      under.lockedBytes += bytes
    } else {
      under.promises++
      under.promised += amount
      under.promisedBytes += bytes
    }
  }
  // As text: this runs at every step.
  expect(JSON.stringify(buyer.under)).toBe(JSON.stringify(under))
  for (let piece = 0; piece < buyer.have.length; piece++)
    if (buyer.have[piece] === 0 && buyer.assigned[piece] === 0) free++
  expect(buyer.picker.free).toBe(free)
  for (const peer of buyer.partial) {
    const missing = [...peer.has.keys()].filter((piece) => peer.has[piece] === 1 && buyer.have[piece] === 0)
    expect(peer.wants).toBe(missing.length)
    expect(peer.free).toBe(missing.filter((piece) => buyer.assigned[piece] === 0).length)
  }
}

class World {
  readonly shape: Shape
  readonly policy: buyers.BuyerPolicy
  readonly sellers: Seller[]
  readonly payments: Payment[] = []
  readonly onePiece: number
  readonly feeMsat: number
  buyer: buyers.Buyer
  jobs: Job[] = []
  nowMs = 1_000_000
  balance: number
  healed = false
  #peers = 0
  #sales = 0
  /** Auditor: who may never be asked again, who has settled, what was lost, which windows fetch a piece. */
  readonly #banned = new Set<PartyKey>()
  readonly #proven = new Set<PartyKey>()
  #live = new Map<number, { key: PartyKey; pieces: readonly number[]; payment: Payment | undefined }>()
  readonly #stored: Uint8Array
  readonly #lateOf = new Set<number>()

  constructor(setup: Setup) {
    this.shape = { length: setup.pieces * BLOCK - (setup.short ? BLOCK - 1 : 0), pieceLength: BLOCK }
    this.feeMsat = setup.feeMsat
    this.balance = setup.balance
    this.sellers = setup.sellers.map(({ nature, price }, i) => ({
      key: String(i).repeat(64) as PartyKey,
      nature,
      price,
      peer: undefined,
      desk: this.#desk(price),
    }))
    this.policy = {
      ...buyers.BUYER_DEFAULTS,
      priceCap: perPiece(2),
      budget: msat(setup.budget),
      riskBudget: msat(setup.riskBudget),
      unprovenBudget: msat(setup.unprovenBudget),
      paymentSlots: setup.paymentSlots,
      memoryBytes: setup.memoryPieces * BLOCK,
      budgetBytes: setup.budgetPieces * BLOCK,
      lockedTimeoutMs: LOCK_MS,
      approved: setup.sellers.flatMap(({ approved }, i) =>
        approved ? [String(i).repeat(64) as PartyKey] : [],
      ),
    }
    this.onePiece = priceOf(BLOCK, this.policy.priceCap)
    this.#stored = new Uint8Array(setup.pieces)
    this.buyer = buyers.openBuyer(this.shape, this.policy, 7)
    this.step({ tag: 'wallet', money: MONEY, balance: msat(this.balance) })
    for (const seller of this.sellers) this.connect(seller)
  }

  #desk(price: number): Desk {
    return openDesk(this.shape, {
      price: perPiece(price),
      gifts: { to: 'nobody', copies: 0 },
      approved: [],
      unpaidBytes: 100 * BLOCK,
      unprovenBytes: 100 * BLOCK,
    })
  }

  #bytes(pieces: readonly number[]): number {
    return pieces.reduce((sum, piece) => sum + pieceBytes(this.shape, piece), 0)
  }

  connect(seller: Seller): void {
    if (seller.peer !== undefined || (this.healed && seller.nature !== 'honest')) return
    const peer = (seller.peer = `p${++this.#peers}`)
    this.step({
      tag: 'joined',
      peer,
      key: seller.key,
      price: perPiece(seller.price),
      gift: seller.price === 0,
      money: MONEY,
      maxWindowBytes: 3 * BLOCK,
    })
    // Every second seller lacks pieces, until the world is healed.
    const lacks = this.#peers % 2 === 0 && !this.healed
    const pieces = Array.from(this.#stored, (_, piece) => piece).filter((piece) => !lacks || piece % 3 !== 1)
    this.step({ tag: 'has', peer, pieces })
  }

  disconnect(seller: Seller): void {
    const { peer } = seller
    if (peer === undefined) return
    seller.peer = undefined
    this.jobs = this.jobs.filter((job) => !('peer' in job) || job.peer !== peer)
    desks.step(seller.desk, { tag: 'left', peer, buyer: 'f'.repeat(64) as PartyKey }, this.nowMs)
    this.step({ tag: 'left', peer })
  }

  // The buyer's side

  step(event: buyers.BuyerEvent): void {
    const effects = buyers.step(this.buyer, event, this.nowMs)
    for (const effect of effects) this.#effect(effect)
    expectBooks(this.buyer)
  }

  #effect(effect: buyers.BuyerEffect): void {
    switch (effect.tag) {
      case 'ask': {
        const seller = this.#at(effect.peer)
        expect(this.#banned.has(seller.key), 'a dropped key is never asked again').toBe(false)
        for (const piece of effect.pieces) {
          expect(this.#stored[piece], 'a piece that is here is not asked for').toBe(0)
          for (const other of this.#live.values()) {
            if (!other.pieces.includes(piece)) continue
            const lockedMs = other.payment === undefined ? 0 : this.#lockedMs(other.payment)
            expect(lockedMs, 'a piece is fetched twice only after the lock timeout').toBeGreaterThan(LOCK_MS)
          }
        }
        const held = [...this.#live.values()].reduce((sum, { pieces }) => sum + this.#bytes(pieces), 0)
        if (held > 0)
          expect(held + this.#bytes(effect.pieces), 'memory').toBeLessThanOrEqual(this.policy.memoryBytes)
        this.#live.set(effect.window, { key: seller.key, pieces: effect.pieces, payment: undefined })
        return void this.jobs.push({ ...effect, tag: 'request' })
      }
      case 'cancel':
        if (effect.peer !== '') this.jobs.push({ ...effect, tag: 'cancel' })
        return
      case 'pay':
        return this.#onPay(effect.window)
      case 'look-up':
        return void this.jobs.push({ tag: 'look up', window: effect.window })
      case 'open':
        return void this.jobs.push({ tag: 'open', window: effect.window })
      case 'renew':
        throw new Error('nothing here is bought on credit')
      case 'discard':
        return void this.#live.delete(effect.window)
      case 'drop': {
        if (effect.ever) this.#banned.add(effect.key)
        const seller = this.sellers.find((at) => at.peer === effect.peer)
        if (seller !== undefined)
          this.jobs.push({ tag: 'to buyer', peer: effect.peer, event: { tag: 'left', peer: effect.peer } })
        return
      }
    }
  }

  #onPay(id: number): void {
    const live = this.#live.get(id)
    const window = this.buyer.windows.get(id)
    if (live === undefined || window === undefined) throw new Error('paid a window that nobody asked for')
    const { key, pieces } = live
    const { amount } = window
    const [hash, sale] = window.paymentHash.split(' ') as [string, Sha256Hex]
    expect(
      this.payments.every((payment) => payment.hash !== hash),
      'a window is paid once',
    ).toBe(true)
    expect(
      pieces.some((piece) => this.#stored[piece] === 1),
      'what is here is not paid for',
    ).toBe(false)
    const open = this.payments.filter((at) => at.opened === 'no' && at.state !== 'failed')
    const atStake = (of: readonly Payment[]) => of.reduce((sum, payment) => sum + payment.amount, 0)
    const withKey = atStake(open.filter((payment) => payment.key === key))
    const proven = this.#proven.has(key)
    if (!proven) {
      expect(withKey, 'one payment at a time to a key that has not settled').toBe(0)
      expect(amount, 'one piece’s price to a key that has not settled').toBeLessThanOrEqual(this.onePiece)
    } else {
      expect(withKey + amount, 'the risk budget of one key').toBeLessThanOrEqual(
        Math.max(this.policy.riskBudget, this.onePiece),
      )
    }
    const unproven = !proven && !this.policy.approved.includes(key)
    if (unproven) {
      const lost = this.payments.filter((at) => at.unproven && at.opened === 'cheated')
      expect(
        atStake(open.filter((at) => at.unproven)) + atStake(lost) + amount,
        'the budget for all keys that have not settled',
      ).toBeLessThanOrEqual(this.policy.unprovenBudget ?? 0)
    }
    const spent = this.payments.filter((at) => at.state !== 'failed')
    const fees = spent.filter((at) => at.heardAtMs !== undefined).length * this.feeMsat
    expect(atStake(spent) + fees + amount, 'the budget of the release').toBeLessThanOrEqual(
      this.policy.budget,
    )
    const inFlight = spent.filter((at) => at.opened === 'no' && at.heardAtMs === undefined)
    expect(inFlight.length, 'payments in flight').toBeLessThan(this.policy.paymentSlots)
    const bytes = spent.reduce((sum, at) => sum + this.#bytes(at.pieces), this.#bytes(pieces))
    expect(bytes, 'the bytes of the release').toBeLessThanOrEqual(this.policy.budgetBytes)
    const payment: Payment = {
      hash,
      key,
      amount,
      pieces,
      window: id,
      sale,
      state: 'sent',
      paidAtMs: this.nowMs,
      restored: false,
      heardAtMs: undefined,
      unproven,
      opened: 'no',
    }
    live.payment = payment
    this.payments.push(payment)
    this.jobs.push({ tag: 'pay', hash })
  }

  /** Power cut: what is not on disk is gone; payments whose outcome is open come back from the journal. */
  restart(): void {
    this.jobs = this.jobs.filter((job) => job.tag === 'pay')
    for (const seller of this.sellers) {
      if (seller.peer === undefined) continue
      desks.step(
        seller.desk,
        { tag: 'left', peer: seller.peer, buyer: 'f'.repeat(64) as PartyKey },
        this.nowMs,
      )
      seller.peer = undefined
    }
    this.#live = new Map()
    this.buyer = buyers.openBuyer(this.shape, this.policy, 7)
    const pieces = Array.from(this.#stored, (_, piece) => piece).filter((piece) => this.#stored[piece] === 1)
    this.step({ tag: 'stored', pieces })
    for (const key of this.#banned) this.step({ tag: 'banned', key, why: 'cheated' })
    const sum = (of: readonly Payment[]) => msat(of.reduce((total, at) => total + at.amount, 0))
    const opened = this.payments.filter((at) => at.opened !== 'no')
    this.step({
      tag: 'resumed',
      paid: sum(opened),
      fees: msat(opened.length * this.feeMsat),
      lost: sum(opened.filter((at) => at.opened === 'cheated')),
      bytes: opened.reduce((bytes, at) => bytes + this.#bytes(at.pieces), 0),
    })
    for (const payment of this.payments) {
      payment.window = undefined
      if (payment.opened !== 'no' || payment.state === 'failed') continue
      payment.window = this.buyer.nextWindow
      payment.heardAtMs = undefined
      payment.restored = true
      this.#live.set(payment.window, { key: payment.key, pieces: payment.pieces, payment })
      this.step({
        tag: 'restored',
        window: {
          key: payment.key,
          pieces: payment.pieces,
          bytes: payment.pieces.reduce((bytes, piece) => bytes + pieceBytes(this.shape, piece), 0),
          amount: msat(payment.amount),
          paymentHash: payment.hash,
          quoteExpiresAtMs: this.nowMs + 120_000,
          requestedAtMs: this.nowMs,
        },
      })
    }
    this.step({ tag: 'wallet', money: MONEY, balance: msat(this.balance) })
    for (const seller of this.sellers) this.connect(seller)
  }

  // Everything else: wires, sellers, the wallet

  #lockedMs(payment: Payment): number {
    return (payment.heardAtMs ?? this.nowMs) - payment.paidAtMs
  }

  #at(peer: string): Seller {
    return this.sellers.find((seller) => seller.peer === peer) as Seller
  }

  run(index: number, chance: number): void {
    const [job] = this.jobs.splice(index % this.jobs.length, 1)
    if (job !== undefined) this.#do(job, chance)
  }

  #do(job: Job, chance: number): void {
    switch (job.tag) {
      case 'request': {
        const seller = this.sellers.find((at) => at.peer === job.peer)
        if (seller === undefined || (seller.nature === 'silent' && !this.healed)) return
        return this.#deskStep(seller, {
          tag: 'asked',
          id: String(++this.#sales).padStart(64, '0') as Sha256Hex,
          peer: job.peer,
          buyer: 'f'.repeat(64) as PartyKey,
          role: 'device',
          request: job.window,
          pieces: job.pieces,
          has: () => true,
        })
      }
      case 'cancel': {
        const seller = this.sellers.find((at) => at.peer === job.peer)
        if (seller === undefined) return
        return this.#deskStep(seller, { tag: 'cancelled', peer: job.peer, request: job.window })
      }
      case 'serve': {
        const { seller, sale } = job
        if (sale.state !== 'preparing' || seller.peer !== sale.peer) return
        const expiresAtMs = this.nowMs + 120_000
        this.jobs.push({
          tag: 'to buyer',
          peer: sale.peer,
          event: {
            tag: 'quoted',
            window: sale.request,
            amount: sale.amount,
            paymentHash: `h${sale.id} ${sale.id}`,
            expiresAtMs,
          },
        })
        return this.#deskStep(seller, { tag: 'sent', id: sale.id, expiresAtMs })
      }
      case 'to buyer':
        if (job.event.tag === 'left') {
          const seller = this.sellers.find((at) => at.peer === job.peer)
          return seller === undefined ? undefined : this.disconnect(seller)
        }
        return this.step(job.event)
      case 'pay':
        return this.#pay(this.payments.find((at) => at.hash === job.hash) as Payment, chance)
      case 'look up': {
        const payment = this.payments.find((at) => at.window === job.window)
        if (payment === undefined) return
        if (payment.state === 'settled') return this.#settledEvent(payment)
        if (payment.state === 'failed')
          return this.step({ tag: 'pay-failed', window: job.window, code: 'payment-failed' })
        return this.step({ tag: 'pay-unknown', window: job.window })
      }
      case 'open':
        return this.#open(job.window)
    }
  }

  #deskStep(seller: Seller, event: DeskEvent): void {
    for (const effect of desks.step(seller.desk, event, this.nowMs)) {
      if (effect.tag === 'refuse')
        this.jobs.push({
          tag: 'to buyer',
          peer: effect.peer,
          event: { tag: 'refused', window: effect.request, code: effect.code },
        })
      if (effect.tag === 'serve') this.jobs.push({ tag: 'serve', seller, sale: effect.sale })
      if (effect.tag === 'give-key' && effect.sale.amount === 0)
        this.jobs.push({
          tag: 'to buyer',
          peer: effect.sale.peer,
          event: { tag: 'settled', window: effect.sale.request, fees: msat(0) },
        })
    }
  }

  #pay(payment: Payment, chance: number): void {
    const { window } = payment
    if (payment.state === 'sent') {
      if (chance % 7 === 1) return this.#fail(payment, chance % 2 === 0 ? 'payment-failed' : 'unreachable')
      if (payment.amount + this.feeMsat > this.balance) return this.#fail(payment, 'insufficient-balance')
      this.balance -= payment.amount + this.feeMsat
      payment.state = 'locked'
    }
    if (payment.state !== 'locked') return
    const seller = this.sellers.find((at) => at.key === payment.key) as Seller
    this.#deskStep(seller, { tag: 'locked', id: payment.sale })
    const holds = seller.nature === 'holds' && !(this.healed && chance % 2 === 0)
    if (holds && this.healed) {
      // The lock runs out: the sats come back.
      this.balance += payment.amount + this.feeMsat
      return this.#fail(payment, 'payment-failed')
    }
    if (holds || chance % 5 === 1) {
      if (window !== undefined) this.step({ tag: 'pay-unknown', window })
      return void this.jobs.push({ tag: 'pay', hash: payment.hash })
    }
    payment.state = 'settled'
    this.#deskStep(seller, { tag: 'settled', id: payment.sale })
    if (chance % 5 !== 2) this.#settledEvent(payment)
    else if (window !== undefined) this.step({ tag: 'pay-unknown', window })
  }

  #fail(payment: Payment, code: string): void {
    payment.state = 'failed'
    if (payment.window !== undefined) this.step({ tag: 'pay-failed', window: payment.window, code })
    // Not paid after all: another try of the same window is another payment.
    payment.hash += ' failed'
    payment.window = undefined
  }

  #settledEvent(payment: Payment): void {
    const { window } = payment
    if (window === undefined || payment.opened !== 'no') return
    const before = this.jobs.some((job) => job.tag === 'open' && job.window === window)
    payment.heardAtMs ??= this.nowMs
    this.step({ tag: 'settled', window, fees: msat(this.feeMsat) })
    const after = this.jobs.some((job) => job.tag === 'open' && job.window === window)
    expect(after || before, 'what is paid for is opened, however late').toBe(true)
  }

  #open(id: number): void {
    const live = this.#live.get(id)
    if (live === undefined) return
    const { payment, key, pieces } = live
    const seller = this.sellers.find((at) => at.key === key) as Seller
    const cheated = seller.nature === 'cheats' && seller.price > 0
    if (payment !== undefined) {
      payment.opened = cheated ? 'cheated' : 'good'
      const lockedMs = this.#lockedMs(payment)
      if (lockedMs <= LOCK_MS && !cheated && !payment.restored)
        for (const piece of pieces)
          expect(this.#stored[piece] === 0 || this.#lateOf.has(piece), 'no piece is bought twice').toBe(true)
      if (lockedMs > LOCK_MS) for (const piece of pieces) this.#lateOf.add(piece)
      if (!cheated) this.#proven.add(key)
    }
    this.#live.delete(id)
    if (!cheated) for (const piece of pieces) this.#stored[piece] = 1
    this.step({ tag: 'opened', window: id, cheated })
    const bought = this.buyer.bought.find((window) => window.id === id)
    if (payment?.restored === false && this.#lockedMs(payment) > LOCK_MS)
      expect(bought?.elsewhere ?? true, 'what settles after the lock timeout is marked late').toBe(true)
  }

  wait(ms: number): void {
    this.nowMs += ms
    this.step({ tag: 'tick' })
    for (const seller of this.sellers) this.#deskStep(seller, { tag: 'tick' })
  }

  fund(amount: number): void {
    this.balance += amount
    this.step({ tag: 'wallet', money: MONEY, balance: msat(this.balance) })
  }

  /** No more losses, no more cheats, sats enough, one honest seller: it must complete. */
  heal(): void {
    this.healed = true
    for (const seller of this.sellers) if (seller.nature !== 'honest') this.disconnect(seller)
    this.buyer.policy = {
      ...this.policy,
      budget: msat(10_000),
      unprovenBudget: msat(10_000),
      budgetBytes: Infinity,
    }
    ;(this as { policy: buyers.BuyerPolicy }).policy = this.buyer.policy
    this.fund(10_000)
    this.sellers.push({
      key: 'e'.repeat(64) as PartyKey,
      nature: 'honest',
      price: 1,
      peer: undefined,
      desk: this.#desk(1),
    })
    for (let round = 0; round < 300; round++) {
      for (const seller of this.sellers) this.connect(seller)
      for (let n = this.jobs.length; n > 0; n--) this.run(0, 4)
      if (this.complete && this.payments.every((at) => at.opened !== 'no' || at.state === 'failed')) return
      this.wait(5_000)
      this.step({ tag: 'wallet', money: MONEY, balance: msat(this.balance) })
    }
  }

  get complete(): boolean {
    return this.#stored.every((stored) => stored === 1)
  }
}

const anySetup: fc.Arbitrary<Setup> = fc.record({
  pieces: fc.integer({ min: 1, max: 6 }),
  short: fc.boolean(),
  budget: fc.constantFrom(1, 4, 7, 12, 40),
  riskBudget: fc.nat({ max: 6 }),
  unprovenBudget: fc.nat({ max: 5 }),
  paymentSlots: fc.integer({ min: 1, max: 4 }),
  memoryPieces: fc.integer({ min: 1, max: 8 }),
  budgetPieces: fc.constantFrom(Infinity, Infinity, 3, 8),
  balance: fc.constantFrom(0, 2, 6, 30),
  feeMsat: fc.constantFrom(0, 0, 1),
  sellers: fc.array(
    fc.record({
      nature: fc.constantFrom<Nature>('honest', 'honest', 'cheats', 'cheats', 'holds', 'silent'),
      price: fc.constantFrom(0, 1, 1, 2, 2, 3),
      approved: fc.boolean(),
    }),
    { minLength: 1, maxLength: 4 },
  ),
})
type Action = { tag: 'run' | 'lose' | 'back' | 'wait' | 'restart' | 'fund'; at: number; chance: number }
const action = (tag: Action['tag'], weight: number) => ({
  weight,
  arbitrary: fc.record({
    tag: fc.constant(tag),
    at: fc.nat({ max: 20 }),
    chance: fc.nat({ max: 69 }),
  }) as fc.Arbitrary<Action>,
})
const anyAction = fc.oneof(
  action('run', 14),
  action('lose', 1),
  action('back', 2),
  action('wait', 2),
  action('restart', 1),
  action('fund', 1),
)
const WAITS = [500, 2_000, 16_000, 70_000]

function act(world: World, { tag, at, chance }: Action): void {
  const seller = world.sellers[at % world.sellers.length] as Seller
  if (tag === 'run' && world.jobs.length > 0) world.run(at, chance)
  if (tag === 'lose') world.disconnect(seller)
  if (tag === 'back') world.connect(seller)
  if (tag === 'wait') world.wait(WAITS[at % WAITS.length] as number)
  if (tag === 'restart') world.restart()
  if (tag === 'fund') world.fund(at % 5)
}

describe('buyer, sellers and wallet', () => {
  test('fees count: what they have used up is not paid, though it was asked for before', () => {
    const world = new World({
      pieces: 2,
      short: false,
      budget: 4,
      riskBudget: 9,
      unprovenBudget: 9,
      paymentSlots: 9,
      memoryPieces: 9,
      budgetPieces: Infinity,
      balance: 9,
      feeMsat: 0,
      sellers: [
        { nature: 'honest', price: 2, approved: false },
        { nature: 'honest', price: 2, approved: false },
      ],
    })
    const [one, two] = [...world.buyer.windows.values()].map(({ id }) => id)
    const quoted = (window = 0) => ({
      tag: 'quoted' as const,
      window,
      amount: msat(2),
      paymentHash: `h${window} s${window}`,
      expiresAtMs: world.nowMs + 120_000,
    })
    world.step(quoted(one))
    world.step({ tag: 'settled', window: one ?? 0, fees: msat(1) })
    world.step(quoted(two))
    expect(world.payments).toHaveLength(1)
    expect(world.buyer.windows.get(two ?? 0)?.state).toBe('held')
  })

  test('keep every bound in any order, and complete once an honest seller stays', () => {
    fc.assert(
      fc.property(anySetup, fc.array(anyAction, { maxLength: 80, size: 'max' }), (setup, actions) => {
        const world = new World(setup)
        for (const next of actions) act(world, next)
        world.heal()
        expect(world.complete, 'complete').toBe(true)
        expect(world.buyer.haveCount).toBe(setup.pieces)
        expect(world.buyer.boughtTwice).toBe(0)
        const kept = world.payments.filter((at) => at.opened !== 'no')
        expect(world.buyer.paid).toBe(kept.reduce((sum, at) => sum + at.amount, 0))
        expect(world.buyer.fees).toBe(kept.length * setup.feeMsat)
      }),
      { numRuns: 500 },
    )
  })
})
