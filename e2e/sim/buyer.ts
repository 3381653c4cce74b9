/**
 * Drives the product's buyer (`web/core/swarm/buyer.ts`) in the virtual world, in the order that `web/edge/swarm` keeps:
 * checks, quote and ciphertext on disk, payment; pieces on disk, accusation, receipt, the purchase's end.
 */
import type { PartyKey } from '../../web/core/bytes.ts'
import { windowBytes } from '../../web/core/exchange/quote.ts'
import { msat, ZERO } from '../../web/core/money/msat.ts'
import * as buyers from '../../web/core/swarm/buyer.ts'
import { MONEY } from './bank.ts'
import { BuyerIntake } from './buyer-intake.ts'
import { BuyerOpening } from './buyer-opening.ts'
import { Works, type BuyerParts } from './buyer-parts.ts'
import { BuyerPayer } from './buyer-payer.ts'
import { BuyerRecords, type Purchase } from './buyer-records.ts'
import type { Side } from './net.ts'
import type { Node, Part } from './node.ts'
import type { Frame } from './ports.ts'

const TICK_MS = 500
const BALANCE_MS = 10_000

/** For tests of the judges: what stands between the buyer's core and the world. */
export type Sabotage = (
  effects: buyers.BuyerEffect[],
  buyer: buyers.Buyer,
  event: buyers.BuyerEvent,
) => buyers.BuyerEffect[]

export class BuyerPart implements Part {
  readonly node: Node
  readonly buyer: buyers.Buyer
  readonly #sabotage: Sabotage | undefined
  readonly #parts: BuyerParts
  readonly #intake: BuyerIntake
  readonly #payer: BuyerPayer
  readonly #opening: BuyerOpening
  /** What peers said they have before they made an offer. */
  readonly #haves = new Map<string, number[]>()
  readonly #tickMs: number
  #asking = false
  #askedAtMs = 0
  #told = false

  constructor(node: Node, policy: buyers.BuyerPolicy, sabotage?: Sabotage, tickMs = TICK_MS) {
    this.node = node
    this.#sabotage = sabotage
    this.#tickMs = tickMs
    this.buyer = buyers.openBuyer(node.things.ports.shape, policy, node.random.u32())
    this.buyer.nextWindow = node.random.u32() >>> 2
    this.#parts = {
      node,
      buyer: this.buyer,
      policy,
      records: new BuyerRecords(node.disk),
      works: new Works(),
      sides: new Map(),
      step: (event) => this.#step(event),
      askWallet: () => this.#askWallet(),
    }
    this.#intake = new BuyerIntake(this.#parts)
    this.#payer = new BuyerPayer(this.#parts)
    this.#opening = new BuyerOpening(this.#parts)
  }

  get complete(): boolean {
    return this.buyer.haveCount === this.buyer.have.length
  }
  /** Complete, and nothing open but what was bought elsewhere. */
  get settled(): boolean {
    if (!this.complete) return false
    for (const window of this.buyer.windows.values()) if (!window.elsewhere) return false
    return true
  }

  /** Why nothing moves, for a verdict. */
  why(): string {
    const states = [...this.buyer.windows.values()].map(({ state, elsewhere }) =>
      elsewhere ? `${state} late` : state,
    )
    const dropped = [...this.buyer.keys.values()].flatMap((of) => of.dropped ?? [])
    const { tag } = buyers.outlook(this.buyer, this.node.nowMs)
    return `${tag}, windows [${states.join()}], ${this.buyer.peers.size} peers, dropped [${dropped.join('; ')}]`
  }

  start(): void {
    const { disk } = this.node
    this.#step({ tag: 'stored', pieces: [...disk.pieces.keys()] })
    this.#resume()
    this.node.things.bank.listen(
      this.node.id,
      this.node.living(() => !this.complete && this.#askWallet()),
    )
    this.node.every(this.#tickMs, () => this.#tick())
    this.#askWallet()
    this.#step({ tag: 'tick' })
  }

  joined(side: Side): void {
    this.#parts.sides.set(side.id, side)
  }
  gone(side: Side): void {
    this.#haves.delete(side.id)
    if (this.#parts.sides.delete(side.id)) this.#step({ tag: 'left', peer: side.id })
  }

  /** Somebody published a proof; it was checked. */
  banned(key: PartyKey): void {
    this.#step({ tag: 'banned', key, why: 'a proof of fraud by another' })
  }

  message(side: Side, frame: Frame): void {
    switch (frame.t) {
      case 'have':
        return this.#onHave(side, frame.pieces)
      case 'sending':
        return this.#step({ tag: 'sending', peer: side.id, pieces: frame.pieces })
      case 'offer':
      case 'light offer':
        return this.#onOffer(side, frame)
      case 'refuse':
        if (this.#parts.works.of(side, frame.id) !== undefined)
          this.#step({ tag: 'refused', window: frame.id, code: frame.code })
        return
      case 'leaves':
        return this.#intake.onLeaves(side, frame)
      case 'data':
      case 'light data':
        return this.#intake.onData(side, frame)
      case 'quote':
      case 'light quote':
        return this.#intake.onQuote(side, frame)
      case 'key':
        return this.#intake.onKey(frame.quote, frame.secret)
      default:
        return
    }
  }

  #onHave(side: Side, pieces: readonly number[]): void {
    if (this.buyer.peers.has(side.id)) return this.#step({ tag: 'has', peer: side.id, pieces })
    const known = this.#haves.get(side.id)
    if (known === undefined) this.#haves.set(side.id, [...pieces])
    else known.push(...pieces)
  }

  #onOffer(side: Side, frame: Frame): void {
    const read = this.node.things.ports.readOffer(frame)
    if (read === undefined || read.offer.seller !== side.key) return this.node.port.cut(side, 0)
    const { offer, gift } = read
    if (offer.expiresAtS * 1000 <= this.node.nowMs) return
    if (!gift && !offer.modes.includes('atomic')) return
    const { seller: key, price, money, maxWindowBytes } = offer
    this.#step({ tag: 'joined', peer: side.id, key, price, gift: gift || price === 0, money, maxWindowBytes })
    const pieces = this.#haves.get(side.id)
    if (pieces === undefined) return
    this.#haves.delete(side.id)
    this.#step({ tag: 'has', peer: side.id, pieces })
  }

  #step(event: buyers.BuyerEvent): void {
    let effects = buyers.step(this.buyer, event, this.node.nowMs)
    if (this.#sabotage !== undefined) effects = this.#sabotage(effects, this.buyer, event)
    for (const effect of effects) this.#run(effect)
    if (!this.#told && this.complete) {
      this.#told = true
      this.node.things.see({ t: 'complete', node: this.node.id }, this.node.nowMs)
    }
  }

  #run(effect: buyers.BuyerEffect): void {
    const { node } = this
    switch (effect.tag) {
      case 'ask':
        return this.#intake.ask(effect.window, effect.peer, effect.pieces)
      case 'cancel': {
        const side = this.#parts.sides.get(effect.peer)
        if (side !== undefined) node.send(side, { t: 'cancel', id: effect.window })
        return
      }
      case 'pay':
        return node.life.start(this.#payer.pay(effect.window))
      case 'look-up':
        return node.life.start(this.#payer.lookUp(effect.window))
      case 'open':
        return node.life.start(this.#opening.open(effect.window))
      case 'renew':
        return // nobody sells on credit here
      case 'discard':
        return this.#parts.works.delete(effect.window)
      case 'drop': {
        const side = this.#parts.sides.get(effect.peer)
        if (side !== undefined) node.port.cut(side, 0)
        return
      }
    }
  }

  /** Takes up from the disk what a crash cut off. */
  #resume(): void {
    const { records, works } = this.#parts
    let [paid, fees, lost, bytes] = [0, 0, 0, 0]
    for (const [id, row] of records.receipts()) {
      works.use({ id, paymentHash: row.paymentHash })
      paid += row.amount
      fees += row.fees
      bytes += row.bytes
    }
    for (const [key, { why, amount }] of records.losses()) {
      lost += amount
      this.#step({ tag: 'banned', key, why })
    }
    this.#step({ tag: 'resumed', paid: msat(paid), fees: msat(fees), lost: msat(lost), bytes })
    for (const purchase of records.unfinished()) this.#restore(purchase)
  }

  #restore({ signed, leaves, cipher, requestedAtMs }: Purchase): void {
    const { works, node } = this.#parts
    const { seller, pieces, amount, paymentHash, expiry } = signed.quote
    works.use(signed.quote)
    const bytes = windowBytes(node.things.ports.shape, pieces)
    works.set(this.buyer.nextWindow, {
      peer: '',
      pieces,
      bytes,
      requestedAtMs,
      price: ZERO,
      cipher,
      parts: [],
      received: bytes,
      leaves,
      signed,
      secret: undefined,
      checking: true,
    })
    const quoteExpiresAtMs = expiry * 1000
    this.#step({
      tag: 'restored',
      window: { key: seller, pieces, bytes, amount, paymentHash, quoteExpiresAtMs, requestedAtMs },
    })
  }

  #tick(): void {
    if (!this.complete && this.node.nowMs - this.#askedAtMs > BALANCE_MS) {
      const { tag } = buyers.outlook(this.buyer, this.node.nowMs)
      if (tag !== 'buying' && tag !== 'looking') this.#askWallet()
    }
    // Once everything is settled nothing comes of a tick: large worlds save the call.
    if (!this.settled || this.buyer.windows.size > 0) this.#step({ tag: 'tick' })
  }

  #askWallet(): void {
    if (this.#asking) return
    this.#asking = true
    this.#askedAtMs = this.node.nowMs
    this.node.things.bank.balance(
      this.node.id,
      this.node.living((balance) => {
        this.#asking = false
        if (balance !== undefined) this.#step({ tag: 'wallet', money: MONEY, balance: msat(balance) })
      }),
    )
  }
}
