/** What the parts of a `Download` share: the work of each open window, the books, the buyer and its next step. */
import type { Bytes, PartyKey, Sha256Hex } from '../../core/bytes.ts'
import type { SignedQuote } from '../../core/exchange/quote.ts'
import type { Msat } from '../../core/money/msat.ts'
import type { Buyer, BuyerEvent, WindowId } from '../../core/swarm/buyer.ts'
import type { DownloadDeps } from './api.ts'
import type { Books } from './books.ts'
import type { Buffers } from './buffers.ts'
import type { ArrivingHashes } from './crypto-web.ts'
import type { Peer } from './peer.ts'
import type { SteadyClock } from './steady-clock.ts'
import type { TradingSession } from './swarm.ts'

/** One window's bytes while they come in and until they are opened. */
export type Work = {
  /** Who was asked, or who is asked for another invoice. */
  peer: string
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly requestedAt: number
  /** msat per MiB that the request was made at. */
  readonly price: Msat
  /** On credit: the plain bytes, until they are stored. */
  ciphertext: Bytes
  hashes?: ArrivingHashes
  received: number
  leaves?: Bytes
  signed?: SignedQuote
  preimage?: string
  plain?: Bytes
  checking: boolean
  /** On credit: another invoice was asked for. */
  renewing?: boolean
}

/** Open windows, by their number and by their quote. */
export class Works {
  readonly #work = new Map<WindowId, Work>()
  readonly #byQuote = new Map<Sha256Hex, WindowId>()

  get(id: WindowId): Work | undefined {
    return this.#work.get(id)
  }
  set(id: WindowId, work: Work): void {
    this.#work.set(id, work)
    if (work.signed !== undefined) this.#byQuote.set(work.signed.quote.id, id)
  }
  /** Ids are easily guessed: only the seller that was asked speaks for a window. */
  of(peer: Peer, id: WindowId): Work | undefined {
    const work = this.#work.get(id)
    return work?.peer === peer.id ? work : undefined
  }
  quoted(id: WindowId, work: Work, signed: SignedQuote): void {
    work.signed = signed
    this.#byQuote.set(signed.quote.id, id)
  }
  idOfQuote(quote: Sha256Hex): WindowId | undefined {
    return this.#byQuote.get(quote)
  }
  delete(id: WindowId): void {
    const quote = this.#work.get(id)?.signed?.quote.id
    if (quote !== undefined) this.#byQuote.delete(quote)
    this.#work.delete(id)
  }
  clear(): void {
    this.#work.clear()
    this.#byQuote.clear()
  }
}

/** `download.ts` makes it, and opens buyer and books anew at each start; the parts only read it. */
export type DownloadParts = {
  readonly deps: DownloadDeps
  readonly session: TradingSession
  /** The buyer's; quotes and invoices go by the wall clock. */
  readonly clock: SteadyClock
  readonly works: Works
  /** Of ciphertexts. */
  readonly buffers: Buffers
  books: Books
  buyer: Buyer
  running: boolean
  readonly step: (event: BuyerEvent) => void
  /** Runs a job that nobody waits for: what it throws stops the buying, and is shown. */
  readonly guard: (job: Promise<void>) => void
  readonly peer: (id: string) => Peer | undefined
  readonly peersOf: (key: PartyKey) => readonly Peer[]
  /** Bytes of a window came in: for the rates. */
  readonly received: (peer: Peer, bytes: number) => void
}
