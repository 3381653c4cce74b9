/**
 * Serves a window: leaves and ciphertext, an invoice when it is nearly out, the sale on disk, the signed quote. A peer's
 * windows go out one after the other; whose turn it is says the line.
 */
import { toHex, type Bytes, type Sha256Hex } from '../../web/core/bytes.ts'
import type { Sale } from '../../web/core/exchange/desk-state.ts'
import type { Quote } from '../../web/core/exchange/quote.ts'
import { MONEY } from './bank.ts'
import { wait, type Job } from './clock.ts'
import type { Side } from './net.ts'
import { HEADER } from './ports.ts'
import type { SellerLine } from './seller-line.ts'
import { isPreparing, saleKey, seeOver, type SaleRecord, type SellerParts } from './seller-parts.ts'

const QUOTE_S = 120
/** Of a window's bytes: with so many left it is nearly out (`web/edge/swarm/serving.ts`). */
const NEARLY_OUT = 64 * 1024

/** An invoice that the wallet was asked for: its text comes later, and is missing where the wallet refused. */
type Bill = Readonly<{ hash: Sha256Hex; expiry: number; text: () => Job<string | undefined> }>
/** A window that is out and has no quote yet. */
type Streamed = Readonly<{ cipherRoot: Sha256Hex; bill: Bill }>

export class SellerServing {
  readonly #parts: SellerParts
  readonly #line: SellerLine
  readonly #queues = new Map<string, Sale[]>()

  constructor(parts: SellerParts, line: SellerLine) {
    this.#parts = parts
    this.#line = line
  }

  serve(sale: Sale): void {
    const queue = this.#queues.get(sale.peer)
    if (queue !== undefined) return void queue.push(sale)
    this.#queues.set(sale.peer, [sale])
    this.#parts.node.life.start(this.#serveAll(sale.peer))
  }
  gone(peer: string): void {
    this.#queues.delete(peer)
  }

  *#serveAll(peer: string): Job {
    const queue = this.#queues.get(peer) ?? []
    for (let sale = queue[0]; sale !== undefined; sale = queue[0]) {
      yield* this.#serve(sale)
      queue.shift()
    }
    if (this.#queues.get(peer) === queue) this.#queues.delete(peer)
  }

  *#serve(sale: Sale): Job {
    const { node, conduct, sides, step } = this.#parts
    yield* this.#line.hold(sale)
    const side = sides.get(sale.peer)
    const parts = sale.pieces.map((piece) => conduct.plain(piece))
    if (parts.includes(undefined)) step({ tag: 'failed', id: sale.id, code: 'missing' })
    if (side === undefined || !isPreparing(sale)) return this.#line.letGo(sale)
    yield* this.#line.enter(sale)
    const streamed = yield* this.#stream(sale, side, parts as Bytes[])
    this.#line.letGo(sale)
    this.#line.leave(sale, streamed !== undefined)
    if (streamed !== undefined) node.life.start(this.#quote(sale, side, streamed))
  }

  /** Sends leaves and ciphertext. `undefined`: it was given up meanwhile. */
  *#stream(sale: Sale, side: Side, parts: readonly Bytes[]): Job<Streamed | undefined> {
    if (!isPreparing(sale)) return undefined
    const { node, conduct, secretOf, step } = this.#parts
    const { ports, see } = node.things
    const secret = secretOf(sale.id)
    let bill: Bill | undefined
    let left = sale.bytes
    step({ tag: 'began', id: sale.id })
    node.send(side, { t: 'leaves', id: sale.request, leaves: conduct.leaves(sale, parts) })
    const { cipher, cipherRoot } = conduct.seal(secret, sale, parts)
    const sent = {
      t: 'sent',
      seller: node.id,
      buyer: sale.buyer,
      sale: sale.id,
      gift: sale.amount === 0,
    } as const
    for (const { frame, size } of ports.data(sale.request, cipher, sale.bytes)) {
      if (!isPreparing(sale) || !side.open) break
      left -= size
      if (left <= NEARLY_OUT) bill ??= this.#bill(sale, secret)
      if (!(yield* wait<boolean>((resume) => node.send(side, frame, resume)))) continue
      yield* conduct.pause()
      yield* this.#line.paced(sale, size)
      see({ ...sent, bytes: size - HEADER }, node.nowMs)
    }
    if (!isPreparing(sale) || !side.open) return undefined
    return { cipherRoot, bill: bill ?? this.#bill(sale, secret) }
  }

  #bill(sale: Sale, secret: Bytes): Bill {
    const { node, byHash, hold } = this.#parts
    const { ports, bank } = node.things
    const hash = ports.hashOf(secret)
    const expiry = Math.floor(node.nowMs / 1000) + QUOTE_S
    let told = sale.amount === 0
    let text: string | undefined = told ? '' : undefined
    let wake: () => void = () => undefined
    if (!told) {
      byHash.set(hash, sale.id)
      const terms = { paymentHash: hash, amount: sale.amount, expiresAtMs: expiry * 1000 }
      bank.invoice(node.id, terms, hold ? undefined : toHex(secret), (answer) => {
        told = true
        text = answer
        wake()
      })
    }
    return {
      hash,
      expiry,
      *text() {
        if (!told) yield* wait<undefined>((resume) => void (wake = () => resume(undefined)))
        return text
      },
    }
  }

  *#quote(sale: Sale, side: Side, { cipherRoot, bill }: Streamed): Job {
    const { node, conduct, step } = this.#parts
    const quotes = conduct.quotes()
    if (quotes === false) return
    if (quotes !== true) {
      if (isPreparing(sale)) seeOver(node, sale, true)
      return step({ tag: 'failed', id: sale.id, code: quotes })
    }
    const { ports, see } = node.things
    const { hash, expiry } = bill
    const invoice = yield* bill.text()
    if (invoice === undefined) {
      if (isPreparing(sale)) seeOver(node, sale, true)
      return step({ tag: 'failed', id: sale.id, code: 'wallet' })
    }
    const { id, buyer, pieces, bytes, amount } = sale
    const quote: Quote = {
      id,
      buyer,
      seller: node.party.key,
      root: ports.root,
      shape: { length: ports.shape.length, pieceLength: ports.shape.pieceLength },
      pieces,
      cipherRoot,
      paymentHash: hash,
      amount,
      money: MONEY,
      expiry,
      invoice,
    }
    const record: SaleRecord = { hash, amount, expiry }
    if (amount > 0) yield* wait(node.disk.put(saleKey(id), record))
    if (!isPreparing(sale)) return
    const expiresAtMs = expiry * 1000
    if (amount > 0)
      see({ t: 'quoted', seller: node.id, buyer, sale: id, hash, bytes, expiresAtMs }, node.nowMs)
    node.send(side, ports.quoteFrame(sale.request, conduct.sign(quote)))
    step({ tag: 'sent', id, expiresAtMs })
  }
}
