/**
 * Time that only goes forward: a wall clock that is set back counts on from where it was, so that whatever waits still
 * ends. Set forward it is followed, as nobody can tell that from sleep.
 */
export class SteadyClock {
  readonly #wallMs: () => number
  #lastMs = Number.NEGATIVE_INFINITY
  /** How far it is before the wall clock by now. */
  #aheadMs = 0

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs
  }

  readonly nowMs = (): number => {
    const ms = this.#wallMs() + this.#aheadMs
    if (ms < this.#lastMs) this.#aheadMs += this.#lastMs - ms
    this.#lastMs = Math.max(ms, this.#lastMs)
    return this.#lastMs
  }

  /** A time of the wall clock, such as a quote's expiry, on this one. */
  fromWall(ms: number): number {
    this.nowMs()
    return ms + this.#aheadMs
  }

  toWall(ms: number): number {
    return ms - this.#aheadMs
  }
}
