/** Pays a window and finds out what became of a payment: quote and ciphertext on disk first, then the wallet. */
import { fromHex } from '../../web/core/bytes.ts'
import type { SignedQuote } from '../../web/core/exchange/quote.ts'
import { msat } from '../../web/core/money/msat.ts'
import { payAgain, type WindowId } from '../../web/core/swarm/buyer.ts'
import { LATEST_START_MS } from '../../web/edge/wallet/wallet.ts'
import type { PayAnswer } from './bank.ts'
import type { BuyerParts, Work } from './buyer-parts.ts'
import { wait, type Job } from './clock.ts'

export class BuyerPayer {
  readonly #parts: BuyerParts

  constructor(parts: BuyerParts) {
    this.#parts = parts
  }

  *pay(id: WindowId): Job {
    const { works, records } = this.#parts
    const work = works.get(id)
    if (work?.signed === undefined || work.leaves === undefined) return
    const { signed, leaves, cipher, requestedAtMs } = work
    yield* wait(records.begin({ signed, leaves, cipher, requestedAtMs }))
    yield* this.#send(id, work, signed)
  }

  *#send(id: WindowId, work: Work, signed: SignedQuote): Job {
    const { node, buyer, step, askWallet } = this.#parts
    const { quote } = signed
    node.things.see(
      {
        t: 'pays',
        buyer: node.id,
        seller: quote.seller,
        hash: quote.paymentHash,
        amount: quote.amount,
        pieces: quote.pieces,
        bytes: work.bytes,
        expiresAtMs: quote.expiry * 1000,
      },
      node.nowMs,
    )
    const result = yield* wait<PayAnswer>((resume) => node.things.bank.pay(node.id, quote.invoice, resume))
    if (result.tag === 'paid') return this.#onPreimage(id, work, signed, result.preimage, result.fees)
    if (buyer.feesOpen.has(id)) return yield* this.#askFees(id, work, signed)
    if (result.tag === 'unknown') return step({ tag: 'pay-unknown', window: id })
    yield* this.#failed(id, signed, result.code)
    if (result.code === 'insufficient-balance') askWallet()
  }

  *#failed(id: WindowId, { quote }: SignedQuote, code: string): Job {
    yield* wait(this.#parts.records.end(quote.id))
    this.#parts.step({ tag: 'pay-failed', window: id, code })
  }

  #onPreimage(id: WindowId, work: Work, { quote }: SignedQuote, preimage: string, fees: number): void {
    const { node, buyer, records, step } = this.#parts
    const secret = fromHex(preimage)
    if (node.things.ports.hashOf(secret) !== quote.paymentHash)
      return step({ tag: 'pay-unknown', window: id })
    work.secret ??= secret
    const late = buyer.feesOpen.has(id)
    step({ tag: 'settled', window: id, fees: msat(fees) })
    const paid = records.receipt(quote.id)
    if (late && paid !== undefined && paid.fees !== fees)
      node.life.start(wait(records.keepReceipt(quote.id, { ...paid, fees })))
  }

  *#askFees(id: WindowId, work: Work, signed: SignedQuote): Job {
    const answer = yield* this.#parts.node.lookUp(signed.quote.paymentHash)
    if (answer.tag !== 'found' || answer.found?.preimage === undefined) return
    this.#onPreimage(id, work, signed, answer.found.preimage, answer.found.fees)
  }

  *lookUp(id: WindowId): Job {
    const { node, works, step } = this.#parts
    const work = works.get(id)
    if (work?.signed === undefined) return
    const { signed } = work
    const answer = yield* node.lookUp(signed.quote.paymentHash)
    if (answer.tag === 'found') {
      const { found } = answer
      if (found === undefined) return yield* this.#unheardOf(id, work, signed)
      if (found.state === 'settled' && found.preimage !== undefined)
        return this.#onPreimage(id, work, signed, found.preimage, found.fees)
      if (found.state === 'failed') return yield* this.#failed(id, signed, 'payment-failed')
    }
    step({ tag: 'pay-unknown', window: id })
  }

  /** The wallet knows of no such payment: it is handed in again, or over once it can no more be taken up. */
  *#unheardOf(id: WindowId, work: Work, signed: SignedQuote): Job {
    const { node, buyer, step } = this.#parts
    const expiresAtMs = signed.quote.expiry * 1000
    if (expiresAtMs > node.nowMs) {
      if (payAgain(buyer, id, node.nowMs)) return yield* this.#send(id, work, signed)
    } else {
      // The wallet may take the request up late.
      const payingAtMs = buyer.windows.get(id)?.payingAtMs ?? 0
      if (node.nowMs >= Math.min(payingAtMs, expiresAtMs) + LATEST_START_MS)
        return yield* this.#failed(id, signed, 'expired')
    }
    step({ tag: 'pay-unknown', window: id })
  }
}
