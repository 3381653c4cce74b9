/** Those who do not play fair: sellers, each with one vice, and takers who never buy. */
import type { Bytes, Sha256Hex } from '../../web/core/bytes.ts'
import type { Sale } from '../../web/core/exchange/desk-state.ts'
import type { RefusalCode } from '../../web/core/exchange/message.ts'
import type { Quote, SignedQuote } from '../../web/core/exchange/quote.ts'
import { msat } from '../../web/core/money/msat.ts'
import { pieceBytes } from '../../web/core/swarm/merkle.ts'
import { wait, type Job } from './clock.ts'
import { readInvoice, writeInvoice } from './invoice.ts'
import type { Side } from './net.ts'
import type { Node, Part } from './node.ts'
import type { Frame, FrameOf, Sealed } from './ports.ts'
import { Conduct } from './seller-conduct.ts'

export const vices = [
  'wrong bytes',
  'wrong key',
  'wrong leaves',
  'wrong root',
  'dearer',
  'other invoice',
  'other hash',
  'replay',
  'expired',
  'never settles',
  'silent',
  'half',
  'turncoat',
] as const
/** Drawn in wide worlds only: the others are what their seeds were drawn from. */
export const moreVices = ['no quote', 'drips', 'refuses', 'settles and goes'] as const
/** Half of those that would refuse at once. */
export const REFUSES_LATE = 'refuses late'
export type Vice = (typeof vices)[number] | (typeof moreVices)[number] | typeof REFUSES_LATE

/** Between two frames of one that drips: less than a buyer takes for silence. */
const DRIP_MS = 12_000
const refusals = ['missing', 'closed', 'busy', 'unpaid', 'barred'] as const
/** Windows that a turncoat sells honestly before it turns. */
const HONEST_FIRST = 3

export class HostileConduct extends Conduct {
  readonly #vice: Vice
  #sold = 0
  #last: SignedQuote | undefined

  constructor(node: Node, vice: Vice) {
    super(node)
    this.#vice = vice
  }

  get #cheats(): boolean {
    return this.#vice === 'wrong bytes' || (this.#vice === 'turncoat' && this.#sold > HONEST_FIRST)
  }
  #spoilt(sale: Sale): Bytes[] {
    return sale.pieces.map((piece) => this.node.things.ports.spoilt(piece))
  }

  override hears(side: Side, request: FrameOf<'request'>): boolean {
    if (this.#vice === 'refuses')
      this.node.send(side, { t: 'refuse', id: request.id, code: this.node.random.pick(refusals) })
    return this.#vice !== 'refuses' && this.#vice !== 'silent'
  }
  override plain(piece: number): Bytes | undefined {
    return this.#cheats ? this.node.things.ports.spoilt(piece) : super.plain(piece)
  }
  override leaves(sale: Sale, parts: readonly Bytes[]): Bytes {
    const { ports } = this.node.things
    if (this.#vice === 'wrong leaves') return ports.leavesOf(this.#spoilt(sale))
    return super.leaves(sale, this.#cheats ? sale.pieces.map((piece) => ports.genuine(piece)) : parts)
  }
  override seal(secret: Bytes, sale: Sale, parts: readonly Bytes[]): Sealed {
    this.#sold++
    const key = this.#vice === 'wrong key' ? this.node.random.bytes(secret.length) : secret
    const sealed = super.seal(key, sale, parts)
    if (this.#vice === 'wrong root') return { ...sealed, cipherRoot: 'ab'.repeat(32) as Sha256Hex }
    if (this.#vice !== 'half') return sealed
    return { ...sealed, cipher: sealed.cipher.slice(0, sealed.cipher.length >> 1) }
  }
  override *pause(): Job {
    if (this.#vice === 'drips')
      yield* wait<undefined>((resume) => this.node.things.clock.after(DRIP_MS, () => resume(undefined)))
  }
  override quotes(): boolean | RefusalCode {
    if (this.#vice === REFUSES_LATE) return this.node.random.pick(refusals)
    return this.#vice !== 'no quote'
  }
  override sign(quote: Quote): SignedQuote {
    const signed = super.sign(this.#twisted(quote))
    const last = this.#last
    this.#last = signed
    return this.#vice === 'replay' && last !== undefined ? last : signed
  }
  #twisted(quote: Quote): Quote {
    const { paymentHash, amount, expiry } = quote
    switch (this.#vice) {
      case 'dearer':
        return { ...quote, amount: msat(amount * 2 + 1) }
      case 'other invoice':
        return {
          ...quote,
          invoice: writeInvoice({ paymentHash, amount: amount * 3 + 1, expiresAtMs: expiry * 1000 }),
        }
      case 'other hash':
        return { ...quote, paymentHash: 'cd'.repeat(32) as Sha256Hex }
      case 'expired':
        return { ...quote, expiry: expiry - 500 }
      default:
        return quote
    }
  }
  override settles(): boolean {
    return this.#vice !== 'never settles'
  }
  override giveKey(side: Side, quote: Sha256Hex, secret: Bytes): void {
    if (this.#vice === 'settles and goes') this.node.port.cut(side, 0)
    else super.giveKey(side, quote, secret)
  }
}

export const takings = ['never pays', 'cancels', 'pays late', 'storms'] as const
export type Taking = (typeof takings)[number]

/** Takes ciphertext that it never means to pay in time. */
export class HostileBuyer implements Part {
  readonly node: Node
  readonly #taking: Taking
  readonly #has = new Map<string, number[]>()
  #next = 1

  constructor(node: Node, taking: Taking) {
    this.node = node
    this.#taking = taking
  }
  start(): void {
    this.node.every(this.#taking === 'storms' ? 200 : 2000, () => this.#ask())
  }
  joined(side: Side): void {
    this.#has.set(side.id, [])
  }
  gone(side: Side): void {
    this.#has.delete(side.id)
  }
  message(side: Side, frame: Frame): void {
    if (frame.t === 'have') this.#has.get(side.id)?.push(...frame.pieces)
    if (this.#taking !== 'pays late') return
    const signed = this.node.things.ports.openQuote(frame)
    if (signed === undefined) return
    const invoice = readInvoice(signed.quote.invoice)
    if (invoice === 'unreadable') return
    const { bank, clock } = this.node.things
    // At the last moment, or after it: the payment is on its way when the quote lapses.
    const delayMs = invoice.expiresAtMs - this.node.nowMs - 2000 + this.node.random.between(-500, 4000)
    clock.after(
      delayMs,
      this.node.living(() => bank.pay(this.node.id, signed.quote.invoice, () => undefined)),
    )
  }
  #ask(): void {
    const { shape } = this.node.things.ports
    for (const [id, has] of this.#has) {
      const side = this.node.port.sides.get(id)
      if (side === undefined || has.length === 0) continue
      const pieces = new Set<number>()
      for (let bytes = 0; pieces.size < 16 && bytes < 16 * 1024 * 1024;) {
        const piece = this.node.random.pick(has)
        bytes += pieceBytes(shape, piece)
        pieces.add(piece)
        if (this.node.random.chance(0.2)) break
      }
      const request = this.#next++
      this.node.send(side, { t: 'request', id: request, pieces: [...pieces].sort((a, b) => a - b) })
      if (this.#taking !== 'cancels' && this.#taking !== 'storms') continue
      this.node.things.clock.after(
        this.node.random.between(0, 3000),
        this.node.living(() => this.node.send(side, { t: 'cancel', id: request })),
      )
    }
  }
}
