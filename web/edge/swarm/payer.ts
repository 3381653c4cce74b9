/**
 * Pays windows: quote and ciphertext on disk first, then the wallet. A payment without an answer is looked up,
 * never made again; what a power cut left is taken up from the books.
 */
import { fromHex, sha256Hex, toHex } from '../../core/bytes.ts'
import { windowBytes, type SignedQuote } from '../../core/exchange/quote.ts'
import { msat, ZERO, type Msat } from '../../core/money/msat.ts'
import { payAgain, type WindowId } from '../../core/swarm/buyer.ts'
import type { DownloadDeps } from './api.ts'
import type { DownloadParts, Work } from './download-parts.ts'
import type { Owing } from './owing.ts'
import type { PurchaseRecord } from './records.ts'

export class Payer {
  readonly #parts: DownloadParts
  readonly #owing: Owing
  /** The wallet's words when it last refused a payment. */
  trouble: string | undefined
  /** When the balance was last asked for. */
  askedAtMs = 0
  #asking = false

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

  async #send(id: WindowId, work: Work, signed: SignedQuote): Promise<void> {
    const { deps } = this.#parts
    const result = await (deps.wallet as NonNullable<DownloadDeps['wallet']>).pay(signed.quote.invoice)
    if (!this.#parts.running) return
    this.trouble = result.tag === 'failed' ? result.message : undefined
    if (result.tag === 'paid') return this.#onPreimage(id, work, signed, result.preimage, result.fees)
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
    this.#parts.step({ tag: 'settled', window: id, fees })
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
          if (payAgain(this.#parts.buyer, id, deps.nowMs())) return await this.#send(id, work, signed)
          return this.#parts.step({ tag: 'pay-unknown', window: id })
        }
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
    const { banned, open, paid, fees, lost, onCredit } = await this.#parts.books.reopen()
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

  /** What the wallet holds, and in what money: asked again until it answers. */
  async askWallet(): Promise<void> {
    const { deps, buyer } = this.#parts
    const { wallet } = deps
    if (wallet === undefined || this.#asking) return
    this.#asking = true
    this.askedAtMs = deps.nowMs()
    try {
      const money = buyer.money ?? (await wallet.info()).money
      const [balance, budget] = await Promise.all([wallet.balance(), wallet.budget().catch(() => undefined)])
      const left = budget === undefined ? balance : Math.max(0, budget.total - budget.used)
      if (this.#parts.running)
        this.#parts.step({ tag: 'wallet', money, balance: msat(Math.min(balance, left)) })
    } catch (error) {
      deps.log?.('wallet silent', { message: error instanceof Error ? error.message : String(error) })
    } finally {
      this.#asking = false
    }
  }
}
