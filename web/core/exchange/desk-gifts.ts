/** Free copies: whose, how many, and how much of one. */
import type { PartyKey } from '../bytes.ts'
import { account } from './desk-books.ts'
import type { Desk } from './desk-state.ts'
import type { Role } from './message.ts'
import { MAX_WINDOW_BYTES } from './quote.ts'

/** Whether this key gets its copy free. Saying so reserves the copy: `reserve`. */
export function isGift(desk: Desk, buyer: PartyKey, role: Role): boolean {
  const { gifts, approved, price } = desk.policy
  if (price === 0) return true
  if (gifts.to === 'nobody') return false
  if (gifts.to === 'approved' && !approved.includes(buyer)) return false
  if (gifts.to === 'distributors' && role !== 'distributor') return false
  if (desk.gifted.has(buyer)) return true
  return desk.gifted.size < gifts.copies
}

/** Whether its copy has room for so much. Twice the artifact: a taker may lose some of what it was given, not take it for ever. */
export const hasRoom = (desk: Desk, buyer: PartyKey, bytes: number): boolean =>
  desk.policy.price === 0 ||
  account(desk, buyer).giftBytes + bytes <= 2 * desk.shape.length + MAX_WINDOW_BYTES

/** Keeps a free copy for a key that was told of it, until it leaves without having taken any. */
export function reserve(desk: Desk, buyer: PartyKey): void {
  desk.gifted.add(buyer)
}

export function give(desk: Desk, buyer: PartyKey, bytes: number): void {
  reserve(desk, buyer)
  account(desk, buyer).giftBytes += bytes
}

/** Whoever leaves without having taken any leaves its copy to others. */
export function release(desk: Desk, buyer: PartyKey): void {
  if ((desk.accounts.get(buyer)?.giftBytes ?? 0) === 0) desk.gifted.delete(buyer)
}
