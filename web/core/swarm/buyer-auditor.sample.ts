/**
 * What must hold of the buyer in `buyer-world.sample.ts`. The auditor keeps books of its own and reads nothing from the
 * machines it judges; `auditBooks` compares what the buyer says in two ways.
 */
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import * as buyers from './buyer.ts'
import { pieceBytes, type Shape } from './merkle.ts'

export const LOCK_MS = 60_000

/** @throws Error where it does not. */
export function must(hold: boolean, what: string): void {
  if (!hold) throw new Error(what)
}

export type Payment = {
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
type Live = { key: PartyKey; pieces: readonly number[]; payment: Payment | undefined }

/** What the auditor is told beforehand, and the time. */
type Audited = {
  readonly shape: Shape
  readonly policy: buyers.BuyerPolicy
  readonly onePiece: number
  readonly feeMsat: number
  readonly nowMs: number
}

/** What the buyer keeps as sums is what its windows and pieces say. */
export function auditBooks(buyer: buyers.Buyer): void {
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
  must(JSON.stringify(buyer.under) === JSON.stringify(under), 'sums agree with windows and pieces')
  for (let piece = 0; piece < buyer.have.length; piece++)
    if (buyer.have[piece] === 0 && buyer.assigned[piece] === 0) free++
  must(buyer.picker.free === free, 'sums agree with windows and pieces')
  for (const peer of buyer.partial) {
    const missing = [...peer.has.keys()].filter((piece) => peer.has[piece] === 1 && buyer.have[piece] === 0)
    must(peer.wants === missing.length, 'sums agree with windows and pieces')
    must(
      peer.free === missing.filter((piece) => buyer.assigned[piece] === 0).length,
      'sums agree with windows and pieces',
    )
  }
}

export class Auditor {
  readonly payments: Payment[] = []
  readonly stored: Uint8Array
  /** Which windows fetch a piece. */
  readonly live = new Map<number, Live>()
  /** Who may never be asked again, who has settled, and which pieces came late. */
  readonly banned = new Set<PartyKey>()
  readonly #proven = new Set<PartyKey>()
  readonly #lateOf = new Set<number>()
  readonly #of: Audited

  constructor(of: Audited, pieces: number) {
    this.#of = of
    this.stored = new Uint8Array(pieces)
  }

  bytesOf(pieces: readonly number[]): number {
    return pieces.reduce((sum, piece) => sum + pieceBytes(this.#of.shape, piece), 0)
  }

  lockedMs(payment: Payment): number {
    return (payment.heardAtMs ?? this.#of.nowMs) - payment.paidAtMs
  }

  asks(window: number, key: PartyKey, pieces: readonly number[]): void {
    must(!this.banned.has(key), 'a dropped key is never asked again')
    for (const piece of pieces) {
      must(this.stored[piece] === 0, 'a piece that is here is not asked for')
      for (const other of this.live.values()) {
        if (!other.pieces.includes(piece)) continue
        const lockedMs = other.payment === undefined ? 0 : this.lockedMs(other.payment)
        must(lockedMs > LOCK_MS, 'a piece is fetched twice only after the lock timeout')
      }
    }
    const held = [...this.live.values()].reduce((sum, { pieces }) => sum + this.bytesOf(pieces), 0)
    if (held > 0) must(held + this.bytesOf(pieces) <= this.#of.policy.memoryBytes, 'memory')
    this.live.set(window, { key, pieces, payment: undefined })
  }

  pays(id: number, { amount, paymentHash }: Pick<buyers.Window, 'amount' | 'paymentHash'>): Payment {
    const live = this.live.get(id)
    if (live === undefined) throw new Error('paid a window that nobody asked for')
    const { key, pieces } = live
    const [hash, sale] = paymentHash.split(' ') as [string, Sha256Hex]
    must(
      this.payments.every((payment) => payment.hash !== hash),
      'a window is paid once',
    )
    must(!pieces.some((piece) => this.stored[piece] === 1), 'what is here is not paid for')
    const open = this.payments.filter((at) => at.opened === 'no' && at.state !== 'failed')
    const atStake = (of: readonly Payment[]) => of.reduce((sum, payment) => sum + payment.amount, 0)
    const withKey = atStake(open.filter((payment) => payment.key === key))
    const proven = this.#proven.has(key)
    if (!proven) {
      must(withKey === 0, 'one payment at a time to a key that has not settled')
      must(amount <= this.#of.onePiece, 'one piece’s price to a key that has not settled')
    } else {
      must(
        withKey + amount <= Math.max(this.#of.policy.riskBudget, this.#of.onePiece),
        'the risk budget of one key',
      )
    }
    const unproven = !proven && !this.#of.policy.approved.includes(key)
    if (unproven) {
      const lost = this.payments.filter((at) => at.unproven && at.opened === 'cheated')
      must(
        atStake(open.filter((at) => at.unproven)) + atStake(lost) + amount <=
          (this.#of.policy.unprovenBudget ?? 0),
        'the budget for all keys that have not settled',
      )
    }
    const spent = this.payments.filter((at) => at.state !== 'failed')
    const fees = spent.filter((at) => at.heardAtMs !== undefined).length * this.#of.feeMsat
    must(atStake(spent) + fees + amount <= this.#of.policy.budget, 'the budget of the release')
    const inFlight = spent.filter((at) => at.opened === 'no' && at.heardAtMs === undefined)
    must(inFlight.length < this.#of.policy.paymentSlots, 'payments in flight')
    const bytes = spent.reduce((sum, at) => sum + this.bytesOf(at.pieces), this.bytesOf(pieces))
    must(bytes <= this.#of.policy.budgetBytes, 'the bytes of the release')
    const payment: Payment = {
      hash,
      key,
      amount,
      pieces,
      window: id,
      sale,
      state: 'sent',
      paidAtMs: this.#of.nowMs,
      restored: false,
      heardAtMs: undefined,
      unproven,
      opened: 'no',
    }
    live.payment = payment
    this.payments.push(payment)
    return payment
  }

  opens(id: number, { payment, key, pieces }: Live, cheated: boolean): void {
    if (payment !== undefined) {
      payment.opened = cheated ? 'cheated' : 'good'
      const lockedMs = this.lockedMs(payment)
      if (lockedMs <= LOCK_MS && !cheated && !payment.restored)
        for (const piece of pieces)
          must(this.stored[piece] === 0 || this.#lateOf.has(piece), 'no piece is bought twice')
      if (lockedMs > LOCK_MS) for (const piece of pieces) this.#lateOf.add(piece)
      if (!cheated) this.#proven.add(key)
    }
    this.live.delete(id)
    if (!cheated) for (const piece of pieces) this.stored[piece] = 1
  }
}
