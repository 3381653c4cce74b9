/** An allowance in words, and the scale of its slider. */
import type { AllowanceView, Flow } from '../../edge/allowance/api.ts'
import { ago, sats, when } from '../ui/format.ts'

const RENEWS = {
  never: '',
  hourly: 'renews every hour',
  daily: 'renews every day',
  weekly: 'renews every week',
  monthly: 'renews every month',
  yearly: 'renews every year',
} as const
export const RENEWAL_WORDS: Readonly<Record<keyof typeof RENEWS, string>> = {
  never: 'Never: it is spent once',
  hourly: 'Every hour',
  daily: 'Every day',
  weekly: 'Every week',
  monthly: 'Every month',
  yearly: 'Every year',
}
const TICK_MS = 2_500

/** One line below the name: its state if that matters, else its terms. */
export function aboutTerms(one: AllowanceView, nowMs: number): string {
  if (one.state === 'revoked') return 'revoked'
  if (one.state === 'expired') return 'expired'
  if (one.state === 'paused') return 'paused: no new payment'
  const home = one.home === 'wallet' ? 'kept by the wallet' : 'while this page is open'
  const renews = one.renewsAtMs === undefined ? RENEWS[one.renewal] : `renews ${when(one.renewsAtMs, nowMs)}`
  const ends = one.expiresAtMs === undefined ? '' : `ends ${when(one.expiresAtMs, nowMs)}`
  return [renews, ends, home].filter(Boolean).join(', ')
}

/** `-4.000`: what passed in the last moments, together. */
export function justNow(flows: readonly Flow[], nowMs: number): string | undefined {
  let sum = 0
  for (const { state, direction, amount, fees, endedAtMs } of flows)
    if (state === 'settled' && endedAtMs !== undefined && nowMs - endedAtMs < TICK_MS)
      sum += direction === 'out' ? -(amount + fees) : amount
  if (sum === 0) return undefined
  return sum > 0 ? `+${sats(sum)}` : `-${sats(-sum)}`
}

const FLOWS = { 'in-flight': 'on its way', unknown: 'unknown, kept back', failed: 'failed' } as const

/** How one payment through an allowance stands, and why. */
export function aboutFlow({ state, startedAtMs, endedAtMs, why, deadAtMs }: Flow, nowMs: number): string {
  if (state === 'settled') return ago(endedAtMs ?? startedAtMs, nowMs)
  const back =
    deadAtMs !== undefined && deadAtMs > nowMs
      ? `If it never got there, it comes back at ${when(deadAtMs, nowMs)}.`
      : ''
  const how = why === undefined || why === '' ? FLOWS[state] : `${FLOWS[state]}: ${why}`
  return `${how} ${back}`.trim()
}

/** A slider's end and step in sats, round figures: the limit (msat) stands about half way, a hundred steps in all. */
export function rangeOf(limitMsat: number): { max: number; step: number } {
  const least = Math.max(100, (2 * limitMsat) / 1000)
  const power = 10 ** Math.floor(Math.log10(least))
  const max = power * ([1, 2, 5, 10].find((round) => round * power >= least) ?? 10)
  return { max, step: max / 100 }
}
