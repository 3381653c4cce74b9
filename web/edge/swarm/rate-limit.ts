/** One rate for all peers of a process: whoever sends or asks takes from it first. */
import { openBucket, setRate, take } from '../../core/swarm/token-bucket.ts'

export interface RateLimit {
  /** Bytes a second; `undefined`: none. */
  readonly bps: number | undefined
  set(bps: number | undefined): void
  /** Resolves when so many bytes may go. */
  take(bytes: number): Promise<void>
}

/** Time is the process's own, whatever the wall clock does. */
export function createRateLimit(bps?: number): RateLimit {
  const bucket = openBucket(bps, performance.now())
  return {
    get bps() {
      return bucket.bps
    },
    set: (next) => setRate(bucket, next, performance.now()),
    async take(bytes) {
      const waitMs = take(bucket, bytes, performance.now())
      if (waitMs > 0) await new Promise((done) => setTimeout(done, waitMs))
    },
  }
}
