import { expect, test } from 'vitest'
import { LEAST_PARALLEL, MAX_PARALLEL, openUplink, sent, type Uplink } from './uplink.ts'

/** Sends for so many seconds over a line of `lineBps`, to takers of `takerBps` each; returns what `parallel` was, all the time. */
function run(uplink: Uplink, fromMs: number, seconds: number, lineBps: number, takerBps: number): number[] {
  const seen: number[] = []
  for (let nowMs = fromMs + 100; nowMs <= fromMs + seconds * 1000; nowMs += 100) {
    const bps = Math.min(lineBps, takerBps * uplink.parallel)
    const { parallel } = uplink
    for (let i = 0; i < parallel; i++) sent(uplink, bps / 10 / parallel, true, nowMs)
    seen.push(uplink.parallel)
  }
  return seen
}
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

test('a line that one taker fills: few at a time, but for a trial now and then', () => {
  const seen = run(openUplink(0), 0, 60, 1e6, 1e9)
  expect(mean(seen)).toBeLessThan(LEAST_PARALLEL * 1.1)
  expect(Math.max(...seen)).toBe(2 * LEAST_PARALLEL)
})

test('slow takers on a fast line: as many as bring more, within seconds', () => {
  const seen = run(openUplink(0), 0, 5, 10e6, 100e3)
  expect(seen.at(-1)).toBe(MAX_PARALLEL)
  const some = run(openUplink(0), 0, 5, 1e6, 240e3)
  expect(some.at(-1)).toBe(2 * LEAST_PARALLEL)
})

test('when the takers become fast again, it goes back to few', () => {
  const uplink = openUplink(0)
  run(uplink, 0, 5, 10e6, 100e3)
  expect(run(uplink, 5000, 60, 10e6, 1e9).at(-1)).toBe(LEAST_PARALLEL)
})

test('nothing is tried while nobody else waits', () => {
  const uplink = openUplink(0)
  for (let nowMs = 0; nowMs < 20_000; nowMs += 100) sent(uplink, 1e5, false, nowMs)
  expect(uplink.parallel).toBe(LEAST_PARALLEL)
})

test('what the pace holds is not tried with more at a time, and a trial under way ends', () => {
  const paced = (uplink: Uplink, bytes: number, fromMs: number, toMs: number): void => {
    for (let nowMs = fromMs; nowMs < toMs; nowMs += 100) sent(uplink, bytes, true, nowMs, 1e6)
  }
  const uplink = openUplink(0)
  paced(uplink, 1e5, 100, 200_000)
  expect(uplink.parallel).toBe(LEAST_PARALLEL)
  const trying = openUplink(0)
  paced(trying, 2e4, 100, 700)
  expect(trying.parallel).toBe(2 * LEAST_PARALLEL)
  paced(trying, 1e5, 700, 5000)
  expect(trying.parallel).toBe(LEAST_PARALLEL)
})
