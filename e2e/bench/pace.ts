/** How long the play money's payments take: each `latencyMs`, and all together at most `perSecond` (a Lightning node's limit). */
import type { BeforePay } from '../../relay/wallet/service.ts'

export type Pace = Readonly<{
  latencyMs: number
  /** Payments made a second by the whole wallet; no limit without it. */
  perSecond?: number
}>

/** `undefined` when payments need not wait. */
export function beforePay({ latencyMs, perSecond }: Pace): BeforePay | undefined {
  if (latencyMs === 0 && perSecond === undefined) return undefined
  let freeAtMs = 0
  return (pay) => {
    const nowMs = performance.now()
    const startMs = Math.max(nowMs, freeAtMs)
    freeAtMs = startMs + (perSecond === undefined ? 0 : 1000 / perSecond)
    setTimeout(pay, startMs - nowMs + latencyMs)
  }
}
