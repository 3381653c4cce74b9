/**
 * Who says whether a run was right. Judges read facts (`trace.ts`) and keep sums of their own; they import nothing of the
 * product, so that one mistake cannot be made on both sides.
 */
import type { BuyerBounds, Fact, NodeId, SellerBounds } from './trace.ts'

/** What must hold, and did not. */
export type Verdict = Readonly<{ judge: string; atMs: number; says: string }>

/** What judges know beforehand. */
export type Charter = Readonly<{
  /** The release's bytes, piece by piece. */
  content: readonly Uint8Array[]
  pieceLength: number
  buyers: ReadonlyMap<NodeId, BuyerBounds>
  sellers: ReadonlyMap<NodeId, SellerBounds>
}>

interface Judge {
  readonly name: string
  see(fact: Fact, atMs: number, cry: (says: string) => void): void
}

const MIB = 1024 * 1024
const priceOf = (bytes: number, perMiB: number): number => Math.ceil((bytes * perMiB) / MIB)
const same = (a: Uint8Array | undefined, b: Uint8Array): boolean => {
  if (a?.length !== b.length) return false
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Sats only move: accounts, locks and fees together are what there was at the start. */
export class MoneyJudge implements Judge {
  readonly name = 'money'
  readonly #accounts = new Map<NodeId, number>()
  readonly #locks = new Map<string, { amount: number; fee: number }>()
  readonly #paid = new Set<string>()
  #start = 0
  #fees = 0

  see(fact: Fact, _atMs: number, cry: (says: string) => void): void {
    switch (fact.t) {
      case 'account':
        this.#accounts.set(fact.account, fact.msat)
        this.#start += fact.msat
        return
      case 'locked': {
        const key = `${fact.payer} ${fact.hash}`
        if (this.#locks.has(key)) cry(`${key} locked twice`)
        if (this.#paid.has(key)) cry(`${key} locked after it had settled`)
        this.#locks.set(key, fact)
        this.#move(fact.payer, -fact.amount - fact.fee, cry)
        return
      }
      case 'settled':
      case 'returned': {
        const key = `${fact.payer} ${fact.hash}`
        const lock = this.#locks.get(key)
        if (lock === undefined) return cry(`${key} ${fact.t} without a lock`)
        if (lock.amount !== fact.amount || lock.fee !== fact.fee)
          cry(`${key} ${fact.t} at other sums than locked`)
        this.#locks.delete(key)
        if (fact.t === 'returned') return this.#move(fact.payer, fact.amount + fact.fee, cry)
        this.#paid.add(key)
        this.#fees += fact.fee
        this.#move(fact.payee, fact.amount, cry)
        return
      }
      default:
        return
    }
  }

  #move(account: NodeId, by: number, cry: (says: string) => void): void {
    const balance = (this.#accounts.get(account) ?? 0) + by
    this.#accounts.set(account, balance)
    if (balance < 0) cry(`account ${account} below zero: ${balance}`)
  }

  /** Against the bank's own books. */
  audit(balances: ReadonlyMap<NodeId, number>, cry: (says: string) => void): void {
    let total = this.#fees
    for (const lock of this.#locks.values()) total += lock.amount + lock.fee
    for (const [account, balance] of balances) {
      total += balance
      const own = this.#accounts.get(account)
      if (own !== balance) cry(`account ${account} holds ${balance}, should hold ${own}`)
    }
    if (total !== this.#start) cry(`${total} msat in the world that began with ${this.#start}`)
  }
}

/** Nothing is stored that is not the release's. */
export class BytesJudge implements Judge {
  readonly name = 'bytes'
  readonly #content: readonly Uint8Array[]
  constructor(charter: Charter) {
    this.#content = charter.content
  }
  see(fact: Fact, _atMs: number, cry: (says: string) => void): void {
    if (fact.t === 'stored' && !same(this.#content[fact.piece], fact.bytes))
      cry(`node ${fact.node} stored a piece ${fact.piece} that is not the release’s`)
  }
}

type Deal = {
  readonly seller: string
  readonly amount: number
  readonly pieces: readonly number[]
  readonly handedMs: number
  expiresAtMs: number
  /** Nothing of this key had come good when it was handed to the wallet. */
  readonly fresh: boolean
  locked: boolean
  settledMs: number
  fee: number
  /** Its fee may be in nobody's books when the next payment is decided. */
  unsure: boolean
  /** What it counts for its seller. */
  earned: number
}
/**
 * Writes, one after the other, between the wrong block in clear and a payment that knows of it: the window's good pieces,
 * the loss, the receipt, once more with its fees, the purchase's end; and the quote of the next, which was decided before.
 */
const WRITES = 6
/** How long a wallet's client waits for its answer: so long a fee may be unknown, for ever where a crash comes first. */
const UNNAMED_MS = 60_000

type Books = {
  readonly bounds: BuyerBounds
  /** By payment hash: handed to the wallet, and not known to be over. */
  readonly open: Map<string, Deal>
  /** Sums that came good, by seller's key; and those since it last started: a key that settled before is a stranger again. */
  readonly earned: Map<string, number>
  readonly earnedNow: Map<string, number>
  /** The payments that the latter are of. */
  readonly earnedOf: Set<string>
  /** Who sold each piece that came good, whether that settled late, and whether it is on disk. */
  readonly bought: Map<number, { deal: Deal; hash: string; late: boolean; stored: boolean }>
  locked: number
  spent: number
  /** Payments that settled, and the fees among what was spent that its buyer could not have kept free. */
  settled: Deal[]
  unsureFees: number
  lost: number
  /** Losses as they came; what was decided while they were being written down was decided before. */
  losses: { atMs: number; amount: number }[]
  lostFresh: number
  lateMsat: number
}

/** Nobody is beyond the bound that its owner set, and no piece is bought twice. */
export class BuyerJudge implements Judge {
  readonly name = 'buyer'
  readonly #books = new Map<NodeId, Books>()
  readonly #charter: Charter
  readonly #piece: (bounds: BuyerBounds) => number

  constructor(charter: Charter) {
    this.#charter = charter
    this.#piece = (bounds) => priceOf(charter.pieceLength, bounds.priceCap)
    for (const [node, bounds] of charter.buyers)
      this.#books.set(node, {
        bounds,
        open: new Map(),
        earned: new Map(),
        earnedNow: new Map(),
        earnedOf: new Set(),
        bought: new Map(),
        locked: 0,
        spent: 0,
        settled: [],
        unsureFees: 0,
        lost: 0,
        losses: [],
        lostFresh: 0,
        lateMsat: 0,
      })
  }

  /** Msat that were lost to sellers of wrong bytes. */
  lost(node: NodeId): number {
    return this.#books.get(node)?.lost ?? 0
  }
  /** Whether its owner's policy lets it buy from somebody still: it has friends, or its budget for strangers is not lost. */
  mayBuy(node: NodeId): boolean {
    const books = this.#books.get(node)
    if (books === undefined) return false
    const { approved, unprovenBudget } = books.bounds
    return approved.length > 0 || books.lost + this.#piece(books.bounds) <= unprovenBudget
  }
  /** Msat that settled late, their pieces bought elsewhere. */
  late(node: NodeId): number {
    return this.#books.get(node)?.lateMsat ?? 0
  }
  spent(node: NodeId): number {
    return this.#books.get(node)?.spent ?? 0
  }

  see(fact: Fact, atMs: number, cry: (says: string) => void): void {
    if (fact.t === 'pays') return this.#pays(fact, atMs, cry)
    if (fact.t === 'opened') return this.#opened(fact, atMs, cry)
    if (fact.t === 'crashed') return this.#crashed(fact.node, atMs)
    if (fact.t === 'stored') {
      const bought = this.#books.get(fact.node)?.bought.get(fact.piece)
      if (bought !== undefined) bought.stored = true
      return
    }
    if (fact.t === 'started') {
      this.#books.get(fact.node)?.earnedNow.clear()
      this.#books.get(fact.node)?.earnedOf.clear()
      return
    }
    if (fact.t !== 'locked' && fact.t !== 'settled' && fact.t !== 'returned' && fact.t !== 'refused') return
    const books = this.#books.get(fact.payer)
    const deal = books?.open.get(fact.hash)
    if (books === undefined || deal === undefined) return
    switch (fact.t) {
      case 'locked':
        deal.locked = true
        if (++books.locked > books.bounds.slots)
          cry(`buyer ${fact.payer} has ${books.locked} payments under way`)
        return
      case 'settled':
        books.locked--
        books.spent += fact.amount + fact.fee
        deal.settledMs = atMs
        deal.fee = fact.fee
        books.settled.push(deal)
        if (deal.unsure) books.unsureFees += fact.fee
        if (books.spent - books.unsureFees > books.bounds.budget)
          cry(`buyer ${fact.payer} spent ${books.spent} of ${books.bounds.budget}`)
        return
      case 'returned':
        books.locked--
        books.open.delete(fact.hash)
        return
      case 'refused':
        if (!deal.locked) books.open.delete(fact.hash)
    }
  }

  /** What was opened and not stored is to be opened again, or comes from another and late. */
  #crashed(node: NodeId, nowMs: number): void {
    const books = this.#books.get(node)
    if (books === undefined) return
    for (const deal of books.settled) {
      if (deal.unsure || deal.settledMs + UNNAMED_MS < nowMs) continue
      deal.unsure = true
      books.unsureFees += deal.fee
    }
    for (const [at, { deal, hash, stored }] of books.bought) {
      if (stored) continue
      books.bought.delete(at)
      if (books.open.has(hash)) continue
      books.open.set(hash, deal)
      books.earned.set(deal.seller, (books.earned.get(deal.seller) ?? 0) - deal.earned)
      deal.earned = 0
    }
  }

  #pays(fact: Extract<Fact, { t: 'pays' }>, atMs: number, cry: (says: string) => void): void {
    const books = this.#books.get(fact.buyer)
    if (books === undefined) return
    const { bounds, open, earned } = books
    if (fact.amount > priceOf(fact.bytes, bounds.priceCap)) cry(`buyer ${fact.buyer} pays above its cap`)
    const known = open.get(fact.hash)
    if (known !== undefined) {
      // Handed in again because the wallet never heard of it: the same invoice pays once.
      if (known.settledMs > 0) cry(`buyer ${fact.buyer} pays ${fact.hash} again`)
      return
    }
    for (const [hash, deal] of open) if (!deal.locked && deal.expiresAtMs < atMs) open.delete(hash)
    const good = earned.get(fact.seller) ?? 0
    const fresh = good === 0
    open.set(fact.hash, {
      seller: fact.seller,
      amount: fact.amount,
      pieces: fact.pieces,
      handedMs: atMs,
      expiresAtMs: fact.expiresAtMs,
      fresh,
      locked: false,
      settledMs: 0,
      fee: 0,
      // Before the first fee is known nothing can be kept free for it.
      unsure: !books.settled.some(({ settledMs }) => settledMs + UNNAMED_MS < atMs),
      earned: 0,
    })
    let [here, unproven, all] = [0, books.lostFresh, books.spent - books.unsureFees]
    for (const deal of open.values()) {
      if (deal.seller === fact.seller) here += deal.amount
      if (deal.fresh && !bounds.approved.includes(deal.seller)) unproven += deal.amount
      if (deal.settledMs === 0) all += deal.amount
    }
    const piece = this.#piece(bounds)
    const who = `buyer ${fact.buyer} has ${here} msat at stake with ${fresh ? 'the fresh' : 'the'} key ${fact.seller.slice(0, 8)}`
    const most = fresh ? piece : Math.max(bounds.riskBudget, piece)
    if (here > most) cry(`${who}, above ${most}`)
    const approved = bounds.approved.includes(fact.seller)
    if (fresh && !approved && unproven > bounds.unprovenBudget)
      cry(
        `buyer ${fact.buyer} has ${unproven} msat with keys that never settled, above ${bounds.unprovenBudget}`,
      )
    const lost = books.losses.reduce(
      (sum, { atMs: at, amount }) => sum + (at + WRITES * bounds.syncMs < atMs ? amount : 0),
      0,
    )
    const now = books.earnedNow.get(fact.seller) ?? 0
    const left = now > 0 ? now : Math.min(piece, Math.max(0, bounds.unprovenBudget - lost))
    if (!approved && lost + piece > bounds.unprovenBudget && here > left)
      cry(`${who}, and lost ${lost} before, and earned it only ${now}`)
    if (all > bounds.budget) cry(`buyer ${fact.buyer} spends ${all} of ${bounds.budget}`)
  }

  #opened(fact: Extract<Fact, { t: 'opened' }>, atMs: number, cry: (says: string) => void): void {
    const books = this.#books.get(fact.buyer)
    if (books === undefined) return
    const deal = books.open.get(fact.hash)
    if (deal === undefined) return this.#openedAgain(books, fact.hash)
    if (deal.settledMs === 0) cry(`buyer ${fact.buyer} opened ${fact.hash} unpaid`)
    books.open.delete(fact.hash)
    const { content } = this.#charter
    const good = fact.pieces.filter(({ piece, bytes }) => same(content[piece], bytes))
    // Late as the buyer sees it: the answer of its wallet may have been lost on the way.
    const late = atMs > deal.handedMs + books.bounds.lockedTimeoutMs
    if (good.length === fact.pieces.length) {
      deal.earned = deal.amount
      for (const sums of [books.earned, books.earnedNow])
        sums.set(deal.seller, (sums.get(deal.seller) ?? 0) + deal.amount)
      books.earnedOf.add(fact.hash)
    } else {
      books.lost += deal.amount
      books.losses.push({ atMs, amount: deal.amount })
      if (deal.fresh && !books.bounds.approved.includes(deal.seller)) books.lostFresh += deal.amount
    }
    let twice = false
    for (const { piece } of good) {
      const before = books.bought.get(piece)
      // After a crash what was opened and not yet written down is opened again.
      if (before !== undefined && before.hash !== fact.hash) {
        twice = true
        if (!before.late && !late) cry(`buyer ${fact.buyer} bought piece ${piece} twice`)
      }
      const stored = before?.stored ?? false
      books.bought.set(piece, { deal, hash: fact.hash, late: late || (before?.late ?? false), stored })
    }
    if (twice) books.lateMsat += deal.amount
  }

  /** A crash came between a good piece and the purchase's end: its seller is known again by it. */
  #openedAgain(books: Books, hash: string): void {
    const of = [...books.bought.values()].find((one) => one.hash === hash)
    if (of === undefined || books.earnedOf.has(hash)) return
    books.earnedOf.add(hash)
    const { seller, amount } = of.deal
    books.earnedNow.set(seller, (books.earnedNow.get(seller) ?? 0) + amount)
  }
}

type Sale = { buyer: string; bytes: number; unproven: boolean; out: boolean; expiresAtMs: number }
type Till = {
  readonly bounds: SellerBounds
  sales: Map<string, Sale>
  settled: Set<string>
  unproven: number
}

/** How long after its quote's expiry a sale still counts as out: a payment may be on its way. */
const GRACE_MS = 30_000

/** What an honest seller's quote leaves its taker to pay in, however slowly the window went out. */
const LEAST_TO_PAY_MS = 30_000

/** No more ciphertext is out unpaid than the seller's owner allowed: counted for each life of the process. */
export class SellerJudge implements Judge {
  readonly name = 'seller'
  readonly #tills = new Map<NodeId, Till>()
  readonly #byHash = new Map<string, { till: Till; sale: Sale; id: string }>()

  constructor(charter: Charter) {
    for (const [node, bounds] of charter.sellers)
      this.#tills.set(node, { bounds, sales: new Map(), settled: new Set(), unproven: 0 })
  }

  see(fact: Fact, atMs: number, cry: (says: string) => void): void {
    switch (fact.t) {
      case 'started': {
        const till = this.#tills.get(fact.node)
        if (till === undefined) return
        till.sales = new Map()
        till.settled = new Set()
        till.unproven = 0
        return
      }
      case 'sent': {
        const till = this.#tills.get(fact.seller)
        if (till === undefined || fact.gift) return
        const sale = this.#sale(till, fact.sale, fact.buyer)
        sale.bytes += fact.bytes
        if (sale.unproven) till.unproven += fact.bytes
        let unpaid = 0
        for (const [id, other] of till.sales) {
          if (other.expiresAtMs + GRACE_MS < atMs) till.sales.delete(id)
          else if (other.out) unpaid += other.bytes
        }
        if (unpaid > till.bounds.unpaidBytes) cry(`seller ${fact.seller} has ${unpaid} bytes out unpaid`)
        if (till.unproven > till.bounds.unprovenBytes)
          cry(
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
          cry(`seller ${fact.seller} leaves a taker ${Math.round((fact.expiresAtMs - atMs) / 1000)} s to pay`)
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
        at.till.settled.add(at.sale.buyer)
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
    const unproven = !till.settled.has(buyer) && !till.bounds.approved.includes(buyer)
    sale = { buyer, bytes: 0, unproven, out: true, expiresAtMs: Infinity }
    till.sales.set(id, sale)
    return sale
  }
}

/** All of them over one run; keeps the first verdicts only. */
export class Court {
  readonly verdicts: Verdict[] = []
  readonly money = new MoneyJudge()
  readonly buyer: BuyerJudge
  readonly #judges: readonly Judge[]
  static readonly MOST = 20

  constructor(charter: Charter) {
    this.buyer = new BuyerJudge(charter)
    this.#judges = [this.money, new BytesJudge(charter), this.buyer, new SellerJudge(charter)]
  }

  readonly see = (fact: Fact, atMs: number): void => {
    for (const judge of this.#judges) judge.see(fact, atMs, (says) => this.cry(judge.name, atMs, says))
  }

  cry(judge: string, atMs: number, says: string): void {
    if (this.verdicts.length < Court.MOST) this.verdicts.push({ judge, atMs, says })
  }

  audit(balances: ReadonlyMap<NodeId, number>, atMs: number): void {
    this.money.audit(balances, (says) => this.cry(this.money.name, atMs, says))
  }
}
