/**
 * What the wallet says about a seller's sales: settles what is locked, looks up what may have been paid unheard, and
 * takes up from the disk what a crash cut off.
 */
import { toHex, type Sha256Hex } from '../../web/core/bytes.ts'
import type { Sale, SaleId } from '../../web/core/exchange/desk-state.ts'
import type { Notice } from './bank.ts'
import { wait, type Job } from './clock.ts'
import { saleKey, SALES, type SaleRecord, type SellerParts } from './seller-parts.ts'

const AGAIN_MS = 10_000
const LATE_MS = 3_600_000

export class SellerSettling {
  readonly #parts: SellerParts
  /** Sales that may be forgotten once the wallet says that nothing comes any more, and since when. */
  readonly #late = new Map<Sale, number>()
  #againAtMs = 0

  constructor(parts: SellerParts) {
    this.#parts = parts
  }

  onWallet(notice: Notice): void {
    const { node, byHash, desk, step } = this.#parts
    if (notice.tag === 'back') {
      node.life.start(this.#lookUpAll('waiting', 'locked'))
      return node.life.start(this.recover())
    }
    const id = byHash.get(notice.hash)
    if (id === undefined) return
    if (!desk.sales.has(id)) return node.life.start(this.recover())
    if (notice.tag === 'received') step({ tag: 'settled', id })
    if (notice.tag === 'accepted') step({ tag: 'locked', id })
  }

  *settle({ id }: Sale): Job {
    const hash = this.#hashOf(id)
    if (yield* this.#release(id, hash)) return this.#parts.step({ tag: 'settled', id })
    yield* this.#lookUp(id, hash)
  }

  *forget(sale: Sale): Job {
    const { node, hold, byHash } = this.#parts
    const hash = this.#hashOf(sale.id)
    const fate = yield* this.#lookUp(sale.id, hash)
    const sinceMs = this.#late.get(sale) ?? node.nowMs
    const mayCome = fate === 'silent' || (fate === 'open' && !hold)
    if (mayCome && node.nowMs - sinceMs < LATE_MS) return void this.#late.set(sale, sinceMs)
    this.#late.delete(sale)
    if (fate === 'paid') return
    byHash.delete(hash)
    if (hold) node.things.bank.cancelHold(node.id, hash)
    yield* wait(node.disk.delete(saleKey(sale.id)))
  }

  *recover(): Job {
    const { node, desk, byHash } = this.#parts
    for (const key of [...node.disk.keys(SALES)]) {
      const id = key.slice(SALES.length) as SaleId
      const record = node.disk.records.get(key) as SaleRecord | undefined
      if (record === undefined || desk.sales.has(id)) continue
      byHash.set(record.hash, id)
      const answer = yield* node.lookUp(record.hash)
      if (answer.tag === 'silent') continue
      const state = answer.found?.state
      if (state === 'accepted' && !(yield* this.#release(id, record.hash))) continue
      if (state !== 'pending' || record.expiry * 1000 < node.nowMs) yield* wait(node.disk.delete(key))
    }
  }

  tick(): void {
    const { node } = this.#parts
    if (node.nowMs < this.#againAtMs) return
    this.#againAtMs = node.nowMs + AGAIN_MS
    node.life.start(this.#askAgain())
  }

  /** A wallet that did not answer is asked again. */
  *#askAgain(): Job {
    yield* this.#lookUpAll('locked')
    for (const sale of [...this.#late.keys()]) yield* this.forget(sale)
  }

  *#lookUpAll(...states: readonly Sale['state'][]): Job {
    for (const sale of [...this.#parts.desk.sales.values()])
      if (states.includes(sale.state)) yield* this.#lookUp(sale.id, this.#hashOf(sale.id))
  }

  *#lookUp(id: SaleId, hash: Sha256Hex): Job<'paid' | 'open' | 'over' | 'silent'> {
    const answer = yield* this.#parts.node.lookUp(hash)
    if (answer.tag === 'silent') return 'silent'
    const state = answer.found?.state
    const paid = state === 'settled' || (state === 'accepted' && (yield* this.#release(id, hash)))
    if (paid) this.#parts.step({ tag: 'settled', id })
    if (paid) return 'paid'
    return state === 'pending' ? 'open' : state === 'accepted' ? 'silent' : 'over'
  }

  /** Whether the sats are ours. */
  *#release(id: SaleId, hash: Sha256Hex): Job<boolean> {
    const { node, conduct, secretOf } = this.#parts
    if (!conduct.settles()) return false
    const preimage = toHex(secretOf(id))
    return yield* wait<boolean>((resume) => node.things.bank.settleHold(node.id, preimage, hash, resume))
  }

  #hashOf(id: SaleId): Sha256Hex {
    return this.#parts.node.things.ports.hashOf(this.#parts.secretOf(id))
  }
}
