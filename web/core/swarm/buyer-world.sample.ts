/**
 * Buyer, desks and a toy wallet, for tests: jobs are done in whatever order the test says, wires are lost, the buyer
 * restarts, sellers are hostile; then the world heals. `buyer-auditor.sample.ts` judges every step.
 */
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import * as desks from '../exchange/desk.ts'
import type { DeskEvent } from '../exchange/desk-events.ts'
import { openDesk, type Desk, type Sale } from '../exchange/desk-state.ts'
import { msat, priceOf, type Money, type Msat } from '../money/msat.ts'
import { Auditor, auditBooks, LOCK_MS, must, type Payment } from './buyer-auditor.sample.ts'
import * as buyers from './buyer.ts'
import { pieceBytes, type Shape } from './merkle.ts'

const BLOCK = 16 * 1024
const MONEY: Money = 'sandbox:x'
/** msat per MiB that make `n` msat a piece of one block. */
const perPiece = (n: number): Msat => msat(n * 64)

export type Nature = 'honest' | 'cheats' | 'holds' | 'silent'
export type Seller = { key: PartyKey; nature: Nature; price: number; peer: string | undefined; desk: Desk }
type Job =
  | { tag: 'request'; peer: string; window: number; pieces: readonly number[] }
  | { tag: 'cancel'; peer: string; window: number }
  | { tag: 'serve'; seller: Seller; sale: Sale }
  | { tag: 'to buyer'; peer: string; event: buyers.BuyerEvent }
  | { tag: 'pay'; hash: string }
  | { tag: 'look up'; window: number }
  | { tag: 'open'; window: number }

export type Setup = {
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

export class World {
  readonly shape: Shape
  readonly policy: buyers.BuyerPolicy
  readonly sellers: Seller[]
  readonly onePiece: number
  readonly feeMsat: number
  buyer: buyers.Buyer
  jobs: Job[] = []
  nowMs = 1_000_000
  balance: number
  healed = false
  #peers = 0
  #sales = 0
  readonly #audit: Auditor

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
    this.#audit = new Auditor(this, setup.pieces)
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

  get payments(): readonly Payment[] {
    return this.#audit.payments
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
    const pieces = Array.from(this.#audit.stored, (_, piece) => piece).filter(
      (piece) => !lacks || piece % 3 !== 1,
    )
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
    auditBooks(this.buyer)
  }

  #effect(effect: buyers.BuyerEffect): void {
    switch (effect.tag) {
      case 'ask': {
        const seller = this.#at(effect.peer)
        this.#audit.asks(effect.window, seller.key, effect.pieces)
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
        return void this.#audit.live.delete(effect.window)
      case 'drop': {
        if (effect.ever) this.#audit.banned.add(effect.key)
        const seller = this.sellers.find((at) => at.peer === effect.peer)
        if (seller !== undefined)
          this.jobs.push({ tag: 'to buyer', peer: effect.peer, event: { tag: 'left', peer: effect.peer } })
        return
      }
    }
  }

  #onPay(id: number): void {
    const window = this.buyer.windows.get(id)
    if (window === undefined) throw new Error('paid a window that is over')
    const { hash } = this.#audit.pays(id, window)
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
    this.#audit.live.clear()
    this.buyer = buyers.openBuyer(this.shape, this.policy, 7)
    const pieces = Array.from(this.#audit.stored, (_, piece) => piece).filter(
      (piece) => this.#audit.stored[piece] === 1,
    )
    this.step({ tag: 'stored', pieces })
    for (const key of this.#audit.banned) this.step({ tag: 'banned', key, why: 'cheated' })
    const sum = (of: readonly Payment[]) => msat(of.reduce((total, at) => total + at.amount, 0))
    const opened = this.payments.filter((at) => at.opened !== 'no')
    this.step({
      tag: 'resumed',
      paid: sum(opened),
      fees: msat(opened.length * this.feeMsat),
      lost: sum(opened.filter((at) => at.opened === 'cheated')),
      bytes: opened.reduce((bytes, at) => bytes + this.#audit.bytesOf(at.pieces), 0),
    })
    for (const payment of this.payments) {
      payment.window = undefined
      if (payment.opened !== 'no' || payment.state === 'failed') continue
      payment.window = this.buyer.nextWindow
      payment.heardAtMs = undefined
      payment.restored = true
      this.#audit.live.set(payment.window, { key: payment.key, pieces: payment.pieces, payment })
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
    must(after || before, 'what is paid for is opened, however late')
  }

  #open(id: number): void {
    const live = this.#audit.live.get(id)
    if (live === undefined) return
    const { payment, key } = live
    const seller = this.sellers.find((at) => at.key === key) as Seller
    const cheated = seller.nature === 'cheats' && seller.price > 0
    this.#audit.opens(id, live, cheated)
    this.step({ tag: 'opened', window: id, cheated })
    const bought = this.buyer.bought.find((window) => window.id === id)
    if (payment?.restored === false && this.#audit.lockedMs(payment) > LOCK_MS)
      must(bought?.elsewhere ?? true, 'what settles after the lock timeout is marked late')
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
    return this.#audit.stored.every((stored) => stored === 1)
  }
}
