/** What the budgets, the balance, memory and a seller's patience leave room for. */
import type { PartyKey } from '../bytes.ts'
import { MAX_OPEN_PER_PEER } from '../exchange/desk-limits.ts'
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../exchange/desk-policy.ts'
import { leastPayment, MIB, msat, windowPrice, type Msat } from '../money/msat.ts'
import { rateOf, turnMs, answerMsOf } from './buyer-meter.ts'
import { MAX_PAYMENT_SLOTS } from './buyer-policy.ts'
import { record, type Buyer, type BuyerPeer, type KeyRecord } from './buyer-state.ts'
import { pieceBytes } from './merkle.ts'

/** Bytes that a seller lets be out unpaid, unless it refuses earlier. */
export const SELLER_ROOM = DEFAULT_UNPAID_BYTES
/** Pieces that may be at stake with keys that have not settled, all together, unless the owner says otherwise. */
const UNPROVEN_PIECES = 4
/** One less than a desk allows: it hears of a settlement later than the buyer. */
export const MAX_OPEN = MAX_OPEN_PER_PEER - 1
/** Ciphertext that may be here when a key's first payment settles: half of what a desk has for all new keys together. */
export const RUN_AHEAD_BYTES = DEFAULT_UNPROVEN_BYTES / 2
/** What is held would be paid within this time: well before its quote lapses. */
const HELD_MS = 30_000

/** The price of a whole piece at the cap: what any risk is measured in. */
export const amountOfPiece = (buyer: Buyer): Msat =>
  windowPrice(Math.min(buyer.shape.pieceLength, buyer.shape.length), buyer.policy.priceCap, buyer.money)

/** Sats that may be at stake with keys that have not settled yet, all together. */
export const unprovenBudget = (buyer: Buyer): Msat =>
  buyer.policy.unprovenBudget ?? msat(UNPROVEN_PIECES * amountOfPiece(buyer))

/** Bytes of the least that may still be asked for. */
export function smallestMissing({ have, shape }: Buyer): number {
  const last = have.length - 1
  return have[last] === 0 ? pieceBytes(shape, last) : shape.pieceLength
}

/** Sats that one key may have at stake at once. */
export function stakeLimit(buyer: Buyer, key: PartyKey, of: KeyRecord): number {
  if (of.dropped !== undefined) return 0
  const onePiece = amountOfPiece(buyer)
  if (of.settledBytes === 0) return onePiece
  const most = Math.max(buyer.policy.riskBudget, onePiece)
  // After cheats as dear as the budget a key may risk no more than it has earned honestly before.
  const burnt = !buyer.policy.approved.includes(key) && buyer.lost + onePiece > unprovenBudget(buyer)
  return burnt ? Math.min(most, of.paid) : most
}

/** The same for windows that are asked for now: those of a key that has not settled are paid once it has. */
export const stakeToCome = (buyer: Buyer, key: PartyKey, of: KeyRecord): number =>
  of.settledBytes > 0 ? stakeLimit(buyer, key, of) : Math.max(buyer.policy.riskBudget, amountOfPiece(buyer))

/** The rule on what one key, and all unproven keys together, may have at stake. */
export function mayStake(buyer: Buyer, key: PartyKey, amount: Msat, nowMs: number): boolean {
  const of = record(buyer, key, nowMs)
  if (of.atStake + amount > stakeLimit(buyer, key, of)) return false
  if (of.settledBytes > 0) return true
  if (of.atStake > 0) return false
  return buyer.policy.approved.includes(key) || buyer.unprovenSpent + amount <= unprovenBudget(buyer)
}

export const paymentSlots = (buyer: Buyer): number =>
  Math.max(1, Math.min(buyer.policy.paymentSlots, MAX_PAYMENT_SLOTS))

/** What the wallet will likely take on top of payments: by the dearest so far, yet no more than the highest fee or the mean rate. */
function expectedFees(buyer: Buyer, amount: number, payments: number): number {
  const { rate, most, mean } = feesSoFar(buyer)
  return Math.ceil(Math.min(rate * amount, Math.max(most * payments, mean * amount)))
}

function feesSoFar(buyer: Buyer): { rate: number; most: number; mean: number } {
  const named = buyer.paid - unnamed(buyer)
  const mean = named > 0 ? buyer.fees / named : 0
  return { ...buyer.feePace, rate: Math.max(buyer.feePace.rate, mean), mean }
}

/** Sats that were paid at fees not known yet. */
function unnamed({ feesOpen }: Buyer): number {
  let total = 0
  for (const amount of feesOpen.values()) total += amount
  return total
}

/** Of the release's budget, with fees, when this much more is paid beside what is with the wallet. */
export function budgetAfter(buyer: Buyer, amount: number, payments = 1): number {
  const { paid, fees, under, policy, feesOpen } = buyer
  const known = policy.budget - paid - fees - under.locked - amount
  const open = unnamed(buyer) + under.locked + amount
  return known - expectedFees(buyer, open, feesOpen.size + under.payments + payments)
}

/** Sats that the release's budget still allows to be asked for, so that what their payment costs is left. */
export function budgetLeft(buyer: Buyer): number {
  const { promised, promises } = buyer.under
  const left = budgetAfter(buyer, promised, promises)
  const { rate, most, mean } = feesSoFar(buyer)
  if (rate === 0) return left
  return Math.floor(Math.max(left / (1 + rate), Math.min(left - most, left / (1 + mean)))) - 1
}

/** Bytes at a price that they still allow. */
export const budgetBytesLeft = (buyer: Buyer): number =>
  buyer.policy.budgetBytes - buyer.paidBytes - buyer.under.lockedBytes - buyer.under.promisedBytes

/** Bytes at a price that sats pay, in one window or more. */
const bytesFor = (sats: number, price: Msat, least: Msat): number =>
  sats < least ? 0 : Math.floor((sats / price) * MIB)

/**
 * Bytes that the next window may have. `firm`: money, which is used to the last piece. `soft`: room that comes
 * again when windows under way end, so that it is not worth a window much smaller than `wish`.
 */
export function roomFor(
  buyer: Buyer,
  peer: BuyerPeer,
  of: KeyRecord,
  price: Msat,
  memoryShare: number,
  wish: number,
): { firm: number; soft: number } {
  const { under, policy, shape } = buyer
  const piece = Math.min(shape.pieceLength, shape.length)
  const memory =
    under.heldBytes === 0
      ? Math.max(piece, policy.memoryBytes)
      : Math.min(policy.memoryBytes - under.heldBytes, memoryShare * policy.memoryBytes - of.under.heldBytes)
  if (price === 0) return { firm: Number.POSITIVE_INFINITY, soft: memory }
  const soft = Math.min(memory, unpaidRoom(buyer, peer, of, piece, wish))
  const queue = paymentSlots(buyer) * Math.max(1, Math.min(64, Math.floor(HELD_MS / turnMs(buyer))))
  if (under.promises >= queue) return { firm: 0, soft: 0 }
  const sats = Math.min(
    (buyer.balance ?? 0) - under.promised,
    budgetLeft(buyer),
    stakeRoom(buyer, peer, of, price, wish),
  )
  return { firm: Math.min(bytesFor(sats, price, leastPayment(buyer.money)), budgetBytesLeft(buyer)), soft }
}

/** What the seller lets be out unpaid, and how far ahead of a first or a slow payment is worth asking. */
function unpaidRoom(buyer: Buyer, peer: BuyerPeer, of: KeyRecord, piece: number, wish: number): number {
  const out = of.under.unpaidBytes
  if (out === 0) return Math.max(piece, peer.roomBytes)
  const turn = turnMs(buyer) + answerMsOf(of)
  if (peer.mode === 'credit') return Math.min(peer.roomBytes, piece + of.settledBytes) - out
  if (of.settledBytes > 0) return Math.min(peer.roomBytes, 2 * rateOf(of) * turn + 3 * wish) - out
  const known = buyer.pace.paymentMs > 0 && rateOf(of) > 0
  const ahead = known ? Math.min(RUN_AHEAD_BYTES, rateOf(of) * turn + 2 * wish) : RUN_AHEAD_BYTES
  return Math.min(peer.roomBytes, Math.max(piece, ahead)) - out
}

/** Sats of windows that this key could be paid for: its stake, and two windows ahead that are ready when it frees. */
function stakeRoom(buyer: Buyer, peer: BuyerPeer, of: KeyRecord, price: Msat, wish: number): number {
  if (peer.mode === 'credit') return Number.POSITIVE_INFINITY
  const onePiece = amountOfPiece(buyer)
  if (of.settledBytes === 0) {
    // The first payment's window is one piece; what runs ahead of it will be at stake when it has settled.
    if (of.under.payments > 0) return stakeToCome(buyer, peer.key, of)
    const approved = buyer.policy.approved.includes(peer.key)
    const left = approved ? onePiece : unprovenBudget(buyer) - buyer.unprovenSpent
    return of.atStake > 0 ? 0 : Math.min(onePiece, left)
  }
  const limit = stakeLimit(buyer, peer.key, of)
  const ahead = 2 * Math.min(limit, windowPrice(Math.ceil(wish), price, buyer.money))
  return Math.min(limit, limit + ahead - of.atStake - of.under.promised)
}
