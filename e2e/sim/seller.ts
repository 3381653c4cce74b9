/**
 * Drives the product's desk (`web/core/exchange/desk.ts`) in the virtual world, in the order that `web/edge/swarm` keeps:
 * leaves, ciphertext, the sale on disk, the quote; settles what is locked, forgets what lapsed, recovers after a crash.
 */
import type { Bytes, PartyKey, Sha256Hex } from '../../web/core/bytes.ts'
import * as desks from '../../web/core/exchange/desk.ts'
import type { Role } from '../../web/core/exchange/message.ts'
import { whoseTurn, type Waiting } from '../../web/core/exchange/turn.ts'
import { openUplink, sent, type Uplink } from '../../web/core/exchange/uplink.ts'
import type { Quote, SignedQuote } from '../../web/core/exchange/quote.ts'
import type { Lookup, Notice } from './bank.ts'
import { MONEY, toText } from './buyer.ts'
import { wait, type Job } from './clock.ts'
import type { Side } from './net.ts'
import type { Node, Part } from './node.ts'
import type { Frame } from './ports.ts'

const QUOTE_S = 120
const OFFER_S = 3600
const OFFER_RENEW_MS = 30 * 60_000
const TICK_MS = 1000
const LARGEST_OFFER = 16 * 1024 * 1024

/** `text` is missing where the wallet refused. */
type Told = Readonly<{ tag: 'told'; text: string | undefined }>
type Invoiced = Readonly<{ tag: 'coming' }> | Told
type Record = Readonly<{ hash: Sha256Hex; amount: number; expiry: number }>

export class SellerPart implements Part {
  readonly node: Node
  readonly desk: desks.Desk
  readonly #hold: boolean
  readonly #roleOf: (key: string) => Role
  readonly #sides = new Map<string, Side>()
  readonly #byHash = new Map<string, Sha256Hex>()
  readonly #queues = new Map<string, desks.Sale[]>()
  readonly #waiting: (Waiting & { go: () => void })[] = []
  /** How often each piece went out. */
  readonly #served: number[] = []
  readonly #uplink: Uplink
  #serving = 0
  #sellerKey: Bytes = new Uint8Array()
  #offerAtMs = 0

  constructor(node: Node, policy: desks.DeskPolicy, hold: boolean, roleOf: (key: string) => Role) {
    this.node = node
    this.desk = desks.openDesk(node.things.ports.shape, policy)
    this.#hold = hold
    this.#roleOf = roleOf
    this.#uplink = openUplink(node.nowMs)
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
    this.#sides.delete(side.id)
    this.#queues.delete(side.id)
    this.#step({ tag: 'left', peer: side.id, buyer: side.key as never })
  }

  #sendOffer(side: Side): void {
    const { policy } = this.desk
    const key = side.key as PartyKey
    const gift = desks.isGift(this.desk, key, this.#roleOf(side.key))
    if (gift && policy.price > 0) desks.reserve(this.desk, key)
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
      return this.#step({ tag: 'cancelled', peer: side.id, request: frame.id })
    }
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

  #over(side: Side, is: (sale: desks.Sale) => boolean): void {
    for (const sale of this.desk.sales.values())
      if (sale.peer === side.id && is(sale)) this.#seeOver(sale, false)
  }
  #seeOver({ id: sale, buyer }: desks.Sale, byWallet: boolean): void {
    this.node.things.see({ t: 'cancelled', seller: this.node.id, buyer, sale, byWallet }, this.node.nowMs)
  }

  #step(event: desks.DeskEvent): void {
    for (const effect of desks.step(this.desk, event, this.node.nowMs)) this.#run(effect)
  }

  #run(effect: desks.DeskEffect): void {
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
        if (side !== undefined) this.node.send(side, { t: 'key', quote: sale.id, secret })
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

  // One sale: a peer's windows one after the other; how many peers at once says the uplink.

  *#serveAll(peer: string): Job {
    const queue = this.#queues.get(peer) ?? []
    while (queue.length > 0) {
      const sale = queue[0] as desks.Sale
      const { pieces } = sale
      if (this.#serving >= this.#uplink.parallel) {
        const sinceMs = this.node.nowMs
        yield* wait<undefined>(
          (resume) => void this.#waiting.push({ pieces, sinceMs, go: () => resume(undefined) }),
        )
      } else this.#begin(pieces)
      let held = true
      const letGo = (): void => {
        if (!held) return
        held = false
        this.#serving--
        this.#goOn()
      }
      yield* this.#send(sale, letGo)
      letGo()
      queue.shift()
    }
    if (this.#queues.get(peer) === queue) this.#queues.delete(peer)
  }

  #begin(pieces: readonly number[]): void {
    this.#serving++
    for (const piece of pieces) this.#served[piece] = (this.#served[piece] ?? 0) + 1
  }

  #goOn(): void {
    while (this.#serving < this.#uplink.parallel) {
      const [next] = this.#waiting.splice(whoseTurn(this.#waiting, this.#served, this.node.nowMs), 1)
      if (next === undefined) return
      this.#begin(next.pieces)
      next.go()
    }
  }

  #measure(bytes: number): void {
    const full = this.#waiting.length > 0 && this.#serving >= this.#uplink.parallel
    if (sent(this.#uplink, bytes, full, this.node.nowMs)) this.#goOn()
  }

  *#send(sale: desks.Sale, out: () => void): Job {
    const side = this.#sides.get(sale.peer)
    if (side === undefined || sale.state !== 'preparing') return
    const { ports, bank, see } = this.node.things
    const secret = this.#secretOf(sale.id)
    const hash = ports.hashOf(secret)
    const expiry = Math.floor(this.node.nowMs / 1000) + QUOTE_S
    let invoice: Invoiced = sale.amount > 0 ? { tag: 'coming' } : { tag: 'told', text: '' }
    let invoiced: () => void = () => undefined
    if (sale.amount > 0) {
      this.#byHash.set(hash, sale.id)
      const preimage = this.#hold ? undefined : toText(secret)
      bank.invoice(
        this.node.id,
        { hash, amount: sale.amount, expiresAtMs: expiry * 1000, preimage },
        (text) => {
          invoice = { tag: 'told', text }
          invoiced()
        },
      )
    }
    const parts = sale.pieces.map((piece) => this.plain(piece))
    if (parts.includes(undefined)) return this.#step({ tag: 'failed', id: sale.id, code: 'missing' })
    const whole = parts as Bytes[]
    this.#step({ tag: 'began', id: sale.id })
    this.node.send(side, { t: 'leaves', id: sale.request, leaves: this.leaves(sale, whole) })
    const { cipher, cipherRoot } = this.seal(secret, sale, whole)
    for (const { frame, size } of ports.data(sale.request, cipher, sale.bytes)) {
      if ((sale.state as desks.Sale['state']) !== 'preparing' || !side.open) break
      const left = yield* wait<boolean>((resume) => this.node.send(side, frame, resume))
      if (!left) continue
      this.#measure(size)
      see(
        {
          t: 'sent',
          seller: this.node.id,
          buyer: sale.buyer,
          sale: sale.id,
          bytes: size - 32,
          gift: sale.amount === 0,
        },
        this.node.nowMs,
      )
    }
    out()
    if (invoice.tag === 'coming')
      yield* wait<undefined>((resume) => void (invoiced = () => resume(undefined)))
    const { text } = invoice as Told
    if (text === undefined) {
      if ((sale.state as desks.Sale['state']) === 'preparing') this.#seeOver(sale, true)
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
    if ((sale.state as desks.Sale['state']) !== 'preparing') return
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

  protected plain(piece: number): Bytes | undefined {
    return this.node.disk.pieces.get(piece)
  }
  protected leaves(_sale: desks.Sale, parts: readonly Bytes[]): Bytes {
    return this.node.things.ports.leavesOf(parts)
  }
  protected seal(
    secret: Bytes,
    sale: desks.Sale,
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

  *#settle(sale: desks.Sale): Job {
    const hash = this.node.things.ports.hashOf(this.#secretOf(sale.id))
    if (yield* this.release(sale.id, hash)) return this.#step({ tag: 'settled', id: sale.id })
    yield* this.#lookUp(sale.id, hash)
  }

  *#forget(sale: desks.Sale): Job {
    const hash = this.node.things.ports.hashOf(this.#secretOf(sale.id))
    if (yield* this.#lookUp(sale.id, hash)) return
    this.#byHash.delete(hash)
    if (this.#hold) this.node.things.bank.cancelHold(this.node.id, hash)
    yield* wait(this.node.disk.delete(`sale/${sale.id}`))
  }

  *#ask(hash: Sha256Hex): Job<Lookup> {
    return yield* wait<Lookup>((resume) => this.node.things.bank.lookUp(this.node.id, hash, resume))
  }

  *#lookUp(id: Sha256Hex, hash: Sha256Hex): Job<boolean> {
    const answer = yield* this.#ask(hash)
    if (answer.tag === 'silent' || answer.found === undefined) return false
    const { state } = answer.found
    const paid = state === 'settled' || (state === 'accepted' && (yield* this.release(id, hash)))
    if (paid) this.#step({ tag: 'settled', id })
    return paid
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
  }
}
