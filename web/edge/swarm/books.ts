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
  /** Payments whose fees the wallet had not named. */
  feesOpen: readonly FeesOpen[]
  /** Handed to the wallet, outcome not known; or owed. */
  open: readonly { signed: SignedQuote; record: PurchaseRecord }[]
}>

export type FeesOpen = Readonly<{ id: Sha256Hex; row: WindowRow }>

const lastPart = (key: string): string => key.slice(key.lastIndexOf('/') + 1)

export class Books {
  readonly #journal: Journal
  readonly #infoHash: string
  /** Ids and payment hashes of every quote that was checked or paid. */
  readonly #used = new Set<string>()
  readonly receipts: Receipt[] = []
  /** In order of payment. */
  readonly rows: WindowRow[] = []
  /** Paid quotes by payment hash; and those of them whose fees are not on disk. */
  readonly #paid = new Map<Sha256Hex, Receipt>()
  readonly #feesOpen = new Map<Sha256Hex, FeesOpen>()
  /** Receipts being written, by quote. */
  readonly #keeping = new Map<Sha256Hex, Promise<void>>()

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

  /** `feesOpen`: the row's fees are not known yet; `nameFees` follows, in this run or a later one. */
  keep(id: Sha256Hex, receipt: Receipt, row: WindowRow, feesOpen: boolean): Promise<void> {
    const keeping = this.#write(id, receipt, row, feesOpen).then(() => this.#know(id, receipt, row, feesOpen))
    this.#keeping.set(id, keeping)
    return keeping
  }

  #know(id: Sha256Hex, receipt: Receipt, row: WindowRow, feesOpen: boolean): void {
    this.receipts.push(receipt)
    this.rows.push(row)
    this.#paid.set(row.paymentHash, receipt)
    if (feesOpen) this.#feesOpen.set(row.paymentHash, { id, row })
  }

  /** What a payment cost, where its receipt is written or being written; one that is not takes it from its window. */
  async nameFees(id: Sha256Hex, paymentHash: Sha256Hex, feesMsat: Msat): Promise<void> {
    await this.#keeping.get(id)
    const at = this.rows.findIndex((row) => row.paymentHash === paymentHash)
    const row = this.rows[at]
    const receipt = this.#paid.get(paymentHash)
    const known = row?.feesMsat === feesMsat && !this.#feesOpen.has(paymentHash)
    if (row === undefined || receipt === undefined || known) return
    this.#feesOpen.delete(paymentHash)
    this.rows[at] = { ...row, feesMsat }
    await this.#write(id, receipt, { ...row, feesMsat }, false)
  }

  #write(id: Sha256Hex, receipt: Receipt, row: WindowRow, feesOpen: boolean): Promise<void> {
    const record = { receipt, row, ...(feesOpen ? { feesOpen } : {}) } as const
    return this.#journal.put(`receipt/${this.#infoHash}/${id}`, encodeJson(record))
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
      const id = lastPart(key) as Sha256Hex
      done.add(id)
      this.#used.add(id).add(paid.row.paymentHash)
      this.#know(id, paid.receipt, paid.row, paid.feesOpen === true)
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
      feesOpen: [...this.#feesOpen.values()],
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
