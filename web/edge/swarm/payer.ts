/**
 * Pays windows: quote and ciphertext on disk first, then the wallet. A payment without an answer is looked up,
 * never made again; what a power cut left is taken up from the books.
 */
import { fromHex, sha256Hex, toHex } from '../../core/bytes.ts'
import { windowBytes, type SignedQuote } from '../../core/exchange/quote.ts'
import { peekInvoice } from '../../core/money/bolt11.ts'
import { msat, ZERO, type Msat } from '../../core/money/msat.ts'
import { payAgain, type WindowId } from '../../core/swarm/buyer.ts'
import type { DownloadDeps } from './api.ts'
import type { FeesOpen } from './books.ts'
import type { DownloadParts, Work } from './download-parts.ts'
import type { Owing } from './owing.ts'
import type { PurchaseRecord } from './records.ts'
import { LATEST_START_MS, type Wallet } from '../wallet/wallet.ts'

export class Payer {
  readonly #parts: DownloadParts
  readonly #owing: Owing
  /** What the wallet was asked to pay. */
  readonly #handedIn = new WeakSet<Work>()
  /** The wallet's words when it last refused a payment. */
  trouble: string | undefined
  /** When the balance was last asked for. */
  askedAtMs = 0
  #asking = false
  /** Something came in while it was asked for. */
  #askAgain = false
  /** Of before a restart. */
  #feesOpen: readonly FeesOpen[] = []

  constructor(parts: DownloadParts, owing: Owing) {
    this.#parts = parts
    this.#owing = owing
  }

  async pay(id: WindowId): Promise<void> {
    const { works, books, deps } = this.#parts
    const work = works.get(id)
    if (work?.signed === undefined || deps.wallet === undefined) return
    const { signed } = work
    // A debt has been on disk since its pieces came.
    if (signed.quote.mode === 'credit') return this.#send(id, work, signed)
    if (work.leaves === undefined) return
    await books.begin(signed.quote.id, {
      quote: toHex(signed.bytes),
      sig: toHex(signed.sig),
      leaves: toHex(work.leaves),
      requestedAt: work.requestedAt,
      ciphertext: work.ciphertext,
    })
    if (!this.#parts.running) return
    await this.#send(id, work, signed)
  }

  /** Until then nothing can have been paid, and the ciphertext is still being written. */
  handedIn(work: Work): boolean {
    return this.#handedIn.has(work)
  }

  async #send(id: WindowId, work: Work, signed: SignedQuote): Promise<void> {
    const { deps } = this.#parts
    this.#handedIn.add(work)
    const result = await (deps.wallet as NonNullable<DownloadDeps['wallet']>).pay(signed.quote.invoice)
    if (!this.#parts.running) return
    this.trouble = result.tag === 'failed' ? result.message : undefined
    if (result.tag === 'paid') return this.#onPreimage(id, work, signed, result.preimage, result.fees)
    if (this.#parts.buyer.feesOpen.has(id)) return this.#askFees(id, work, signed)
    deps.log?.('payment open', {
      tag: result.tag,
      message: result.message,
      hash: signed.quote.paymentHash,
    })
    if (result.tag === 'unknown') return this.#parts.step({ tag: 'pay-unknown', window: id })
    await this.#notPaid(signed)
    this.#parts.step({ tag: 'pay-failed', window: id, code: result.code })
    if (result.code === 'insufficient-balance') await this.askWallet()
  }

  /** Nothing went out. A debt stays on disk all the same: its goods are here. */
  async #notPaid({ quote }: SignedQuote): Promise<void> {
    if (quote.mode !== 'credit') await this.#parts.books.end(quote.id)
  }

  #onPreimage(id: WindowId, work: Work, signed: SignedQuote, preimage: string, fees: Msat): void {
    if (sha256Hex(fromHex(preimage)) !== signed.quote.paymentHash) {
      this.#parts.deps.log?.('wallet gave a preimage that does not fit', { hash: signed.quote.paymentHash })
      return this.#parts.step({ tag: 'pay-unknown', window: id })
    }
    work.preimage ??= preimage
    const late = this.#parts.buyer.feesOpen.has(id)
    this.#parts.step({ tag: 'settled', window: id, fees })
    if (late) this.#parts.guard(this.#parts.books.nameFees(signed.quote.id, signed.quote.paymentHash, fees))
  }

  /** Settled by the seller's word, and the wallet did not answer: it may say now what it took. */
  async #askFees(id: WindowId, work: Work, signed: SignedQuote): Promise<void> {
    const found = await this.#parts.deps.wallet?.lookUp(signed.quote.paymentHash).catch(() => undefined)
    if (!this.#parts.running || found?.state !== 'settled' || found.preimage === undefined) return
    this.#onPreimage(id, work, signed, found.preimage, found.fees)
  }

  /** Whether the wallet may still begin to pay it: while the invoice lives, or a request that it has not seen yet. */
  #mayStart(id: WindowId, { quote }: SignedQuote): boolean {
    const { buyer, clock, deps } = this.#parts
    // After a restart not known, but before its quote had lapsed.
    const handedInMs = Math.min(buyer.windows.get(id)?.payingAtMs ?? 0, clock.fromWall(quote.expiry * 1000))
    const invoiceEndsMs = peekInvoice(quote.invoice)?.expiresAtMs ?? quote.expiry * 1000
    return clock.nowMs() < handedInMs + LATEST_START_MS || deps.nowMs() < invoiceEndsMs
  }

  async lookUp(id: WindowId): Promise<void> {
    const { works, deps } = this.#parts
    const work = works.get(id)
    if (work?.signed === undefined || deps.wallet === undefined) return
    const { signed } = work
    try {
      const found = await deps.wallet.lookUp(signed.quote.paymentHash)
      if (!this.#parts.running) return
      if (found?.state === 'settled' && found.preimage !== undefined)
        return this.#onPreimage(id, work, signed, found.preimage, found.fees)
      if (found?.state === 'failed' || found?.state === 'expired') {
        await this.#notPaid(signed)
        return this.#parts.step({ tag: 'pay-failed', window: id, code: 'payment-failed' })
      }
      if (found === undefined) {
        // The wallet never heard of it. An invoice pays once, so the same one may be handed in again while it lives.
        if (signed.quote.expiry * 1000 > deps.nowMs()) {
          if (payAgain(this.#parts.buyer, id, this.#parts.clock.nowMs()))
            return await this.#send(id, work, signed)
          return this.#parts.step({ tag: 'pay-unknown', window: id })
        }
        if (this.#mayStart(id, signed)) return this.#parts.step({ tag: 'pay-unknown', window: id })
        await this.#notPaid(signed)
        return this.#parts.step({ tag: 'pay-failed', window: id, code: 'expired' })
      }
    } catch (error) {
      deps.log?.('look-up failed', { message: error instanceof Error ? error.message : String(error) })
    }
    this.#parts.step({ tag: 'pay-unknown', window: id })
  }

  /** Takes up what a power cut left: sums, cheats, and payments whose outcome is not known. */
  async resume(): Promise<void> {
    const { banned, open, paid, fees, lost, onCredit, feesOpen } = await this.#parts.books.reopen()
    this.#feesOpen = feesOpen
    this.#owing.reopened(onCredit)
    for (const { key, why } of banned) this.#parts.step({ tag: 'banned', key, why })
    const bytes = this.#parts.books.rows.reduce((total, row) => total + row.bytes, 0)
    this.#parts.step({ tag: 'resumed', paid, fees, lost, bytes })
    for (const { signed, record } of open) {
      // Nothing of it was stored before the power was cut: nothing is owed.
      if (signed.quote.mode === 'credit' && !this.#anyHere(signed.quote.pieces))
        await this.#parts.books.end(signed.quote.id)
      else this.#restore(signed, record)
    }
  }

  #anyHere(pieces: readonly number[]): boolean {
    const { have } = this.#parts.session.store
    return pieces.some((piece) => (((have[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) === 1)
  }

  #restore(signed: SignedQuote, record: PurchaseRecord): void {
    const { pieces } = signed.quote
    const bytes = windowBytes(this.#parts.session.meta, pieces)
    this.#owing.restore(
      {
        peer: '',
        pieces,
        bytes,
        requestedAt: record.requestedAt,
        price: ZERO,
        ciphertext: record.ciphertext,
        received: bytes,
        leaves: fromHex(record.leaves),
        checking: true,
      },
      signed,
    )
  }

  /** The process died between a seller's key and the wallet's answer: what the payment cost is asked for now. */
  async #askOldFees(wallet: Wallet): Promise<void> {
    const open = this.#feesOpen
    this.#feesOpen = []
    const unnamed: FeesOpen[] = []
    for (const one of open) {
      const { seller: key, paymentHash, amountMsat: amount } = one.row
      const found = await wallet.lookUp(paymentHash).catch(() => undefined)
      if (!this.#parts.running) return
      if (found?.state === 'settled') {
        this.#parts.step({ tag: 'fees-named', key, amount, fees: found.fees })
        this.#parts.guard(this.#parts.books.nameFees(one.id, paymentHash, found.fees))
      } else unnamed.push(one)
    }
    this.#feesOpen = unnamed
  }

  /** What the wallet holds, and in what money: asked again until it answers. */
  async askWallet(): Promise<void> {
    const { deps, buyer } = this.#parts
    const { wallet } = deps
    if (wallet === undefined) return
    if (this.#asking) {
      this.#askAgain = true
      return
    }
    this.#asking = true
    this.askedAtMs = this.#parts.clock.nowMs()
    try {
      const money = buyer.money ?? (await wallet.info()).money
      const [balance, budget] = await Promise.all([wallet.balance(), wallet.budget().catch(() => undefined)])
      const left = budget === undefined ? balance : Math.max(0, budget.total - budget.used)
      if (!this.#parts.running) return
      this.#parts.step({ tag: 'wallet', money, balance: msat(Math.min(balance, left)) })
      await this.#askOldFees(wallet)
    } catch (error) {
      deps.log?.('wallet silent', { message: error instanceof Error ? error.message : String(error) })
    } finally {
      this.#asking = false
      const again = this.#askAgain && this.#parts.running
      this.#askAgain = false
      if (again) void this.askWallet()
    }
  }
}
