/** Opens a paid window: decrypts, proves each piece, stores it, keeps the receipt, and accuses a cheat. */
import { fromHex, type PartyKey } from '../../core/bytes.ts'
import { receiptOf, type SignedQuote } from '../../core/exchange/quote.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import type { WindowRow } from '../../core/rollout/messages.ts'
import { FRAUD, type Window, type WindowId } from '../../core/swarm/buyer.ts'
import type { DownloadParts, Work } from './download-parts.ts'
import type { Owing } from './owing.ts'
import { cryptHashed, leafHashes } from './window-cipher.ts'
import { fraudProof, sortPieces, type Wrong } from './window-proof.ts'

export class WindowOpening {
  readonly #parts: DownloadParts
  readonly #owing: Owing
  readonly onLate = new Set<(receipt: Receipt, row: WindowRow) => void>()
  readonly onFraud = new Set<(proof: Uint8Array, seller: PartyKey) => void>()

  constructor(parts: DownloadParts, owing: Owing) {
    this.#parts = parts
    this.#owing = owing
  }

  async open(id: WindowId): Promise<void> {
    const { works, buyer, session, books } = this.#parts
    const work = works.get(id)
    const window = buyer.windows.get(id)
    if (work === undefined || window === undefined) return
    const { meta } = session
    const { signed, preimage } = work
    if (signed?.quote.mode === 'credit' && preimage !== undefined)
      return this.#close(window, signed, preimage)
    const opened =
      work.plain !== undefined
        ? { bytes: work.plain, leaves: await leafHashes(work.plain) }
        : signed === undefined || preimage === undefined
          ? undefined
          : await cryptHashed(fromHex(preimage), signed.quote.id, work.ciphertext)
    if (opened === undefined) return
    const { good, wrong } = sortPieces(opened, work.leaves, work.pieces, meta)
    // Together, so that a store which groups its syncs pays for one.
    await Promise.all(good.map(({ piece, bytes }) => session.keep(piece, bytes)))
    const cheated = good.length < work.pieces.length
    if (signed !== undefined && preimage !== undefined && window.amount > 0) {
      // The proof first: with the receipt on disk a restart takes the window for finished.
      if (wrong !== undefined) {
        const secret = fromHex(preimage)
        const { bytes: ciphertext } = await cryptHashed(secret, signed.quote.id, opened.bytes)
        await this.#accuse(signed, preimage, { ...work, ciphertext }, wrong, window)
      }
      await this.#keepReceipt(window, signed, preimage)
      await books.end(signed.quote.id)
    }
    if (cheated) this.#parts.step({ tag: 'stored', pieces: good.map(({ piece }) => piece) })
    this.#parts.step({ tag: 'opened', window: id, cheated })
    works.delete(id)
    this.#parts.buffers.give(opened.bytes)
  }

  /** A debt is paid: its pieces have been here all along. */
  async #close(window: Window, signed: SignedQuote, preimage: string): Promise<void> {
    const { books, works } = this.#parts
    await this.#keepReceipt(window, signed, preimage)
    await books.end(signed.quote.id)
    this.#owing.tell(signed, preimage)
    this.#parts.step({ tag: 'opened', window: window.id, cheated: false })
    works.delete(window.id)
  }

  async #keepReceipt(window: Window, signed: SignedQuote, preimage: string): Promise<void> {
    const row: WindowRow = {
      seller: signed.quote.seller,
      paymentHash: signed.quote.paymentHash,
      pieces: [...signed.quote.pieces],
      bytes: window.bytes,
      amountMsat: signed.quote.amount,
      feesMsat: window.fees,
      requestedAt: this.#parts.clock.toWall(window.requestedAtMs),
      paidAt: this.#parts.clock.toWall(window.paidAtMs),
      doneAt: this.#parts.deps.nowMs(),
      late: window.elsewhere || (window.restored && this.#boughtElsewhere(signed)),
    }
    const receipt = receiptOf(signed, preimage)
    const feesOpen = this.#parts.buyer.feesOpen.has(window.id)
    await this.#parts.books.keep(signed.quote.id, receipt, row, feesOpen)
    if (row.late) for (const run of this.onLate) run(receipt, row)
  }

  /** A payment from before a restart may have been given up there: somebody else was paid for its pieces since. */
  #boughtElsewhere({ quote }: SignedQuote): boolean {
    const { books, buyer } = this.#parts
    return books.rows.some(
      ({ seller, pieces }) =>
        buyer.keys.get(seller)?.dropped !== FRAUD && pieces.some((piece) => quote.pieces.includes(piece)),
    )
  }

  async #accuse(
    signed: SignedQuote,
    preimage: string,
    work: Work,
    wrong: Wrong,
    window: Window,
  ): Promise<void> {
    const { session, books } = this.#parts
    const receipt = receiptOf(signed, preimage)
    const leaves = work.leaves ?? new Uint8Array()
    const proof = await fraudProof(receipt, work.ciphertext, leaves, wrong, session.meta)
    const { seller } = signed.quote
    await books.accuse(seller, proof, FRAUD, window.amount)
    for (const run of this.onFraud) run(proof, seller)
  }
}
