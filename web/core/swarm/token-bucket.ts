/**
 * A rate limit as a token bucket that may go into debt: whoever takes waits for as long as the debt lasts, so large
 * takes need no splitting and the long-run rate holds for all takers together. The clock is the caller's.
 */

export type Bucket = {
  /** Bytes a second; `undefined`: no limit. */
  bps: number | undefined
  /** May be negative. */
  tokens: number
  atMs: number
}

/** What may go out at once after a pause. */
const BURST_MS = 250

export const openBucket = (bps: number | undefined, nowMs: number): Bucket => ({
  bps,
  tokens: burst(bps),
  atMs: nowMs,
})

const burst = (bps: number | undefined): number => ((bps ?? 0) * BURST_MS) / 1000

function refill(bucket: Bucket, nowMs: number): void {
  const passedMs = Math.max(0, nowMs - bucket.atMs)
  bucket.atMs = nowMs
  if (bucket.bps === undefined) return
  bucket.tokens = Math.min(burst(bucket.bps), bucket.tokens + (bucket.bps * passedMs) / 1000)
}

/** Takes `bytes` now; gives how long to wait, ms, until they may go. */
export function take(bucket: Bucket, bytes: number, nowMs: number): number {
  refill(bucket, nowMs)
  if (bucket.bps === undefined) return 0
  bucket.tokens -= bytes
  return bucket.tokens >= 0 ? 0 : Math.ceil((-bucket.tokens * 1000) / bucket.bps)
}

/** Another rate from now on; a debt stays a debt of bytes. */
export function setRate(bucket: Bucket, bps: number | undefined, nowMs: number): void {
  refill(bucket, nowMs)
  const before = bucket.bps
  bucket.bps = bps
  bucket.tokens = before === undefined ? burst(bps) : Math.min(bucket.tokens, burst(bps))
}
