/**
 * A buyer's books of one release, on disk through the journal: purchases under way, receipts, cheats.
 * What each record holds stands in `records.ts`; the order of writing is what survives a power cut.
 */
import { fromHex, type PartyKey, type Sha256Hex } from '../../core/bytes.ts'
import { decodeQuote, openQuote, type SignedQuote } from '../../core/exchange/quote.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import { sum, type Msat } from '../../core/money/msat.ts'
import type { WindowRow } from '../../core/rollout/messages.ts'
import type { Journal } from './api.ts'
import {
  decodeLoss,
  decodePaid,
  decodePurchase,
  encodeJson,
  encodePurchase,
  lossKey,
  type PurchaseRecord,
} from './records.ts'

export type Reopened = Readonly<{
  banned: readonly { key: PartyKey; why: string }[]
  paid: Msat
  fees: Msat
  /** What cheats have. */
  lost: Msat
  /** Receipts for what came on credit, oldest first: their sellers may have missed them. */
  onCredit: readonly { seller: PartyKey; quote: Sha256Hex; preimage: string }[]
  /** Handed to the wallet, outcome not known; or owed. */
  open: readonly { signed: SignedQuote; record: PurchaseRecord }[]
}>

const lastPart = (key: string): string => key.slice(key.lastIndexOf('/') + 1)

export class Books {
  readonly #journal: Journal
  readonly #infoHash: string
  /** Ids and payment hashes of every quote that was checked or paid. */
  readonly #used = new Set<string>()
  readonly receipts: Receipt[] = []
  /** In order of payment. */
  readonly rows: WindowRow[] = []

  constructor(journal: Journal, infoHash: string) {
    this.#journal = journal
    this.#infoHash = infoHash
  }

  /** Whether this quote is the first with its id and with its hash; from then on it is not. */
  firstUse(quote: SignedQuote['quote']): boolean {
    if (this.#used.has(quote.id) || this.#used.has(quote.paymentHash)) return false
    this.#used.add(quote.id).add(quote.paymentHash)
    return true
  }

  /** Whether another invoice for the same quote has a hash of its own. */
  firstHash(hash: Sha256Hex): boolean {
    if (this.#used.has(hash)) return false
    this.#used.add(hash)
    return true
  }

  /** On disk before the wallet is asked to pay. */
  begin(id: Sha256Hex, record: PurchaseRecord): Promise<void> {
    return this.#journal.put(this.#purchase(id), ...encodePurchase(record))
  }

  /** The purchase is over: nothing went out, or its receipt is kept. */
  end(id: Sha256Hex): Promise<void> {
    return this.#journal.delete(this.#purchase(id))
  }

  async keep(id: Sha256Hex, receipt: Receipt, row: WindowRow): Promise<void> {
    await this.#journal.put(`receipt/${this.#infoHash}/${id}`, encodeJson({ receipt, row }))
    this.receipts.push(receipt)
    this.rows.push(row)
  }

  async accuse(seller: PartyKey, proof: Uint8Array, why: string, amount: Msat): Promise<void> {
    await this.#journal.put(`fraud/${this.#infoHash}/${seller}`, proof)
    await this.#journal.put(lossKey(this.#infoHash, seller), encodeJson({ why, amount }))
  }

  /** Reads what a power cut left; torn and finished purchases are cleared away. */
  async reopen(): Promise<Reopened> {
    this.receipts.length = 0
    this.rows.length = 0
    const done = new Set<string>()
    for (const key of await this.#journal.keys(`receipt/${this.#infoHash}/`)) {
      const paid = decodePaid(await this.#journal.get(key))
      if (paid === undefined) continue
      done.add(lastPart(key))
      this.#used.add(lastPart(key)).add(paid.row.paymentHash)
      this.receipts.push(paid.receipt)
      this.rows.push(paid.row)
    }
    this.rows.sort((a, b) => a.paidAt - b.paidAt)
    const banned: { key: PartyKey; why: string }[] = []
    const losses: Msat[] = []
    for (const key of await this.#journal.keys(`bad/${this.#infoHash}/`)) {
      const loss = decodeLoss(await this.#journal.get(key))
      if (loss === undefined) continue
      losses.push(loss.amount)
      banned.push({ key: lastPart(key) as PartyKey, why: loss.why })
    }
    return {
      banned,
      paid: sum(this.rows.map((row) => row.amountMsat)),
      fees: sum(this.rows.map((row) => row.feesMsat)),
      lost: sum(losses),
      onCredit: this.#onCredit(),
      open: await this.#openPurchases(done),
    }
  }

  #onCredit(): Reopened['onCredit'][number][] {
    const at = new Map(this.rows.map((row) => [row.paymentHash, row.paidAt]))
    return this.receipts
      .flatMap(({ quote: bytes, preimage }) => {
        const quote = decodeQuote(fromHex(bytes))
        return quote?.mode === 'credit' ? [{ quote, preimage }] : []
      })
      .sort((a, b) => (at.get(a.quote.paymentHash) ?? 0) - (at.get(b.quote.paymentHash) ?? 0))
      .map(({ quote, preimage }) => ({ seller: quote.seller, quote: quote.id, preimage }))
  }

  async #openPurchases(done: ReadonlySet<string>): Promise<Reopened['open'][number][]> {
    const open: Reopened['open'][number][] = []
    for (const key of await this.#journal.keys(`buy/${this.#infoHash}/`)) {
      const bytes = await this.#journal.get(key)
      const record = bytes === undefined ? undefined : decodePurchase(bytes)
      const signed = record === undefined ? undefined : openQuote(fromHex(record.quote), fromHex(record.sig))
      if (record === undefined || signed === undefined || done.has(signed.quote.id)) {
        await this.#journal.delete(key)
        continue
      }
      this.#used.add(signed.quote.id).add(signed.quote.paymentHash)
      open.push({ signed, record })
    }
    return open
  }

  #purchase(id: Sha256Hex): string {
    return `buy/${this.#infoHash}/${id}`
  }
}
