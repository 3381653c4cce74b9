/**
 * Who is asked, and for how much.
 *
 * Price against speed, among the sellers that bring something:
 * - `cheapest`: a dearer seller is asked only for what no cheaper one has.
 * - `balanced`: a dearer seller is used when the part of the price cap by which it is dearer than the cheapest is at most
 *   the part by which it speeds up what the cheaper ones in use bring together; else only for what no cheaper one has.
 *   One whose rate is not known yet is tried.
 * - `fastest`: all below the cap.
 * A mirror is beside this order: whether it is used is a policy of its own.
 *
 * Size: while much is missing a window takes about `WINDOW_MS` of the seller's rate, from 1 to 8 MiB; towards the end a
 * fourth of the seller's fair share of what is left, so that all end together. Who sells on takes a second of the seller's
 * rate, be it one piece: what is not paid for yet cannot be sold, and idle uplinks cost a swarm more than payments do.
 * Where payments are slow it is at least what keeps rate × payment time in `FLIGHTS` windows: when payments queue up in
 * the wallet, windows grow rather than become more. It is also at least what the least payment buys, and what keeps fees
 * to a twentieth of the price (`buyer-fees.ts`). The budgets, the seller's patience and what the line brings in a minute bound all of it.
 */
import { leastPayment, MIB, windowPrice, ZERO, type Money, type Msat } from '../money/msat.ts'
import { MAX_WINDOW_BYTES } from '../exchange/quote.ts'
import { leastWorthPaying } from './buyer-fees.ts'
import { paymentSlots, smallestMissing, stakeLimit, stakeToCome, unprovenBudget } from './buyer-limits.ts'
import { answerMsOf, rateOf, turnMs } from './buyer-meter.ts'
import { record, restUntilMs, wantsOf, type Buyer, type BuyerPeer, type KeyRecord } from './buyer-state.ts'

const SMALLEST = MIB
const LARGEST = 8 * MIB
const WINDOW_MS = 6000
const RESALE_WINDOW_MS = 1000
/** With several sellers a window at the end takes a fourth of the seller's share of the rest, but at least so long. */
const ROUNDS = 4
const SHORT_MS = 250
/** Windows whose payments hide each other, of the seven that a seller lets be open: one more comes in, one is queued. */
const FLIGHTS = 4.5
const HEAD_ROOM = 1.1
/** Nothing came for so long: it does not bring anything now. */
export const QUIET_MS = 3000
/** A line that brings less does not count as one. */
export const SLOWEST_BPS = 64 * 1024
/** A window has so long, and its share of that line. */
export const SLOWEST_MS = 60_000
/** When no seller has brought anything for so long, a mirror may. */
export const MIRROR_AFTER_MS = 30_000

export type Blocked =
  | { why: 'nobody' }
  | { why: 'price'; lowest: Msat }
  | { why: 'money'; offered: Money | undefined }
  | { why: 'unproven' }

/** Whether a mirror is fetched from now. */
export function mirrorServes(buyer: Buyer, nowMs: number): boolean {
  if (buyer.policy.mirror === 'fallback') return nowMs - buyer.broughtAtMs > MIRROR_AFTER_MS
  return buyer.policy.mirror === 'always'
}

/** What a peer that may be asked takes per MiB; or why it may not. */
export function usable(buyer: Buyer, peer: BuyerPeer, nowMs: number): Msat | Blocked {
  if (buyer.keys.get(peer.key)?.dropped !== undefined) return { why: 'nobody' }
  if (peer.source === 'mirror' && !mirrorServes(buyer, nowMs)) return { why: 'nobody' }
  if (peer.offerUntilMs <= nowMs) return { why: 'nobody' }
  if (peer.gift || peer.mode === 'free') return ZERO
  if (buyer.money === undefined || peer.money !== buyer.money) return { why: 'money', offered: peer.money }
  if (peer.price > buyer.policy.priceCap) return { why: 'price', lowest: peer.price }
  return peer.price
}

export type Seller = {
  readonly peer: BuyerPeer
  readonly of: KeyRecord
  readonly price: Msat
  /** Bytes a millisecond; 0: not known. */
  readonly rate: number
  /** May be asked now. */
  readonly ready: boolean
  /** It brings something, or may be expected to. */
  readonly moving: boolean
  /** It is asked only for what none of these has. */
  behind: readonly Seller[]
}

export type Market = {
  readonly sellers: readonly Seller[]
  /** Of all that are moving, an unknown rate counting as their mean. */
  readonly rate: number
  readonly mean: number
  readonly moving: number
}

export function marketOf(buyer: Buyer, nowMs: number): Market {
  const sellers: Seller[] = []
  for (const peer of buyer.peers.values()) {
    if (wantsOf(buyer, peer) === 0) continue
    const price = usable(buyer, peer, nowMs)
    if (typeof price !== 'number') continue
    const of = record(buyer, peer.key, nowMs)
    const untilMs = restUntilMs(buyer, peer)
    const rests = untilMs > nowMs || (price > 0 && buyer.walletRestsUntilMs > nowMs)
    if (untilMs > nowMs && untilMs < buyer.wakeAtMs) buyer.wakeAtMs = untilMs
    const rate = rateOf(of)
    const moving = !rests && isMoving(buyer, peer, of, price, rate, nowMs)
    sellers.push({ peer, of, price, rate, ready: !rests, moving, behind: [] })
  }
  if (buyer.policy.prefer === 'fastest') sellers.sort((a, b) => b.rate - a.rate)
  else {
    sellers.sort((a, b) => a.price - b.price || b.rate - a.rate)
    prefer(buyer, sellers)
  }
  let known = 0
  let sum = 0
  let moving = 0
  for (const seller of sellers) {
    if (!seller.moving) continue
    moving++
    if (seller.rate === 0) continue
    known++
    sum += seller.rate
  }
  const mean = known === 0 ? 0 : sum / known
  return { sellers, rate: sum + mean * (moving - known), mean, moving }
}

function isMoving(
  buyer: Buyer,
  peer: BuyerPeer,
  of: KeyRecord,
  price: Msat,
  rate: number,
  nowMs: number,
): boolean {
  if (rate > 0 && rate * 1000 < SLOWEST_BPS) return false
  if (of.under.asked > 0 && nowMs - Math.max(of.heardAtMs, of.waitsSinceMs) > QUIET_MS) return false
  if (price === 0) return true
  if (of.under.payments > 0 && nowMs - of.paysSinceMs > 3 * turnMs(buyer) + QUIET_MS) return false
  if (of.settledBytes > 0 || peer.mode === 'credit') return stakeLimit(buyer, peer.key, of) > 0
  const approved = buyer.policy.approved.includes(peer.key)
  const least = windowPrice(smallestMissing(buyer), price, buyer.money)
  return approved || of.atStake > 0 || buyer.unprovenSpent + least <= unprovenBudget(buyer)
}

/** Puts dearer sellers behind cheaper ones. `sellers` is in order of price. */
function prefer(buyer: Buyer, sellers: readonly Seller[]): void {
  const inUse: Seller[] = []
  let rate = 0
  for (const seller of sellers) {
    const cheapest = inUse[0]
    if (cheapest !== undefined && seller.price > cheapest.price && seller.peer.source !== 'mirror') {
      const dearer = (seller.price - cheapest.price) / buyer.policy.priceCap
      const worth =
        buyer.policy.prefer === 'balanced' &&
        (rate === 0 || seller.rate === 0 || dearer <= seller.rate / rate)
      if (!worth) {
        seller.behind = inUse.filter(({ price }) => price < seller.price)
        continue
      }
    }
    if (!seller.moving || seller.peer.source === 'mirror') continue
    inUse.push(seller)
    rate += seller.rate
  }
}

/** The seller's part of what all bring together. */
export const shareOf = (market: Market, seller: Seller): number =>
  market.rate === 0 ? 1 / Math.max(1, market.moving) : Math.min(1, (seller.rate || market.mean) / market.rate)

/** Bytes that are missing and that nobody fetches. */
export const freeBytes = (buyer: Buyer): number =>
  Math.min(buyer.missingBytes, buyer.picker.free * buyer.shape.pieceLength)

/** The least that a window should have so that fees stay a small part of its price, in whole pieces. */
export function worthBytes(buyer: Buyer, { peer, of, price }: Seller): number {
  if (price === 0 || peer.mode !== 'atomic') return 0
  const { pieceLength } = buyer.shape
  const fees = of.feeRecord.payments > 0 ? of.feeRecord : buyer.feeRecord
  const worth = Math.max(leastPayment(buyer.money), leastWorthPaying(fees))
  return Math.ceil(((worth / price) * MIB) / pieceLength) * pieceLength
}

/** The size that the next window should have, in bytes, before any limit. */
export function windowSize(buyer: Buyer, market: Market, seller: Seller): number {
  const { peer, of, price, rate } = seller
  const { pieceLength } = buyer.shape
  const largest = Math.min(MAX_WINDOW_BYTES, peer.maxWindowBytes)
  const { resells } = buyer.policy
  const smallest = resells ? Math.min(SMALLEST, pieceLength) : SMALLEST
  const steady = Math.min(LARGEST, Math.max(smallest, rate * (resells ? RESALE_WINDOW_MS : WINDOW_MS)))
  const ending =
    market.moving < 2
      ? Math.max(SMALLEST, freeBytes(buyer) / 3)
      : Math.max(Math.min(SMALLEST, rate * SHORT_MS), (shareOf(market, seller) * freeBytes(buyer)) / ROUNDS)
  let size = Math.min(steady, ending)
  if (price > 0 && peer.mode === 'atomic') {
    const flight = rate * (turnMs(buyer) + answerMsOf(of)) * HEAD_ROOM
    const flights = Math.max(1, Math.min(FLIGHTS, paymentSlots(buyer) / Math.max(1, market.moving)))
    const least = Math.ceil(flight / flights / pieceLength) * pieceLength
    size = Math.max(size, least, worthBytes(buyer, seller))
    // A third of a seller's patience, and all of a short one: smaller windows would only be more payments.
    const within = Math.max(SMALLEST, peer.roomBytes / 3)
    const risked = (stakeToCome(buyer, peer.key, of) / price) * MIB
    size = Math.min(size, within, Math.max(SMALLEST, risked / 3), risked)
  }
  // What would not be here in its time would be given up, and asked for again without end.
  if (rate > 0) size = Math.min(size, rate * SLOWEST_MS)
  return Math.max(pieceLength, Math.min(size, largest))
}
