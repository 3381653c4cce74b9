/**
 * No more ciphertext is out unpaid than the seller's owner allowed, and beside it than a fourth of what each buyer has
 * paid for: counted for each life of the process.
 */
import type { Fact, NodeId, SellerBounds } from '../trace.ts'
import type { Charter, Cry, Judge } from './judge.ts'

type Sale = { buyer: string; bytes: number; unproven: boolean; out: boolean; expiresAtMs: number }
type Till = {
  readonly bounds: SellerBounds
  sales: Map<string, Sale>
  /** Bytes that each buyer has paid for. */
  paid: Map<string, number>
  unproven: number
}

const EARNED_PART = 4
const MAX_EARNED_BYTES = 8 * 1024 * 1024

/** How long after its quote's expiry a sale still counts as out: a payment may be on its way. */
const GRACE_MS = 30_000

/** What an honest seller's quote leaves its taker to pay in, however slowly the window went out. */
const LEAST_TO_PAY_MS = 30_000

export class SellerJudge implements Judge {
  readonly #cry: Cry
  readonly #tills = new Map<NodeId, Till>()
  readonly #byHash = new Map<string, { till: Till; sale: Sale; id: string }>()

  constructor({ sellers }: Charter, cry: Cry) {
    this.#cry = cry
    for (const [node, bounds] of sellers)
      this.#tills.set(node, { bounds, sales: new Map(), paid: new Map(), unproven: 0 })
  }

  see(fact: Fact, atMs: number): void {
    switch (fact.t) {
      case 'started': {
        const till = this.#tills.get(fact.node)
        if (till === undefined) return
        till.sales = new Map()
        till.paid = new Map()
        till.unproven = 0
        return
      }
      case 'sent': {
        const till = this.#tills.get(fact.seller)
        if (till === undefined || fact.gift) return
        const sale = this.#sale(till, fact.sale, fact.buyer)
        sale.bytes += fact.bytes
        if (sale.unproven) till.unproven += fact.bytes
        const out = new Map<string, number>()
        for (const [id, other] of till.sales) {
          if (other.expiresAtMs + GRACE_MS < atMs) till.sales.delete(id)
          else if (other.out) out.set(other.buyer, (out.get(other.buyer) ?? 0) + other.bytes)
        }
        let unpaid = 0
        for (const [buyer, bytes] of out) {
          const earned = Math.floor((till.paid.get(buyer) ?? 0) / EARNED_PART)
          unpaid += Math.max(0, bytes - Math.min(MAX_EARNED_BYTES, earned))
        }
        if (unpaid > till.bounds.unpaidBytes)
          this.#cry(`seller ${fact.seller} has ${unpaid} bytes out unpaid beyond what its buyers earned`)
        if (till.unproven > till.bounds.unprovenBytes)
          this.#cry(
            `seller ${fact.seller} gave ${till.unproven} bytes to keys that never paid, of ${till.bounds.unprovenBytes}`,
          )
        return
      }
      case 'quoted': {
        const till = this.#tills.get(fact.seller)
        const sale = till?.sales.get(fact.sale)
        if (till === undefined || sale === undefined) return
        sale.expiresAtMs = fact.expiresAtMs
        if (fact.expiresAtMs - atMs < LEAST_TO_PAY_MS)
          this.#cry(
            `seller ${fact.seller} leaves a taker ${Math.round((fact.expiresAtMs - atMs) / 1000)} s to pay`,
          )
        this.#byHash.set(fact.hash, { till, sale, id: fact.sale })
        return
      }
      case 'cancelled': {
        const till = this.#tills.get(fact.seller)
        if (till === undefined) return
        const sale = this.#sale(till, fact.sale, fact.buyer)
        sale.out = false
        // The seller's own wallet failed: no fault of the buyer's, and not on its account.
        if (!fact.byWallet || !sale.unproven) return
        till.unproven -= sale.bytes
        sale.unproven = false
        return
      }
      case 'settled': {
        const at = this.#byHash.get(fact.hash)
        if (at === undefined) return
        this.#byHash.delete(fact.hash)
        if (at.sale.unproven) at.till.unproven -= at.sale.bytes
        at.till.paid.set(at.sale.buyer, (at.till.paid.get(at.sale.buyer) ?? 0) + at.sale.bytes)
        at.till.sales.delete(at.id)
        return
      }
      default:
        return
    }
  }

  #sale(till: Till, id: string, buyer: string): Sale {
    let sale = till.sales.get(id)
    if (sale !== undefined) return sale
    const unproven = !till.paid.has(buyer) && !till.bounds.approved.includes(buyer)
    sale = { buyer, bytes: 0, unproven, out: true, expiresAtMs: Infinity }
    till.sales.set(id, sale)
    return sale
  }
}
