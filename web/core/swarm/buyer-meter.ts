/** What the buyer measures: how fast each key sends while it is waited for, and how long the wallet takes. */
import type { Buyer, KeyRecord, Window } from './buyer-state.ts'

/** Half of what was measured is forgotten after so long a time of waiting. */
const METER_MS = 2000
/** Given to every measurement, so that the first burst of a line does not pass for its rate. */
const METER_START_MS = 10
/** Before anything is known. */
const ANSWER_MS = 50
const PAYMENT_MS = 1000
/** One payment that was stuck says little about the next. */
const LONGEST_SAMPLE_MS = 30_000

/** Bytes of a window have come; without a number only that some have. */
export function received(buyer: Buyer, window: Window, bytes: number | undefined, nowMs: number): void {
  const of = buyer.keys.get(window.key)
  if (of === undefined || window.state !== 'asked') return
  window.progressAtMs = nowMs
  of.heardAtMs = nowMs
  if (window.source !== 'mirror') buyer.broughtAtMs = nowMs
  const { meter } = of
  const delta = Math.max(0, Math.min(bytes ?? 0, window.bytes) - window.received)
  window.received += delta
  of.under.queuedBytes -= delta
  buyer.under.queuedBytes -= delta
  if (meter.atMs === 0) {
    const answerMs = Math.max(0, nowMs - window.requestedAtMs)
    of.answerMs = of.answerMs === 0 ? answerMs : of.answerMs * 0.75 + answerMs * 0.25
    meter.atMs = nowMs
    return
  }
  meter.ms += Math.max(0, nowMs - meter.atMs)
  meter.bytes += delta
  meter.atMs = nowMs
  if (meter.ms <= METER_MS) return
  meter.ms /= 2
  meter.bytes /= 2
}

/** All of the window is here, whether or not its bytes were counted as they came. */
export function complete(buyer: Buyer, window: Window, nowMs: number): void {
  const of = buyer.keys.get(window.key)
  if (of !== undefined && window.received === 0 && of.meter.atMs === 0)
    of.meter.atMs = Math.max(1, window.requestedAtMs, of.heardAtMs)
  received(buyer, window, window.bytes, nowMs)
}

/** Bytes a millisecond; 0: not known. */
export const rateOf = (of: KeyRecord): number =>
  of.meter.bytes === 0 ? 0 : of.meter.bytes / (of.meter.ms + METER_START_MS)

export const answerMsOf = (of: KeyRecord): number => (of.answerMs === 0 ? ANSWER_MS : of.answerMs)

/** A payment has settled (RFC 6298's estimator: a mean, and how far it strays). */
export function timePayment(buyer: Buyer, window: Window, nowMs: number): void {
  const { pace } = buyer
  const took = Math.min(LONGEST_SAMPLE_MS, Math.max(1, nowMs - window.payingAtMs))
  if (pace.paymentMs === 0) {
    pace.paymentMs = took
    pace.spreadMs = took / 4
    return
  }
  pace.spreadMs = pace.spreadMs * 0.75 + Math.abs(took - pace.paymentMs) * 0.25
  pace.paymentMs = pace.paymentMs * 0.875 + took * 0.125
}

export function timeOpening(buyer: Buyer, window: Window, nowMs: number): void {
  const took = Math.min(LONGEST_SAMPLE_MS, Math.max(0, nowMs - window.paidAtMs))
  buyer.pace.openingMs = buyer.pace.openingMs * 0.75 + took * 0.25
}

/** From the last byte of a window to its room being free again: nearly always enough. */
export const turnMs = ({ pace }: Buyer): number =>
  pace.paymentMs === 0 ? PAYMENT_MS : pace.paymentMs + 2 * pace.spreadMs + pace.openingMs
