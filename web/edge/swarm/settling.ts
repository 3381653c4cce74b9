/**
 * What the wallet says about a shop's sales: settles what is locked, looks up what may have been paid unheard,
 * and takes up from the journal what a crash cut off.
 */
import * as v from 'valibot'
import { fromUtf8, toHex, utf8, type Sha256Hex } from '../../core/bytes.ts'
import { paymentHashOf } from '../../core/exchange/cipher.ts'
import type { Sale } from '../../core/exchange/desk-state.ts'
import type { Transaction, WalletEvent } from '../wallet/wallet.ts'
import type { Debts } from './debts.ts'
import { messageOf, type ShopParts } from './shop-parts.ts'

/** The least between two rounds of looking up all open sales. */
const LOOK_UP_MS = 1000
/** What the wallet left open is asked for again so often, and what nobody pays any more is kept for so long at most. */
const AGAIN_MS = 10_000
const LATE_MS = 3_600_000
const MAX_LATE = 256

/** `sale/<info-hash>/<quote id>`, on disk before the quote goes out: enough to settle after a crash. */
const saleSchema = v.object({
  hash: v.string(),
  amount: v.number(),
  settling: v.picklist(['preimage', 'hold']),
  expiry: v.number(),
})

const prefixOf = ({ session }: ShopParts): string => `sale/${session.meta.infoHash}/`
export const saleKey = (parts: ShopParts, id: Sha256Hex): string => `${prefixOf(parts)}${id}`

export function writeSale(parts: ShopParts, sale: Sale, hash: Sha256Hex, expiry: number): Promise<void> {
  const settling = parts.terms?.settling === 'hold' ? 'hold' : 'preimage'
  return parts.deps.journal.put(
    saleKey(parts, sale.id),
    utf8(JSON.stringify({ hash, amount: sale.amount, settling, expiry })),
  )
}

export class Settling {
  readonly #parts: ShopParts
  readonly #debts: Debts
  /** Sales that may be forgotten once the wallet says that nothing comes any more, and since when. */
  readonly #late = new Map<Sha256Hex, Readonly<{ sale: Sale; sinceMs: number }>>()
  #lastLookUpMs = 0
  #lastTickMs = 0
  /** Something from before a restart could not be looked up. */
  #unrecovered = false

  constructor(parts: ShopParts, debts: Debts) {
    this.#parts = parts
    this.#debts = debts
  }

  /** A full or failing disk must not end the process: what was to be written is in the wallet too. */
  quietly(job: Promise<void>): void {
    job.catch((error: unknown) => this.#parts.deps.log?.('journal failed', { message: messageOf(error) }))
  }

  onWallet(event: WalletEvent): void {
    const { byHash, desk, step } = this.#parts
    const id = byHash.get(event.transaction.paymentHash)
    if (id === undefined) return
    // A sale from before a restart: the desk does not know it, the journal does.
    if (!desk.sales.has(id)) return this.quietly(this.recover())
    const { transaction } = event
    // A part is not the price, whatever the wallet calls it: only what it says is settled, or locked whole, counts.
    if (event.tag === 'received') {
      if (transaction.state === 'settled') return step({ tag: 'settled', id })
      return this.quietly(this.#lookUp(id, transaction.paymentHash).then(() => undefined))
    }
    if (event.tag === 'hold-accepted' && this.#isWhole(id, transaction)) step({ tag: 'locked', id })
  }

  #isWhole(id: Sha256Hex, { amount }: Transaction): boolean {
    const sale = this.#parts.desk.sales.get(id)
    return sale !== undefined && amount >= sale.amount
  }

  async settle(sale: Sale): Promise<void> {
    const { deps, step } = this.#parts
    const secret = this.#parts.secretOf(sale.id)
    try {
      await deps.wallet?.settleHoldInvoice(toHex(secret))
      step({ tag: 'settled', id: sale.id })
    } catch (error) {
      deps.log?.('settling failed, looking it up', { message: messageOf(error) })
      await this.#lookUp(sale.id, paymentHashOf(secret))
    }
  }

  /** The key is out, or the debt paid: nothing of the sale need be remembered. */
  async done(sale: Sale): Promise<void> {
    if (sale.mode === 'credit') return this.#debts.drop(sale.id)
    this.#parts.byHash.delete(paymentHashOf(this.#parts.secretOf(sale.id)))
    await this.#parts.deps.journal.delete(saleKey(this.#parts, sale.id))
  }

  /** Nobody pays it any more: make sure that nobody did, then let the wallet forget it. */
  async forget(sale: Sale): Promise<void> {
    const { deps, byHash, terms } = this.#parts
    if (sale.mode === 'credit') return this.#forgetDebt(sale)
    const hash = paymentHashOf(this.#parts.secretOf(sale.id))
    const fate = await this.#lookUp(sale.id, hash)
    if (fate === 'paid') return void this.#late.delete(sale.id)
    const nowMs = deps.nowMs()
    const since = this.#late.get(sale.id) ?? { sale, sinceMs: nowMs }
    // A payment on its way may still arrive: the buyer that paid gets its key.
    const mayCome = fate === 'silent' || (fate === 'open' && terms?.settling !== 'hold')
    if (mayCome && nowMs - since.sinceMs < LATE_MS && this.#late.size < MAX_LATE)
      return void this.#late.set(sale.id, since)
    this.#late.delete(sale.id)
    byHash.delete(hash)
    if (terms?.settling === 'hold') await deps.wallet?.cancelHoldInvoice(hash).catch(() => undefined)
    await deps.journal.delete(saleKey(this.#parts, sale.id))
  }

  /** Every second or so: a wallet that did not answer is asked again. */
  async tick(): Promise<void> {
    const { deps, desk } = this.#parts
    const nowMs = deps.nowMs()
    if (Math.abs(nowMs - this.#lastTickMs) < AGAIN_MS) return // forward or back, as a clock is set
    this.#lastTickMs = nowMs
    if (this.#unrecovered) await this.recover()
    for (const sale of [...desk.sales.values()])
      if (sale.state === 'locked') await this.#lookUp(sale.id, paymentHashOf(this.#parts.secretOf(sale.id)))
    for (const { sale } of [...this.#late.values()]) await this.forget(sale)
  }

  /** What was delivered stays owed until it is paid; what was not is no debt. */
  async #forgetDebt(sale: Sale): Promise<void> {
    if (sale.state === 'cancelled') await this.#debts.drop(sale.id)
    else await this.#debts.lookUp()
  }

  /** Settles it where it may. `open`: it may still be paid; `silent`: the wallet did not say. */
  async #lookUp(id: Sha256Hex, hash: Sha256Hex): Promise<'paid' | 'open' | 'over' | 'silent'> {
    const { deps, step } = this.#parts
    try {
      const found = await deps.wallet?.lookUp(hash)
      if (found?.state === 'settled') {
        step({ tag: 'settled', id })
        return 'paid'
      }
      if (found?.state === 'accepted' && this.#isWhole(id, found)) {
        await deps.wallet?.settleHoldInvoice(toHex(this.#parts.secretOf(id)))
        step({ tag: 'settled', id })
        return 'paid'
      }
      return found?.state === 'pending' || found?.state === 'accepted' ? 'open' : 'over'
    } catch (error) {
      deps.log?.('look-up failed', { message: messageOf(error) })
    }
    return 'silent'
  }

  /** Notifications may be lost with a connection: when it is back, open sales are looked up. */
  async lookUpOpen(): Promise<void> {
    const nowMs = this.#parts.deps.nowMs()
    if (Math.abs(nowMs - this.#lastLookUpMs) < LOOK_UP_MS) return
    this.#lastLookUpMs = nowMs
    await this.#debts.lookUp()
    for (const sale of [...this.#parts.desk.sales.values()]) {
      if (sale.mode === 'credit' || (sale.state !== 'waiting' && sale.state !== 'locked')) continue
      await this.#lookUp(sale.id, paymentHashOf(this.#parts.secretOf(sale.id)))
    }
  }

  /** Sales that a crash cut off: what is locked is settled, what lapsed is forgotten. */
  async recover(): Promise<void> {
    const { deps, desk, byHash } = this.#parts
    const { journal, wallet } = deps
    if (wallet === undefined) return
    this.#unrecovered = false
    for (const key of await journal.keys(prefixOf(this.#parts))) {
      const id = key.slice(key.lastIndexOf('/') + 1) as Sha256Hex
      if (desk.sales.has(id)) continue
      const record = parseSale(await journal.get(key))
      if (record === undefined) {
        await journal.delete(key)
        continue
      }
      byHash.set(record.hash, id)
      try {
        const found = await wallet.lookUp(record.hash as Sha256Hex)
        const part = found?.state === 'accepted' && found.amount < record.amount
        if (found?.state === 'accepted' && !part)
          await wallet.settleHoldInvoice(toHex(this.#parts.secretOf(id)))
        const open = part || found?.state === 'pending'
        const over = !open || record.expiry * 1000 < deps.nowMs()
        if (over) await journal.delete(key)
        deps.log?.('sale recovered', { state: found?.state ?? 'unknown' })
      } catch (error) {
        this.#unrecovered = true
        deps.log?.('sale not recovered yet', { message: messageOf(error) })
      }
    }
  }
}

function parseSale(bytes: Uint8Array | undefined): v.InferOutput<typeof saleSchema> | undefined {
  try {
    return bytes === undefined ? undefined : v.parse(saleSchema, JSON.parse(fromUtf8(bytes)))
  } catch {
    return undefined
  }
}
