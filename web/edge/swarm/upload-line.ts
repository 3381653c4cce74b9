/** The seller's line (`core/exchange/line.ts`) for code that waits. */
import * as lines from '../../core/exchange/line.ts'
import type { LineEffect, LineWindow } from '../../core/exchange/line.ts'
import { createRateLimit } from './rate-limit.ts'

export type UploadLineEvents = Readonly<{
  /** These pieces go out for the first time. */
  fresh?: (window: LineWindow, pieces: readonly number[]) => void
  /** It is off the line before all of it was handed over: nothing more of it may be sent. */
  giveUp?: (window: LineWindow) => void
}>

export class UploadLine {
  readonly #nowMs: () => number
  readonly #line: lines.Line
  /** Who waits for an effect. */
  readonly #waiting = new Map<LineWindow, () => void>()
  /** Windows that are handed over; called when their taker has them. */
  readonly #going = new Map<LineWindow, () => void>()

  readonly #on: UploadLineEvents
  readonly #pace = createRateLimit()

  constructor(pieces: number, nowMs: () => number, on: UploadLineEvents = {}) {
    this.#nowMs = nowMs
    this.#on = on
    this.#line = lines.openLine(pieces, nowMs())
  }

  /** Every second or so. */
  tick(): void {
    this.#run(lines.tick(this.#line, this.#nowMs()))
  }

  /** Resolves when this window may be made ready. */
  hold(window: LineWindow): Promise<void> {
    return this.#until(window, () => lines.asked(this.#line, window, this.#nowMs()))
  }

  /** It is out of memory. */
  letGo(window: LineWindow): void {
    this.#run(lines.out(this.#line, window, this.#nowMs()))
  }

  /** Resolves when a window that is ready may go out. */
  enter(window: LineWindow): Promise<void> {
    return this.#until(window, () => lines.ready(this.#line, window, this.#nowMs()))
  }

  /** Resolves when so many bytes more of it may be handed over. */
  async paced({ peer }: LineWindow, bytes: number): Promise<void> {
    const bps = lines.paceFor(this.#line, peer)
    if (bps !== this.#pace.bps) this.#pace.set(bps)
    await this.#pace.take(bytes)
  }

  /** All of it is handed over, or nothing of it goes any more (`over`). Resolves when it is off the line. */
  async leave(window: LineWindow, over: boolean): Promise<void> {
    if (!over && !lines.hasGot(this.#line, window)) await this.#taken(window)
    this.#run(lines.over(this.#line, window, !over, this.#nowMs()))
  }

  /** The peer has all of the ciphertext that it asked for. */
  got(peer: string, request: number): void {
    for (const window of lines.got(this.#line, peer, request)) this.#going.get(window)?.()
  }

  gone(peer: string): void {
    for (const window of lines.got(this.#line, peer)) this.#going.get(window)?.()
  }

  #taken(window: LineWindow): Promise<void> {
    return new Promise((done) => {
      const taken = (): void => {
        clearTimeout(timer)
        this.#going.delete(window)
        done()
      }
      const timer = setTimeout(taken, lines.LATEST_GOT_MS)
      this.#going.set(window, taken)
    })
  }

  #until(window: LineWindow, step: () => LineEffect[]): Promise<void> {
    return new Promise((go) => {
      this.#waiting.set(window, go)
      this.#run(step())
    })
  }

  #run(effects: readonly LineEffect[]): void {
    for (const effect of effects) {
      const { window } = effect
      if (effect.tag === 'give-up') {
        this.#on.giveUp?.(window)
        continue
      }
      if (effect.tag === 'prepare' && effect.fresh.length > 0) this.#on.fresh?.(window, effect.fresh)
      const go = this.#waiting.get(window)
      this.#waiting.delete(window)
      go?.()
    }
  }
}
