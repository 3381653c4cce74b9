/** The seller's line (`web/core/exchange/line.ts`) for jobs that wait on the virtual clock. */
import * as lines from '../../web/core/exchange/line.ts'
import type { LineEffect, LineWindow } from '../../web/core/exchange/line.ts'
import { openBucket, setRate, take } from '../../web/core/swarm/token-bucket.ts'
import { wait, type Job } from './clock.ts'
import { isPreparing, seeOver, type SellerParts } from './seller-parts.ts'

export class SellerLine {
  readonly #parts: SellerParts
  readonly #line: lines.Line
  /** Who waits for the line. */
  readonly #waiting = new Map<LineWindow, () => void>()
  readonly #pace

  constructor(parts: SellerParts) {
    this.#parts = parts
    this.#pace = openBucket(undefined, parts.node.nowMs)
    this.#line = lines.openLine(parts.node.pieces, parts.node.nowMs)
  }

  get #nowMs(): number {
    return this.#parts.node.nowMs
  }

  /** Every second or so. */
  tick(): void {
    this.#run(lines.tick(this.#line, this.#nowMs))
  }

  /** Until this window may be made ready. */
  *hold(window: LineWindow): Job {
    yield* this.#until(window, () => lines.asked(this.#line, window, this.#nowMs))
  }
  /** Until a window that is ready may go out. */
  *enter(window: LineWindow): Job {
    yield* this.#until(window, () => lines.ready(this.#line, window, this.#nowMs))
  }
  /** It is out of memory. */
  letGo(window: LineWindow): void {
    this.#run(lines.out(this.#line, window, this.#nowMs))
  }
  /** Until so many bytes more of it may be handed over. */
  *paced({ peer }: LineWindow, bytes: number): Job {
    const bps = lines.paceFor(this.#line, peer)
    if (bps !== this.#pace.bps) setRate(this.#pace, bps, this.#nowMs)
    const waitMs = take(this.#pace, bytes, this.#nowMs)
    if (waitMs > 0)
      yield* wait<undefined>((resume) => this.#parts.node.things.clock.after(waitMs, () => resume(undefined)))
  }
  /** All of it is handed over, or it was given up: off the line at once, or when its taker has it. */
  leave(window: LineWindow, brought: boolean): void {
    const { node } = this.#parts
    if (!brought || lines.hasGot(this.#line, window)) return this.#over(window, brought)
    node.things.clock.after(
      lines.LATEST_GOT_MS,
      node.living(() => this.#over(window, true)),
    )
  }
  /** The peer has all that it asked for with this request; without one it is gone. */
  got(peer: string, request?: number): void {
    for (const window of lines.got(this.#line, peer, request)) this.#over(window, true)
  }

  #over(window: LineWindow, brought: boolean): void {
    this.#run(lines.over(this.#line, window, brought, this.#nowMs))
  }

  *#until(window: LineWindow, step: () => LineEffect[]): Job {
    yield* wait<undefined>((resume) => {
      this.#waiting.set(window, () => resume(undefined))
      this.#run(step())
    })
  }

  #run(effects: readonly LineEffect[]): void {
    for (const effect of effects) {
      const { window } = effect
      if (effect.tag === 'give-up') {
        this.#giveUp(window)
        continue
      }
      if (effect.tag === 'prepare') this.#tellOthers(window.peer, effect.fresh)
      const go = this.#waiting.get(window)
      this.#waiting.delete(window)
      go?.()
    }
  }

  #giveUp({ peer, request }: LineWindow): void {
    const { node, desk, step } = this.#parts
    for (const sale of desk.sales.values()) {
      if (sale.peer !== peer || sale.request !== request || !isPreparing(sale)) continue
      seeOver(node, sale, false)
      step({ tag: 'failed', id: sale.id, code: 'busy' })
    }
  }

  /** Who has all of it says what goes out for the first time, so that nobody else asks for it. */
  #tellOthers(peer: string, pieces: readonly number[]): void {
    const { node, sides } = this.#parts
    if (pieces.length === 0 || node.disk.pieces.size < node.pieces) return
    for (const side of sides.values()) if (side.id !== peer) node.send(side, { t: 'sending', pieces })
  }
}
