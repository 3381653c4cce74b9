/**
 * The seller's side of the exchange: which request is served, at what price, and how much ciphertext may be
 * out unpaid. Takes events, returns effects; the caller keeps the clock, the wire, the wallet and the cipher.
 */
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { msat, priceOf, ZERO, type Msat } from '../money/msat.ts'
import { pieceBytes, piecesOf, type Shape } from '../swarm/merkle.ts'
import type { RefusalCode, Role } from './message.ts'
import { MAX_WINDOW_BYTES } from './quote.ts'

export type PeerId = string
export type SaleId = Sha256Hex // the quote's id

export type DeskPolicy = Readonly<{
  /** msat per MiB */
  price: Msat
  gifts: Readonly<{ to: 'nobody' | 'approved' | 'distributors'; copies: number }>
  approved: readonly PartyKey[]
  /** Ciphertext out and unpaid, all buyers together, bytes. */
  unpaidBytes: number
  /** The part of it that keys which never settled may have, bytes; what they never pay stays spent. */
  unprovenBytes: number
}>

/** `preparing`: cipher, invoice and quote are being made and sent. `waiting`: for the payment. */
export type Sale = {
  readonly id: SaleId
  readonly peer: PeerId
  readonly buyer: PartyKey
  readonly request: number
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly amount: Msat
  readonly at: number
  /** Its bytes count in the pool of keys that had not settled when it was asked for. */
  unproven: boolean
  /** Ciphertext is on its way: from here on giving up is not free. */
  begun: boolean
  state: 'preparing' | 'waiting' | 'locked' | 'paid' | 'given' | 'expired' | 'cancelled' | 'failed'
  expiresAtMs: number
}

type Account = { settledBytes: number; unpaidBytes: number; debtBytes: number; giftBytes: number }

export type Desk = {
  readonly shape: Shape
  policy: DeskPolicy
  open: boolean
  readonly sales: Map<SaleId, Sale>
  readonly accounts: Map<PartyKey, Account>
  readonly gifted: Set<PartyKey>
  unpaidBytes: number
  unprovenBytes: number
  soldPieces: number
  uploadedBytes: number
  earned: Msat
}

export type DeskEvent =
  | {
      tag: 'asked'
      id: SaleId
      peer: PeerId
      buyer: PartyKey
      role: Role
      request: number
      pieces: readonly number[]
      has: (piece: number) => boolean
    }
  | { tag: 'began'; id: SaleId }
  | { tag: 'sent'; id: SaleId; expiresAtMs: number }
  | { tag: 'failed'; id: SaleId; code: RefusalCode }
  | { tag: 'cancelled'; peer: PeerId; request: number }
  | { tag: 'locked'; id: SaleId }
  | { tag: 'settled'; id: SaleId }
  | { tag: 'left'; peer: PeerId; buyer: PartyKey }
  | { tag: 'tick' }

export type DeskEffect =
  | { tag: 'refuse'; peer: PeerId; request: number; code: RefusalCode }
  | { tag: 'serve'; sale: Sale }
  /** The buyer's sats are locked: release them with the secret, at once. */
  | { tag: 'settle'; sale: Sale }
  | { tag: 'give-key'; sale: Sale }
  /** Nobody pays this invoice any more. */
  | { tag: 'forget'; sale: Sale }

/** What a seller has out unpaid at most, unless its owner says otherwise: in all, and to keys that never settled. */
export const DEFAULT_UNPAID_BYTES = 32 * 1024 * 1024
export const DEFAULT_UNPROVEN_BYTES = 16 * 1024 * 1024

/** Requests of one peer that may be open at once. */
export const MAX_OPEN_PER_PEER = 8
/** How long after a quote's expiry a settlement may still be under way. */
const GRACE_MS = 30_000
const MAX_ENDED = 200

export function openDesk(shape: Shape, policy: DeskPolicy): Desk {
  return {
    shape,
    policy,
    open: true,
    sales: new Map(),
    accounts: new Map(),
    gifted: new Set(),
    unpaidBytes: 0,
    unprovenBytes: 0,
    soldPieces: 0,
    uploadedBytes: 0,
    earned: ZERO,
  }
}

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

/** Keeps a free copy for a key that was told of it, until it leaves without having taken any. */
export function reserve(desk: Desk, buyer: PartyKey): void {
  desk.gifted.add(buyer)
}

export function step(desk: Desk, event: DeskEvent, nowMs: number): DeskEffect[] {
  switch (event.tag) {
    case 'asked':
      return asked(desk, event, nowMs)
    case 'began': {
      const sale = desk.sales.get(event.id)
      if (sale?.state === 'preparing') sale.begun = true
      return []
    }
    case 'sent': {
      const sale = desk.sales.get(event.id)
      if (sale?.state !== 'preparing') return []
      desk.uploadedBytes += sale.bytes
      sale.expiresAtMs = event.expiresAtMs
      sale.begun = true
      if (sale.amount > 0) {
        sale.state = 'waiting'
        return []
      }
      close(desk, sale, 'given')
      desk.soldPieces += sale.pieces.length
      return [{ tag: 'give-key', sale }]
    }
    case 'failed': {
      const sale = desk.sales.get(event.id)
      if (sale?.state !== 'preparing') return []
      close(desk, sale, 'failed')
      return [{ tag: 'refuse', peer: sale.peer, request: sale.request, code: event.code }]
    }
    case 'cancelled': {
      const sale = [...desk.sales.values()].find(
        (at) => at.peer === event.peer && at.request === event.request,
      )
      if (sale === undefined || (sale.state !== 'preparing' && sale.state !== 'waiting')) return []
      // What was sent stays on the buyer's account: giving up is free only before the ciphertext is out.
      if (sale.begun && sale.amount > 0) account(desk, sale.buyer).debtBytes += sale.bytes
      close(desk, sale, 'cancelled')
      return [{ tag: 'forget', sale }]
    }
    case 'locked': {
      const sale = desk.sales.get(event.id)
      if (sale === undefined || sale.state === 'paid' || sale.state === 'given') return []
      // One that ended is off the books already: it is settled all the same, but not opened again.
      if (isOpen(sale)) sale.state = 'locked'
      return [{ tag: 'settle', sale }]
    }
    case 'settled': {
      const sale = desk.sales.get(event.id)
      if (sale === undefined || sale.state === 'paid' || sale.state === 'given') return []
      const of = account(desk, sale.buyer)
      if (sale.state === 'expired' || sale.state === 'cancelled')
        of.debtBytes = Math.max(0, of.debtBytes - sale.bytes)
      close(desk, sale, 'paid')
      of.settledBytes += sale.bytes
      desk.earned = msat(desk.earned + sale.amount)
      desk.soldPieces += sale.pieces.length
      return [{ tag: 'give-key', sale }]
    }
    case 'left':
      for (const sale of desk.sales.values()) {
        if (sale.peer !== event.peer || sale.state !== 'preparing') continue
        // Hanging up half way is no cheaper than giving up: what was sent stays on the account.
        if (sale.begun && sale.amount > 0) account(desk, sale.buyer).debtBytes += sale.bytes
        close(desk, sale, sale.begun ? 'cancelled' : 'failed')
      }
      if ((desk.accounts.get(event.buyer)?.giftBytes ?? 0) === 0) desk.gifted.delete(event.buyer)
      return []
    case 'tick': {
      const effects: DeskEffect[] = []
      for (const sale of desk.sales.values()) {
        if (sale.state !== 'waiting' || nowMs < sale.expiresAtMs + GRACE_MS) continue
        account(desk, sale.buyer).debtBytes += sale.bytes
        close(desk, sale, 'expired')
        effects.push({ tag: 'forget', sale })
      }
      trim(desk)
      return effects
    }
  }
}

function asked(desk: Desk, event: Extract<DeskEvent, { tag: 'asked' }>, nowMs: number): DeskEffect[] {
  const { id, peer, buyer, request, pieces } = event
  const no = (code: RefusalCode): DeskEffect[] => [{ tag: 'refuse', peer, request, code }]
  if (!desk.open || desk.sales.has(id)) return no('closed')
  const count = piecesOf(desk.shape)
  if (pieces.some((piece) => piece >= count || !event.has(piece))) return no('missing')
  const bytes = pieces.reduce((total, piece) => total + pieceBytes(desk.shape, piece), 0)
  if (bytes > MAX_WINDOW_BYTES) return no('too large')
  let open = 0
  for (const sale of desk.sales.values()) if (sale.peer === peer && isOpen(sale)) open++
  if (open >= MAX_OPEN_PER_PEER) return no('busy')
  const of = account(desk, buyer)
  // Twice the artifact: a taker may lose some of what it was given, not take it for ever.
  const gift =
    isGift(desk, buyer, event.role) &&
    (desk.policy.price === 0 || of.giftBytes + bytes <= 2 * desk.shape.length + MAX_WINDOW_BYTES)
  let unproven = false
  if (!gift) {
    const approved = desk.policy.approved.includes(buyer)
    const proven = of.settledBytes > 0 || approved
    if (of.debtBytes > of.settledBytes && !approved && of.debtBytes > desk.shape.pieceLength * 4)
      return no('barred')
    if (desk.unpaidBytes + bytes > desk.policy.unpaidBytes) return no('unpaid')
    if (!proven && desk.unprovenBytes + bytes > desk.policy.unprovenBytes) return no('unpaid')
    desk.unpaidBytes += bytes
    of.unpaidBytes += bytes
    unproven = !proven
    if (unproven) desk.unprovenBytes += bytes
  } else {
    desk.gifted.add(buyer)
    of.giftBytes += bytes
  }
  const sale: Sale = {
    id,
    peer,
    buyer,
    request,
    pieces,
    bytes,
    amount: gift ? ZERO : priceOf(bytes, desk.policy.price),
    at: nowMs,
    unproven,
    begun: false,
    state: 'preparing',
    expiresAtMs: Number.POSITIVE_INFINITY,
  }
  desk.sales.set(id, sale)
  return [{ tag: 'serve', sale }]
}

const isOpen = (sale: Sale): boolean =>
  sale.state === 'preparing' || sale.state === 'waiting' || sale.state === 'locked'

/** Ends a sale and takes its bytes off the books; of an unproven key's pool only what was paid or never sent comes back. */
function close(desk: Desk, sale: Sale, state: 'paid' | 'given' | 'expired' | 'cancelled' | 'failed'): void {
  const wasOpen = isOpen(sale)
  sale.state = state
  if (sale.amount === 0) return
  const of = account(desk, sale.buyer)
  if (wasOpen) {
    desk.unpaidBytes -= sale.bytes
    of.unpaidBytes -= sale.bytes
  }
  const spent = sale.begun && (state === 'expired' || state === 'cancelled')
  if (!sale.unproven || spent) return
  sale.unproven = false
  desk.unprovenBytes -= sale.bytes
}

function account(desk: Desk, key: PartyKey): Account {
  let of = desk.accounts.get(key)
  if (of === undefined)
    desk.accounts.set(key, (of = { settledBytes: 0, unpaidBytes: 0, debtBytes: 0, giftBytes: 0 }))
  return of
}

function trim(desk: Desk): void {
  const ended = [...desk.sales.values()].filter((sale) => !isOpen(sale) && sale.state !== 'expired')
  for (const sale of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) desk.sales.delete(sale.id)
}
