/**
 * What one allowance does about each event (NIP-47 pay_invoice and the owner's hand). Effects are carried out in order;
 * `save` and `archive` are on the medium before the next one. A payment is asked of the source once: what is not
 * answered is looked up, and stays reserved until somebody knows.
 */
import { fromHex, isHex32, sha256Hex, type Sha256Hex } from '../bytes.ts'
import { msat, type Msat } from '../money/msat.ts'
import { periodStart } from '../wallet/budget.ts'
import type { Nip47Code } from '../wallet/nip47.ts'
import {
  leftOf,
  MAX_OPEN,
  MAX_REQUESTS,
  rolled,
  standingOf,
  type Allowance,
  type Fate,
  type Payment,
  type RequestId,
  type Terms,
} from './state.ts'

export type PayRequest = Readonly<{
  request: RequestId
  bolt11: string
  paymentHash: Sha256Hex
  amount: Msat
  ownAmount: boolean
  description: string
  /** When the invoice runs out. */
  expiresAtMs: number
  maxFee: Msat
  /** When a request that the source has not heard of can no longer be executed. */
  deadAtMs: number
}>

/** What a source says of a payment when it is asked. */
export type Found =
  | { tag: 'paid'; preimage: string; fees: Msat }
  | { tag: 'pending' }
  | { tag: 'failed' }
  /** It has never heard of it. */
  | { tag: 'nothing' }
  | { tag: 'no-answer'; why: string }

export type AllowanceEvent =
  /** `earlier`: what the archive has of this payment hash. */
  | { tag: 'pay-asked'; pay: PayRequest; earlier?: Payment | undefined }
  | {
      tag: 'source-paid'
      paymentHash: Sha256Hex
      preimage: string
      fees: Msat
      earlier?: Payment | undefined
    }
  /** Final: nothing went out. */
  | { tag: 'source-refused'; paymentHash: Sha256Hex; code: Nip47Code; message: string }
  | { tag: 'source-silent'; paymentHash: Sha256Hex; why: string }
  | { tag: 'looked-up'; paymentHash: Sha256Hex; found: Found }
  /** The source is reachable again. */
  | { tag: 'source-back' }
  /** The seller's proof. What fee was paid it does not say: the largest is counted. */
  | { tag: 'preimage-shown'; preimage: string }
  | { tag: 'terms-set'; change: Partial<Omit<Terms, 'revoked'>> }
  | { tag: 'never-expires' }
  | { tag: 'topped-up'; amount: Msat }
  | { tag: 'revoked' }
  | { tag: 'ticked' }
  /** Read from the medium after a reload or a kill: whatever was asked is unknown now. */
  | { tag: 'woken' }

export type AllowanceEffect =
  | { tag: 'save' }
  /** The payment is decided: into the archive. */
  | { tag: 'archive'; payment: Payment }
  | { tag: 'pay'; payment: Payment }
  | { tag: 'look-up'; paymentHash: Sha256Hex }
  | { tag: 'answer'; request: RequestId; payment: Payment }
  /** Refused without touching anything; remembered, so that a replay is refused too. */
  | { tag: 'refuse'; request: RequestId; code: Nip47Code; message: string }
  /** The holder is told that it was paid. */
  | { tag: 'tell-paid'; payment: Payment }

export type Step = Readonly<{ state: Allowance; effects: readonly AllowanceEffect[] }>

const to = (state: Allowance, ...effects: AllowanceEffect[]): Step => ({ state, effects })
const SAVE: AllowanceEffect = { tag: 'save' }

export const FIRST_LOOK_UP_MS = 1_000
export const LAST_LOOK_UP_MS = 60_000

export function step(before: Allowance, event: AllowanceEvent, nowMs: number): Step {
  const state = rolled(before, nowMs)
  switch (event.tag) {
    case 'pay-asked':
      return payAsked(state, event.pay, event.earlier, nowMs)
    case 'source-paid':
      return sourcePaid(state, event, nowMs)
    case 'source-refused': {
      const payment = state.open.get(event.paymentHash)
      return payment ? fail(state, payment, event.code, event.message, nowMs) : to(state)
    }
    case 'source-silent': {
      const payment = state.open.get(event.paymentHash)
      return payment ? to(unknown(state, payment, event.why, nowMs)) : to(state)
    }
    case 'looked-up':
      return lookedUp(state, event.paymentHash, event.found, nowMs)
    case 'source-back':
      return lookUpAll(state, nowMs, () => true)
    case 'ticked':
      return lookUpAll(state, nowMs, ({ fate }) => fate.tag === 'unknown' && fate.nextLookUpAtMs <= nowMs)
    case 'woken': {
      const why = 'It was on its way when this wallet was closed.'
      const asked = [...state.open.values()].filter(({ fate }) => fate.tag === 'asked')
      const woken = asked.reduce((sofar, payment) => unknown(sofar, payment, why, nowMs), state)
      return lookUpAll(woken, nowMs, () => true)
    }
    case 'preimage-shown': {
      const payment = state.open.get(hashOf(event.preimage))
      return payment ? settle(state, payment, event.preimage, payment.maxFee, nowMs) : to(state)
    }
    case 'terms-set':
      return to(withTerms(state, { ...state.terms, ...event.change }, nowMs), SAVE)
    case 'never-expires': {
      const { expiresAtMs: _, ...terms } = state.terms
      return to({ ...state, terms }, SAVE)
    }
    case 'topped-up': {
      const { terms } = state
      if (terms.renewal === 'never')
        return to({ ...state, terms: { ...terms, limit: msat(terms.limit + event.amount) } }, SAVE)
      return to({ ...state, extra: msat(state.extra + event.amount) }, SAVE)
    }
    case 'revoked':
      return to({ ...state, terms: { ...state.terms, revoked: true } }, SAVE)
    default:
      return event satisfies never
  }
}

/** Another renewal begins a period, with what this one has spent: changing it back and forth frees nothing. */
function withTerms(state: Allowance, terms: Terms, nowMs: number): Allowance {
  if (terms.renewal === state.terms.renewal) return { ...state, terms }
  return { ...state, terms, periodStartMs: periodStart(terms.renewal, nowMs) }
}

function payAsked(state: Allowance, pay: PayRequest, earlier: Payment | undefined, nowMs: number): Step {
  const { request, paymentHash, amount, maxFee } = pay
  const refuse = (code: Nip47Code, message: string): Step =>
    to(state, { tag: 'refuse', request, code, message })
  const running = state.open.get(paymentHash)
  if (running) return join(state, running, pay, refuse)
  if (earlier?.requests.includes(request)) return to(state, { tag: 'answer', request, payment: earlier })
  if (earlier?.fate.tag === 'paid')
    return refuse(
      'PAYMENT_FAILED',
      'This invoice has been paid already; nothing was paid now. Look it up for its preimage.',
    )
  const trouble = closedFor(state, 'pay', nowMs)
  if (trouble) return refuse(trouble.code, trouble.message)
  if (amount <= 0) return refuse('OTHER', 'The invoice names no amount; say how much to pay.')
  if (pay.expiresAtMs <= nowMs)
    return refuse('PAYMENT_FAILED', 'This invoice has expired; nothing was paid. Ask for a new one.')
  const left = leftOf(state, nowMs)
  if (amount + maxFee > left) return refuse('QUOTA_EXCEEDED', shortOf(state.terms.name, amount, maxFee, left))
  if (state.open.size >= MAX_OPEN || (earlier?.requests.length ?? 0) >= MAX_REQUESTS)
    return refuse(
      'RATE_LIMITED',
      'Too many payments are on their way through this allowance; ask again later.',
    )
  const { ownAmount, bolt11, description, deadAtMs } = pay
  const payment: Payment = {
    ...{ paymentHash, bolt11, amount, ownAmount, maxFee, description, deadAtMs, askedAtMs: nowMs },
    requests: [...(earlier?.requests ?? []), request],
    attempt: (earlier?.attempt ?? 0) + 1,
    countedAtMs: Math.max(nowMs, state.periodStartMs),
    fate: { tag: 'asked' },
  }
  return to(withOpen(state, payment), SAVE, { tag: 'pay', payment })
}

/** The same payment asked for again while it is on its way: one payment, an answer to each. */
function join(
  state: Allowance,
  running: Payment,
  { request, bolt11, amount }: PayRequest,
  refuse: (code: Nip47Code, message: string) => Step,
): Step {
  if (running.requests.includes(request)) return to(state)
  if (running.bolt11 !== bolt11 || running.amount !== amount)
    return refuse(
      'PAYMENT_FAILED',
      'Another invoice with this payment hash is being paid; nothing was paid now.',
    )
  if (running.requests.length >= MAX_REQUESTS)
    return refuse('RATE_LIMITED', 'This payment is on its way; wait for it, or look it up.')
  return to(withOpen(state, { ...running, requests: [...running.requests, request] }), SAVE)
}

/** Why the holder may not do this now, apart from the limit. */
export function closedFor(
  state: Allowance,
  what: 'pay' | 'receive' | 'look',
  nowMs: number,
): { code: Nip47Code; message: string } | undefined {
  const { name, expiresAtMs, may } = state.terms
  switch (standingOf(state, nowMs)) {
    case 'revoked':
      return { code: 'UNAUTHORIZED', message: `The allowance "${name}" has been revoked. Ask for a new one.` }
    case 'expired': {
      const when = new Date(expiresAtMs ?? nowMs).toISOString()
      return {
        code: 'UNAUTHORIZED',
        message: `The allowance "${name}" expired on ${when}. Ask for a new one.`,
      }
    }
    case 'paused':
      if (what === 'look') return undefined
      return { code: 'RESTRICTED', message: `The allowance "${name}" is paused; its owner can resume it.` }
    case 'active':
      if (what === 'look' || may[what]) return undefined
      return {
        code: 'RESTRICTED',
        message: `The allowance "${name}" may not ${what}; its owner can allow it.`,
      }
  }
}

function shortOf(name: string, amount: Msat, maxFee: Msat, left: Msat): string {
  const fee = maxFee > 0 ? ` and up to ${maxFee / 1000} for fees` : ''
  return `The allowance "${name}" has ${left / 1000} sats left; ${amount / 1000}${fee} are needed.`
}

type SourcePaid = Extract<AllowanceEvent, { tag: 'source-paid' }>

function sourcePaid(
  state: Allowance,
  { paymentHash, preimage, fees, earlier }: SourcePaid,
  nowMs: number,
): Step {
  const payment = state.open.get(paymentHash)
  if (payment) return settle(state, payment, preimage, fees, nowMs)
  // Given up, and paid after all: it counts like any other.
  if (earlier?.fate.tag === 'failed' && hashOf(preimage) === paymentHash)
    return settle(state, earlier, preimage, fees, nowMs)
  return to(state)
}

function lookedUp(state: Allowance, paymentHash: Sha256Hex, found: Found, nowMs: number): Step {
  const payment = state.open.get(paymentHash)
  if (payment?.fate.tag !== 'unknown') return to(state)
  const later = (why: string): Step => to(unknown(state, payment, why, nowMs))
  const dead = nowMs >= payment.deadAtMs
  switch (found.tag) {
    case 'paid':
      return settle(state, payment, found.preimage, found.fees, nowMs)
    case 'pending':
      return later('The payment is locked: the receiver has neither taken nor refused it.')
    case 'no-answer':
      return later(found.why)
    case 'failed':
      // Of a second attempt it may be the first that is meant.
      if (payment.attempt > 1 && !dead) return later('The source speaks of an earlier attempt.')
      return fail(state, payment, 'PAYMENT_FAILED', 'The payment failed; the sats are back.', nowMs)
    case 'nothing':
      if (!dead) return later('The source has not heard of it yet.')
      return fail(
        state,
        payment,
        'PAYMENT_FAILED',
        'The request was lost on its way; nothing was paid.',
        nowMs,
      )
    default:
      return found satisfies never
  }
}

function lookUpAll(state: Allowance, nowMs: number, wanted: (payment: Payment) => boolean): Step {
  const due = [...state.open.values()].filter((payment) => payment.fate.tag === 'unknown' && wanted(payment))
  const asked = due.reduce((sofar, payment) => unknown(sofar, payment, undefined, nowMs), state)
  return to(asked, ...due.map(({ paymentHash }): AllowanceEffect => ({ tag: 'look-up', paymentHash })))
}

/** Counts what really passed, once, and answers everybody who waits. */
function settle(state: Allowance, payment: Payment, preimage: string, fees: Msat, nowMs: number): Step {
  if (hashOf(preimage) !== payment.paymentHash)
    return to(unknown(state, payment, 'The source says it has paid, but its proof does not match.', nowMs))
  const passed = payment.amount + fees
  const inPeriod = payment.countedAtMs >= state.periodStartMs
  const paid = decided(payment, { tag: 'paid', preimage, fees, atMs: nowMs })
  const next: Allowance = {
    ...without(state, payment),
    spent: msat(state.spent + (inPeriod ? passed : 0)),
    totalSpent: msat(state.totalSpent + passed),
  }
  return to(next, { tag: 'archive', payment: paid }, SAVE, ...answers(paid), {
    tag: 'tell-paid',
    payment: paid,
  })
}

function fail(state: Allowance, payment: Payment, code: Nip47Code, message: string, nowMs: number): Step {
  const failed = decided(payment, { tag: 'failed', code, message, atMs: nowMs })
  return to(without(state, payment), { tag: 'archive', payment: failed }, SAVE, ...answers(failed))
}

const answers = (payment: Payment): AllowanceEffect[] =>
  payment.requests.map((request) => ({ tag: 'answer', request, payment }))

const decided = (payment: Payment, fate: Fate): Payment => ({ ...payment, fate })

/** `why` undefined: as before. Look-ups come at growing distances. */
function unknown(state: Allowance, payment: Payment, why: string | undefined, nowMs: number): Allowance {
  const { fate } = payment
  const before = fate.tag === 'unknown' ? fate : undefined
  const lookUps = before ? before.lookUps + (why === undefined ? 1 : 0) : 0
  const waitMs = Math.min(LAST_LOOK_UP_MS, FIRST_LOOK_UP_MS * 2 ** Math.min(lookUps, 20))
  return withOpen(state, {
    ...payment,
    fate: { tag: 'unknown', lookUps, nextLookUpAtMs: nowMs + waitMs, why: why ?? before?.why ?? '' },
  })
}

const withOpen = (state: Allowance, payment: Payment): Allowance => ({
  ...state,
  open: new Map([...state.open, [payment.paymentHash, payment]]),
})

function without(state: Allowance, { paymentHash }: Payment): Allowance {
  const open = new Map(state.open)
  open.delete(paymentHash)
  return { ...state, open }
}

const hashOf = (preimage: string): Sha256Hex =>
  sha256Hex(isHex32(preimage) ? fromHex(preimage) : new Uint8Array(0))
