/**
 * Drives the product's desk (`web/core/exchange/desk.ts`) in the virtual world, in the order that `web/edge/swarm` keeps:
 * leaves, ciphertext, the sale on disk, the quote; settles what is locked, forgets what lapsed, recovers after a crash.
 */
import type { Bytes, PartyKey, Sha256Hex } from '../../web/core/bytes.ts'
import { step } from '../../web/core/exchange/desk.ts'
import type { DeskEffect, DeskEvent } from '../../web/core/exchange/desk-events.ts'
import { isGift, reserve } from '../../web/core/exchange/desk-gifts.ts'
import type { DeskPolicy } from '../../web/core/exchange/desk-policy.ts'
import { openDesk, type Desk, type Sale } from '../../web/core/exchange/desk-state.ts'
import type { Role } from '../../web/core/exchange/message.ts'
import * as lines from '../../web/core/exchange/line.ts'
import type { Quote, SignedQuote } from '../../web/core/exchange/quote.ts'
import type { Lookup, Notice } from './bank.ts'
import { MONEY, toText } from './buyer.ts'
import { wait, type Job } from './clock.ts'
import type { Side } from './net.ts'
import type { Node, Part } from './node.ts'
import type { Frame } from './ports.ts'

const QUOTE_S = 120
/** Of a window's bytes: with so many left it is nearly out (`web/edge/swarm/serving.ts`). */
const NEARLY_OUT = 64 * 1024
const OFFER_S = 3600
const OFFER_RENEW_MS = 30 * 60_000
const TICK_MS = 1000
const AGAIN_MS = 10_000
const LATE_MS = 3_600_000
/** Who takes nothing of what is on its way for so long loses the wire (`web/edge/swarm/peer.ts`). */
const READ_TIMEOUT_MS = 60_000
const LARGEST_OFFER = 16 * 1024 * 1024

/** `text` is missing where the wallet refused. */
type Told = Readonly<{ tag: 'told'; text: string | undefined }>
type Invoiced = Readonly<{ tag: 'coming' }> | Told
/** A window that is out and has no quote yet. */
export type Streamed = Readonly<{
  hash: Sha256Hex
  expiry: number
  cipherRoot: Sha256Hex
  invoiced: () => Job<Told>
}>
type Record = Readonly<{ hash: Sha256Hex; amount: number; expiry: number }>

export class SellerPart implements Part {
  readonly node: Node
  readonly desk: Desk
  readonly #hold: boolean
  readonly #roleOf: (key: string) => Role
  readonly #sides = new Map<string, Side>()
  readonly #byHash = new Map<string, Sha256Hex>()
  readonly #queues = new Map<string, Sale[]>()
  readonly #line: lines.Line
  /** Who waits for the line. */
  readonly #waiting = new Map<lines.LineWindow, () => void>()
  #sellerKey: Bytes = new Uint8Array()
  #offerAtMs = 0
  /** Sales that may be forgotten once the wallet says that nothing comes any more, and since when. */
  readonly #late = new Map<Sale, number>()
  #againAtMs = 0

  constructor(node: Node, policy: DeskPolicy, hold: boolean, roleOf: (key: string) => Role) {
    this.node = node
    this.desk = openDesk(node.things.ports.shape, policy)
    this.#hold = hold
    this.#roleOf = roleOf
    this.#line = lines.openLine(node.pieces, node.nowMs)
  }

  start(): void {
    const kept = this.node.disk.records.get('shop/key') as Bytes | undefined
    this.#sellerKey = kept ?? this.node.random.bytes(32)
    this.node.disk.records.set('shop/key', this.#sellerKey)
    this.node.things.bank.listen(
      this.node.id,
      this.node.living((notice) => this.#onWallet(notice)),
    )
    this.#offerAtMs = this.node.nowMs
    this.node.every(TICK_MS, () => this.#tick())
    this.node.life.start(this.#recover())
  }

  joined(side: Side): void {
    this.#sides.set(side.id, side)
    this.node.send(side, { t: 'have', pieces: [...this.node.disk.pieces.keys()] })
    this.#sendOffer(side)
  }
  gone(side: Side): void {
    this.#over(side, (sale) => sale.state === 'preparing')
    this.#got(side)
    this.#sides.delete(side.id)
    this.#queues.delete(side.id)
    this.#step({ tag: 'left', peer: side.id, buyer: side.key as never })
  }

  #sendOffer(side: Side): void {
    const { policy } = this.desk
    const key = side.key as PartyKey
    const gift = isGift(this.desk, key, this.#roleOf(side.key))
    if (gift && policy.price > 0) reserve(this.desk, key)
    const { ports } = this.node.things
    const offerS = Math.floor(this.#offerAtMs / 1000)
    const offer = {
      infoHash: ports.infoHash,
      money: MONEY,
      price: policy.price,
      modes: ['atomic', 'free'] as const,
      maxWindowBytes: Math.max(ports.shape.pieceLength, Math.min(LARGEST_OFFER, policy.unpaidBytes)),
      expiresAtS: offerS + OFFER_S,
    }
    this.node.send(side, ports.offer(offer, this.node.party, gift, offerS))
  }

  message(side: Side, frame: Frame): void {
    if (frame.t === 'cancel') {
      this.#over(
        side,
        ({ request, state }) => request === frame.id && (state === 'preparing' || state === 'waiting'),
      )
      this.#step({ tag: 'cancelled', peer: side.id, request: frame.id })
      return this.#got(side, frame.id)
    }
    if (frame.t === 'got') return this.#got(side, frame.id)
    if (frame.t !== 'request') return
    this.#step({
      tag: 'asked',
      id: this.node.things.ports.id(this.node.random),
      peer: side.id,
      buyer: side.key as never,
      role: this.#roleOf(side.key),
      request: frame.id,
      pieces: frame.pieces,
      has: (piece) => this.node.has(piece),
    })
  }

  #over(side: Side, is: (sale: Sale) => boolean): void {
    for (const sale of this.desk.sales.values())
      if (sale.peer === side.id && is(sale)) this.#seeOver(sale, false)
  }
  #seeOver({ id: sale, buyer }: Sale, byWallet: boolean): void {
    this.node.things.see({ t: 'cancelled', seller: this.node.id, buyer, sale, byWallet }, this.node.nowMs)
  }

  #step(event: DeskEvent): void {
    for (const effect of step(this.desk, event, this.node.nowMs)) this.#run(effect)
  }

  #run(effect: DeskEffect): void {
    switch (effect.tag) {
      case 'refuse': {
        const side = this.#sides.get(effect.peer)
        if (side !== undefined) this.node.send(side, { t: 'refuse', id: effect.request, code: effect.code })
        return
      }
      case 'serve': {
        const { sale } = effect
        const queue = this.#queues.get(sale.peer)
        if (queue !== undefined) return void queue.push(sale)
        this.#queues.set(sale.peer, [sale])
        return this.node.life.start(this.#serveAll(sale.peer))
      }
      case 'settle':
        return this.node.life.start(this.#settle(effect.sale))
      case 'give-key': {
        const { sale } = effect
        const secret = this.#secretOf(sale.id)
        const side = this.#sides.get(sale.peer)
        if (side !== undefined) this.give(side, sale.id, secret)
        this.#byHash.delete(this.node.things.ports.hashOf(secret))
        if (sale.amount > 0) this.node.life.start(this.#unwrite(sale.id))
        return
      }
      case 'forget':
        return this.node.life.start(this.#forget(effect.sale))
      case 'raise-credit':
        return // the offers of this seller name no credit
    }
  }

  *#unwrite(id: Sha256Hex): Job {
    yield* wait(this.node.disk.delete(`sale/${id}`))
  }

  #secretOf(id: Sha256Hex): Bytes {
    return this.node.things.ports.secretOf(this.#sellerKey, id)
  }

  // One sale: a peer's windows go out one after the other; whose turn it is says the line.

  *#serveAll(peer: string): Job {
    const queue = this.#queues.get(peer) ?? []
    for (let sale = queue[0]; sale !== undefined; sale = queue[0]) {
      yield* this.#serve(sale)
      queue.shift()
    }
    if (this.#queues.get(peer) === queue) this.#queues.delete(peer)
  }

  *#serve(sale: Sale): Job {
    yield* this.#until(sale, () => lines.asked(this.#line, sale, this.node.nowMs))
    const side = this.#sides.get(sale.peer)
    const parts = sale.pieces.map((piece) => this.plain(piece))
    if (parts.includes(undefined)) this.#step({ tag: 'failed', id: sale.id, code: 'missing' })
    if (side === undefined || sale.state !== 'preparing') return this.#out(sale)
    yield* this.#until(sale, () => lines.ready(this.#line, sale, this.node.nowMs))
    const window = yield* this.#stream(sale, side, parts as Bytes[])
    this.#out(sale)
    const { clock } = this.node.things
    if (window === undefined || lines.hasGot(this.#line, sale)) this.#taken(sale, window !== undefined)
    else
      clock.after(
        lines.LATEST_GOT_MS,
        this.node.living(() => this.#taken(sale, true)),
      )
    if (window !== undefined) this.node.life.start(this.quote(sale, side, window))
  }

  *#until(sale: Sale, step: () => lines.LineEffect[]): Job {
    yield* wait<undefined>((resume) => {
      this.#waiting.set(sale, () => resume(undefined))
      this.#onLine(step())
    })
  }
  #got(side: Side, request?: number): void {
    for (const window of lines.got(this.#line, side.id, request)) this.#taken(window, true)
  }
  #out(sale: Sale): void {
    this.#onLine(lines.out(this.#line, sale, this.node.nowMs))
  }
  #taken(window: lines.LineWindow, brought: boolean): void {
    this.#onLine(lines.over(this.#line, window, brought, this.node.nowMs))
  }
  #onLine(effects: readonly lines.LineEffect[]): void {
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

  #giveUp(window: lines.LineWindow): void {
    for (const sale of this.desk.sales.values()) {
      if (sale.peer !== window.peer || sale.request !== window.request || sale.state !== 'preparing') continue
      this.#seeOver(sale, false)
      this.#step({ tag: 'failed', id: sale.id, code: 'busy' })
    }
  }

  #tellOthers(peer: string, pieces: readonly number[]): void {
    if (pieces.length === 0 || this.node.disk.pieces.size < this.node.pieces) return
    for (const side of this.#sides.values())
      if (side.id !== peer) this.node.send(side, { t: 'sending', pieces })
  }

  /** Sends leaves and ciphertext. `undefined`: it was given up meanwhile. */
  *#stream(sale: Sale, side: Side, parts: readonly Bytes[]): Job<Streamed | undefined> {
    if (sale.state !== 'preparing') return undefined
    const { ports, see } = this.node.things
    const secret = this.#secretOf(sale.id)
    const hash = ports.hashOf(secret)
    const bill = (): Pick<Streamed, 'expiry' | 'invoiced'> => {
      const expiry = Math.floor(this.node.nowMs / 1000) + QUOTE_S
      return { expiry, invoiced: this.#invoice(sale, hash, expiry, secret) }
    }
    let billed: ReturnType<typeof bill> | undefined
    let left = sale.bytes
    this.#step({ tag: 'began', id: sale.id })
    this.node.send(side, { t: 'leaves', id: sale.request, leaves: this.leaves(sale, parts) })
    const { cipher, cipherRoot } = this.seal(secret, sale, parts)
    for (const { frame, size } of ports.data(sale.request, cipher, sale.bytes)) {
      if ((sale.state as Sale['state']) !== 'preparing' || !side.open) break
      left -= size
      if (left <= NEARLY_OUT) billed ??= bill()
      if (!(yield* wait<boolean>((resume) => this.node.send(side, frame, resume)))) continue
      yield* this.pause()
      const gift = sale.amount === 0
      const fact = { t: 'sent', seller: this.node.id, buyer: sale.buyer, sale: sale.id, gift } as const
      see({ ...fact, bytes: size - 32 }, this.node.nowMs)
    }
    if ((sale.state as Sale['state']) !== 'preparing' || !side.open) return undefined
    return { hash, cipherRoot, ...(billed ?? bill()) }
  }

  /** Asks the wallet; gives a way to wait for what it says. */
  #invoice(sale: Sale, hash: Sha256Hex, expiry: number, secret: Bytes): () => Job<Told> {
    let invoice: Invoiced = sale.amount > 0 ? { tag: 'coming' } : { tag: 'told', text: '' }
    let invoiced: () => void = () => undefined
    if (sale.amount > 0) {
      this.#byHash.set(hash, sale.id)
      const preimage = this.#hold ? undefined : toText(secret)
      const wanted = { hash, amount: sale.amount, expiresAtMs: expiry * 1000, preimage }
      this.node.things.bank.invoice(this.node.id, wanted, (text) => {
        invoice = { tag: 'told', text }
        invoiced()
      })
    }
    return function* () {
      if (invoice.tag === 'coming')
        yield* wait<undefined>((resume) => void (invoiced = () => resume(undefined)))
      return invoice as Told
    }
  }

  protected *quote(sale: Sale, side: Side, { hash, expiry, cipherRoot, invoiced }: Streamed): Job {
    const { ports, see } = this.node.things
    const { text } = yield* invoiced()
    if (text === undefined) {
      if (sale.state === 'preparing') this.#seeOver(sale, true)
      return this.#step({ tag: 'failed', id: sale.id, code: 'wallet' })
    }
    const quote: Quote = {
      id: sale.id,
      buyer: sale.buyer,
      seller: this.node.party.key,
      root: ports.root,
      shape: { length: ports.shape.length, pieceLength: ports.shape.pieceLength },
      pieces: sale.pieces,
      cipherRoot,
      paymentHash: hash,
      amount: sale.amount,
      money: MONEY,
      expiry,
      invoice: text,
    }
    const record: Record = { hash, amount: sale.amount, expiry }
    if (sale.amount > 0) yield* wait(this.node.disk.put(`sale/${sale.id}`, record))
    if ((sale.state as Sale['state']) !== 'preparing') return
    if (sale.amount > 0)
      see(
        {
          t: 'quoted',
          seller: this.node.id,
          buyer: sale.buyer,
          sale: sale.id,
          hash,
          bytes: sale.bytes,
          expiresAtMs: expiry * 1000,
        },
        this.node.nowMs,
      )
    this.node.send(side, ports.quoteFrame(sale.request, this.sign(quote)))
    this.#step({ tag: 'sent', id: sale.id, expiresAtMs: expiry * 1000 })
  }

  // What a hostile seller does otherwise.

  /** Between two frames of a window. */
  protected *pause(): Job {}
  protected give(side: Side, quote: Sha256Hex, secret: Bytes): void {
    this.node.send(side, { t: 'key', quote, secret })
  }
  protected plain(piece: number): Bytes | undefined {
    return this.node.disk.pieces.get(piece)
  }
  protected leaves(_sale: Sale, parts: readonly Bytes[]): Bytes {
    return this.node.things.ports.leavesOf(parts)
  }
  protected seal(
    secret: Bytes,
    sale: Sale,
    parts: readonly Bytes[],
  ): { cipher: Bytes; cipherRoot: Sha256Hex } {
    return this.node.things.ports.seal(secret, sale.id, parts)
  }
  protected sign(quote: Quote): SignedQuote {
    return this.node.things.ports.quote(quote, this.node.party)
  }

  // Payments

  #onWallet(notice: Notice): void {
    if (notice.tag === 'back') {
      this.node.life.start(this.#lookUpOpen())
      return this.node.life.start(this.#recover())
    }
    const id = this.#byHash.get(notice.hash)
    if (id === undefined) return
    if (!this.desk.sales.has(id)) return this.node.life.start(this.#recover())
    if (notice.tag === 'received') this.#step({ tag: 'settled', id })
    if (notice.tag === 'accepted') this.#step({ tag: 'locked', id })
  }

  protected *release(id: Sha256Hex, hash: Sha256Hex): Job<boolean> {
    const { bank } = this.node.things
    return yield* wait<boolean>((resume) =>
      bank.settleHold(this.node.id, toText(this.#secretOf(id)), hash, resume),
    )
  }

  *#settle(sale: Sale): Job {
    const hash = this.node.things.ports.hashOf(this.#secretOf(sale.id))
    if (yield* this.release(sale.id, hash)) return this.#step({ tag: 'settled', id: sale.id })
    yield* this.#lookUp(sale.id, hash)
  }

  *#forget(sale: Sale): Job {
    const hash = this.node.things.ports.hashOf(this.#secretOf(sale.id))
    const fate = yield* this.#lookUp(sale.id, hash)
    const sinceMs = this.#late.get(sale) ?? this.node.nowMs
    const mayCome = fate === 'silent' || (fate === 'open' && !this.#hold)
    if (mayCome && this.node.nowMs - sinceMs < LATE_MS) return void this.#late.set(sale, sinceMs)
    this.#late.delete(sale)
    if (fate === 'paid') return
    this.#byHash.delete(hash)
    if (this.#hold) this.node.things.bank.cancelHold(this.node.id, hash)
    yield* wait(this.node.disk.delete(`sale/${sale.id}`))
  }

  *#ask(hash: Sha256Hex): Job<Lookup> {
    return yield* wait<Lookup>((resume) => this.node.things.bank.lookUp(this.node.id, hash, resume))
  }

  *#lookUp(id: Sha256Hex, hash: Sha256Hex): Job<'paid' | 'open' | 'over' | 'silent'> {
    const answer = yield* this.#ask(hash)
    if (answer.tag === 'silent') return 'silent'
    const state = answer.found?.state
    const paid = state === 'settled' || (state === 'accepted' && (yield* this.release(id, hash)))
    if (paid) this.#step({ tag: 'settled', id })
    if (paid) return 'paid'
    return state === 'pending' ? 'open' : state === 'accepted' ? 'silent' : 'over'
  }

  /** A wallet that did not answer is asked again. */
  *#askAgain(): Job {
    for (const sale of [...this.desk.sales.values()])
      if (sale.state === 'locked')
        yield* this.#lookUp(sale.id, this.node.things.ports.hashOf(this.#secretOf(sale.id)))
    for (const sale of [...this.#late.keys()]) yield* this.#forget(sale)
  }

  *#lookUpOpen(): Job {
    for (const sale of [...this.desk.sales.values()])
      if (sale.state === 'waiting' || sale.state === 'locked')
        yield* this.#lookUp(sale.id, this.node.things.ports.hashOf(this.#secretOf(sale.id)))
  }

  *#recover(): Job {
    for (const key of [...this.node.disk.keys('sale/')]) {
      const id = key.slice('sale/'.length) as Sha256Hex
      const record = this.node.disk.records.get(key) as Record | undefined
      if (record === undefined || this.desk.sales.has(id)) continue
      this.#byHash.set(record.hash, id)
      const answer = yield* this.#ask(record.hash)
      if (answer.tag === 'silent') continue
      if (answer.found?.state === 'accepted' && !(yield* this.release(id, record.hash))) continue
      const over =
        answer.found === undefined ||
        answer.found.state !== 'pending' ||
        record.expiry * 1000 < this.node.nowMs
      if (over) yield* wait(this.node.disk.delete(key))
    }
  }

  #tick(): void {
    if (this.node.nowMs - this.#offerAtMs > OFFER_RENEW_MS) {
      this.#offerAtMs = this.node.nowMs
      for (const side of this.#sides.values()) this.#sendOffer(side)
    }
    this.#step({ tag: 'tick' })
    for (const side of [...this.#sides.values()])
      if (this.node.nowMs - side.fullSinceMs > READ_TIMEOUT_MS) this.node.port.cut(side, 0)
    this.#onLine(lines.tick(this.#line, this.node.nowMs))
    if (this.node.nowMs < this.#againAtMs) return
    this.#againAtMs = this.node.nowMs + AGAIN_MS
    this.node.life.start(this.#askAgain())
  }
}
