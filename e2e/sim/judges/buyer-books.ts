/** One buyer's books, as its judge keeps them: payments by hash, what each key has earned, what was lost. */
import type { BuyerBounds, FactOf } from '../trace.ts'

/** A payment that was handed to the wallet. */
export type Deal = {
  readonly seller: string
  readonly amount: number
  /** When last: an invoice that the wallet never heard of has its time anew. */
  handedMs: number
  readonly expiresAtMs: number
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

export type Books = {
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
  readonly settled: Deal[]
  unsureFees: number
  lost: number
  /** Losses as they came; what was decided while they were being written down was decided before. */
  readonly losses: { atMs: number; amount: number }[]
  lostFresh: number
  lateMsat: number
}

/**
 * Writes, one after the other, between the wrong block in clear and a payment that knows of it: the window's good pieces,
 * the loss, the receipt, once more with its fees, the purchase's end; and the quote of the next, which was decided before.
 */
const WRITES = 6
/** How long a wallet's client waits for its answer: so long a fee may be unknown, for ever where a crash comes first. */
const UNNAMED_MS = 60_000

export const openBooks = (bounds: BuyerBounds): Books => ({
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

/** A payment is handed to the wallet; those that lapsed before it are over. */
export function handOver(books: Books, fact: FactOf<'pays'>, nowMs: number): Deal {
  for (const [hash, deal] of books.open) if (!deal.locked && deal.expiresAtMs < nowMs) books.open.delete(hash)
  const deal: Deal = {
    seller: fact.seller,
    amount: fact.amount,
    handedMs: nowMs,
    expiresAtMs: fact.expiresAtMs,
    fresh: (books.earned.get(fact.seller) ?? 0) === 0,
    locked: false,
    settledMs: 0,
    fee: 0,
    // Before the first fee is known nothing can be kept free for it.
    unsure: !books.settled.some(({ settledMs }) => settledMs + UNNAMED_MS < nowMs),
    earned: 0,
  }
  books.open.set(fact.hash, deal)
  return deal
}

/** What is at stake with this key, what with all strangers, and what is spent if all goes through. */
export function atStake(books: Books, seller: string): { here: number; unproven: number; all: number } {
  const { approved } = books.bounds
  let [here, unproven, all] = [0, books.lostFresh, books.spent - books.unsureFees]
  for (const deal of books.open.values()) {
    if (deal.seller === seller) here += deal.amount
    if (deal.fresh && !approved.includes(deal.seller)) unproven += deal.amount
    if (deal.settledMs === 0) all += deal.amount
  }
  return { here, unproven, all }
}

/** Losses that its buyer must have known of. */
export const knownLost = ({ losses, bounds }: Books, nowMs: number): number =>
  losses.reduce((sum, { atMs, amount }) => sum + (atMs + WRITES * bounds.syncMs < nowMs ? amount : 0), 0)

export function earn({ earned, earnedNow, earnedOf }: Books, hash: string, deal: Deal): void {
  deal.earned = deal.amount
  for (const sums of [earned, earnedNow]) sums.set(deal.seller, (sums.get(deal.seller) ?? 0) + deal.amount)
  earnedOf.add(hash)
}

/** A crash came between a good piece and the purchase's end: its seller is known again by it. */
export function earnAgain({ bought, earnedNow, earnedOf }: Books, hash: string): void {
  const of = [...bought.values()].find((one) => one.hash === hash)
  if (of === undefined || earnedOf.has(hash)) return
  earnedOf.add(hash)
  const { seller, amount } = of.deal
  earnedNow.set(seller, (earnedNow.get(seller) ?? 0) + amount)
}

export function lose(books: Books, deal: Deal, nowMs: number): void {
  books.lost += deal.amount
  books.losses.push({ atMs: nowMs, amount: deal.amount })
  if (deal.fresh && !books.bounds.approved.includes(deal.seller)) books.lostFresh += deal.amount
}

/** What was opened and not stored is to be opened again, or comes from another and late. */
export function crash(books: Books, nowMs: number): void {
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

/** A new life of the process. */
export function start(books: Books): void {
  books.earnedNow.clear()
  books.earnedOf.clear()
}
