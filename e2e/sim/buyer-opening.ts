/** Opens a paid window: decrypts, proves each piece, stores it, accuses a cheat, keeps the receipt. */
import type { Bytes } from '../../web/core/bytes.ts'
import type { SignedQuote } from '../../web/core/exchange/quote.ts'
import { FRAUD, type Window, type WindowId } from '../../web/core/swarm/buyer.ts'
import type { BuyerParts, Work } from './buyer-parts.ts'
import type { Paid } from './buyer-records.ts'
import { wait, type Job } from './clock.ts'

type Piece = Readonly<{ piece: number; bytes: Bytes }>
/** A work of which all has come, the secret last. */
type Complete = Work & { readonly signed: SignedQuote; readonly secret: Bytes; readonly leaves: Bytes }

const isComplete = (work: Work | undefined): work is Complete =>
  work?.signed !== undefined && work.secret !== undefined && work.leaves !== undefined

export class BuyerOpening {
  readonly #parts: BuyerParts

  constructor(parts: BuyerParts) {
    this.#parts = parts
  }

  *open(id: WindowId): Job {
    const { node, buyer, works, step } = this.#parts
    const work = works.get(id)
    const window = buyer.windows.get(id)
    if (!isComplete(work) || window === undefined) return
    const { signed, secret } = work
    const { ports, see } = node.things
    const plain = ports.unseal(secret, signed.quote.id, work.cipher, work.pieces)
    const pieces = work.pieces.map((piece, i) => ({ piece, bytes: plain[i] as Bytes }))
    if (window.amount > 0)
      see({ t: 'opened', buyer: node.id, hash: signed.quote.paymentHash, pieces }, node.nowMs)
    const good = pieces.filter(({ piece, bytes }) => ports.proves(piece, bytes))
    yield* this.#store(good)
    const cheated = good.length < pieces.length
    if (window.amount > 0) {
      if (cheated) yield* this.#accuse(work, plain, window)
      yield* this.#receive(signed, window)
    }
    if (cheated) step({ tag: 'stored', pieces: good.map(({ piece }) => piece) })
    step({ tag: 'opened', window: id, cheated })
    works.delete(id)
  }

  /** All at once, and told to everybody. */
  *#store(good: readonly Piece[]): Job {
    const { node } = this.#parts
    const { disk } = node
    const fresh = good.filter(({ piece }) => !disk.pieces.has(piece))
    if (good.length > 0)
      yield* wait((resume) => {
        let left = good.length
        for (const { piece, bytes } of good)
          disk.keep(
            piece,
            bytes,
          )(() => {
            node.things.see({ t: 'stored', node: node.id, piece, bytes }, node.nowMs)
            if (--left === 0) resume(undefined)
          })
      })
    if (fresh.length > 0) node.announce(fresh.map(({ piece }) => piece))
  }

  *#accuse(work: Complete, plain: readonly Bytes[], { amount }: Window): Job {
    const { node, records } = this.#parts
    const { signed, secret, cipher, leaves } = work
    const proof = node.things.ports.proof(signed, secret, cipher, leaves, plain)
    yield* wait(records.keepLoss(signed.quote.seller, { why: FRAUD, amount }))
    if (proof !== undefined) node.things.accuse(proof, node.id)
  }

  *#receive({ quote }: SignedQuote, window: Window): Job {
    const { records } = this.#parts
    const { paymentHash, amount } = quote
    const paid: Paid = { paymentHash, amount, fees: window.fees, bytes: window.bytes }
    yield* wait(records.keepReceipt(quote.id, paid))
    // The wallet may have named them meanwhile.
    if (window.fees !== paid.fees) yield* wait(records.keepReceipt(quote.id, { ...paid, fees: window.fees }))
    yield* wait(records.end(quote.id))
  }
}
