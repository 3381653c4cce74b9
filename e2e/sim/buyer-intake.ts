/**
 * Collects a window: asks for it, takes leaves, ciphertext and quote as they come, and checks all of it against the
 * release before a sat moves.
 */
import { concat, type Bytes, type Sha256Hex } from '../../web/core/bytes.ts'
import { refuseQuote, windowBytes } from '../../web/core/exchange/quote.ts'
import { msat, ZERO } from '../../web/core/money/msat.ts'
import type { WindowId } from '../../web/core/swarm/buyer.ts'
import type { BuyerParts, Work } from './buyer-parts.ts'
import { readInvoice } from './invoice.ts'
import type { Side } from './net.ts'
import type { FrameOf, Ports } from './ports.ts'

export class BuyerIntake {
  readonly #parts: BuyerParts
  readonly #ports: Ports

  constructor(parts: BuyerParts) {
    this.#parts = parts
    this.#ports = parts.node.things.ports
  }

  ask(id: WindowId, peer: string, pieces: readonly number[]): void {
    const { node, buyer, works, sides } = this.#parts
    const side = sides.get(peer)
    if (side === undefined) return
    const offer = buyer.peers.get(peer)
    works.set(id, {
      peer,
      pieces,
      bytes: windowBytes(this.#ports.shape, pieces),
      requestedAtMs: node.nowMs,
      price: offer === undefined || offer.gift ? ZERO : offer.price,
      cipher: new Uint8Array(),
      parts: [],
      received: 0,
      leaves: undefined,
      signed: undefined,
      secret: undefined,
      checking: false,
    })
    node.send(side, { t: 'request', id, pieces })
  }

  onLeaves(side: Side, { id, leaves }: FrameOf<'leaves'>): void {
    const work = this.#parts.works.of(side, id)
    if (work === undefined) return
    if (work.leaves !== undefined) return this.#spoil(id, 'sent its block hashes twice')
    if (leaves.length !== this.#ports.leavesLength(work.pieces))
      return this.#spoil(id, 'sent another number of block hashes')
    work.leaves = leaves
    this.#check(id, work)
  }

  onData(side: Side, frame: FrameOf<'data' | 'light data'>): void {
    const { id, at, bytes } = frame
    const work = this.#parts.works.of(side, id)
    if (work === undefined) return
    const size = frame.t === 'data' ? bytes.length : frame.size
    if (at !== work.received || at + size > work.bytes) return this.#spoil(id, 'sent data out of place')
    work.received += size
    if (bytes.length > 0) work.parts.push(bytes)
    if (work.received === work.bytes) this.#parts.node.send(side, { t: 'got', id })
    this.#parts.step({ tag: 'progress', window: id, bytes: work.received })
    this.#check(id, work)
  }

  onQuote(side: Side, frame: FrameOf<'quote' | 'light quote'>): void {
    const { id } = frame
    const { works } = this.#parts
    const work = works.of(side, id)
    if (work === undefined || work.signed !== undefined) return
    const signed = this.#ports.openQuote(frame)
    if (signed === undefined) return this.#spoil(id, 'sent a quote that it did not sign')
    if (!works.firstUse(signed.quote)) return this.#spoil(id, 'used a quote or a secret twice')
    works.quoted(id, work, signed)
    this.#check(id, work)
  }

  onKey(quote: Sha256Hex, secret: Bytes): void {
    const { works, buyer, step } = this.#parts
    const [id, work] = works.ofQuote(quote) ?? []
    if (id === undefined || work?.signed === undefined || work.secret !== undefined) return
    if (this.#ports.hashOf(secret) !== work.signed.quote.paymentHash)
      return this.#spoil(id, 'sent a secret that does not fit')
    const window = buyer.windows.get(id)
    if (window === undefined) return
    if (window.amount > 0 && window.state !== 'paying' && window.state !== 'unknown') return
    work.secret = secret
    step({ tag: 'settled', window: id, ...(window.amount === 0 && { fees: ZERO }) })
  }

  #spoil(id: WindowId, why: string): void {
    this.#parts.step({ tag: 'spoilt', window: id, why })
  }

  #check(id: WindowId, work: Work): void {
    const { leaves, signed } = work
    if (leaves === undefined || signed === undefined || work.received < work.bytes || work.checking) return
    work.checking = true
    const ports = this.#ports
    if (!ports.leavesProve(leaves, work.pieces))
      return this.#spoil(id, 'stands for blocks that are not the release’s')
    const { node, buyer, policy } = this.#parts
    const peer = buyer.peers.get(work.peer)
    if (!buyer.windows.has(id) || peer === undefined) return
    work.cipher = concat(...work.parts)
    work.parts = []
    const { amount, paymentHash, expiry, invoice } = signed.quote
    const refusal = refuseQuote(signed.quote, {
      buyer: node.party.key,
      seller: peer.key,
      root: ports.root,
      shape: ports.shape,
      pieces: work.pieces,
      cipherRoot: ports.cipherRoot(work.cipher),
      money: buyer.money ?? 'bitcoin',
      offered: msat(Math.max(work.price, peer.gift ? 0 : peer.price)),
      cap: policy.priceCap,
      nowMs: node.nowMs,
      invoice: amount === 0 ? undefined : readInvoice(invoice),
    })
    if (refusal !== undefined) return this.#spoil(id, `sent a quote ${refusal}`)
    this.#parts.step({ tag: 'quoted', window: id, amount, paymentHash, expiresAtMs: expiry * 1000 })
  }
}
