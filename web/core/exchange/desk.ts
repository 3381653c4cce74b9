/**
 * The seller's side of the exchange: which request is served, at what price, and how much ciphertext may be
 * out unpaid. Takes events, returns effects; the caller keeps the clock, the wire, the wallet and the cipher.
 */
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { msat, windowPrice, ZERO, type Money, type Msat } from '../money/msat.ts'
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

/**
 * How a sale is paid. `atomic`: ciphertext first, the payment's preimage is the key. `credit`: plain pieces and an
 * invoice, within the buyer's line. `free`: a gift.
 */
export type Mode = 'atomic' | 'credit' | 'free'

/**
 * `blocked`: on credit, until the buyer has paid for others. `preparing`: cipher, invoice and quote are being made and
 * sent. `waiting`: for the payment. `expired`: never paid; a later payment still counts.
 */
export type Sale = {
  readonly id: SaleId
  readonly peer: PeerId
  readonly buyer: PartyKey
  readonly request: number
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly amount: Msat
  readonly mode: Mode
  readonly at: number
  /** Its bytes count in the pool of keys that had not settled when it was asked for. */
  unproven: boolean
  /** Ciphertext is on its way: from here on giving up is not free. */
  begun: boolean
  /** All of it is handed over: on credit it is owed. */
  delivered: boolean
  state:
    'blocked' | 'preparing' | 'waiting' | 'locked' | 'paid' | 'given' | 'expired' | 'cancelled' | 'failed'
  expiresAtMs: number
  /** When its buyer gave it up. */
  cancelledAtMs?: number
}

type Account = {
  settledBytes: number
  unpaidBytes: number
  /** Let lapse or given up once begun. */
  debtBytes: number
  /** The part of it that came in the clear. */
  owedBytes: number
  giftBytes: number
}

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

export type Debt = Pick<Sale, 'id' | 'buyer' | 'pieces' | 'bytes' | 'amount' | 'at' | 'unproven'>

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
      /** How what is not given is paid; `atomic` unless said otherwise. */
      mode?: 'atomic' | 'credit'
      /** What it is paid in. */
      money?: Money | undefined
    }
  /** Delivered on credit before a restart, and not paid since. */
  | { tag: 'owed'; debt: Debt }
  | { tag: 'began'; id: SaleId }
  /** The last byte of the window is handed over; its quote is not. */
  | { tag: 'delivered'; id: SaleId }
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
  /** A debt is paid; its buyer may now have `bytes` unpaid. */
  | { tag: 'raise-credit'; sale: Sale; bytes: number }
  /** Nobody pays this invoice any more. */
  | { tag: 'forget'; sale: Sale }

/** What a seller has out unpaid at most, unless its owner says otherwise: in all, and to keys that never settled. */
export const DEFAULT_UNPAID_BYTES = 32 * 1024 * 1024
export const DEFAULT_UNPROVEN_BYTES = 16 * 1024 * 1024

/** The longest line of credit, bytes. */
export const MAX_CREDIT_BYTES = 16 * 1024 * 1024
/** How long a request on credit waits for payments before it is refused: well within a buyer's patience. */
const BLOCKED_MS = 5_000

/** Requests of one peer that may be open at once. */
export const MAX_OPEN_PER_PEER = 8
/** Requests that one peer may give up a second: each costs the seller an invoice and a look-up. */
export const MAX_CANCELS_PER_S = 16
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
    case 'delivered': {
      const sale = desk.sales.get(event.id)
      if (sale?.state === 'preparing') sale.delivered = true
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
      const refusal: DeskEffect = { tag: 'refuse', peer: sale.peer, request: sale.request, code: event.code }
      return [refusal, ...unblock(desk, sale.buyer)]
    }
    case 'cancelled': {
      const sale = [...desk.sales.values()].find(
        (at) => at.peer === event.peer && at.request === event.request,
      )
      if (sale?.state === 'blocked') {
        sale.cancelledAtMs = nowMs
        close(desk, sale, 'failed')
        return []
      }
      if (sale === undefined || (sale.state !== 'preparing' && sale.state !== 'waiting')) return []
      // Goods that are delivered are owed.
      if (sale.mode === 'credit' && (sale.delivered || sale.state === 'waiting')) return []
      // What was sent stays on the buyer's account: giving up is free only before the ciphertext is out.
      if (sale.begun) charge(desk, sale)
      sale.cancelledAtMs = nowMs
      close(desk, sale, 'cancelled')
      return [{ tag: 'forget', sale }, ...unblock(desk, sale.buyer)]
    }
    case 'locked': {
      const sale = desk.sales.get(event.id)
      if (sale === undefined || sale.state === 'paid' || sale.state === 'given') return []
      // One that ended is off the books already: it is settled all the same, but not opened again.
      if (onBooks(sale)) sale.state = 'locked'
      return [{ tag: 'settle', sale }]
    }
    case 'settled': {
      const sale = desk.sales.get(event.id)
      if (sale === undefined || sale.state === 'paid' || sale.state === 'given') return []
      const of = account(desk, sale.buyer)
      if (sale.state === 'expired' || sale.state === 'cancelled') {
        of.debtBytes = Math.max(0, of.debtBytes - sale.bytes)
        if (sale.mode === 'credit') of.owedBytes = Math.max(0, of.owedBytes - sale.bytes)
      }
      close(desk, sale, 'paid')
      of.settledBytes += sale.bytes
      desk.earned = msat(desk.earned + sale.amount)
      desk.soldPieces += sale.pieces.length
      if (sale.mode !== 'credit') return [{ tag: 'give-key', sale }]
      const bytes = creditLine(desk, sale.buyer)
      return [{ tag: 'raise-credit', sale, bytes }, ...unblock(desk, sale.buyer)]
    }
    case 'left':
      for (const sale of desk.sales.values()) {
        if (sale.peer !== event.peer || (sale.state !== 'preparing' && sale.state !== 'blocked')) continue
        // Hanging up half way is no cheaper than giving up: what was sent stays on the account.
        if (sale.begun) charge(desk, sale)
        close(desk, sale, sale.begun ? 'cancelled' : 'failed')
      }
      if ((desk.accounts.get(event.buyer)?.giftBytes ?? 0) === 0) desk.gifted.delete(event.buyer)
      forgetBlank(desk, event.buyer)
      return unblock(desk, event.buyer)
    case 'owed':
      return owed(desk, event.debt)
    case 'tick': {
      const effects: DeskEffect[] = []
      for (const sale of desk.sales.values()) {
        if (sale.state === 'blocked' && nowMs >= sale.at + BLOCKED_MS) {
          close(desk, sale, 'failed')
          effects.push({ tag: 'refuse', peer: sale.peer, request: sale.request, code: 'unpaid' })
        }
        if (sale.state !== 'waiting' || nowMs < sale.expiresAtMs + GRACE_MS) continue
        charge(desk, sale)
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
  let cancels = 0
  for (const sale of desk.sales.values()) {
    if (sale.peer !== peer) continue
    if (isOpen(sale)) open++
    if (sale.cancelledAtMs !== undefined && nowMs - sale.cancelledAtMs < 1000) cancels++
  }
  if (open >= MAX_OPEN_PER_PEER || cancels >= MAX_CANCELS_PER_S) return no('busy')
  const of = account(desk, buyer)
  // Twice the artifact: a taker may lose some of what it was given, not take it for ever.
  const gift =
    isGift(desk, buyer, event.role) &&
    (desk.policy.price === 0 || of.giftBytes + bytes <= 2 * desk.shape.length + MAX_WINDOW_BYTES)
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
  if (!gift) {
    const approved = desk.policy.approved.includes(buyer)
    // What ran ahead of one first payment that failed is borne; it stays spent in the pool all the same.
    const borne = Math.max(desk.shape.pieceLength * 4, desk.policy.unprovenBytes / 2)
    if (of.debtBytes > of.settledBytes && !approved && of.debtBytes > borne) return no('barred')
    const code = refusalOf(desk, sale)
    if (code !== undefined) return no(code)
  } else {
    desk.gifted.add(buyer)
    of.giftBytes += bytes
  }
  desk.sales.set(id, sale)
  // Payments under way make room on credit; the request waits for them.
  if (sale.mode === 'credit' && !fitsLine(desk, sale)) return []
  return serve(desk, sale)
}

/** Why this sale cannot go out now, or ever. */
function refusalOf(desk: Desk, sale: Sale): RefusalCode | undefined {
  const { buyer, bytes } = sale
  if (sale.mode === 'credit' && bytes > creditLine(desk, buyer)) return 'unpaid'
  if (desk.unpaidBytes + bytes > desk.policy.unpaidBytes) return 'unpaid'
  if (!isProven(desk, buyer) && desk.unprovenBytes + bytes > desk.policy.unprovenBytes) return 'unpaid'
  return undefined
}

const isProven = (desk: Desk, buyer: PartyKey): boolean =>
  account(desk, buyer).settledBytes > 0 || desk.policy.approved.includes(buyer)

/** Takes a sale on the books and lets it go out. */
function serve(desk: Desk, sale: Sale): DeskEffect[] {
  sale.state = 'preparing'
  if (sale.amount > 0) {
    desk.unpaidBytes += sale.bytes
    account(desk, sale.buyer).unpaidBytes += sale.bytes
    sale.unproven = !isProven(desk, sale.buyer)
    if (sale.unproven) desk.unprovenBytes += sale.bytes
  }
  return [{ tag: 'serve', sale }]
}

// Credit

/** Unpaid bytes that a key may have in the clear: one piece, and as much as it has paid for before, less what it owes. */
export function creditLine(desk: Desk, buyer: PartyKey): number {
  const of = account(desk, buyer)
  const line = Math.min(desk.shape.pieceLength, desk.shape.length) + of.settledBytes - of.owedBytes
  return Math.min(MAX_CREDIT_BYTES, Math.max(0, line))
}

const fitsLine = (desk: Desk, sale: Sale): boolean =>
  account(desk, sale.buyer).unpaidBytes + sale.bytes <= creditLine(desk, sale.buyer)

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

/** What was sent and not paid stays on the buyer's account. */
function charge(desk: Desk, sale: Sale): void {
  if (sale.amount === 0) return
  const of = account(desk, sale.buyer)
  of.debtBytes += sale.bytes
  // A single piece that was cut off is worth nothing; of several some are whole.
  const worth = sale.delivered || sale.state === 'waiting' || sale.pieces.length > 1
  if (sale.mode === 'credit' && worth) of.owedBytes += sale.bytes
}

function owed(desk: Desk, debt: Debt): DeskEffect[] {
  if (desk.sales.has(debt.id)) return []
  const of = account(desk, debt.buyer)
  of.debtBytes += debt.bytes
  of.owedBytes += debt.bytes
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
  return []
}

const onBooks = (sale: Sale): boolean =>
  sale.state === 'preparing' || sale.state === 'waiting' || sale.state === 'locked'
const isOpen = (sale: Sale): boolean => sale.state === 'blocked' || onBooks(sale)

/** Ends a sale and takes its bytes off the books; of an unproven key's pool only what was paid or never sent comes back. */
function close(desk: Desk, sale: Sale, state: 'paid' | 'given' | 'expired' | 'cancelled' | 'failed'): void {
  const wasOnBooks = onBooks(sale)
  sale.state = state
  if (sale.amount === 0) return
  const of = account(desk, sale.buyer)
  if (wasOnBooks) {
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
    desk.accounts.set(
      key,
      (of = { settledBytes: 0, unpaidBytes: 0, debtBytes: 0, owedBytes: 0, giftBytes: 0 }),
    )
  return of
}

/** Keys cost nothing: one that only asked leaves nothing behind. */
function forgetBlank(desk: Desk, key: PartyKey): void {
  const of = desk.accounts.get(key)
  if (of !== undefined && Object.values(of).every((bytes) => bytes === 0)) desk.accounts.delete(key)
}

function trim(desk: Desk): void {
  const ended = [...desk.sales.values()].filter((sale) => !isOpen(sale) && sale.state !== 'expired')
  for (const sale of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) desk.sales.delete(sale.id)
}
