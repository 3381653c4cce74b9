/**
 * What a shop's buyers owe for pieces that they had in the clear: kept on disk from before the quote goes out until it
 * is paid, across restarts. A preimage that fits proves the payment; the wallet is asked only where it tells.
 */
import * as v from 'valibot'
import { fromHex, fromUtf8, isHex32, sha256Hex, toHex, utf8, type Sha256Hex } from '../../core/bytes.ts'
import type { Sale } from '../../core/exchange/desk-state.ts'
import type { Message } from '../../core/exchange/message.ts'
import { openQuote, signQuote, windowBytes, type Quote, type SignedQuote } from '../../core/exchange/quote.ts'
import type { Invoice } from '../wallet/wallet.ts'
import type { Peer } from './peer.ts'
import { saleWords } from './sale-words.ts'
import { messageOf, type ShopParts } from './shop-parts.ts'

/** How long an invoice for delivered pieces stays payable; then the buyer asks for another. */
export const CREDIT_QUOTE_S = 600
/** Hashes of one debt's invoices, latest last: the older have lapsed long since. */
const MAX_HASHES = 8
/** Debts that the wallet is asked about when it is back. */
const MAX_LOOK_UPS = 64

/** `debt/<info-hash>/<quote id>` */
const debtSchema = v.object({
  quote: v.string(),
  sig: v.string(),
  at: v.number(),
  unproven: v.boolean(),
  hashes: v.array(v.custom<Sha256Hex>((x) => typeof x === 'string' && isHex32(x))),
})
type DebtRecord = v.InferOutput<typeof debtSchema>
/** With its latest quote, whose signature need not be checked again. */
type Debt = Readonly<Pick<DebtRecord, 'at' | 'unproven' | 'hashes'> & { signed: SignedQuote }>

export class Debts {
  readonly #parts: ShopParts
  readonly #debts = new Map<Sha256Hex, Debt>()
  /** Invoices that the wallet is asked for: one a debt, however often its buyer asks. */
  readonly #renewing = new Map<Sha256Hex, Promise<SignedQuote>>()

  constructor(parts: ShopParts) {
    this.#parts = parts
  }

  #key(id: Sha256Hex): string {
    return `debt/${this.#parts.session.meta.infoHash}/${id}`
  }

  /** The payment hash that a debt is to be looked up by. */
  hashOf(id: Sha256Hex): Sha256Hex | undefined {
    return this.#debts.get(id)?.hashes.at(-1)
  }

  /** Takes up what was owed before a restart. */
  async load(): Promise<void> {
    const { deps, session, byHash, step } = this.#parts
    for (const key of await deps.journal.keys(this.#key('' as Sha256Hex))) {
      const record = parseDebt(await deps.journal.get(key))
      const signed = record === undefined ? undefined : openQuote(fromHex(record.quote), fromHex(record.sig))
      if (record === undefined || signed === undefined || signed.quote.root !== session.meta.piecesRoot) {
        await deps.journal.delete(key)
        continue
      }
      const { id, buyer, pieces, amount, shape } = signed.quote
      const { at, unproven, hashes } = record
      this.#debts.set(id, { signed, at, unproven, hashes })
      for (const hash of hashes) byHash.set(hash, id)
      const bytes = windowBytes(shape, pieces)
      step({ tag: 'owed', debt: { id, buyer, pieces, bytes, amount, at, unproven } })
    }
  }

  /** On disk before the quote goes out. */
  async write(sale: Pick<Sale, 'id' | 'at' | 'unproven'>, signed: SignedQuote): Promise<void> {
    const { id, paymentHash } = signed.quote
    const hashes = [...(this.#debts.get(id)?.hashes ?? []), paymentHash].slice(-MAX_HASHES)
    const { at, unproven } = sale
    this.#debts.set(id, { signed, at, unproven, hashes })
    const record: DebtRecord = { quote: toHex(signed.bytes), sig: toHex(signed.sig), at, unproven, hashes }
    this.#parts.byHash.set(paymentHash, id)
    await this.#parts.deps.journal.put(this.#key(id), utf8(JSON.stringify(record)))
  }

  /** Paid, or never delivered: nothing of it need be remembered. */
  async drop(id: Sha256Hex): Promise<void> {
    for (const hash of this.#debts.get(id)?.hashes ?? []) this.#parts.byHash.delete(hash)
    this.#debts.delete(id)
    await this.#parts.deps.journal.delete(this.#key(id))
  }

  /** The preimage that fits one of its invoices is proof enough, whoever brings it. */
  onPaid(message: Extract<Message, { t: 'paid' }>): void {
    const debt = this.#debts.get(message.quote)
    if (debt?.hashes.includes(sha256Hex(message.preimage)) !== true) return
    this.#parts.step({ tag: 'settled', id: message.quote })
  }

  /** The buyer means to pay and its invoice has lapsed: the same debt, another invoice. */
  async onRenew(peer: Peer, message: Extract<Message, { t: 'renew' }>): Promise<void> {
    const { deps } = this.#parts
    const debt = this.#debts.get(message.quote)
    if (debt === undefined || debt.signed.quote.buyer !== peer.key)
      return peer.send({ t: 'refuse', id: message.id, code: 'missing' })
    try {
      const alive = debt.signed.quote.expiry * 1000 > deps.nowMs() + 1000
      const fresh = alive ? debt.signed : await this.#renewed(debt)
      peer.send({ t: 'quote', id: message.id, quote: fresh.bytes, sig: fresh.sig })
    } catch (error) {
      deps.log?.('debt not renewed', { message: messageOf(error) })
      peer.send({ t: 'refuse', id: message.id, code: 'wallet' })
    }
  }

  #renewed(debt: Debt): Promise<SignedQuote> {
    const { id } = debt.signed.quote
    const renewing = this.#renewing.get(id) ?? this.#renew(debt).finally(() => this.#renewing.delete(id))
    this.#renewing.set(id, renewing)
    return renewing
  }

  async #renew({ signed: { quote }, at, unproven }: Debt): Promise<SignedQuote> {
    const { deps } = this.#parts
    const invoice = await this.invoice(quote)
    const expiry = Math.floor(deps.nowMs() / 1000) + CREDIT_QUOTE_S
    const next = { ...quote, paymentHash: invoice.paymentHash, invoice: invoice.bolt11, expiry }
    const signed = signQuote(next, deps.identity.secret, crypto.getRandomValues(new Uint8Array(32)))
    await this.write({ id: quote.id, at, unproven }, signed)
    return signed
  }

  invoice({ amount, pieces, buyer }: Pick<Quote, 'amount' | 'pieces' | 'buyer'>): Promise<Invoice> {
    const { deps, session } = this.#parts
    if (deps.wallet === undefined) throw new Error('no wallet that can sell')
    const description = saleWords(pieces.length, session.meta.name, { seller: deps.identity.key, buyer })
    return deps.wallet.makeInvoice({ amount, description, expirySeconds: CREDIT_QUOTE_S })
  }

  /** Asks a wallet that tells about debts whose buyers may have paid unheard. */
  async lookUp(): Promise<void> {
    const { deps, step } = this.#parts
    const { wallet } = deps
    if (wallet === undefined || this.#debts.size === 0) return
    if (!(await wallet.info()).features.has('look-up')) return
    for (const id of [...this.#debts.keys()].slice(-MAX_LOOK_UPS)) {
      const hash = this.hashOf(id)
      if (hash !== undefined && (await wallet.lookUp(hash))?.state === 'settled') step({ tag: 'settled', id })
    }
  }
}

function parseDebt(bytes: Uint8Array | undefined): DebtRecord | undefined {
  try {
    return bytes === undefined ? undefined : v.parse(debtSchema, JSON.parse(fromUtf8(bytes)))
  } catch {
    return undefined
  }
}
