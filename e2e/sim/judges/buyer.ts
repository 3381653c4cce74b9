/** Nobody is beyond the bound that its owner set, and no piece is bought twice. */
import type { BuyerBounds, Fact, FactOf, NodeId } from '../trace.ts'
import * as books from './buyer-books.ts'
import { same } from './bytes.ts'
import type { Charter, Cry, Judge } from './judge.ts'

const MIB = 1024 * 1024
const priceOf = (bytes: number, perMiB: number): number => Math.ceil((bytes * perMiB) / MIB)

export class BuyerJudge implements Judge {
  readonly #cry: Cry
  readonly #charter: Charter
  readonly #books: ReadonlyMap<NodeId, books.Books>

  constructor(charter: Charter, cry: Cry) {
    this.#cry = cry
    this.#charter = charter
    this.#books = new Map([...charter.buyers].map(([node, bounds]) => [node, books.openBooks(bounds)]))
  }

  /** Msat that were lost to sellers of wrong bytes. */
  lost(node: NodeId): number {
    return this.#books.get(node)?.lost ?? 0
  }
  /** Whether its owner's policy lets it buy from somebody still: it has friends, or its budget for strangers is not lost. */
  mayBuy(node: NodeId): boolean {
    const own = this.#books.get(node)
    if (own === undefined) return false
    const { approved, unprovenBudget } = own.bounds
    return approved.length > 0 || own.lost + this.#piece(own.bounds) <= unprovenBudget
  }
  /** Msat that settled late, their pieces bought elsewhere. */
  late(node: NodeId): number {
    return this.#books.get(node)?.lateMsat ?? 0
  }
  spent(node: NodeId): number {
    return this.#books.get(node)?.spent ?? 0
  }

  /** The dearest piece. */
  #piece({ priceCap }: BuyerBounds): number {
    return priceOf(this.#charter.pieceLength, priceCap)
  }

  see(fact: Fact, atMs: number): void {
    switch (fact.t) {
      case 'pays':
      case 'opened': {
        const own = this.#books.get(fact.buyer)
        if (own === undefined) return
        return fact.t === 'pays' ? this.#pays(own, fact, atMs) : this.#opened(own, fact, atMs)
      }
      case 'started':
      case 'crashed':
      case 'stored': {
        const own = this.#books.get(fact.node)
        if (own === undefined) return
        if (fact.t === 'started') return books.start(own)
        if (fact.t === 'crashed') return books.crash(own, atMs)
        const bought = own.bought.get(fact.piece)
        if (bought !== undefined) bought.stored = true
        return
      }
      case 'locked':
      case 'settled':
      case 'returned':
      case 'refused': {
        const own = this.#books.get(fact.payer)
        if (own !== undefined) this.#moved(own, fact, atMs)
        return
      }
      default:
        return
    }
  }

  /** What the bank did with a payment. */
  #moved(own: books.Books, fact: FactOf<'locked' | 'settled' | 'returned' | 'refused'>, atMs: number): void {
    const deal = own.open.get(fact.hash)
    if (deal === undefined) return
    switch (fact.t) {
      case 'locked':
        deal.locked = true
        if (++own.locked > own.bounds.slots)
          this.#cry(`buyer ${fact.payer} has ${own.locked} payments under way`)
        return
      case 'settled':
        own.locked--
        own.spent += fact.amount + fact.fee
        deal.settledMs = atMs
        deal.fee = fact.fee
        own.settled.push(deal)
        if (deal.unsure) own.unsureFees += fact.fee
        if (own.spent - own.unsureFees > own.bounds.budget)
          this.#cry(`buyer ${fact.payer} spent ${own.spent} of ${own.bounds.budget}`)
        return
      case 'returned':
        own.locked--
        own.open.delete(fact.hash)
        return
      case 'refused':
        if (!deal.locked) own.open.delete(fact.hash)
    }
  }

  #pays(own: books.Books, fact: FactOf<'pays'>, atMs: number): void {
    const { bounds } = own
    const buyer = `buyer ${fact.buyer}`
    if (fact.amount > priceOf(fact.bytes, bounds.priceCap)) this.#cry(`${buyer} pays above its cap`)
    const known = own.open.get(fact.hash)
    if (known !== undefined) {
      // Handed in again because the wallet never heard of it: the same invoice pays once.
      if (known.settledMs > 0) this.#cry(`${buyer} pays ${fact.hash} again`)
      known.handedMs = atMs
      return
    }
    const { fresh } = books.handOver(own, fact, atMs)
    const { here, unproven, all } = books.atStake(own, fact.seller)
    const piece = this.#piece(bounds)
    const approved = bounds.approved.includes(fact.seller)
    const who = `${buyer} has ${here} msat at stake with ${fresh ? 'the fresh' : 'the'} key ${fact.seller.slice(0, 8)}`
    const most = fresh ? piece : Math.max(bounds.riskBudget, piece)
    if (here > most) this.#cry(`${who}, above ${most}`)
    if (fresh && !approved && unproven > bounds.unprovenBudget)
      this.#cry(`${buyer} has ${unproven} msat with keys that never settled, above ${bounds.unprovenBudget}`)
    const lost = books.knownLost(own, atMs)
    const now = own.earnedNow.get(fact.seller) ?? 0
    const left = now > 0 ? now : Math.min(piece, Math.max(0, bounds.unprovenBudget - lost))
    if (!approved && lost + piece > bounds.unprovenBudget && here > left)
      this.#cry(`${who}, and lost ${lost} before, and earned it only ${now}`)
    if (all > bounds.budget) this.#cry(`${buyer} spends ${all} of ${bounds.budget}`)
  }

  #opened(own: books.Books, fact: FactOf<'opened'>, atMs: number): void {
    const { buyer, hash, pieces } = fact
    const deal = own.open.get(hash)
    if (deal === undefined) return books.earnAgain(own, hash)
    if (deal.settledMs === 0) this.#cry(`buyer ${buyer} opened ${hash} unpaid`)
    own.open.delete(hash)
    const good = pieces.filter(({ piece, bytes }) => same(this.#charter.content[piece], bytes))
    if (good.length === pieces.length) books.earn(own, hash, deal)
    else books.lose(own, deal, atMs)
    // Late as the buyer sees it: the answer of its wallet may have been lost on the way.
    const late = atMs > deal.handedMs + own.bounds.lockedTimeoutMs
    let twice = false
    for (const { piece } of good) {
      const before = own.bought.get(piece)
      // After a crash what was opened and not yet written down is opened again.
      if (before !== undefined && before.hash !== hash) {
        twice = true
        if (!before.late && !late) this.#cry(`buyer ${buyer} bought piece ${piece} twice`)
      }
      const stored = before?.stored ?? false
      own.bought.set(piece, { deal, hash, late: late || (before?.late ?? false), stored })
    }
    if (twice) own.lateMsat += deal.amount
  }
}
