/** The desk's books: whose bytes are out unpaid, who paid before, and who let something lapse. */
import type { PartyKey } from '../bytes.ts'
import type { Debt } from './desk-events.ts'
import type { Account, Desk, Sale } from './desk-state.ts'

const MAX_ENDED = 200
/** The part of what a key has paid for that it may have out unpaid beside the owner's limit, and the most of it. */
const EARNED_PART = 4
const MAX_EARNED_BYTES = 8 * 1024 * 1024

export function account(desk: Desk, key: PartyKey): Account {
  let of = desk.accounts.get(key)
  if (of === undefined)
    desk.accounts.set(
      key,
      (of = { settledBytes: 0, unpaidBytes: 0, debtBytes: 0, owedBytes: 0, giftBytes: 0 }),
    )
  return of
}

export const isProven = (desk: Desk, buyer: PartyKey): boolean =>
  account(desk, buyer).settledBytes > 0 || desk.policy.approved.includes(buyer)

export const onBooks = (sale: Sale): boolean =>
  sale.state === 'preparing' || sale.state === 'waiting' || sale.state === 'locked'
export const isOpen = (sale: Sale): boolean => sale.state === 'blocked' || onBooks(sale)

/** Ciphertext that a key may have out unpaid by its own record: what it let lapse counts against it. */
const earnedBytes = ({ settledBytes, debtBytes }: Account): number =>
  Math.max(0, Math.min(MAX_EARNED_BYTES, Math.floor(settledBytes / EARNED_PART) - debtBytes))

/** The part of what a key would have out that counts against the owner's limit, with so much more. */
const sharedBytes = (of: Account, more = 0): number => Math.max(0, of.unpaidBytes + more - earnedBytes(of))

/** Whether the owner's limit has room for a sale. */
export function fitsLimit(desk: Desk, { buyer, bytes }: Pick<Sale, 'buyer' | 'bytes'>): boolean {
  const of = account(desk, buyer)
  const more = sharedBytes(of, bytes) - sharedBytes(of)
  return more === 0 || desk.sharedBytes + more <= desk.policy.unpaidBytes
}

/** Changes an account; `desk.sharedBytes` stays the sum over all. */
function change(desk: Desk, key: PartyKey, by: (of: Account) => void): void {
  const of = account(desk, key)
  desk.sharedBytes -= sharedBytes(of)
  by(of)
  desk.sharedBytes += sharedBytes(of)
}

/** A sale was paid: it counts in the buyer's favour, and wears off as much of what it gave up before. */
export function credit(desk: Desk, sale: Sale): void {
  change(desk, sale.buyer, (of) => {
    of.settledBytes += sale.bytes
    of.debtBytes = Math.max(of.owedBytes, of.debtBytes - sale.bytes)
  })
}

/** Takes a sale that goes out on the books. */
export function takeOn(desk: Desk, sale: Sale): void {
  sale.state = 'preparing'
  if (sale.amount === 0) return
  desk.unpaidBytes += sale.bytes
  change(desk, sale.buyer, (of) => (of.unpaidBytes += sale.bytes))
  sale.unproven = !isProven(desk, sale.buyer)
  if (sale.unproven) desk.unprovenBytes += sale.bytes
}

/** Ends a sale and takes its bytes off the books; of an unproven key's pool only what was paid or never sent comes back. */
export function close(
  desk: Desk,
  sale: Sale,
  state: 'paid' | 'given' | 'expired' | 'cancelled' | 'failed',
): void {
  const wasOnBooks = onBooks(sale)
  sale.state = state
  if (sale.amount === 0) return
  if (wasOnBooks) {
    desk.unpaidBytes -= sale.bytes
    change(desk, sale.buyer, (of) => (of.unpaidBytes -= sale.bytes))
  }
  const spent = sale.begun && (state === 'expired' || state === 'cancelled')
  if (!sale.unproven || spent) return
  sale.unproven = false
  desk.unprovenBytes -= sale.bytes
}

/** What was sent and not paid stays on the buyer's account. */
export function charge(desk: Desk, sale: Sale): void {
  if (sale.amount === 0) return
  change(desk, sale.buyer, (of) => (of.debtBytes += sale.bytes))
  // A single piece that was cut off is worth nothing; of several some are whole.
  const worth = sale.delivered || sale.state === 'waiting' || sale.pieces.length > 1
  if (sale.mode === 'credit' && worth) account(desk, sale.buyer).owedBytes += sale.bytes
}

/** A payment that came after its sale had ended takes off what was charged for it. */
export function forgive(desk: Desk, sale: Sale): void {
  change(desk, sale.buyer, (of) => {
    of.debtBytes = Math.max(0, of.debtBytes - sale.bytes)
    if (sale.mode === 'credit') of.owedBytes = Math.max(0, of.owedBytes - sale.bytes)
  })
}

/** A debt from before a restart. */
export function carryOver(desk: Desk, debt: Debt): void {
  if (desk.sales.has(debt.id)) return
  change(desk, debt.buyer, (of) => {
    of.debtBytes += debt.bytes
    of.owedBytes += debt.bytes
  })
  if (debt.unproven) desk.unprovenBytes += debt.bytes
  desk.sales.set(debt.id, {
    ...debt,
    peer: '',
    request: 0,
    mode: 'credit',
    begun: true,
    delivered: true,
    state: 'expired',
    expiresAtMs: 0,
  })
}

/** Keys cost nothing: one that only asked leaves nothing behind. */
export function forgetBlank(desk: Desk, key: PartyKey): void {
  const of = desk.accounts.get(key)
  if (of !== undefined && Object.values(of).every((bytes) => bytes === 0)) desk.accounts.delete(key)
}

/** What expired so long ago is paid no more: callers end their look-ups an hour after it, at the latest. */
const KEPT_MS = 2 * 3_600_000

export function trim(desk: Desk, nowMs: number): void {
  for (const { id, mode, state, expiresAtMs } of desk.sales.values())
    if (state === 'expired' && mode === 'atomic' && nowMs > expiresAtMs + KEPT_MS) desk.sales.delete(id)
  const ended = [...desk.sales.values()].filter((sale) => !isOpen(sale) && sale.state !== 'expired')
  for (const sale of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) desk.sales.delete(sale.id)
}
