/**
 * Lightning as wallets see it: accounts, invoices that release a preimage against sats, payments that take time, fail, lock
 * and hang, settle late, and answers that get lost. Every movement of sats is a fact for the judges.
 */
import type { Money } from '../../web/core/money/msat.ts'
import type { Clock } from './clock.ts'
import { readInvoice, writeInvoice, type InvoiceTerms } from './invoice.ts'
import type { Random } from './random.ts'
import type { NodeId, Seen } from './trace.ts'

/** What it keeps. */
export const MONEY: Money = 'sandbox:sim'

export type WalletLine = Readonly<{
  /** Median of a payment's way; it is drawn around it, long to the right. */
  payMs: number
  /** Of every other request. */
  askMs: number
  /** Final failures of payments. */
  fails: number
  /** Answers that get lost, of payments and look-ups alike. */
  mute: number
  /** Payments that lock and hang: half of them settle in the end. */
  hangs: number
  hangMs: number
  /** Payments that the wallet starts in a second. */
  perSecond: number
  /** Payments under way at most. */
  slots: number
  feePpm: number
  /** How a hold invoice is offered, and a preimage taken. */
  settling: 'preimage' | 'hold' | 'neither'
}>

export type PayAnswer =
  { tag: 'paid'; preimage: string; fees: number } | { tag: 'failed'; code: string } | { tag: 'unknown' }
export type Found = Readonly<{
  state: 'pending' | 'accepted' | 'settled' | 'failed'
  preimage?: string
  fees: number
}>
export type Lookup = { tag: 'found'; found: Found | undefined } | { tag: 'silent' }
/** `back`: the wallet is there again after an outage. */
export type Notice = { tag: 'received' | 'accepted' | 'sent'; hash: string } | { tag: 'back' }

type Invoice = {
  readonly hash: string
  readonly payee: NodeId
  readonly amount: number
  readonly expiresAtMs: number
  readonly hold: boolean
  /** Known to the payee's wallet. */
  preimage: string | undefined
  state: 'open' | 'accepted' | 'settled' | 'cancelled'
  lockedBy: Payment | undefined
}
type Payment = {
  readonly hash: string
  readonly payer: NodeId
  readonly amount: number
  readonly fee: number
  state: 'pending' | 'locked' | 'settled' | 'failed'
  preimage: string | undefined
  /** Those who wait for its outcome. */
  waiting: ((answer: PayAnswer) => void)[]
}
type Account = { balance: number; open: number; freeAtMs: number; line: WalletLine; outUntilMs: number }

/** How long a wallet's client waits for its answer. */
const PATIENCE_MS = 60_000
const HOLD_LIMIT_MS = 10 * 60_000

export class Bank {
  readonly accounts = new Map<NodeId, Account>()
  readonly #invoices = new Map<string, Invoice>()
  readonly #payments = new Map<string, Payment>()
  readonly #notices = new Map<NodeId, ((notice: Notice) => void)[]>()
  readonly #clock: Clock
  readonly #random: Random
  readonly #see: Seen
  /** No failure, no lost answer, no hanging from now on. */
  healed = false
  fees = 0
  /** Breaks the books on purpose: for the test of the judge. */
  leak = 0

  constructor(clock: Clock, random: Random, see: Seen) {
    this.#clock = clock
    this.#random = random
    this.#see = see
  }

  open(id: NodeId, msat: number, line: WalletLine): void {
    this.accounts.set(id, { balance: msat, open: 0, freeAtMs: 0, line, outUntilMs: 0 })
    this.#see({ t: 'account', account: id, msat }, this.#clock.nowMs)
  }
  listen(id: NodeId, run: (notice: Notice) => void): void {
    const known = this.#notices.get(id)
    if (known === undefined) this.#notices.set(id, [run])
    else known.push(run)
  }
  deafen(id: NodeId): void {
    this.#notices.delete(id)
  }
  /** The wallet answers nobody until then. */
  outage(id: NodeId, untilMs: number): void {
    this.#of(id).outUntilMs = untilMs
    this.#clock.after(untilMs - this.#clock.nowMs, () => this.#tell(id, { tag: 'back' }))
  }

  /** An invoice's text; `undefined`: the wallet does not answer. */
  invoice(
    payee: NodeId,
    terms: InvoiceTerms,
    /** Without one the invoice holds. */
    preimage: string | undefined,
    answer: (text: string | undefined) => void,
  ): void {
    const { line } = this.#of(payee)
    if (this.#lost(payee)) return this.#clock.after(PATIENCE_MS / 6, () => answer(undefined))
    this.#clock.after(line.askMs, () => {
      const { paymentHash: hash, amount, expiresAtMs } = terms
      if (!this.#invoices.has(hash))
        this.#invoices.set(hash, {
          hash,
          payee,
          amount,
          expiresAtMs,
          hold: preimage === undefined,
          preimage,
          state: 'open',
          lockedBy: undefined,
        })
      answer(writeInvoice(terms))
    })
  }

  /** Pays an invoice's text; idempotent per payer and hash. */
  pay(payer: NodeId, text: string, answer: (answer: PayAnswer) => void): void {
    const { line, outUntilMs } = this.#of(payer)
    const { nowMs } = this.#clock
    const terms = readInvoice(text)
    if (terms === 'unreadable') throw new Error(`no invoice: ${text}`)
    if (!this.healed && outUntilMs > nowMs)
      return this.#clock.after(line.askMs, () => {
        this.#see({ t: 'refused', hash: terms.paymentHash, payer }, this.#clock.nowMs)
        answer({ tag: 'failed', code: 'unreachable' })
      })
    let answered = false
    const tell = (result: PayAnswer): void => {
      if (answered) return
      answered = true
      answer(result)
    }
    // Lost on the way there, or on the way back: the client cannot tell which.
    if (!this.healed && this.#random.chance(line.mute / 2)) {
      return this.#clock.after(PATIENCE_MS, () => tell({ tag: 'unknown' }))
    }
    const mute = !this.healed && this.#random.chance(line.mute / 2)
    this.#clock.after(PATIENCE_MS, () => tell({ tag: 'unknown' }))
    this.#clock.after(line.askMs, () =>
      this.#start(payer, terms, (result) => {
        if (!mute) this.#clock.after(line.askMs, () => tell(result))
      }),
    )
  }

  #start(payer: NodeId, terms: InvoiceTerms, answer: (answer: PayAnswer) => void): void {
    const account = this.#of(payer)
    const { paymentHash: hash, amount, expiresAtMs } = terms
    const known = this.#payments.get(`${payer} ${hash}`)
    if (known !== undefined && known.state !== 'failed') {
      if (known.state === 'settled' && known.preimage !== undefined)
        return answer({ tag: 'paid', preimage: known.preimage, fees: known.fee })
      known.waiting.push(answer)
      return
    }
    const { nowMs } = this.#clock
    const refuse = (code: string): void => {
      this.#see({ t: 'refused', hash, payer }, nowMs)
      answer({ tag: 'failed', code })
    }
    if (expiresAtMs <= nowMs) return refuse('expired')
    const fee = Math.ceil((amount * account.line.feePpm) / 1e6)
    if (account.balance < amount + fee) return refuse('insufficient-balance')
    if (account.open >= account.line.slots) return refuse('payment-failed')
    const payment: Payment = {
      hash,
      payer,
      amount,
      fee,
      state: 'pending',
      preimage: undefined,
      waiting: [answer],
    }
    this.#payments.set(`${payer} ${hash}`, payment)
    account.balance -= amount + fee
    account.open++
    const payee = this.#invoices.get(hash)?.payee ?? -1
    this.#see({ t: 'locked', hash, payer, payee, amount, fee }, nowMs)
    const startMs = Math.max(nowMs, account.freeAtMs)
    account.freeAtMs = startMs + 1000 / account.line.perSecond
    const wayMs =
      account.line.payMs * (0.5 + 0.5 * this.#random.between(0.6, 1.4) + (this.#random.chance(0.05) ? 3 : 0))
    const hangs = !this.healed && this.#random.chance(account.line.hangs)
    const fails = hangs ? this.#random.chance(0.5) : !this.healed && this.#random.chance(account.line.fails)
    const hangMs = hangs ? this.#random.between(0.2, 1) * account.line.hangMs : 0
    this.#clock.after(startMs - nowMs + wayMs + hangMs, () => {
      if (fails) return this.#fail(payment)
      this.#arrive(payment)
    })
  }

  #arrive(payment: Payment): void {
    const invoice = this.#invoices.get(payment.hash)
    if (invoice === undefined || invoice.state !== 'open' || invoice.amount !== payment.amount)
      return this.#fail(payment)
    payment.state = 'locked'
    if (!invoice.hold && invoice.preimage !== undefined)
      return this.#settle(invoice, payment, invoice.preimage)
    invoice.state = 'accepted'
    invoice.lockedBy = payment
    this.#notify(invoice.payee, { tag: 'accepted', hash: invoice.hash })
    this.#clock.after(HOLD_LIMIT_MS, () => {
      if (payment.state !== 'locked') return
      invoice.state = 'cancelled'
      this.#fail(payment)
    })
  }

  #settle(invoice: Invoice, payment: Payment, preimage: string): void {
    const { hash, payer, amount, fee } = payment
    invoice.state = 'settled'
    payment.state = 'settled'
    payment.preimage = preimage
    this.#of(payer).open--
    this.#of(invoice.payee).balance += amount - this.leak
    this.fees += fee
    this.#see({ t: 'settled', hash, payer, payee: invoice.payee, amount, fee }, this.#clock.nowMs)
    this.#notify(invoice.payee, { tag: 'received', hash })
    this.#notify(payer, { tag: 'sent', hash })
    for (const answer of payment.waiting.splice(0)) answer({ tag: 'paid', preimage, fees: fee })
  }

  #fail(payment: Payment): void {
    const { hash, payer, amount, fee } = payment
    payment.state = 'failed'
    const account = this.#of(payer)
    account.open--
    account.balance += amount + fee
    this.#see({ t: 'returned', hash, payer, amount, fee }, this.#clock.nowMs)
    for (const answer of payment.waiting.splice(0)) answer({ tag: 'failed', code: 'payment-failed' })
  }

  /** Whether the wallet did it. */
  settleHold(payee: NodeId, preimage: string, hash: string, answer: (ok: boolean) => void): void {
    if (this.#lost(payee)) return this.#clock.after(PATIENCE_MS / 6, () => answer(false))
    this.#clock.after(this.#of(payee).line.askMs, () => {
      const invoice = this.#invoices.get(hash)
      if (invoice?.payee !== payee) return answer(false)
      if (invoice.state === 'accepted') {
        if (invoice.lockedBy?.state === 'locked') this.#settle(invoice, invoice.lockedBy, preimage)
      }
      answer(invoice.state === 'settled')
    })
  }
  cancelHold(payee: NodeId, hash: string): void {
    this.#clock.after(this.#of(payee).line.askMs, () => {
      const invoice = this.#invoices.get(hash)
      if (invoice?.payee !== payee || invoice.state === 'settled') return
      invoice.state = 'cancelled'
      if (invoice.lockedBy?.state === 'locked') this.#fail(invoice.lockedBy)
    })
  }

  /** What the wallet of either end knows of a hash. */
  lookUp(id: NodeId, hash: string, answer: (lookup: Lookup) => void): void {
    const { line } = this.#of(id)
    if (this.#lost(id)) return this.#clock.after(PATIENCE_MS / 6, () => answer({ tag: 'silent' }))
    this.#clock.after(2 * line.askMs, () => answer({ tag: 'found', found: this.#known(id, hash) }))
  }

  #known(id: NodeId, hash: string): Found | undefined {
    const payment = this.#payments.get(`${id} ${hash}`)
    if (payment !== undefined) {
      const { state, fee: fees, preimage } = payment
      if (state === 'settled' && preimage !== undefined) return { state, fees, preimage }
      return { state: state === 'failed' ? 'failed' : 'pending', fees }
    }
    const invoice = this.#invoices.get(hash)
    if (invoice?.payee !== id) return undefined
    if (invoice.state === 'settled') return { state: 'settled', fees: 0 }
    if (invoice.state === 'accepted') return { state: 'accepted', fees: 0 }
    return { state: invoice.state === 'cancelled' ? 'failed' : 'pending', fees: 0 }
  }

  /** `undefined`: the wallet does not answer. */
  balance(id: NodeId, answer: (msat: number | undefined) => void): void {
    if (this.#lost(id)) return this.#clock.after(PATIENCE_MS / 6, () => answer(undefined))
    this.#clock.after(2 * this.#of(id).line.askMs, () => answer(this.#of(id).balance))
  }

  #lost(id: NodeId): boolean {
    if (this.healed) return false
    const { line, outUntilMs } = this.#of(id)
    return outUntilMs > this.#clock.nowMs || this.#random.chance(line.mute)
  }

  /** Notifications get lost with the connection that they would have come by. */
  #notify(id: NodeId, notice: Notice): void {
    if (this.#lost(id)) return
    this.#clock.after(this.#of(id).line.askMs, () => this.#tell(id, notice))
  }
  #tell(id: NodeId, notice: Notice): void {
    for (const run of this.#notices.get(id) ?? []) run(notice)
  }

  #of(id: NodeId): Account {
    const account = this.accounts.get(id)
    if (account === undefined) throw new Error(`no account ${id}`)
    return account
  }
}
