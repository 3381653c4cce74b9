/** Token buckets, one or one per address. Times come from the caller. */

export interface Bucket {
  /** Takes `count` tokens if they are there. */
  take(count?: number): boolean
}

export function createBucket(perSecond: number, burst: number, nowMs: () => number): Bucket {
  let tokens = burst
  let filledAtMs = nowMs()
  return {
    take(count = 1) {
      const now = nowMs()
      tokens = Math.min(burst, tokens + (Math.max(0, now - filledAtMs) / 1000) * perSecond)
      filledAtMs = now
      if (tokens < count) return false
      tokens -= count
      return true
    },
  }
}

/** Addresses remembered at once; the one unused longest is forgotten first. */
const MAX_ADDRESSES = 50_000

export interface AddressBuckets {
  take(address: string, count?: number): boolean
}

export function createAddressBuckets(perSecond: number, burst: number, nowMs: () => number): AddressBuckets {
  const buckets = new Map<string, Bucket>()
  return {
    take(address, count) {
      const bucket = buckets.get(address) ?? createBucket(perSecond, burst, nowMs)
      buckets.delete(address)
      buckets.set(address, bucket)
      if (buckets.size > MAX_ADDRESSES) for (const oldest of buckets.keys()) if (buckets.delete(oldest)) break
      return bucket.take(count)
    },
  }
}
