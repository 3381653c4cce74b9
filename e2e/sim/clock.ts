/** Virtual time: a queue ordered by (time, sequence), and jobs that wait on it and end with the life they belong to. */

type Entry = Readonly<{ atMs: number; sequence: number; run: () => void }>

const before = (a: Entry, b: Entry): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence)

export class Clock {
  nowMs: number
  events = 0
  #sequence = 0
  readonly #heap: Entry[] = []

  constructor(startMs: number) {
    this.nowMs = startMs
  }

  after(ms: number, run: () => void): void {
    const entry = { atMs: this.nowMs + Math.max(0, ms), sequence: this.#sequence++, run }
    const heap = this.#heap
    let i = heap.length
    heap.push(entry)
    while (i > 0) {
      const up = (i - 1) >> 1
      const parent = heap[up] as Entry
      if (before(parent, entry)) break
      heap[i] = parent
      i = up
    }
    heap[i] = entry
  }

  /** Runs events up to and including `untilMs`, or until `done`. */
  run(untilMs: number, done: () => boolean = () => false): void {
    while (!done()) {
      const next = this.#heap[0]
      if (next === undefined || next.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs)
        return
      }
      this.#pop()
      this.nowMs = next.atMs
      this.events++
      next.run()
    }
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Entry
    const { length } = heap
    if (length === 0) return
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= length) break
      if (child + 1 < length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++
      if (before(last, heap[child] as Entry)) break
      heap[i] = heap[child] as Entry
      i = child
    }
    heap[i] = last
  }
}

/** Starts something and is told, once, how it ended. */
export type Wait<T> = (resume: (value: T) => void) => void
export type Job<T = void> = Generator<Wait<unknown>, T, unknown>

/** `yield* wait(…)`: what `await` is to the product. Every one of them is a place to crash at. */
export function* wait<T>(start: Wait<T>): Job<T> {
  return (yield start) as T
}

/** A node from one start to its crash: nothing that it began goes on after. */
export class Life {
  alive = true
  readonly #crashes: () => boolean

  /** `crashes` is asked before each continuation; when it says yes it has ended this life. */
  constructor(crashes: () => boolean) {
    this.#crashes = crashes
  }

  start(job: Job): void {
    this.#go(job, undefined)
  }

  #go(job: Job, value: unknown): void {
    if (!this.alive || this.#crashes()) return
    const step = job.next(value)
    if (step.done !== true) step.value((result) => this.#go(job, result))
  }
}
