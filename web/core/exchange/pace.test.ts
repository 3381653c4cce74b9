import { expect, test } from 'vitest'
import { openPace, taken, type Pace } from './pace.ts'

const BYTES = 256 * 1024
/** Windows that go at once. */
const PARALLEL = 3

type Path = Readonly<{
  lineBps: number
  /** There and back, ms. */
  wayMs: number
}>

/** A line that takes whatever is handed over into its buffer; `handOver` windows on it, one begun as soon as another is taken. */
class Scene {
  readonly pace: Pace = openPace(0)
  nowMs = 0
  #freeMs = 0
  #handedMs = 0
  readonly #going: { goingMs: number; outMs: number; takenMs: number }[] = []

  /** @returns bytes a second that were taken, and how long each window waited in the line's buffer, ms */
  run(seconds: number, { lineBps, wayMs }: Path, full = true): { rate: number; waitedMs: number[] } {
    const startMs = this.nowMs
    const untilMs = startMs + seconds * 1000
    const waitedMs: number[] = []
    let bytes = 0
    while (this.nowMs < untilMs) {
      while (this.#going.length < PARALLEL) {
        const { bps } = this.pace
        const outMs =
          bps === undefined ? this.nowMs : Math.max(this.nowMs, this.#handedMs) + (BYTES * 1000) / bps
        this.#handedMs = outMs
        const alone = outMs - (bps === undefined ? 0 : (BYTES * 1000) / lineBps)
        this.#freeMs = Math.max(outMs, Math.max(alone, this.#freeMs) + (BYTES * 1000) / lineBps)
        waitedMs.push(this.#freeMs - outMs)
        this.#going.push({ goingMs: this.nowMs, outMs, takenMs: this.#freeMs + wayMs })
      }
      const [first] = this.#going.splice(0, 1)
      if (first === undefined) throw new Error('unreachable: a window goes')
      this.nowMs = first.takenMs
      bytes += BYTES
      taken(this.pace, { bytes: BYTES, ...first }, full, this.nowMs)
    }
    return { rate: (bytes * 1000) / (this.nowMs - startMs), waitedMs }
  }
}
const most = (values: readonly number[]): number => Math.max(...values)
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length

test('the line stays full and its buffer nearly empty', () => {
  const scene = new Scene()
  const path = { lineBps: 1e6, wayMs: 30 }
  expect(most(scene.run(1, path).waitedMs)).toBeGreaterThan(600) // as it is when nothing is paced
  scene.run(20, path)
  const { rate, waitedMs } = scene.run(60, path)
  expect(rate).toBeGreaterThan(0.93e6)
  expect(most(waitedMs)).toBeLessThan(400)
  expect(mean(waitedMs)).toBeLessThan(250)
})

test('another rate of the line is found again, lower or higher', () => {
  const scene = new Scene()
  scene.run(30, { lineBps: 1e6, wayMs: 30 })
  for (const lineBps of [0.5e6, 2e6]) {
    const path = { lineBps, wayMs: 30 }
    scene.run(150, path)
    const { rate, waitedMs } = scene.run(30, path)
    expect(rate).toBeGreaterThan(0.9 * lineBps)
    expect(mean(waitedMs)).toBeLessThan(200)
  }
})

test('takers that are far away are no full buffer', () => {
  const scene = new Scene()
  const path = { lineBps: 1e6, wayMs: 300 }
  scene.run(30, path)
  expect(scene.run(30, path).rate).toBeGreaterThan(0.9e6)
})

test('what takes long for another reason starves nobody', () => {
  const scene = new Scene()
  scene.run(30, { lineBps: 1e6, wayMs: 30 })
  expect(scene.run(60, { lineBps: 1e6, wayMs: 330 }).rate).toBeGreaterThan(0.6e6)
  scene.run(600, { lineBps: 1e6, wayMs: 330 })
  expect(scene.run(60, { lineBps: 1e6, wayMs: 330 }).rate).toBeGreaterThan(0.9e6)
})

test('a fast line is not paced', () => {
  const scene = new Scene()
  scene.run(30, { lineBps: 40e6, wayMs: 5 })
  expect(scene.pace.bps).toBeUndefined()
})

test('a very slow line is paced so little that no taker waits long for a frame', () => {
  const scene = new Scene()
  scene.run(600, { lineBps: 20e3, wayMs: 30 })
  expect(scene.pace.bps).toBe(200_000)
})

test('nothing is measured while the line has room', () => {
  const scene = new Scene()
  scene.run(10, { lineBps: 1e6, wayMs: 30 }, false)
  expect(scene.pace.bps).toBeUndefined()
})
