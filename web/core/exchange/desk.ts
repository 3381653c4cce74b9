/**
 * The seller's side of the exchange: which request is served, at what price, and how much ciphertext may be
 * out unpaid. Takes events, returns effects; the caller keeps the clock, the wire, the wallet and the cipher.
 */
import type { PartyKey } from '../bytes.ts'
import { msat, windowPrice, ZERO } from '../money/msat.ts'
import { piecesOf } from '../swarm/merkle.ts'
import * as books from './desk-books.ts'
import type { DeskEffect, DeskEvent, DeskEventOf } from './desk-events.ts'
import * as gifts from './desk-gifts.ts'
import { creditLine, fitsLine, isBarred, isBusy, refusalOf } from './desk-limits.ts'
import type { Desk, Sale, SaleId } from './desk-state.ts'
import type { RefusalCode } from './message.ts'
import { MAX_WINDOW_BYTES, windowBytes } from './quote.ts'

/** How long a request on credit waits for payments before it is refused: well within a buyer's patience. */
const BLOCKED_MS = 5_000
/** How long after a quote's expiry a settlement may still be under way. */
const GRACE_MS = 30_000

export function step(desk: Desk, event: DeskEvent, nowMs: number): DeskEffect[] {
  switch (event.tag) {
    case 'asked':
      return asked(desk, event, nowMs)
    case 'began': {
      const sale = preparing(desk, event.id)
      if (sale !== undefined) sale.begun = true
      return []
    }
    case 'delivered': {
      const sale = preparing(desk, event.id)
      if (sale !== undefined) sale.delivered = true
      return []
    }
    case 'sent':
      return sent(desk, event)
    case 'failed': {
      const sale = preparing(desk, event.id)
      if (sale === undefined) return []
      books.close(desk, sale, 'failed')
      return [refuse(sale, event.code), ...unblock(desk, sale.buyer)]
    }
    case 'cancelled':
      return cancelled(desk, event, nowMs)
    case 'locked': {
      const sale = unsettled(desk, event.id)
      if (sale === undefined) return []
      // One that ended is off the books already: it is settled all the same, but not opened again.
      if (books.onBooks(sale)) sale.state = 'locked'
      return [{ tag: 'settle', sale }]
    }
    case 'settled':
      return settled(desk, event.id)
    case 'left':
      return left(desk, event)
    case 'owed':
      books.carryOver(desk, event.debt)
      return []
    case 'tick':
      return tick(desk, nowMs)
  }
}

function preparing(desk: Desk, id: SaleId): Sale | undefined {
  const sale = desk.sales.get(id)
  return sale?.state === 'preparing' ? sale : undefined
}

/** One whose payment is still news, however late. */
function unsettled(desk: Desk, id: SaleId): Sale | undefined {
  const sale = desk.sales.get(id)
  return sale?.state === 'paid' || sale?.state === 'given' ? undefined : sale
}

const refuse = ({ peer, request }: Pick<Sale, 'peer' | 'request'>, code: RefusalCode): DeskEffect => ({
  tag: 'refuse',
  peer,
  request,
  code,
})

function asked(desk: Desk, event: DeskEventOf<'asked'>, nowMs: number): DeskEffect[] {
  const { id, peer, buyer, request, pieces } = event
  const no = (code: RefusalCode): DeskEffect[] => [refuse(event, code)]
  if (!desk.open || desk.sales.has(id)) return no('closed')
  const count = piecesOf(desk.shape)
  if (pieces.some((piece) => piece >= count || !event.has(piece))) return no('missing')
  const bytes = windowBytes(desk.shape, pieces)
  if (bytes > MAX_WINDOW_BYTES) return no('too large')
  if (isBusy(desk, peer, nowMs)) return no('busy')
  const gift = gifts.isGift(desk, buyer, event.role) && gifts.hasRoom(desk, buyer, bytes)
  const sale: Sale = {
    id,
    peer,
    buyer,
    request,
    pieces,
    bytes,
    amount: gift ? ZERO : windowPrice(bytes, desk.policy.price, event.money),
    mode: gift ? 'free' : (event.mode ?? 'atomic'),
    at: nowMs,
    unproven: false,
    begun: false,
    delivered: false,
    state: 'blocked',
    expiresAtMs: Number.POSITIVE_INFINITY,
  }
  if (gift) gifts.give(desk, buyer, bytes)
  else {
    const code = isBarred(desk, buyer) ? 'barred' : refusalOf(desk, sale)
    if (code !== undefined) return no(code)
  }
  desk.sales.set(id, sale)
  // Payments under way make room on credit; the request waits for them.
  if (sale.mode === 'credit' && !fitsLine(desk, sale)) return []
  return serve(desk, sale)
}

function serve(desk: Desk, sale: Sale): DeskEffect[] {
  books.takeOn(desk, sale)
  return [{ tag: 'serve', sale }]
}

/** Lets out what waited for this buyer's payments, in the order of asking. */
function unblock(desk: Desk, buyer: PartyKey): DeskEffect[] {
  const effects: DeskEffect[] = []
  for (const sale of desk.sales.values()) {
    if (sale.state !== 'blocked' || sale.buyer !== buyer) continue
    if (!fitsLine(desk, sale) || refusalOf(desk, sale) !== undefined) break
    effects.push(...serve(desk, sale))
  }
  return effects
}

function sent(desk: Desk, event: DeskEventOf<'sent'>): DeskEffect[] {
  const sale = preparing(desk, event.id)
  if (sale === undefined) return []
  desk.uploadedBytes += sale.bytes
  sale.expiresAtMs = event.expiresAtMs
  sale.begun = true
  if (sale.amount > 0) {
    sale.state = 'waiting'
    return []
  }
  books.close(desk, sale, 'given')
  desk.soldPieces += sale.pieces.length
  return [{ tag: 'give-key', sale }]
}

function cancelled(desk: Desk, { peer, request }: DeskEventOf<'cancelled'>, nowMs: number): DeskEffect[] {
  const sale = [...desk.sales.values()].find((at) => at.peer === peer && at.request === request)
  if (sale?.state === 'blocked') {
    sale.cancelledAtMs = nowMs
    books.close(desk, sale, 'failed')
    return []
  }
  if (sale === undefined || (sale.state !== 'preparing' && sale.state !== 'waiting')) return []
  // Goods that are delivered are owed.
  if (sale.mode === 'credit' && (sale.delivered || sale.state === 'waiting')) return []
  // What was sent stays on the buyer's account: giving up is free only before the ciphertext is out.
  if (sale.begun) books.charge(desk, sale)
  sale.cancelledAtMs = nowMs
  books.close(desk, sale, 'cancelled')
  return [{ tag: 'forget', sale }, ...unblock(desk, sale.buyer)]
}

function settled(desk: Desk, id: SaleId): DeskEffect[] {
  const sale = unsettled(desk, id)
  if (sale === undefined) return []
  if (sale.state === 'expired' || sale.state === 'cancelled') books.forgive(desk, sale)
  books.close(desk, sale, 'paid')
  books.credit(desk, sale)
  desk.earned = msat(desk.earned + sale.amount)
  desk.soldPieces += sale.pieces.length
  if (sale.mode !== 'credit') return [{ tag: 'give-key', sale }]
  const bytes = creditLine(desk, sale.buyer)
  return [{ tag: 'raise-credit', sale, bytes }, ...unblock(desk, sale.buyer)]
}

function left(desk: Desk, { peer, buyer }: DeskEventOf<'left'>): DeskEffect[] {
  const effects: DeskEffect[] = []
  for (const sale of desk.sales.values()) {
    if (sale.peer !== peer || (sale.state !== 'preparing' && sale.state !== 'blocked')) continue
    // Hanging up half way is no cheaper than giving up: what was sent stays on the account.
    if (sale.begun) books.charge(desk, sale)
    books.close(desk, sale, sale.begun ? 'cancelled' : 'failed')
    if (sale.begun) effects.push({ tag: 'forget', sale })
  }
  gifts.release(desk, buyer)
  books.forgetBlank(desk, buyer)
  return [...effects, ...unblock(desk, buyer)]
}

function tick(desk: Desk, nowMs: number): DeskEffect[] {
  const effects: DeskEffect[] = []
  for (const sale of desk.sales.values()) {
    if (sale.state === 'blocked' && nowMs >= sale.at + BLOCKED_MS) {
      books.close(desk, sale, 'failed')
      effects.push(refuse(sale, 'unpaid'))
    }
    if (sale.state !== 'waiting' || nowMs < sale.expiresAtMs + GRACE_MS) continue
    books.charge(desk, sale)
    books.close(desk, sale, 'expired')
    effects.push({ tag: 'forget', sale })
  }
  books.trim(desk, nowMs)
  return effects
}
