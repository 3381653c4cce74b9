import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { LineWindow } from '../../core/exchange/line.ts'
import { LEAST_PARALLEL } from '../../core/exchange/uplink.ts'
import { UploadLine } from './upload-line.ts'

let nowMs = 0
let out: string[]
let line: UploadLine
beforeEach(() => {
  vi.useFakeTimers()
  nowMs = 0
  out = []
  line = new UploadLine(8, () => nowMs)
})
afterEach(() => vi.useRealTimers())

const sale = (peer: string, request: number, ...pieces: number[]): LineWindow => ({
  peer,
  request,
  pieces,
  bytes: 1024 * 1024,
})

/** As a window goes: held, made ready, on the line until its taker has it. */
function serve(of: LineWindow): void {
  void (async () => {
    await line.hold(of)
    await line.enter(of)
    out.push(`${of.peer}${of.request}`)
    line.letGo(of)
    await line.leave(of, false)
    out.push(`${of.peer}${of.request} off`)
  })()
}
const started = (): string[] => out.filter((text) => !text.endsWith('off'))
/** As many takers as are served at once. */
const FIRST = Array.from({ length: LEAST_PARALLEL }, (_, i) => `a${i}`)
const outOf = (takers: readonly string[]): string[] => takers.map((peer) => `${peer}1`)
const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0)

test('a window goes out when the taker of the one before has it, or is gone', async () => {
  for (const peer of [...FIRST, 'c', 'd']) serve(sale(peer, 1, 0))
  await settled()
  line.got('c', 1)
  line.got('a0', 2)
  await settled()
  expect(out).toEqual(outOf(FIRST))
  line.got('a0', 1)
  await settled()
  expect(started()).toEqual(outOf([...FIRST, 'c', 'd']))
  for (const peer of FIRST) line.got(peer, 1)
  line.gone('d')
  await settled()
  expect(out).toHaveLength(2 * (FIRST.length + 2))
})

test('a taker that never says so keeps the line for two seconds', async () => {
  for (const [piece, peer] of [...FIRST, 'c'].entries()) serve(sale(peer, 1, piece))
  await vi.advanceTimersByTimeAsync(1999)
  expect(out).toEqual(outOf(FIRST))
  await vi.advanceTimersByTimeAsync(1)
  expect(started()).toEqual(outOf([...FIRST, 'c']))
})

test('what several takers wait for is handed over no faster than it is taken', async () => {
  vi.setSystemTime(0)
  const line = new UploadLine(8, () => performance.now())
  const handed: number[] = []
  let latest = 0
  const takers = ['a', 'b', 'c', 'd', 'e']
  const serveFor = async (peer: string): Promise<void> => {
    for (let request = 1; performance.now() < 20_000; request++) {
      const window = sale(peer, request, 0)
      await line.hold(window)
      await line.enter(window)
      for (let part = 0; part < 16; part++) {
        handed.push(performance.now())
        await line.paced(window, window.bytes / 16)
      }
      line.letGo(window)
      // A line of 2 MiB/s behind a buffer.
      latest = Math.max(latest, performance.now()) + 500
      setTimeout(() => line.got(peer, request), latest - performance.now())
      await line.leave(window, false)
    }
  }
  for (const peer of takers) void serveFor(peer)
  await vi.advanceTimersByTimeAsync(25_000)
  const late = handed.filter((atMs) => atMs > 10_000 && atMs < 20_000)
  expect(late.length / 16 / 10).toBeGreaterThan(1.5)
  // Evenly, not window by window: more than one part in most steps of 100 ms.
  expect(new Set(late.map((atMs) => Math.floor(atMs / 100))).size).toBeGreaterThan(80)
})
