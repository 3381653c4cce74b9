/**
 * Drives the product's desk (`web/core/exchange/desk.ts`) in the virtual world, in the order that `web/edge/swarm` keeps:
 * leaves, ciphertext, the sale on disk, the quote; settles what is locked, forgets what lapsed, recovers after a crash.
 */
import type { Bytes, PartyKey } from '../../web/core/bytes.ts'
import { step } from '../../web/core/exchange/desk.ts'
import type { DeskEffect, DeskEvent } from '../../web/core/exchange/desk-events.ts'
import { isGift, reserve } from '../../web/core/exchange/desk-gifts.ts'
import type { DeskPolicy } from '../../web/core/exchange/desk-policy.ts'
import { openDesk, type Sale } from '../../web/core/exchange/desk-state.ts'
import type { Role } from '../../web/core/exchange/message.ts'
import { MONEY } from './bank.ts'
import { wait } from './clock.ts'
import type { Side } from './net.ts'
import type { Node, Part } from './node.ts'
import type { Frame, FrameOf } from './ports.ts'
import type { Conduct } from './seller-conduct.ts'
import { SellerLine } from './seller-line.ts'
import { isPreparing, saleKey, seeOver, type SellerParts } from './seller-parts.ts'
import { SellerServing } from './seller-serving.ts'
import { SellerSettling } from './seller-settling.ts'

const OFFER_S = 3600
const OFFER_RENEW_MS = 30 * 60_000
const TICK_MS = 1000
/** Who takes nothing of what is on its way for so long loses the wire (`web/edge/swarm/peer.ts`). */
const READ_TIMEOUT_MS = 60_000
const LARGEST_OFFER = 16 * 1024 * 1024

export type SellerOptions = Readonly<{
  policy: DeskPolicy
  conduct: Conduct
  /** Its wallet holds; otherwise it takes a preimage. */
  hold: boolean
  roleOf: (key: string) => Role
}>

export class SellerPart implements Part {
  readonly #node: Node
  readonly #parts: SellerParts
  readonly #line: SellerLine
  readonly #serving: SellerServing
  readonly #settling: SellerSettling
  readonly #roleOf: (key: string) => Role
  #sellerKey: Bytes = new Uint8Array()
  #offerAtMs = 0

  constructor(node: Node, { policy, conduct, hold, roleOf }: SellerOptions) {
    const { ports } = node.things
    this.#node = node
    this.#roleOf = roleOf
    this.#parts = {
      node,
      desk: openDesk(ports.shape, policy),
      conduct,
      hold,
      sides: new Map(),
      byHash: new Map(),
      step: (event) => this.#step(event),
      secretOf: (id) => ports.secretOf(this.#sellerKey, id),
    }
    this.#line = new SellerLine(this.#parts)
    this.#serving = new SellerServing(this.#parts, this.#line)
    this.#settling = new SellerSettling(this.#parts)
  }

  start(): void {
    const node = this.#node
    const kept = node.disk.records.get('shop/key') as Bytes | undefined
    this.#sellerKey = kept ?? node.random.bytes(32)
    node.disk.records.set('shop/key', this.#sellerKey)
    node.things.bank.listen(
      node.id,
      node.living((notice) => this.#settling.onWallet(notice)),
    )
    this.#offerAtMs = node.nowMs
    node.every(TICK_MS, () => this.#tick())
    node.life.start(this.#settling.recover())
  }

  joined(side: Side): void {
    this.#parts.sides.set(side.id, side)
    this.#node.send(side, { t: 'have', pieces: [...this.#node.disk.pieces.keys()] })
    this.#sendOffer(side)
  }
  gone(side: Side): void {
    this.#seeOver(side, isPreparing)
    this.#line.got(side.id)
    this.#parts.sides.delete(side.id)
    this.#serving.gone(side.id)
    this.#step({ tag: 'left', peer: side.id, buyer: side.key as PartyKey })
  }

  #sendOffer(side: Side): void {
    const { node, desk } = this.#parts
    const { policy } = desk
    const key = side.key as PartyKey
    const gift = isGift(desk, key, this.#roleOf(key))
    if (gift && policy.price > 0) reserve(desk, key)
    const { ports } = node.things
    const offerS = Math.floor(this.#offerAtMs / 1000)
    const offer = {
      infoHash: ports.infoHash,
      money: MONEY,
      price: policy.price,
      modes: ['atomic', 'free'] as const,
      maxWindowBytes: Math.max(ports.shape.pieceLength, Math.min(LARGEST_OFFER, policy.unpaidBytes)),
      expiresAtS: offerS + OFFER_S,
    }
    node.send(side, ports.offer(offer, node.party, gift, offerS))
  }

  message(side: Side, frame: Frame): void {
    switch (frame.t) {
      case 'request':
        return this.#onRequest(side, frame)
      case 'cancel':
        this.#seeOver(
          side,
          ({ request, state }) => request === frame.id && (state === 'preparing' || state === 'waiting'),
        )
        this.#step({ tag: 'cancelled', peer: side.id, request: frame.id })
        return this.#line.got(side.id, frame.id)
      case 'got':
        return this.#line.got(side.id, frame.id)
      default:
        return
    }
  }

  #onRequest(side: Side, frame: FrameOf<'request'>): void {
    const { node, conduct } = this.#parts
    if (!conduct.hears(side, frame)) return
    this.#step({
      tag: 'asked',
      id: node.things.ports.id(node.random),
      peer: side.id,
      buyer: side.key as PartyKey,
      role: this.#roleOf(side.key),
      request: frame.id,
      pieces: frame.pieces,
      has: (piece) => node.has(piece),
    })
  }

  #seeOver(side: Side, is: (sale: Sale) => boolean): void {
    for (const sale of this.#parts.desk.sales.values())
      if (sale.peer === side.id && is(sale)) seeOver(this.#node, sale, false)
  }

  #step(event: DeskEvent): void {
    for (const effect of step(this.#parts.desk, event, this.#node.nowMs)) this.#run(effect)
  }

  #run(effect: DeskEffect): void {
    const node = this.#node
    switch (effect.tag) {
      case 'refuse': {
        const side = this.#parts.sides.get(effect.peer)
        if (side !== undefined) node.send(side, { t: 'refuse', id: effect.request, code: effect.code })
        return
      }
      case 'serve':
        return this.#serving.serve(effect.sale)
      case 'settle':
        return node.life.start(this.#settling.settle(effect.sale))
      case 'give-key':
        return this.#giveKey(effect.sale)
      case 'forget':
        return node.life.start(this.#settling.forget(effect.sale))
      case 'raise-credit':
        return // the offers of this seller name no credit
    }
  }

  #giveKey(sale: Sale): void {
    const { node, conduct, sides, byHash, secretOf } = this.#parts
    const secret = secretOf(sale.id)
    const side = sides.get(sale.peer)
    if (side !== undefined) conduct.giveKey(side, sale.id, secret)
    byHash.delete(node.things.ports.hashOf(secret))
    if (sale.amount > 0) node.life.start(wait(node.disk.delete(saleKey(sale.id))))
  }

  #tick(): void {
    const { node, sides } = this.#parts
    if (node.nowMs - this.#offerAtMs > OFFER_RENEW_MS) {
      this.#offerAtMs = node.nowMs
      for (const side of sides.values()) this.#sendOffer(side)
    }
    this.#step({ tag: 'tick' })
    for (const side of [...sides.values()])
      if (node.nowMs - side.fullSinceMs > READ_TIMEOUT_MS) node.port.cut(side, 0)
    this.#line.tick()
    this.#settling.tick()
  }
}
