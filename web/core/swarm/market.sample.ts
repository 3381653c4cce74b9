/**
 * A market in virtual time, for tests: one real buyer, real desks behind lines with a rate and a delay, and a wallet
 * with a latency and, if wanted, a limit of payments a second. Nothing is drawn by chance.
 */
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import * as desks from '../exchange/desk.ts'
import type { DeskEvent } from '../exchange/desk-events.ts'
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../exchange/desk-policy.ts'
import { openDesk, type Desk } from '../exchange/desk-state.ts'
import { msat, MIB, type Money, type Msat } from '../money/msat.ts'
import * as buyers from './buyer.ts'
import { piecesOf, type Shape } from './merkle.ts'

const MONEY: Money = 'sandbox:market'
const FRAME = 64 * 1024

export type Line = Readonly<{
  /** Bytes a second. */
  rate: number
  roundTripMs?: number
  price?: Msat
  pieces?: readonly number[]
  unpaidBytes?: number
  unprovenBytes?: number
  /** Others have so much out unpaid at this desk. */
  othersBytes?: number
  source?: buyers.Source
}>
export type Terms = Readonly<{
  bytes: number
  pieceLength: number
  paymentMs: number
  /** Payments a second that the wallet does at most. */
  paymentsPerS?: number
  policy?: Partial<buyers.BuyerPolicy>
  money?: Money
  /** What a payment costs on top; nothing without it. */
  feeOf?: (amount: number) => Msat
  lines: readonly Line[]
}>
type Seller = Line & {
  readonly peer: string
  readonly key: PartyKey
  readonly desk: Desk
  freeAtMs: number
  sentBytes: number
}

export class Market {
  readonly buyer: buyers.Buyer
  readonly sellers: Seller[]
  readonly shape: Shape
  readonly paid: { atMs: number; bytes: number; key: PartyKey }[] = []
  readonly refusals: string[] = []
  cancels = 0
  nowMs = 1_000_000
  readonly startMs = this.nowMs
  mostPayments = 0
  mostHeldBytes = 0
  mostShared = 0
  /** When the last byte arrived. */
  lastByteMs = 0
  readonly #terms: Terms
  #queue: { atMs: number; order: number; run: () => void }[] = []
  #order = 0
  #walletFreeMs = 0
  #sales = 0
  readonly #cancelled = new Set<number>()

  constructor(terms: Terms) {
    this.#terms = terms
    this.shape = { length: terms.bytes, pieceLength: terms.pieceLength }
    const price = msat(1000)
    const policy: buyers.BuyerPolicy = {
      ...buyers.BUYER_DEFAULTS,
      priceCap: msat(4000),
      budget: msat(1e12),
      riskBudget: msat(1e9),
      unprovenBudget: msat(1e9),
      lockedTimeoutMs: 60_000,
      approved: [],
      ...terms.policy,
    }
    this.buyer = buyers.openBuyer(this.shape, policy, 7)
    this.sellers = terms.lines.map((line, i) => ({
      ...line,
      peer: `p${i}`,
      key: String(i).repeat(64).slice(0, 64) as PartyKey,
      freeAtMs: 0,
      sentBytes: 0,
      desk: openDesk(this.shape, {
        price: line.price ?? price,
        gifts: { to: 'nobody', copies: 0 },
        approved: [],
        unpaidBytes: (line.unpaidBytes ?? DEFAULT_UNPAID_BYTES) - (line.othersBytes ?? 0),
        unprovenBytes: line.unprovenBytes ?? DEFAULT_UNPROVEN_BYTES,
      }),
    }))
    const { money = MONEY } = terms
    this.step({ tag: 'wallet', money, balance: msat(1e12) })
    for (const seller of this.sellers) {
      const { peer, key, source = 'exchange' } = seller
      const free = source !== 'exchange'
      const maxWindowBytes = source === 'plain' ? terms.pieceLength : 16 * MIB
      const joined = { tag: 'joined', peer, key, price: free ? msat(0) : (seller.price ?? price) } as const
      this.step({ ...joined, gift: free, money, maxWindowBytes, source })
      this.step({
        tag: 'has',
        peer,
        pieces: seller.pieces ?? Array.from({ length: piecesOf(this.shape) }, (_, i) => i),
      })
    }
  }

  at(afterMs: number, run: () => void): void {
    this.#queue.push({ atMs: this.nowMs + afterMs, order: this.#order++, run })
    this.#queue.sort((a, b) => a.atMs - b.atMs || a.order - b.order)
  }

  /** Runs until the download is complete and nothing is under way; the time that it took. */
  run(limitMs = 3_600_000): number {
    const tick = (): void => {
      this.step({ tag: 'tick' })
      for (const { desk } of this.sellers) desks.step(desk, { tag: 'tick' }, this.nowMs)
      this.at(500, tick)
    }
    this.at(500, tick)
    while (this.buyer.haveCount < this.buyer.have.length || this.buyer.windows.size > 0) {
      const next = this.#queue.shift()
      if (next === undefined || next.atMs - this.startMs > limitMs) break
      this.nowMs = next.atMs
      next.run()
    }
    return this.nowMs - this.startMs
  }

  step(event: buyers.BuyerEvent): void {
    const effects = buyers.step(this.buyer, event, Math.floor(this.nowMs))
    for (const effect of effects) this.#effect(effect)
    this.mostPayments = Math.max(this.mostPayments, this.buyer.under.payments)
    this.mostHeldBytes = Math.max(this.mostHeldBytes, this.buyer.under.heldBytes)
  }

  #effect(effect: buyers.BuyerEffect): void {
    switch (effect.tag) {
      case 'ask': {
        const seller = this.sellers.find(({ peer }) => peer === effect.peer) as Seller
        this.at((seller.roundTripMs ?? 20) / 2, () => this.#request(seller, effect.window, effect.pieces))
        return
      }
      case 'cancel': {
        this.cancels++
        this.#cancelled.add(effect.window)
        const seller = this.sellers.find(({ peer }) => peer === effect.peer) as Seller
        this.at((seller.roundTripMs ?? 20) / 2, () =>
          this.#desk(seller, { tag: 'cancelled', peer: seller.peer, request: effect.window }),
        )
        return
      }
      case 'pay':
        return this.#pay(effect.window)
      case 'open':
        return this.at(1, () => this.step({ tag: 'opened', window: effect.window, cheated: false }))
      default:
    }
  }

  #request(seller: Seller, window: number, pieces: readonly number[]): void {
    if (seller.source !== undefined && seller.source !== 'exchange') {
      const bytes = this.buyer.windows.get(window)?.bytes ?? 0
      return this.#send(seller, window, bytes, () => {
        this.step({ tag: 'quoted', window, amount: msat(0), paymentHash: '', expiresAtMs: Infinity })
        this.step({ tag: 'settled', window, fees: msat(0) })
      })
    }
    this.#desk(seller, {
      tag: 'asked',
      id: String(++this.#sales).padStart(64, '0') as Sha256Hex,
      peer: seller.peer,
      buyer: 'f'.repeat(64) as PartyKey,
      role: 'device',
      request: window,
      pieces,
      has: () => true,
    })
    this.mostShared = Math.max(this.mostShared, seller.desk.sharedBytes)
  }

  #desk(seller: Seller, event: DeskEvent): void {
    for (const effect of desks.step(seller.desk, event, this.nowMs)) {
      if (effect.tag === 'refuse') {
        this.refusals.push(effect.code)
        const { request: window, code } = effect
        this.at((seller.roundTripMs ?? 20) / 2, () => this.step({ tag: 'refused', window, code }))
      }
      if (effect.tag !== 'serve') continue
      const { sale } = effect
      const expiresAtMs = this.nowMs + 120_000
      this.#send(
        seller,
        sale.request,
        sale.bytes,
        () => {
          const { request: window, amount } = sale
          this.step({ tag: 'quoted', window, amount, paymentHash: sale.id, expiresAtMs })
        },
        () => sale.state === 'preparing',
        () => {
          this.#desk(seller, { tag: 'began', id: sale.id })
        },
        () => this.#desk(seller, { tag: 'sent', id: sale.id, expiresAtMs }),
      )
    }
  }

  /** One window after the other down the line, frame by frame. */
  #send(
    seller: Seller,
    window: number,
    bytes: number,
    done: () => void,
    wanted: () => boolean = () => true,
    began: () => void = () => undefined,
    sent: () => void = () => undefined,
  ): void {
    const delay = (seller.roundTripMs ?? 20) / 2
    const frame = (at: number): void => {
      if (!wanted()) return
      if (at === 0) began()
      const size = Math.min(FRAME, bytes - at)
      const start = Math.max(this.nowMs, seller.freeAtMs)
      seller.freeAtMs = start + (size * 1000) / seller.rate
      seller.sentBytes += size
      this.at(seller.freeAtMs - this.nowMs + delay, () => {
        this.lastByteMs = this.nowMs
        this.step({ tag: 'progress', window, bytes: at + size })
        if (at + size === bytes && this.buyer.windows.has(window)) done()
      })
      this.at(seller.freeAtMs - this.nowMs, () => (at + size < bytes ? frame(at + size) : sent()))
    }
    const turn = Math.max(0, seller.freeAtMs - this.nowMs)
    const start = (): void => {
      // Behind what the line is sending.
      if (seller.freeAtMs > this.nowMs + 0.001) return this.at(seller.freeAtMs - this.nowMs, start)
      frame(0)
    }
    this.at(turn, start)
  }

  #pay(id: number): void {
    const window = this.buyer.windows.get(id)
    if (window === undefined) throw new Error('paid a window that is not under way')
    const gapMs = this.#terms.paymentsPerS === undefined ? 0 : 1000 / this.#terms.paymentsPerS
    const start = Math.max(this.nowMs, this.#walletFreeMs)
    this.#walletFreeMs = start + gapMs
    const seller = this.sellers.find(({ key }) => key === window.key) as Seller
    this.at(start - this.nowMs + this.#terms.paymentMs, () => {
      this.paid.push({ atMs: this.nowMs, bytes: window.bytes, key: window.key })
      this.step({ tag: 'settled', window: id, fees: this.#terms.feeOf?.(window.amount) ?? msat(0) })
      this.at(5, () => this.#desk(seller, { tag: 'settled', id: window.paymentHash as Sha256Hex }))
    })
  }
}
