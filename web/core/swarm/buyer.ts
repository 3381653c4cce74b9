/**
 * The buyer's side of the exchange for one release: which pieces from whom, when to pay, whom to leave.
 * Rarest piece first; a key that has not settled is asked for one piece; sats at stake stay within the
 * budgets. Takes events, returns effects; the clock, the wires, the wallet and the ciphers are the caller's.
 */
import type { PartyKey } from '../bytes.ts'
import { msat, priceOf, ZERO, type Money, type Msat } from '../money/msat.ts'
import type { RefusalCode } from '../exchange/message.ts'
import { pieceBytes, piecesOf, type Shape } from './merkle.ts'
import { pickPieces, shuffledOrder } from './picker.ts'

export type PeerId = string
export type WindowId = number

export type BuyerPolicy = Readonly<{
  /** msat per MiB */
  priceCap: Msat
  /** For this release, fees included. */
  budget: Msat
  /** At stake with one key that has settled. */
  riskBudget: Msat
  /** At stake with all keys together that have not, for this release; what they keep stays spent. */
  unprovenBudget: Msat
  /** A payment locked longer than this lets its pieces be bought elsewhere. */
  lockedTimeoutMs: number
  approved: readonly PartyKey[]
}>

export type BuyerPeer = {
  readonly id: PeerId
  readonly key: PartyKey
  /** Unverified haves of the peer, one byte a piece. */
  readonly has: Uint8Array
  price: Msat
  gift: boolean
  money: Money | undefined
  maxWindowBytes: number
  /** Asks nothing of it before this time. */
  restUntilMs: number
}

type KeyRecord = {
  settledBytes: number
  paid: Msat
  fees: Msat
  pieces: number
  bytes: number
  windows: number
  /** Paid for and not opened yet, in this session. */
  atStake: Msat
  /** How often it fell silent without delivering in between, and when it last did. */
  stalls: number
  stalledAtMs: number
  firstAtMs: number
  lastAtMs: number
  /** Never again, and why. */
  dropped?: string
}

/**
 * `asked`: ciphertext and quote are coming. `held`: both are here, a budget or the balance keeps it from being paid.
 * `paying`: the wallet has it. `unknown`: the wallet did not answer; looked up, never paid again. `opening`: the secret
 * is here. The rest are ends.
 */
export type WindowState = 'asked' | 'held' | 'paying' | 'unknown' | 'opening' | 'done' | 'failed' | 'cheated'

export type Window = {
  readonly id: WindowId
  readonly peer: PeerId
  readonly key: PartyKey
  readonly pieces: readonly number[]
  readonly bytes: number
  /** What the offer makes of it; the quote may be lower. */
  amount: Msat
  fees: Msat
  state: WindowState
  paymentHash: string
  quoteExpiresAtMs: number
  readonly requestedAtMs: number
  progressAtMs: number
  payingAtMs: number
  paidAtMs: number
  doneAtMs: number
  /** Counted against the unproven budget when it was paid. */
  unproven: boolean
  /** Its pieces were given free to be bought elsewhere. */
  elsewhere: boolean
  /** From before a restart: pieces that are there already came from this very window. */
  restored: boolean
  lookUps: number
  lookUpAtMs: number
}

export type RestoredWindow = Pick<
  Window,
  'key' | 'pieces' | 'bytes' | 'amount' | 'paymentHash' | 'quoteExpiresAtMs' | 'requestedAtMs'
>

export type Buyer = {
  readonly shape: Shape
  /** Not known before the wallet has answered. */
  money: Money | undefined
  policy: BuyerPolicy
  readonly have: Uint8Array // one byte a piece
  haveCount: number
  /** Pieces that came with a window paid late: whoever was paid for them meanwhile did not sell them twice. */
  readonly late: Uint8Array
  readonly holders: Uint16Array
  /** Window that is fetching the piece, or 0. */
  readonly assigned: Int32Array
  readonly order: Uint32Array
  readonly peers: Map<PeerId, BuyerPeer>
  readonly keys: Map<PartyKey, KeyRecord>
  readonly windows: Map<WindowId, Window>
  /** Ends, in order of purchase. */
  readonly bought: Window[]
  nextWindow: WindowId
  balance: Msat | undefined
  /** The wallet refuses for reasons of its own: nothing is asked for or paid before this time. */
  walletRestsUntilMs: number
  paid: Msat
  fees: Msat
  unprovenSpent: Msat
  /** The part of it that cheats have. */
  lost: Msat
  boughtTwice: number
  running: boolean
}

export type BuyerEvent =
  | {
      tag: 'joined'
      peer: PeerId
      key: PartyKey
      price: Msat
      gift: boolean
      money: Money | undefined
      maxWindowBytes: number
    }
  | { tag: 'has'; peer: PeerId; pieces: readonly number[] }
  | { tag: 'left'; peer: PeerId }
  | { tag: 'refused'; window: WindowId; code: RefusalCode }
  | { tag: 'progress'; window: WindowId }
  /** Ciphertext complete, quote checked. */
  | { tag: 'quoted'; window: WindowId; amount: Msat; paymentHash: string; expiresAtMs: number }
  /** The peer sent what no honest one sends, before a sat was paid. */
  | { tag: 'spoilt'; window: WindowId; why: string }
  | { tag: 'settled'; window: WindowId; fees: Msat }
  /** Final: nothing went out. */
  | { tag: 'pay-failed'; window: WindowId; code: string }
  | { tag: 'pay-unknown'; window: WindowId }
  | { tag: 'opened'; window: WindowId; cheated: boolean }
  /** A piece was proven and stored by other means (resumed, or given). */
  | { tag: 'stored'; pieces: readonly number[] }
  | { tag: 'wallet'; money: Money; balance: Msat }
  /** Sums from before a restart: paid for, and taken by unproven keys that cheated. */
  | { tag: 'resumed'; paid: Msat; fees: Msat; lost: Msat }
  /** A purchase from before a restart: handed to the wallet, outcome not known. */
  | { tag: 'restored'; window: RestoredWindow }
  | { tag: 'banned'; key: PartyKey; why: string }
  | { tag: 'tick' }

export type BuyerEffect =
  | { tag: 'ask'; window: WindowId; peer: PeerId; pieces: readonly number[] }
  | { tag: 'cancel'; window: WindowId; peer: PeerId }
  /** Write quote and ciphertext to disk, then pay. */
  | { tag: 'pay'; window: WindowId }
  | { tag: 'look-up'; window: WindowId }
  | { tag: 'open'; window: WindowId }
  | { tag: 'drop'; peer: PeerId; key: PartyKey; why: string; ever: boolean }
  /** The window's bytes are not needed any more. */
  | { tag: 'discard'; window: WindowId }

/** Why a proven cheat is dropped. */
export const FRAUD = 'fraud: sold a block that is not the release’s'

const MIB = 1024 * 1024
const LARGEST_WINDOW = 4 * MIB
const WINDOWS_IN_FLIGHT = 4
const STALL_MS = 15_000
const REST_MS = 30_000
/** A window that comes more slowly than this, after a start, counts as stalled. */
const SLOWEST_BPS = 64 * 1024
const SLOWEST_MS = 60_000
/** A key that falls silent so often, asked anew each time, is left for good. A crash stalls all its windows at once. */
const MAX_STALLS = 3
const BUSY_REST_MS = 1_000
/** Refusals that pass by themselves: a slot is free, a payment has come in, pieces have arrived. */
const SOON: ReadonlySet<RefusalCode> = new Set(['busy', 'unpaid', 'missing'])
const WALLET_REST_MS = { gone: 2_000, refusing: 30_000 }
const MAX_LOOKUP_MS = 30_000
/** A quote that is about to lapse is not paid. */
const EXPIRY_MARGIN_MS = 3_000

export function openBuyer(shape: Shape, policy: BuyerPolicy, seed: number): Buyer {
  const count = piecesOf(shape)
  return {
    shape,
    money: undefined,
    policy,
    have: new Uint8Array(count),
    haveCount: 0,
    late: new Uint8Array(count),
    holders: new Uint16Array(count),
    assigned: new Int32Array(count),
    order: shuffledOrder(count, seed),
    peers: new Map(),
    keys: new Map(),
    windows: new Map(),
    bought: [],
    nextWindow: 1,
    balance: undefined,
    walletRestsUntilMs: 0,
    paid: ZERO,
    fees: ZERO,
    unprovenSpent: ZERO,
    lost: ZERO,
    boughtTwice: 0,
    running: true,
  }
}

export function step(buyer: Buyer, event: BuyerEvent, nowMs: number): BuyerEffect[] {
  const effects = apply(buyer, event, nowMs)
  effects.push(...giveUpUnneeded(buyer))
  if (buyer.running) effects.push(...settleHeld(buyer, nowMs), ...ask(buyer, nowMs))
  return effects
}

function apply(buyer: Buyer, event: BuyerEvent, nowMs: number): BuyerEffect[] {
  switch (event.tag) {
    case 'joined': {
      const known = buyer.peers.get(event.peer)
      const { key, price, gift, money, maxWindowBytes } = event
      if (known !== undefined && known.key === key)
        Object.assign(known, { price, gift, money, maxWindowBytes })
      else {
        const has = known?.has ?? new Uint8Array(buyer.have.length)
        buyer.peers.set(event.peer, {
          id: event.peer,
          key,
          has,
          price,
          gift,
          money,
          maxWindowBytes,
          restUntilMs: 0,
        })
      }
      const why = buyer.keys.get(key)?.dropped
      return why === undefined ? [] : [{ tag: 'drop', peer: event.peer, key, why, ever: true }]
    }
    case 'has': {
      const peer = buyer.peers.get(event.peer)
      if (peer === undefined) return []
      for (const piece of event.pieces) {
        if (piece >= buyer.have.length || peer.has[piece] === 1) continue
        peer.has[piece] = 1
        buyer.holders[piece] = (buyer.holders[piece] ?? 0) + 1
      }
      return []
    }
    case 'left':
      return left(buyer, event.peer)
    case 'refused': {
      const window = open(buyer, event.window, 'asked')
      if (window === undefined) return []
      release(buyer, window, 'failed')
      const peer = buyer.peers.get(window.peer)
      if (peer !== undefined) {
        peer.restUntilMs = nowMs + (SOON.has(event.code) ? BUSY_REST_MS : REST_MS)
        if (event.code === 'missing') for (const piece of window.pieces) unhave(buyer, peer, piece)
      }
      return [{ tag: 'discard', window: window.id }]
    }
    case 'progress': {
      const window = buyer.windows.get(event.window)
      if (window !== undefined) window.progressAtMs = nowMs
      return []
    }
    case 'quoted': {
      const window = open(buyer, event.window, 'asked')
      if (window === undefined) return []
      if (event.amount > window.amount) return dearer(buyer, window, nowMs)
      window.amount = event.amount
      window.paymentHash = event.paymentHash
      window.quoteExpiresAtMs = event.expiresAtMs
      window.progressAtMs = nowMs
      // A gift's secret comes by itself; until then it waits like a payment that costs nothing.
      window.state = 'held'
      return []
    }
    case 'spoilt': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || window.state === 'opening') return []
      // With a payment out the window stays: if it settles, what was paid for is opened.
      if (window.state === 'paying' || window.state === 'unknown') return drop(buyer, window, event.why)
      release(buyer, window, 'failed')
      return [{ tag: 'discard', window: window.id }, ...drop(buyer, window, event.why)]
    }
    case 'settled': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || !awaitsSecret(window)) return []
      window.state = 'opening'
      window.paidAtMs = nowMs
      window.fees = event.fees
      buyer.paid = msat(buyer.paid + window.amount)
      buyer.fees = msat(buyer.fees + event.fees)
      return [{ tag: 'open', window: window.id }]
    }
    case 'pay-failed': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || (window.state !== 'paying' && window.state !== 'unknown')) return []
      unstake(buyer, window)
      if (window.elsewhere || buyer.keys.get(window.key)?.dropped !== undefined) return giveUp(buyer, window)
      if (event.code === 'insufficient-balance' || event.code === 'quota-exceeded') {
        // Kept until the quote lapses: the ciphertext is here, only sats are missing.
        window.state = 'held'
        buyer.balance = msat(Math.min(buyer.balance ?? 0, Math.max(0, window.amount - 1)))
        return []
      }
      const waitMs = walletWaitMs(event.code)
      if (waitMs !== undefined) {
        // The wallet's trouble, not the seller's: nothing more is asked for, and the same quote is paid when it is over.
        window.state = 'held'
        buyer.walletRestsUntilMs = nowMs + waitMs
        return []
      }
      const peer = buyer.peers.get(window.peer)
      if (peer !== undefined) peer.restUntilMs = nowMs + REST_MS
      return giveUp(buyer, window)
    }
    case 'pay-unknown': {
      const window = buyer.windows.get(event.window)
      if (window === undefined || (window.state !== 'paying' && window.state !== 'unknown')) return []
      window.state = 'unknown'
      window.lookUpAtMs = nowMs + Math.min(MAX_LOOKUP_MS, 1000 * 2 ** Math.min(window.lookUps, 6))
      window.lookUps++
      return []
    }
    case 'opened':
      return opened(buyer, event.window, event.cheated, nowMs)
    case 'stored':
      for (const piece of event.pieces) store(buyer, piece)
      return []
    case 'wallet':
      buyer.money = event.money
      buyer.balance = event.balance
      return []
    case 'resumed':
      buyer.paid = event.paid
      buyer.fees = event.fees
      buyer.unprovenSpent = event.lost
      buyer.lost = event.lost
      return []
    case 'restored':
      restore(buyer, event.window, nowMs)
      return []
    case 'banned': {
      return ban(buyer, event.key, event.why, nowMs)
    }
    case 'tick':
      return tick(buyer, nowMs)
  }
}

function restore(buyer: Buyer, from: RestoredWindow, nowMs: number): void {
  const window: Window = {
    ...from,
    id: buyer.nextWindow++,
    peer: '',
    fees: ZERO,
    state: 'unknown',
    progressAtMs: nowMs,
    payingAtMs: nowMs,
    paidAtMs: 0,
    doneAtMs: 0,
    unproven: false,
    elsewhere: false,
    restored: true,
    lookUps: 0,
    lookUpAtMs: nowMs,
  }
  buyer.windows.set(window.id, window)
  stake(buyer, window)
  for (const piece of window.pieces) if (buyer.have[piece] === 0) buyer.assigned[piece] = window.id
}

const awaitsSecret = (window: Window): boolean =>
  window.state === 'paying' || window.state === 'unknown' || (window.state === 'held' && window.amount === 0)

function open(buyer: Buyer, id: WindowId, state: WindowState): Window | undefined {
  const window = buyer.windows.get(id)
  return window?.state === state ? window : undefined
}

export function record(buyer: Buyer, key: PartyKey, nowMs: number): KeyRecord {
  let of = buyer.keys.get(key)
  if (of === undefined) {
    of = {
      settledBytes: 0,
      paid: ZERO,
      fees: ZERO,
      pieces: 0,
      bytes: 0,
      windows: 0,
      atStake: ZERO,
      stalls: 0,
      stalledAtMs: 0,
      firstAtMs: nowMs,
      lastAtMs: nowMs,
    }
    buyer.keys.set(key, of)
  }
  return of
}

function unhave(buyer: Buyer, peer: BuyerPeer, piece: number): void {
  if (peer.has[piece] !== 1) return
  peer.has[piece] = 0
  buyer.holders[piece] = Math.max(0, (buyer.holders[piece] ?? 0) - 1)
}

function left(buyer: Buyer, id: PeerId): BuyerEffect[] {
  const peer = buyer.peers.get(id)
  if (peer === undefined) return []
  buyer.peers.delete(id)
  for (let piece = 0; piece < peer.has.length; piece++) unhave(buyer, peer, piece)
  const effects: BuyerEffect[] = []
  for (const window of buyer.windows.values()) {
    if (window.peer !== id || window.state !== 'asked') continue
    release(buyer, window, 'failed')
    effects.push({ tag: 'discard', window: window.id })
  }
  return effects
}

function store(buyer: Buyer, piece: number): void {
  if (buyer.have[piece] !== 0) return
  buyer.have[piece] = 1
  buyer.haveCount++
}

/** Ends a window that brought nothing; its pieces are wanted again. */
function release(buyer: Buyer, window: Window, state: 'failed' | 'cheated'): void {
  window.state = state
  for (const piece of window.pieces) if (buyer.assigned[piece] === window.id) buyer.assigned[piece] = 0
  buyer.windows.delete(window.id)
}

function stake(buyer: Buyer, window: Window): void {
  const of = record(buyer, window.key, window.requestedAtMs)
  of.atStake = msat(of.atStake + window.amount)
  window.unproven = of.settledBytes === 0 && !buyer.policy.approved.includes(window.key)
  if (window.unproven) buyer.unprovenSpent = msat(buyer.unprovenSpent + window.amount)
}

function unstake(buyer: Buyer, window: Window): void {
  const of = buyer.keys.get(window.key)
  if (of !== undefined) of.atStake = msat(Math.max(0, of.atStake - window.amount))
  if (window.unproven) buyer.unprovenSpent = msat(Math.max(0, buyer.unprovenSpent - window.amount))
  window.unproven = false
}

const drop = (buyer: Buyer, window: Window, why: string): BuyerEffect[] =>
  ban(buyer, window.key, why, window.requestedAtMs)

/** Never again from this key: its wires go, and what it has not been paid for is wanted from others. */
function ban(buyer: Buyer, key: PartyKey, why: string, nowMs: number): BuyerEffect[] {
  record(buyer, key, nowMs).dropped = why
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    if (window.key !== key || (window.state !== 'asked' && window.state !== 'held')) continue
    release(buyer, window, 'failed')
    effects.push({ tag: 'discard', window: window.id })
  }
  for (const peer of buyer.peers.values())
    if (peer.key === key) effects.push({ tag: 'drop', peer: peer.id, key, why, ever: true })
  return effects
}

function giveUp(buyer: Buyer, window: Window): BuyerEffect[] {
  release(buyer, window, 'failed')
  return [
    { tag: 'cancel', window: window.id, peer: window.peer },
    { tag: 'discard', window: window.id },
  ]
}

/** The price rose between request and quote: not paid. An honest seller's new offer is on its way. */
function dearer(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) {
    peer.gift = false
    peer.restUntilMs = nowMs + BUSY_REST_MS
  }
  return giveUp(buyer, window)
}

/** A payment that settled late brought pieces that others were asked for: those are not paid. */
function giveUpUnneeded(buyer: Buyer): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    if (window.amount === 0 || (window.state !== 'asked' && window.state !== 'held')) continue
    if (window.pieces.some((piece) => buyer.have[piece] === 1)) effects.push(...giveUp(buyer, window))
  }
  return effects
}

/** Whether an invoice that the wallet never heard of may be handed in again: only while its pieces wait for it. */
export function mayPayAgain(buyer: Buyer, id: WindowId): boolean {
  const window = buyer.windows.get(id)
  if (window === undefined || window.elsewhere) return false
  return window.pieces.every((piece) => buyer.have[piece] === 0 && buyer.assigned[piece] === id)
}

function opened(buyer: Buyer, id: WindowId, cheated: boolean, nowMs: number): BuyerEffect[] {
  const window = open(buyer, id, 'opening')
  if (window === undefined) return []
  const of = record(buyer, window.key, nowMs)
  window.doneAtMs = nowMs
  of.paid = msat(of.paid + window.amount)
  of.fees = msat(of.fees + window.fees)
  of.windows++
  buyer.bought.push(window)
  if (cheated) {
    // What cheats took stays spent, whoever they were: it bounds what keys made to cheat can take together.
    if (!window.unproven) buyer.unprovenSpent = msat(buyer.unprovenSpent + window.amount)
    buyer.lost = msat(buyer.lost + window.amount)
    release(buyer, window, 'cheated')
    return drop(buyer, window, FRAUD)
  }
  unstake(buyer, window)
  of.stalls = 0
  // Only sats make a key trusted: a gift costs its giver nothing.
  if (window.amount > 0) of.settledBytes += window.bytes
  of.pieces += window.pieces.length
  of.bytes += window.bytes
  of.lastAtMs = nowMs
  for (const piece of window.pieces) {
    const here = buyer.have[piece] === 1 && buyer.late[piece] === 0
    if (here && !window.elsewhere && !window.restored && window.amount > 0) buyer.boughtTwice++
    if (!here) buyer.late[piece] = window.elsewhere ? 1 : 0
    store(buyer, piece)
    if (buyer.assigned[piece] === window.id) buyer.assigned[piece] = 0
  }
  window.state = 'done'
  buyer.windows.delete(window.id)
  return []
}

/** Silent, or dripping: the windows before it in the queue count in its time. */
function stalled(window: Window, nowMs: number): boolean {
  const allowedMs = SLOWEST_MS + (window.bytes * WINDOWS_IN_FLIGHT * 1000) / SLOWEST_BPS
  return nowMs - window.progressAtMs > STALL_MS || nowMs - window.requestedAtMs > allowedMs
}

function tick(buyer: Buyer, nowMs: number): BuyerEffect[] {
  const effects: BuyerEffect[] = []
  for (const window of [...buyer.windows.values()]) {
    if (window.state === 'asked' && stalled(window, nowMs)) {
      const peer = buyer.peers.get(window.peer)
      if (peer !== undefined) peer.restUntilMs = nowMs + REST_MS
      const of = record(buyer, window.key, nowMs)
      effects.push(...giveUp(buyer, window))
      if (window.requestedAtMs < of.stalledAtMs) continue
      of.stalledAtMs = nowMs
      if (++of.stalls >= MAX_STALLS)
        effects.push(...ban(buyer, window.key, 'let its windows stall again and again', nowMs))
    } else if (window.state === 'held') {
      const gift = window.amount === 0 && nowMs - window.progressAtMs > STALL_MS
      if (!gift && window.quoteExpiresAtMs - EXPIRY_MARGIN_MS > nowMs) continue
      effects.push(...giveUp(buyer, window))
    } else if (window.state === 'paying' || window.state === 'unknown') {
      if (!window.elsewhere && nowMs - window.payingAtMs > buyer.policy.lockedTimeoutMs) {
        window.elsewhere = true
        for (const piece of window.pieces) if (buyer.assigned[piece] === window.id) buyer.assigned[piece] = 0
        const peer = buyer.peers.get(window.peer)
        if (peer !== undefined) {
          peer.restUntilMs = Number.POSITIVE_INFINITY
          effects.push({
            tag: 'drop',
            peer: window.peer,
            key: window.key,
            why: 'took the lock and did not settle in time',
            ever: false,
          })
        }
      }
      if (window.state === 'unknown' && nowMs >= window.lookUpAtMs) {
        window.lookUpAtMs = nowMs + MAX_LOOKUP_MS
        effects.push({ tag: 'look-up', window: window.id })
      }
    }
  }
  return effects
}

const locked = (buyer: Buyer): number => {
  let total = 0
  for (const window of buyer.windows.values())
    if (window.state === 'paying' || window.state === 'unknown') total += window.amount
  return total
}

/** Sats that windows under way still want: asked or held. */
const promised = (buyer: Buyer): number => {
  let total = 0
  for (const window of buyer.windows.values())
    if (window.state === 'asked' || window.state === 'held') total += window.amount
  return total
}

/** How long to leave a wallet alone that failed for reasons of its own; `undefined`: this payment's own failure. */
function walletWaitMs(code: string): number | undefined {
  switch (code) {
    case 'unreachable':
    case 'rate-limited':
      return WALLET_REST_MS.gone
    case 'unauthorized':
    case 'restricted':
    case 'not-implemented':
    case 'unsupported-encryption':
    case 'internal':
      return WALLET_REST_MS.refusing
    default:
      return undefined
  }
}

/** Pays what is held, as far as budgets and balance go. */
function settleHeld(buyer: Buyer, nowMs: number): BuyerEffect[] {
  if (buyer.walletRestsUntilMs > nowMs) return []
  const effects: BuyerEffect[] = []
  for (const window of buyer.windows.values()) {
    if (window.state !== 'held' || window.amount === 0) continue
    if (window.quoteExpiresAtMs - EXPIRY_MARGIN_MS <= nowMs) continue
    if (!mayStake(buyer, window.key, window.amount, nowMs) || (buyer.balance ?? 0) < window.amount) continue
    if (buyer.paid + buyer.fees + locked(buyer) + window.amount > buyer.policy.budget) continue
    stake(buyer, window)
    window.state = 'paying'
    window.payingAtMs = nowMs
    buyer.balance = msat((buyer.balance ?? 0) - window.amount)
    effects.push({ tag: 'pay', window: window.id })
  }
  return effects
}

/** The rule on what one key, and all unproven keys together, may have at stake. */
function mayStake(buyer: Buyer, key: PartyKey, amount: Msat, nowMs: number): boolean {
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

export type Blocked =
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
function ask(buyer: Buyer, nowMs: number): BuyerEffect[] {
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
  | { tag: 'buying' }
  | { tag: 'looking' }
  | { tag: 'funds'; need: Msat }
  | { tag: 'budget' }
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
    return { tag: 'budget' }
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
