/**
 * A buyer's side of credit: pieces that came in the clear are proven, the debt is written down, then they are stored;
 * once it is paid the seller is told the preimage, and told again on each new wire, should it have missed it.
 */
import { fromHex, toHex, type PartyKey, type Sha256Hex } from '../../core/bytes.ts'
import type { SignedQuote } from '../../core/exchange/quote.ts'
import type { RestoredWindow, WindowId } from '../../core/swarm/buyer.ts'
import { pieceBytes } from '../../core/swarm/merkle.ts'
import type { DownloadParts, Work } from './download-parts.ts'
import type { Peer } from './peer.ts'
import { refusalOf } from './quote-check.ts'

/** Receipts that a seller is shown again on a new wire. */
const MAX_SHOWN_AGAIN = 64

type Paid = Readonly<{ quote: Sha256Hex; preimage: string }>

export class Owing {
  readonly #parts: DownloadParts
  /** Latest payments on credit, by seller. */
  readonly #paid = new Map<PartyKey, Paid[]>()

  constructor(parts: DownloadParts) {
    this.#parts = parts
  }

  clear(): void {
    this.#paid.clear()
  }

  /** Everything of the window is here and proven: from now on it is owed for. */
  async take(id: WindowId, work: Work, signed: SignedQuote): Promise<void> {
    const { books, session, works } = this.#parts
    const { meta } = session
    await this.#write(work, signed)
    let at = 0
    const kept: Promise<void>[] = []
    for (const piece of work.pieces) {
      const bytes = pieceBytes(meta, piece)
      kept.push(session.keep(piece, work.ciphertext.subarray(at, at + bytes)))
      at += bytes
    }
    await Promise.all(kept)
    work.ciphertext = new Uint8Array()
    if (!this.#parts.running || books !== this.#parts.books) return
    const window = this.#parts.buyer.windows.get(id)
    if (window?.state === 'asked' && works.get(id) === work) return this.#quoted(id, signed)
    // Given up meanwhile, and delivered all the same.
    this.#parts.step({ tag: 'stored', pieces: work.pieces })
    this.restore(work, signed)
  }

  /** Takes up a debt whose window the buyer no longer knows. */
  restore(work: Work, signed: SignedQuote): void {
    const { quote } = signed
    const window: RestoredWindow = {
      key: quote.seller,
      pieces: quote.pieces,
      bytes: work.bytes,
      amount: quote.amount,
      paymentHash: quote.paymentHash,
      quoteExpiresAtMs: this.#parts.clock.fromWall(quote.expiry * 1000),
      requestedAtMs: this.#parts.clock.fromWall(work.requestedAt),
      ...(quote.mode === undefined ? {} : { mode: quote.mode }),
    }
    this.#parts.works.set(this.#parts.buyer.nextWindow, { ...work, peer: '', signed, checking: true })
    this.#parts.step({ tag: 'restored', window })
  }

  /** Asks for another invoice for what is owed. */
  renew(id: WindowId, peerId: string): void {
    const work = this.#parts.works.get(id)
    if (work?.signed === undefined) return
    work.peer = peerId
    work.renewing = true
    this.#parts.peer(peerId)?.send({ t: 'renew', id, quote: work.signed.quote.id })
  }

  /** The other invoice: for the same, at no higher price. What does not fit is no longer asked for here. */
  async onRenewed(id: WindowId, work: Work, signed: SignedQuote): Promise<void> {
    const { books, works, deps } = this.#parts
    const before = work.signed?.quote
    if (work.renewing !== true || before === undefined) return
    work.renewing = false
    const { quote } = signed
    const { seller, pieces, cipherRoot } = before
    const offered = deps.policy.priceCap
    const refusal = refusalOf(this.#parts, quote, { seller, pieces, cipherRoot, offered, mode: 'credit' })
    const same = refusal === undefined && quote.id === before.id && quote.amount <= before.amount
    const fresh = quote.paymentHash === before.paymentHash || books.firstHash(quote.paymentHash)
    if (!same || !fresh) {
      deps.log?.('another invoice does not fit the debt', { seller: before.seller })
      return
    }
    works.quoted(id, work, signed)
    await this.#write(work, signed)
    this.#quoted(id, signed)
  }

  /** The receipt is on disk: the seller need not ask its wallet. */
  tell(signed: SignedQuote, preimage: string): void {
    const { seller, id } = signed.quote
    this.#remember(seller, { quote: id, preimage })
    for (const peer of this.#parts.peersOf(seller))
      peer.send({ t: 'paid', quote: id, preimage: fromHex(preimage) })
  }

  /** A seller is (back) on a wire: it may have missed what was paid. */
  onJoined(peer: Peer): void {
    for (const { quote, preimage } of (peer.key && this.#paid.get(peer.key)) ?? [])
      peer.send({ t: 'paid', quote, preimage: fromHex(preimage) })
  }

  /** Payments of before a restart. */
  reopened(paid: readonly (Paid & { seller: PartyKey })[]): void {
    for (const { seller, ...one } of paid) this.#remember(seller, one)
  }

  #remember(seller: PartyKey, paid: Paid): void {
    this.#paid.set(seller, [...(this.#paid.get(seller) ?? []), paid].slice(-MAX_SHOWN_AGAIN))
  }

  #write(work: Work, signed: SignedQuote): Promise<void> {
    return this.#parts.books.begin(signed.quote.id, {
      quote: toHex(signed.bytes),
      sig: toHex(signed.sig),
      leaves: '',
      requestedAt: work.requestedAt,
      ciphertext: new Uint8Array(),
    })
  }

  #quoted(id: WindowId, { quote }: SignedQuote): void {
    const { amount, paymentHash, expiry } = quote
    const expiresAtMs = this.#parts.clock.fromWall(expiry * 1000)
    this.#parts.step({ tag: 'quoted', window: id, amount, paymentHash, expiresAtMs })
  }
}
