import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openBucket, setRate, take } from './token-bucket.ts'

describe('a token bucket', () => {
  test('lets a burst go, then makes wait by the byte', () => {
    const bucket = openBucket(1000, 0)
    expect(take(bucket, 250, 0)).toBe(0)
    expect(take(bucket, 500, 0)).toBe(500)
    expect(take(bucket, 100, 500)).toBe(100)
    expect(take(bucket, 1, 10_000)).toBe(0)
  })

  test('without a rate nobody waits', () => {
    const bucket = openBucket(undefined, 0)
    expect(take(bucket, 1e12, 0)).toBe(0)
  })

  test('a new rate holds for what is taken next, and for the debt', () => {
    const bucket = openBucket(1000, 0)
    expect(take(bucket, 1250, 0)).toBe(1000)
    setRate(bucket, 10_000, 0)
    expect(take(bucket, 0, 0)).toBe(100)
    setRate(bucket, undefined, 0)
    expect(take(bucket, 1e9, 0)).toBe(0)
    setRate(bucket, 1000, 0)
    expect(take(bucket, 250, 0)).toBe(0)
    expect(take(bucket, 1, 0)).toBe(1)
  })

  test('a clock that goes back gives nothing', () => {
    const bucket = openBucket(1000, 5000)
    take(bucket, 250, 5000)
    expect(take(bucket, 10, 0)).toBe(10)
  })

  test('all takers together never pass the rate by more than a burst, and are never held back more than that', () => {
    const anyTake = fc.record({ bytes: fc.nat(5000), pauseMs: fc.nat(2000) })
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.array(anyTake, { minLength: 1, maxLength: 40 }),
        (bps, takes) => {
          const bucket = openBucket(bps, 0)
          let nowMs = 0
          let total = 0
          for (const { bytes, pauseMs } of takes) {
            nowMs += pauseMs
            total += bytes
            const waitMs = take(bucket, bytes, nowMs)
            const lastMs = nowMs + waitMs
            expect(total).toBeLessThanOrEqual((bps * (lastMs + 250)) / 1000 + 1)
            // No later than if everything had been asked for just now.
            expect(waitMs).toBeLessThanOrEqual(Math.ceil((total * 1000) / bps))
          }
        },
      ),
    )
  })
})
