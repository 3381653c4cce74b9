/** What the parts of a buyer share: the work of each open window, its node and records, the core and its next step. */
import type { Bytes, Sha256Hex } from '../../web/core/bytes.ts'
import type { SignedQuote } from '../../web/core/exchange/quote.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import type { Buyer, BuyerEvent, BuyerPolicy, WindowId } from '../../web/core/swarm/buyer.ts'
import type { BuyerRecords } from './buyer-records.ts'
import type { Side } from './net.ts'
import type { Node } from './node.ts'

/** One window's bytes while they come in and until they are opened. */
export type Work = {
  readonly peer: string
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly requestedAtMs: number
  /** msat per MiB that the request was made at. */
  readonly price: Msat
  cipher: Bytes
  parts: Bytes[]
  received: number
  leaves: Bytes | undefined
  signed: SignedQuote | undefined
  secret: Bytes | undefined
  checking: boolean
}

/** What a quote may use once only. */
type Named = Readonly<{ id: string; paymentHash: string }>

/** Open windows, by their number and by their quote. */
export class Works {
  readonly #works = new Map<WindowId, Work>()
  readonly #byQuote = new Map<Sha256Hex, WindowId>()
  /** Ids and hashes of every quote that was checked or paid. */
  readonly #used = new Set<string>()

  get(id: WindowId): Work | undefined {
    return this.#works.get(id)
  }
  /** Ids are easily guessed: only the seller that was asked speaks for a window. */
  of(side: Side, id: WindowId): Work | undefined {
    const work = this.#works.get(id)
    return work?.peer === side.id ? work : undefined
  }
  ofQuote(quote: Sha256Hex): [WindowId, Work] | undefined {
    const id = this.#byQuote.get(quote)
    const work = id === undefined ? undefined : this.#works.get(id)
    return id === undefined || work === undefined ? undefined : [id, work]
  }
  set(id: WindowId, work: Work): void {
    this.#works.set(id, work)
    if (work.signed !== undefined) this.#byQuote.set(work.signed.quote.id, id)
  }
  quoted(id: WindowId, work: Work, signed: SignedQuote): void {
    work.signed = signed
    this.#byQuote.set(signed.quote.id, id)
  }
  delete(id: WindowId): void {
    const quote = this.#works.get(id)?.signed?.quote.id
    if (quote !== undefined) this.#byQuote.delete(quote)
    this.#works.delete(id)
  }

  /** Whether neither id nor secret of this quote came before; now they have. */
  firstUse({ id, paymentHash }: Named): boolean {
    if (this.#used.has(id) || this.#used.has(paymentHash)) return false
    this.use({ id, paymentHash })
    return true
  }
  use({ id, paymentHash }: Named): void {
    this.#used.add(id).add(paymentHash)
  }
}

export type BuyerParts = Readonly<{
  node: Node
  buyer: Buyer
  policy: BuyerPolicy
  records: BuyerRecords
  works: Works
  sides: Map<string, Side>
  step: (event: BuyerEvent) => void
  /** For its balance. */
  askWallet: () => void
}>
