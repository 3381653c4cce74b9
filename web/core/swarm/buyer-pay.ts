/** From the quote to the end of a window: paying, what becomes of a payment, and opening. */
import type { PartyKey } from '../bytes.ts'
import { msat, ZERO, type Msat } from '../money/msat.ts'
import * as books from './buyer-books.ts'
import type { BuyerEffect, BuyerEvent } from './buyer-events.ts'
import { learnFee } from './buyer-fees.ts'
import { budgetAfter, mayStake, paymentSlots, SELLER_ROOM } from './buyer-limits.ts'
import { complete, timeOpening, timePayment } from './buyer-meter.ts'
import { wentWell } from './buyer-narrow.ts'
import { record, type Buyer, type Window, type WindowId, type WindowState } from './buyer-state.ts'
import { BUSY_REST_MS } from './buyer-outlook.ts'
import { ban, blame, isWasteful, lapses, lookUpAfter, REST_MS, strike } from './buyer-tick.ts'

/** Why a proven cheat is dropped. */
export const FRAUD = 'fraud: sold a block that is not the release’s'
const WALLET_REST_MS = { gone: 2_000, refusing: 30_000 }

type Of<Tag extends BuyerEvent['tag']> = Extract<BuyerEvent, { tag: Tag }>

export function open(buyer: Buyer, id: WindowId, state: WindowState): Window | undefined {
  const window = buyer.windows.get(id)
  return window?.state === state ? window : undefined
}

export function quoted(buyer: Buyer, event: Of<'quoted'>, nowMs: number): BuyerEffect[] {
  const { amount, paymentHash, expiresAtMs: quoteExpiresAtMs } = event
  const known = buyer.windows.get(event.window)
  if (known !== undefined && books.isDebt(known)) {
    // Another invoice for what is owed already; never for more.
    if (known.state !== 'held' || amount > known.amount) return []
    books.enter(buyer, known, 'held', { amount, paymentHash, quoteExpiresAtMs, retryAtMs: 0 })
    return []
  }
  const window = open(buyer, event.window, 'asked')
  if (window === undefined) return []
  complete(buyer, window, nowMs)
  if (amount > window.amount) return dearer(buyer, window, nowMs)
  if (amount > 0 && window.mode === 'atomic' && lapses({ quoteExpiresAtMs }, nowMs))
    return notPayable(buyer, window, nowMs)
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) peer.refusals = 0
  // A gift's secret comes by itself; until then it waits like a payment that costs nothing.
  books.enter(buyer, window, 'held', { amount, paymentHash, quoteExpiresAtMs, progressAtMs: nowMs })
  if (window.mode === 'credit') books.storeAll(buyer, window)
  return []
}

/** The price rose between request and quote: not paid. An honest seller's new offer is on its way. */
function dearer(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) {
    peer.gift = false
    if (peer.mode === 'free') peer.mode = 'atomic'
  }
  // Pieces that came in the clear are here, whatever is asked for them.
  if (window.mode === 'credit') books.storeAll(buyer, window)
  return notPayable(buyer, window, nowMs)
}

/** It came with a quote that cannot be paid: an honest seller's next one can. */
function notPayable(buyer: Buyer, window: Window, nowMs: number): BuyerEffect[] {
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) peer.restUntilMs = nowMs + BUSY_REST_MS
  const effects = books.giveUp(buyer, window)
  return [...effects, ...blame(buyer, window, nowMs)]
}

/** Pays what is held, as far as budgets, balance and payment slots go. */
export function payHeld(buyer: Buyer, nowMs: number): BuyerEffect[] {
  if (buyer.under.promises === 0 || buyer.walletRestsUntilMs > nowMs) return []
  const effects: BuyerEffect[] = []
  const { policy, under } = buyer
  for (const window of buyer.windows.values()) {
    if (window.state !== 'held' || window.amount === 0 || lapses(window, nowMs)) continue
    if (under.payments >= paymentSlots(buyer)) break
    if ((buyer.balance ?? 0) < window.amount || window.retryAtMs > nowMs) continue
    // A debt is paid whatever the budgets say by now: the goods are here.
    if (!books.isDebt(window)) {
      if (!mayStake(buyer, window.key, window.amount, nowMs)) continue
      if (budgetAfter(buyer, window.amount) < 0) continue
      if (buyer.paidBytes + under.lockedBytes + window.bytes > policy.budgetBytes) continue
    }
    const of = record(buyer, window.key, nowMs)
    if (of.under.payments === 0) of.paysSinceMs = nowMs
    books.stake(buyer, window)
    books.enter(buyer, window, 'paying', { payingAtMs: nowMs })
    buyer.balance = msat((buyer.balance ?? 0) - window.amount)
    effects.push({ tag: 'pay', window: window.id })
  }
  return effects
}

export function settled(buyer: Buyer, event: Of<'settled'>, nowMs: number): BuyerEffect[] {
  const window = buyer.windows.get(event.window)
  if (window === undefined || !awaitsSecret(window)) return nameFees(buyer, event)
  const fees = event.fees ?? ZERO
  if (books.withWallet(window) && !window.restored) timePayment(buyer, window, nowMs)
  record(buyer, window.key, nowMs).paysSinceMs = nowMs
  books.enter(buyer, window, 'opening', { paidAtMs: nowMs, fees })
  buyer.paid = msat(buyer.paid + window.amount)
  buyer.fees = msat(buyer.fees + fees)
  if (window.amount > 0) {
    buyer.paidBytes += window.bytes
    if (event.fees === undefined) buyer.feesOpen.set(window.id, window.amount)
    else learnFees(buyer, window.key, window.amount, fees)
  }
  return [{ tag: 'open', window: window.id }]
}

/** The secret was here first: now the wallet says what the payment cost. */
function nameFees(buyer: Buyer, { window: id, fees }: Of<'settled'>): BuyerEffect[] {
  const amount = buyer.feesOpen.get(id)
  if (amount === undefined || fees === undefined) return []
  buyer.feesOpen.delete(id)
  buyer.fees = msat(buyer.fees + fees)
  const window = buyer.windows.get(id)
  if (window !== undefined) window.fees = fees
  const done = buyer.bought.findLast((one) => one.id === id)
  learnFees(buyer, (window ?? done)?.key, amount, fees)
  if (done === undefined || window !== undefined) return []
  done.fees = fees
  const of = buyer.keys.get(done.key)
  if (of !== undefined) of.fees = msat(of.fees + fees)
  return []
}

/** The same, of before a restart. */
export function feesNamed(buyer: Buyer, { key, amount, fees }: Of<'fees-named'>): void {
  buyer.fees = msat(buyer.fees + fees)
  learnFees(buyer, key, amount, fees)
}

function learnFees(
  { feePace, feeRecord, keys }: Buyer,
  key: PartyKey | undefined,
  amount: Msat,
  fees: Msat,
): void {
  const of = key === undefined ? undefined : keys.get(key)
  if (of !== undefined) learnFee(of.feeRecord, amount, fees)
  learnFee(feeRecord, amount, fees)
  feePace.most = Math.max(feePace.most, fees)
  feePace.rate = Math.max(feePace.rate, fees / amount)
}

const awaitsSecret = (window: Window): boolean =>
  books.withWallet(window) || (window.state === 'held' && window.amount === 0)

export function payFailed(buyer: Buyer, event: Of<'pay-failed'>, nowMs: number): BuyerEffect[] {
  const window = buyer.windows.get(event.window)
  if (window === undefined || !books.withWallet(window)) return []
  books.unstake(buyer, window)
  if (!window.restored) buyer.balance = msat((buyer.balance ?? 0) + window.amount)
  const debt = books.isDebt(window)
  if (!debt && window.elsewhere) return [...books.giveUp(buyer, window), ...strike(buyer, window.key, nowMs)]
  if (!debt && buyer.keys.get(window.key)?.dropped !== undefined) return books.giveUp(buyer, window)
  if (event.code === 'insufficient-balance' || event.code === 'quota-exceeded') {
    // Kept until the quote lapses: the ciphertext is here, only sats are missing.
    books.enter(buyer, window, 'held')
    buyer.balance = msat(Math.min(buyer.balance ?? 0, Math.max(0, window.amount - 1)))
    return []
  }
  const waitMs = walletWaitMs(event.code)
  if (waitMs !== undefined) {
    // The wallet's trouble, not the seller's: nothing more is asked for, and the same quote is paid when it is over.
    books.enter(buyer, window, 'held')
    buyer.walletRestsUntilMs = nowMs + waitMs
    return []
  }
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined) peer.restUntilMs = nowMs + REST_MS
  if (!debt) return books.giveUp(buyer, window)
  // An invoice that has lapsed is renewed at once; one that is alive may be paid later.
  books.enter(buyer, window, 'held', { retryAtMs: lapses(window, nowMs) ? nowMs : nowMs + REST_MS })
  return []
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

export function payUnknown(buyer: Buyer, event: Of<'pay-unknown'>, nowMs: number): BuyerEffect[] {
  const window = buyer.windows.get(event.window)
  if (window === undefined || !books.withWallet(window)) return []
  books.enter(buyer, window, 'unknown', { lookUpAtMs: nowMs + lookUpAfter(window) })
  window.lookUps++
  return []
}

/**
 * Whether an invoice that the wallet never heard of is handed in again: a debt, or while its pieces wait for it and no
 * other payment may bring one of them. The time in which it may settle begins anew.
 */
export function payAgain(buyer: Buyer, id: WindowId, nowMs: number): boolean {
  const window = buyer.windows.get(id)
  if (window === undefined || window.elsewhere) return false
  const wanted = window.pieces.every((piece) => buyer.have[piece] === 0 && buyer.assigned[piece] === id)
  const alone = wanted && window.pieces.every((piece) => books.othersPaid(buyer, piece, window).length === 0)
  if (!alone && !books.isDebt(window)) return false
  window.payingAtMs = nowMs
  return true
}

export function opened(buyer: Buyer, event: Of<'opened'>, nowMs: number): BuyerEffect[] {
  const window = open(buyer, event.window, 'opening')
  if (window === undefined) return []
  const of = record(buyer, window.key, nowMs)
  window.doneAtMs = nowMs
  timeOpening(buyer, window, nowMs)
  of.paid = msat(of.paid + window.amount)
  of.fees = msat(of.fees + window.fees)
  of.windows++
  books.remember(buyer, window)
  if (event.cheated) {
    // What cheats took stays spent, whoever they were: it bounds what keys made to cheat can take together.
    if (!window.unproven) buyer.unprovenSpent = msat(buyer.unprovenSpent + window.amount)
    buyer.lost = msat(buyer.lost + window.amount)
    books.release(buyer, window, 'cheated')
    return ban(buyer, window.key, FRAUD, nowMs)
  }
  books.unstake(buyer, window)
  wentWell(buyer)
  // Only sats make a key trusted: a gift costs its giver nothing.
  if (window.amount > 0) of.settledBytes += window.bytes
  of.pieces += window.pieces.length
  of.bytes += window.bytes
  // One window of many does not make up for the rest.
  if (!window.elsewhere && !isWasteful(of)) of.strikes = 0
  of.lastAtMs = nowMs
  if (window.source !== 'mirror') buyer.broughtAtMs = nowMs
  const peer = buyer.peers.get(window.peer)
  if (peer !== undefined && window.amount > 0)
    peer.roomBytes = Math.min(
      SELLER_ROOM,
      peer.roomBytes + Math.max(buyer.shape.pieceLength, window.bytes / 4),
    )
  if (!books.isDebt(window)) takeIn(buyer, window)
  books.enter(buyer, window, 'done')
  return []
}

function takeIn(buyer: Buyer, window: Window): void {
  for (const piece of window.pieces) {
    const here = buyer.have[piece] === 1 && buyer.late[piece] === 0
    if (here && !window.elsewhere && !window.restored && window.amount > 0) buyer.boughtTwice++
    if (!here) buyer.late[piece] = window.elsewhere ? 1 : 0
  }
  books.storeAll(buyer, window)
}
