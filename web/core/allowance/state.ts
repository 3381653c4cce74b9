/**
 * One allowance: terms that its owner moves, what has passed in this period, and the payments whose fate is open.
 * Amounts are msat, times Unix milliseconds; periods are those of `../wallet/budget.ts`.
 */
import type { Sha256Hex } from '../bytes.ts'
import { msat, sum, ZERO, type Msat } from '../money/msat.ts'
import { periodStart, renewsAt } from '../wallet/budget.ts'
import type { Nip47Code, Renewal } from '../wallet/nip47.ts'

/** The id of the NIP-47 request event, or whatever else names one asking. */
export type RequestId = string

export type Terms = Readonly<{
  name: string
  /** What may pass in one period, fees included. */
  limit: Msat
  renewal: Renewal
  expiresAtMs?: number
  may: Readonly<{ pay: boolean; receive: boolean }>
  paused: boolean
  /** For ever. */
  revoked: boolean
}>

export type Fate =
  /** The source has been asked; its answer is waited for. */
  | { tag: 'asked' }
  /** Nobody knows: looked up again and again, kept reserved, never paid again. */
  | { tag: 'unknown'; lookUps: number; nextLookUpAtMs: number; why: string }
  | { tag: 'paid'; preimage: string; fees: Msat; atMs: number }
  /** Final. Should a preimage come all the same, it counts: `source-paid`. */
  | { tag: 'failed'; code: Nip47Code; message: string; atMs: number }

export type Payment = Readonly<{
  paymentHash: Sha256Hex
  bolt11: string
  amount: Msat
  /** Given where the invoice has no amount. */
  ownAmount: boolean
  /** Kept beside the amount until the fee is known. */
  maxFee: Msat
  description: string
  /** Answered when the fate is known; kept so that a replay changes nothing. */
  requests: readonly RequestId[]
  /** From 1; more where an earlier attempt failed for good. */
  attempt: number
  askedAtMs: number
  /** Which period it belongs to: never before the one it was asked in, whatever the clock says. */
  countedAtMs: number
  /** A source that has not heard of it by then never will execute it. */
  deadAtMs: number
  fate: Fate
}>

export type Allowance = Readonly<{
  terms: Terms
  /** Start of the period that `spent` and `extra` are of. */
  periodStartMs: number
  /** Topped up for this period. */
  extra: Msat
  /** Passed in this period, fees included. */
  spent: Msat
  /** Passed in all periods. */
  totalSpent: Msat
  /** Payments that are asked or unknown. */
  open: ReadonlyMap<Sha256Hex, Payment>
}>

export const MAX_OPEN = 256
/** Requests that wait for one payment. */
export const MAX_REQUESTS = 32
/** Allowances cut from one another. */
export const MAX_LAYERS = 16

export function newAllowance(terms: Terms, nowMs: number): Allowance {
  return {
    terms,
    periodStartMs: periodStart(terms.renewal, nowMs),
    ...{ extra: ZERO, spent: ZERO, totalSpent: ZERO, open: new Map() },
  }
}

/** In the period of `nowMs`. A clock that is set back renews nothing and changes nothing. */
export function rolled(allowance: Allowance, nowMs: number): Allowance {
  const start = periodStart(allowance.terms.renewal, nowMs)
  if (start <= allowance.periodStartMs) return allowance
  return { ...allowance, periodStartMs: start, spent: ZERO, extra: ZERO }
}

export const stakeOf = (payment: Payment): Msat => msat(payment.amount + payment.maxFee)

export const reservedOf = ({ open }: Allowance): Msat => sum([...open.values()].map(stakeOf))

export const unknownOf = ({ open }: Allowance): Msat =>
  sum([...open.values()].filter(({ fate }) => fate.tag === 'unknown').map(stakeOf))

/** What this layer lets pass now; the source may have less. Never negative, also after the limit was lowered. */
export function leftOf(allowance: Allowance, nowMs: number): Msat {
  const { terms, extra, spent } = rolled(allowance, nowMs)
  return msat(Math.max(0, terms.limit + extra - spent - reservedOf(allowance)))
}

export function standingOf({ terms }: Allowance, nowMs: number): 'active' | 'paused' | 'expired' | 'revoked' {
  if (terms.revoked) return 'revoked'
  if (terms.expiresAtMs !== undefined && terms.expiresAtMs <= nowMs) return 'expired'
  return terms.paused ? 'paused' : 'active'
}

/** When time alone changes something: a look-up is due, a period ends, the allowance expires. */
export function wakesAt(allowance: Allowance, nowMs: number): number | undefined {
  const { terms, open } = allowance
  const times = [...open.values()].flatMap(({ fate }) =>
    fate.tag === 'unknown' ? [fate.nextLookUpAtMs] : [],
  )
  const renews = renewsAt(terms.renewal, Math.max(nowMs, allowance.periodStartMs))
  if (renews !== undefined) times.push(renews)
  if (terms.expiresAtMs !== undefined && terms.expiresAtMs > nowMs) times.push(terms.expiresAtMs)
  return times.length === 0 ? undefined : Math.min(...times)
}
