/**
 * What the buyer asks for next: cheapest sellers first, rarest pieces first, as far as balance, budget and the
 * risk with each key leave room; and, when nothing moves, why.
 */
import type { PartyKey } from '../bytes.ts'
import { msat, priceOf, ZERO, type Money, type Msat } from '../money/msat.ts'
import {
  BUSY_REST_MS,
  locked,
  record,
  WINDOWS_IN_FLIGHT,
  type Buyer,
  type BuyerEffect,
  type BuyerPeer,
  type Window,
} from './buyer-state.ts'
import { pieceBytes } from './merkle.ts'
import { pickPieces } from './picker.ts'

const MIB = 1024 * 1024
const LARGEST_WINDOW = 4 * MIB

/** Sats that windows under way still want: asked or held. */
const promised = (buyer: Buyer): number => {
  let total = 0
  for (const window of buyer.windows.values())
    if (window.state === 'asked' || window.state === 'held') total += window.amount
  return total
}

/** The rule on what one key, and all unproven keys together, may have at stake. */
export function mayStake(buyer: Buyer, key: PartyKey, amount: Msat, nowMs: number): boolean {
  const of = record(buyer, key, nowMs)
  if (of.dropped !== undefined) return false
  const approved = buyer.policy.approved.includes(key)
  if (of.settledBytes === 0) {
    if (of.atStake > 0) return false
    return approved || buyer.unprovenSpent + amount <= buyer.policy.unprovenBudget
  }
  // After cheats as dear as the budget a key may risk no more than it has earned honestly before.
  const burnt = !approved && buyer.lost + amountOfPiece(buyer) > buyer.policy.unprovenBudget
  if (burnt && of.paid < of.atStake + amount) return false
  return of.atStake + amount <= Math.max(buyer.policy.riskBudget, amountOfPiece(buyer))
}

const amountOfPiece = (buyer: Buyer): Msat => priceOf(buyer.shape.pieceLength, buyer.policy.priceCap)

type Blocked =
  | { why: 'nobody' }
  | { why: 'price'; lowest: Msat }
  | { why: 'money'; offered: Money | undefined }
  | { why: 'unproven' }

/** A peer that may be asked, and at what price; or why not. */
function usable(buyer: Buyer, peer: BuyerPeer): Msat | Blocked {
  if (buyer.keys.get(peer.key)?.dropped !== undefined) return { why: 'nobody' }
  if (peer.gift) return ZERO
  if (buyer.money === undefined || peer.money !== buyer.money) return { why: 'money', offered: peer.money }
  if (peer.price > buyer.policy.priceCap) return { why: 'price', lowest: peer.price }
  return peer.price
}

/** Asks for windows wherever a peer has room, cheapest first. */
export function ask(buyer: Buyer, nowMs: number): BuyerEffect[] {
  if (buyer.haveCount === buyer.have.length) return []
  const ready: { peer: BuyerPeer; price: Msat }[] = []
  for (const peer of buyer.peers.values()) {
    const price = usable(buyer, peer)
    const walletRests = price !== 0 && buyer.walletRestsUntilMs > nowMs
    if (typeof price === 'number' && peer.restUntilMs <= nowMs && !walletRests) ready.push({ peer, price })
  }
  ready.sort((a, b) => a.price - b.price)
  const effects: BuyerEffect[] = []
  // One window a peer in turn, so that no seller takes all there is before the next is asked.
  for (let more = true; more;) {
    more = false
    for (const { peer, price } of ready) {
      const window = askOne(buyer, peer, price, ready.length, nowMs)
      if (window === undefined) continue
      more = true
      effects.push({ tag: 'ask', window: window.id, peer: peer.id, pieces: window.pieces })
    }
  }
  return effects
}

function askOne(
  buyer: Buyer,
  peer: BuyerPeer,
  price: Msat,
  sellers: number,
  nowMs: number,
): Window | undefined {
  const of = record(buyer, peer.key, nowMs)
  const trusted = of.settledBytes > 0
  let open = 0
  for (const window of buyer.windows.values()) if (window.peer === peer.id && !window.elsewhere) open++
  if (open >= (trusted || price === 0 ? WINDOWS_IN_FLIGHT : 1)) return undefined
  const missing = buyer.have.length - buyer.haveCount
  const fair = Math.max(1, Math.ceil(missing / (sellers * 2)))
  const growth = trusted ? of.windows + 1 : 1
  const largest = Math.min(LARGEST_WINDOW, peer.maxWindowBytes)
  const affordable = affordablePieces(buyer, peer.key, price, nowMs)
  const most =
    trusted || price === 0
      ? Math.max(
          1,
          Math.floor(Math.min(largest, price === 0 ? largest : growth * MIB) / buyer.shape.pieceLength),
        )
      : 1
  const count = Math.min(most, fair, affordable)
  if (count < 1) return undefined
  const pieces = pickPieces(buyer, peer.has, count)
  if (pieces.length === 0) return undefined
  const bytes = pieces.reduce((total, piece) => total + pieceBytes(buyer.shape, piece), 0)
  const window: Window = {
    id: buyer.nextWindow++,
    peer: peer.id,
    key: peer.key,
    pieces,
    bytes,
    mode: peer.mode,
    source: peer.source,
    amount: priceOf(bytes, price),
    fees: ZERO,
    state: 'asked',
    paymentHash: '',
    quoteExpiresAtMs: 0,
    requestedAtMs: nowMs,
    progressAtMs: nowMs,
    payingAtMs: 0,
    paidAtMs: 0,
    doneAtMs: 0,
    unproven: false,
    elsewhere: false,
    restored: false,
    lookUps: 0,
    lookUpAtMs: 0,
  }
  buyer.windows.set(window.id, window)
  for (const piece of pieces) buyer.assigned[piece] = window.id
  return window
}

/** Whole pieces that balance, budget and risk leave room for, with this key. */
function affordablePieces(buyer: Buyer, key: PartyKey, price: Msat, nowMs: number): number {
  if (price === 0) return Number.MAX_SAFE_INTEGER
  const onePiece = priceOf(Math.min(buyer.shape.pieceLength, buyer.shape.length), price)
  const wanted = promised(buyer)
  const funds = (buyer.balance ?? 0) - wanted
  const budget = buyer.policy.budget - buyer.paid - buyer.fees - locked(buyer) - wanted
  const of = record(buyer, key, nowMs)
  const risk = of.settledBytes > 0 ? Math.max(buyer.policy.riskBudget, onePiece) : onePiece
  if (of.settledBytes === 0 && !mayStake(buyer, key, onePiece, nowMs)) return 0
  const room = Math.min(funds, budget, risk)
  // The short last piece costs less than a whole one: let it be tried when it is all that is left.
  if (room < onePiece)
    return buyer.have.length - buyer.haveCount === 1 && room >= lastPrice(buyer, price) ? 1 : 0
  return Math.floor(room / Math.max(1, onePiece))
}

const lastPrice = (buyer: Buyer, price: Msat): number => {
  const piece = buyer.have.indexOf(0)
  return priceOf(pieceBytes(buyer.shape, piece), price)
}

/** Why nothing moves, for `DownloadState`. */
export function outlook(
  buyer: Buyer,
  nowMs: number,
):
  | { tag: 'complete' }
  /** `mirror`: a plain HTTP mirror is being fetched from right now. */
  | { tag: 'buying'; mirror?: boolean }
  | { tag: 'looking' }
  | { tag: 'funds'; need: Msat }
  | { tag: 'budget'; of: 'sats' | 'bytes' }
  | { tag: 'price'; lowest: Msat }
  | { tag: 'money'; offered: Money | undefined }
  | { tag: 'unproven' } {
  if (buyer.haveCount === buyer.have.length) return { tag: 'complete' }
  let busy = false
  for (const window of buyer.windows.values()) {
    if (window.elsewhere) continue
    if (window.state === 'held' && window.amount > 0) busy = true
    else return { tag: 'buying' }
  }
  let cheapest: Msat | undefined
  let blocked: Blocked = { why: 'nobody' }
  for (const peer of buyer.peers.values()) {
    if (!offersSomething(buyer, peer)) continue
    const price = usable(buyer, peer)
    if (typeof price !== 'number') {
      if (blocked.why === 'nobody') blocked = price
      continue
    }
    if (peer.restUntilMs > nowMs) {
      if (peer.restUntilMs - nowMs <= BUSY_REST_MS) busy = true
      continue
    }
    if (price === 0) return { tag: 'buying' }
    if (cheapest === undefined || price < cheapest) cheapest = price
  }
  if (cheapest === undefined) {
    if (blocked.why === 'price') return { tag: 'price', lowest: blocked.lowest }
    if (blocked.why === 'money') return { tag: 'money', offered: blocked.offered }
    return { tag: busy ? 'buying' : 'looking' }
  }
  const rest = priceOf(missingBytes(buyer), cheapest)
  if (buyer.paid + buyer.fees + locked(buyer) + lastPrice(buyer, cheapest) > buyer.policy.budget)
    return { tag: 'budget', of: 'sats' }
  if (rest > (buyer.balance ?? 0)) return { tag: 'funds', need: msat(rest - (buyer.balance ?? 0)) }
  return { tag: 'unproven' }
}

function missingBytes(buyer: Buyer): number {
  let bytes = 0
  for (let piece = 0; piece < buyer.have.length; piece++)
    if (buyer.have[piece] === 0) bytes += pieceBytes(buyer.shape, piece)
  return bytes
}

function offersSomething(buyer: Buyer, peer: BuyerPeer): boolean {
  for (let piece = 0; piece < buyer.have.length; piece++)
    if (peer.has[piece] === 1 && buyer.have[piece] === 0) return true
  return false
}
