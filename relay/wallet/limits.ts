/** How much one client may ask, so that none is in the way of the others. */

/** Requests of one connection: this many at once, and as many a second on average. */
export const REQUEST_BURST = 1500
export const REQUESTS_PER_SECOND = 300
/** Refusals told a second; beyond them a flood gets no answers, which would cost us more than its requests cost it. */
const REFUSALS_PER_SECOND = 5
/** Full buckets are forgotten when this many are kept. */
const SWEEP_AT = 2000

type Bucket = { left: number; at: number; refusals: number; second: number }

export interface Limits {
  take(client: string, at: number): 'allowed' | 'refused' | 'silent'
}

export function createLimits(perSecond = REQUESTS_PER_SECOND, burst = REQUEST_BURST): Limits {
  const buckets = new Map<string, Bucket>()
  const refilled = ({ left, at }: Bucket, now: number): number =>
    Math.min(burst, left + (Math.max(0, now - at) * perSecond) / 1000)
  const sweep = (now: number): void => {
    for (const [client, bucket] of buckets) if (refilled(bucket, now) >= burst) buckets.delete(client)
  }
  return {
    take(client, at) {
      if (buckets.size >= SWEEP_AT) sweep(at)
      const bucket = buckets.get(client) ?? { left: burst, at, refusals: 0, second: 0 }
      buckets.set(client, bucket)
      bucket.left = refilled(bucket, at)
      bucket.at = at
      if (bucket.left >= 1) {
        bucket.left--
        return 'allowed'
      }
      const second = Math.floor(at / 1000)
      if (bucket.second !== second) [bucket.second, bucket.refusals] = [second, 0]
      return ++bucket.refusals <= REFUSALS_PER_SECOND ? 'refused' : 'silent'
    },
  }
}

export function perMinute(limit: number): { take(at: number): boolean } {
  let minute = 0
  let count = 0
  return {
    take(at) {
      const current = Math.floor(at / 60_000)
      if (current !== minute) [minute, count] = [current, 0]
      return ++count <= limit
    },
  }
}
