/** What a buyer may have at once: requests, ciphertext out unpaid, and on credit plain pieces. */
import type { PartyKey } from '../bytes.ts'
import { account, fitsLimit, isOpen, isProven } from './desk-books.ts'
import type { Desk, PeerId, Sale } from './desk-state.ts'
import type { RefusalCode } from './message.ts'

/** The longest line of credit, bytes. */
export const MAX_CREDIT_BYTES = 16 * 1024 * 1024
/** Requests of one peer that may be open at once. */
export const MAX_OPEN_PER_PEER = 8
/** Requests that one peer may give up a second: each costs the seller an invoice and a look-up. */
export const MAX_CANCELS_PER_S = 16

/** Whether this peer has as many requests open, or given up just now, as it may have. */
export function isBusy(desk: Desk, peer: PeerId, nowMs: number): boolean {
  let open = 0
  let cancels = 0
  for (const sale of desk.sales.values()) {
    if (sale.peer !== peer) continue
    if (isOpen(sale)) open++
    if (sale.cancelledAtMs !== undefined && nowMs - sale.cancelledAtMs < 1000) cancels++
  }
  return open >= MAX_OPEN_PER_PEER || cancels >= MAX_CANCELS_PER_S
}

/** What ran ahead of one first payment that failed is borne; it stays spent in the pool all the same. */
export function isBarred(desk: Desk, buyer: PartyKey): boolean {
  const { debtBytes, settledBytes } = account(desk, buyer)
  const borne = Math.max(desk.shape.pieceLength * 4, desk.policy.unprovenBytes / 2)
  return debtBytes > settledBytes && !desk.policy.approved.includes(buyer) && debtBytes > borne
}

/** Why this sale cannot go out now, or ever. */
export function refusalOf(desk: Desk, sale: Sale): RefusalCode | undefined {
  const { buyer, bytes } = sale
  if (sale.mode === 'credit' && bytes > creditLine(desk, buyer)) return 'unpaid'
  if (!fitsLimit(desk, sale)) return 'unpaid'
  if (!isProven(desk, buyer) && desk.unprovenBytes + bytes > desk.policy.unprovenBytes) return 'unpaid'
  return undefined
}

/** Unpaid bytes that a key may have in the clear: one piece, and as much as it has paid for before, less what it owes. */
export function creditLine(desk: Desk, buyer: PartyKey): number {
  const of = account(desk, buyer)
  const line = Math.min(desk.shape.pieceLength, desk.shape.length) + of.settledBytes - of.owedBytes
  return Math.min(MAX_CREDIT_BYTES, Math.max(0, line))
}

/** Whether the buyer's line has room for this sale beside what is unpaid already. */
export const fitsLine = (desk: Desk, sale: Sale): boolean =>
  account(desk, sale.buyer).unpaidBytes + sale.bytes <= creditLine(desk, sale.buyer)
