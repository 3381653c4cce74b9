/**
 * The seller's line: whose window is made ready, and which ones go out. One more than may be on their way is in memory,
 * made ready; `uplink.ts` says how many may, `turn.ts` whose turn it is.
 */
import type { Sale } from '../../core/exchange/desk.ts'
import { whoseTurn, type Waiting } from '../../core/exchange/turn.ts'
import { openUplink, sent, type Uplink } from '../../core/exchange/uplink.ts'
import { MIB } from '../../core/money/msat.ts'

/** Of windows in memory at once, all peers together; one is always allowed. */
const MAX_READY_BYTES = 48 * MIB
/** A taker that does not say so has its window after so long. */
const LATEST_GOT_MS = 2000

export type LineSale = Pick<Sale, 'peer' | 'request' | 'pieces' | 'bytes'>

export class UploadLine {
  readonly #nowMs: () => number
  readonly #uplink: Uplink
  readonly #waiting: (Waiting & { bytes: number; go: () => void })[] = []
  /** Windows that are ready, in the order of being so. */
  readonly #ready: (() => void)[] = []
  /** Windows on their way, by peer and request; called when the peer has them. */
  readonly #going = new Map<string, () => void>()
  /** How often each piece went out. */
  readonly #served: Uint32Array
  #held = 0
  #heldBytes = 0
  #onLine = 0

  constructor(pieces: number, nowMs: () => number) {
    this.#nowMs = nowMs
    this.#uplink = openUplink(nowMs())
    this.#served = new Uint32Array(pieces)
  }

  /** Resolves when this window may be made ready. */
  async hold({ pieces, bytes }: LineSale): Promise<void> {
    const sinceMs = this.#nowMs()
    if (this.#waiting.length === 0 && this.#mayHold(bytes)) return this.#begin(pieces, bytes)
    await new Promise<void>((go) => this.#waiting.push({ pieces, bytes, sinceMs, go }))
  }

  /** It is out of memory. */
  letGo({ bytes }: LineSale): void {
    this.#held--
    this.#heldBytes -= bytes
    this.#goOn()
  }

  /** Resolves when a window that is ready may go out. */
  async enter({ peer, request }: LineSale): Promise<void> {
    if (this.#ready.length === 0 && this.#onLine < this.#uplink.parallel) this.#onLine++
    else await new Promise<void>((go) => this.#ready.push(go))
    this.#going.set(nameOf(peer, request), () => undefined)
  }

  /**
   * All of it is handed over, or nothing of it goes any more (`over`). Where others wait the line is free when the taker
   * has it all: much may still be in the buffers below.
   */
  async leave(sale: LineSale, over: boolean): Promise<void> {
    const name = nameOf(sale.peer, sale.request)
    if (!over && this.#going.has(name) && this.#othersWait()) await this.#taken(name)
    this.#going.delete(name)
    const full = this.#othersWait() && this.#onLine >= this.#uplink.parallel
    sent(this.#uplink, over ? 0 : sale.bytes, full, this.#nowMs())
    this.#onLine--
    this.#goOn()
  }

  /** The peer has all of the ciphertext that it asked for. */
  got(peer: string, request: number): void {
    const name = nameOf(peer, request)
    this.#going.get(name)?.()
    this.#going.delete(name)
  }

  gone(peer: string): void {
    for (const [name, taken] of this.#going)
      if (name.startsWith(nameOf(peer))) {
        taken()
        this.#going.delete(name)
      }
  }

  #taken(name: string): Promise<void> {
    return new Promise((done) => {
      const timer = setTimeout(done, LATEST_GOT_MS)
      this.#going.set(name, () => {
        clearTimeout(timer)
        done()
      })
    })
  }

  #othersWait(): boolean {
    return this.#ready.length + this.#waiting.length > 0
  }

  #mayHold(bytes: number): boolean {
    if (this.#held === 0) return true
    return this.#held <= this.#uplink.parallel && this.#heldBytes + bytes <= MAX_READY_BYTES
  }

  #begin(pieces: readonly number[], bytes: number): void {
    this.#held++
    this.#heldBytes += bytes
    for (const piece of pieces) this.#served[piece] = (this.#served[piece] ?? 0) + 1
  }

  #goOn(): void {
    while (this.#onLine < this.#uplink.parallel) {
      const next = this.#ready.shift()
      if (next === undefined) break
      this.#onLine++
      next()
    }
    for (;;) {
      const at = whoseTurn(this.#waiting, this.#served, this.#nowMs())
      const next = this.#waiting[at]
      if (next === undefined || !this.#mayHold(next.bytes)) return
      this.#waiting.splice(at, 1)
      this.#begin(next.pieces, next.bytes)
      next.go()
    }
  }
}

const nameOf = (peer: string, request: number | '' = ''): string => `${peer} ${request}`
