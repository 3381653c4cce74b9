/**
 * Drives the product's buyer (`web/core/swarm/buyer.ts`) in the virtual world, in the order that `web/edge/swarm` keeps:
 * checks, quote and ciphertext on disk, payment; pieces on disk, accusation, receipt, the purchase's end.
 */
import type { Bytes, PartyKey, Sha256Hex } from '../../web/core/bytes.ts'
import { refuseQuote, windowBytes, type SignedQuote } from '../../web/core/exchange/quote.ts'
import { msat, ZERO, type Money, type Msat } from '../../web/core/money/msat.ts'
import * as buyers from '../../web/core/swarm/buyer.ts'
import { LATEST_START_MS } from '../../web/edge/wallet/wallet.ts'
import { wait, type Job } from './clock.ts'
import type { Side } from './net.ts'
import type { Node, Part } from './node.ts'
import type { Frame } from './ports.ts'
import type { PayAnswer } from './bank.ts'

export const MONEY: Money = 'sandbox:sim'
const TICK_MS = 500
const BALANCE_MS = 10_000

type Work = {
  readonly peer: string
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly requestedAtMs: number
  /** msat per MiB that the request was made at. */
  readonly price: Msat
  cipher: Bytes
  parts: Bytes[]
  received: number
  leaves: Bytes | undefined
  signed: SignedQuote | undefined
  secret: Bytes | undefined
  checking: boolean
}

/** What is on disk of a purchase under way, of a finished one, and of a cheat. */
type Purchase = Readonly<{ signed: SignedQuote; leaves: Bytes; cipher: Bytes; requestedAtMs: number }>
type Paid = Readonly<{ paymentHash: string; amount: number; fees: number; bytes: number }>
type Loss = Readonly<{ why: string; amount: number }>

/** For tests of the judges: what stands between the buyer's core and the world. */
export type Sabotage = (
  effects: buyers.BuyerEffect[],
  buyer: buyers.Buyer,
  event: buyers.BuyerEvent,
) => buyers.BuyerEffect[]

export class BuyerPart implements Part {
  readonly node: Node
  readonly buyer: buyers.Buyer
  readonly #policy: buyers.BuyerPolicy
  readonly #sabotage: Sabotage | undefined
  readonly #works = new Map<buyers.WindowId, Work>()
  readonly #byQuote = new Map<Sha256Hex, buyers.WindowId>()
  /** Ids and hashes of every quote that was checked or paid. */
  readonly #used = new Set<string>()
  readonly #sides = new Map<string, Side>()
  /** What peers said they have before they made an offer. */
  readonly #haves = new Map<string, number[]>()
  readonly #tickMs: number
  #asking = false
  #askedAtMs = 0
  #told = false

  constructor(node: Node, policy: buyers.BuyerPolicy, sabotage?: Sabotage, tickMs = TICK_MS) {
    this.node = node
    this.#policy = policy
    this.#sabotage = sabotage
    this.#tickMs = tickMs
    this.buyer = buyers.openBuyer(node.things.ports.shape, policy, node.random.u32())
    this.buyer.nextWindow = node.random.u32() >>> 2
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

  // Peers and their messages

  joined(side: Side): void {
    this.#sides.set(side.id, side)
  }
  gone(side: Side): void {
    this.#haves.delete(side.id)
    if (this.#sides.delete(side.id)) this.#step({ tag: 'left', peer: side.id })
  }
  /** Somebody published a proof; it was checked. */
  banned(key: PartyKey): void {
    this.#step({ tag: 'banned', key, why: 'a proof of fraud by another' })
  }

  message(side: Side, frame: Frame): void {
    switch (frame.t) {
      case 'have': {
        if (this.buyer.peers.has(side.id))
          return this.#step({ tag: 'has', peer: side.id, pieces: frame.pieces })
        const known = this.#haves.get(side.id)
        if (known === undefined) this.#haves.set(side.id, [...frame.pieces])
        else known.push(...frame.pieces)
        return
      }
      case 'sending':
        return this.#step({ tag: 'sending', peer: side.id, pieces: frame.pieces })
      case 'offer':
      case 'light offer':
        return this.#onOffer(side, frame)
      case 'refuse':
        if (this.#workOf(side, frame.id) !== undefined)
          this.#step({ tag: 'refused', window: frame.id, code: frame.code })
        return
      case 'leaves': {
        const work = this.#workOf(side, frame.id)
        if (work === undefined) return
        if (work.leaves !== undefined) return this.#spoil(frame.id, 'sent its block hashes twice')
        if (frame.leaves.length !== this.node.things.ports.leavesLength(work.pieces))
          return this.#spoil(frame.id, 'sent another number of block hashes')
        work.leaves = frame.leaves
        return this.#check(frame.id, work)
      }
      case 'data':
      case 'light data': {
        const work = this.#workOf(side, frame.id)
        if (work === undefined) return
        const size = frame.t === 'data' ? frame.bytes.length : frame.size
        if (frame.at !== work.received || frame.at + size > work.bytes)
          return this.#spoil(frame.id, 'sent data out of place')
        work.received += size
        if (frame.bytes.length > 0) work.parts.push(frame.bytes)
        if (work.received === work.bytes) this.node.send(side, { t: 'got', id: frame.id })
        this.#step({ tag: 'progress', window: frame.id, bytes: work.received })
        return this.#check(frame.id, work)
      }
      case 'quote':
      case 'light quote': {
        const work = this.#workOf(side, frame.id)
        if (work === undefined || work.signed !== undefined) return
        const signed = this.node.things.ports.openQuote(frame)
        if (signed === undefined) return this.#spoil(frame.id, 'sent a quote that it did not sign')
        if (this.#used.has(signed.quote.id) || this.#used.has(signed.quote.paymentHash))
          return this.#spoil(frame.id, 'used a quote or a secret twice')
        this.#used.add(signed.quote.id).add(signed.quote.paymentHash)
        work.signed = signed
        this.#byQuote.set(signed.quote.id, frame.id)
        return this.#check(frame.id, work)
      }
      case 'key':
        return this.#onKey(frame.quote, frame.secret)
      default:
        return
    }
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

  #onKey(quote: Sha256Hex, secret: Bytes): void {
    const id = this.#byQuote.get(quote)
    const work = id === undefined ? undefined : this.#works.get(id)
    if (id === undefined || work?.signed === undefined || work.secret !== undefined) return
    if (this.node.things.ports.hashOf(secret) !== work.signed.quote.paymentHash)
      return this.#spoil(id, 'sent a secret that does not fit')
    const window = this.buyer.windows.get(id)
    if (
      window === undefined ||
      (window.amount > 0 && window.state !== 'paying' && window.state !== 'unknown')
    )
      return
    work.secret = secret
    this.#step({ tag: 'settled', window: id, ...(window.amount === 0 && { fees: ZERO }) })
  }

  #workOf(side: Side, id: number): Work | undefined {
    const work = this.#works.get(id)
    return work?.peer === side.id ? work : undefined
  }
  #spoil(id: buyers.WindowId, why: string): void {
    this.#step({ tag: 'spoilt', window: id, why })
  }

  #check(id: buyers.WindowId, work: Work): void {
    const { leaves, signed } = work
    if (leaves === undefined || signed === undefined || work.received < work.bytes || work.checking) return
    work.checking = true
    const { ports } = this.node.things
    if (!ports.leavesProve(leaves, work.pieces))
      return this.#spoil(id, 'stands for blocks that are not the release’s')
    const peer = this.buyer.peers.get(work.peer)
    if (!this.buyer.windows.has(id) || peer === undefined) return
    work.cipher = joined(work.parts)
    work.parts = []
    const refusal = refuseQuote(signed.quote, {
      buyer: this.node.party.key,
      seller: peer.key,
      root: ports.root,
      shape: ports.shape,
      pieces: work.pieces,
      cipherRoot: ports.cipherRoot(work.cipher, work.pieces),
      money: this.buyer.money ?? 'bitcoin',
      offered: msat(Math.max(work.price, peer.gift ? 0 : peer.price)),
      cap: this.#policy.priceCap,
      nowMs: this.node.nowMs,
      invoice: signed.quote.amount === 0 ? undefined : readInvoice(signed.quote.invoice),
    })
    if (refusal !== undefined) return this.#spoil(id, `sent a quote ${refusal}`)
    const { amount, paymentHash, expiry } = signed.quote
    this.#step({ tag: 'quoted', window: id, amount, paymentHash, expiresAtMs: expiry * 1000 })
  }

  // Effects

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
    switch (effect.tag) {
      case 'ask':
        return this.#ask(effect.window, effect.peer, effect.pieces)
      case 'cancel': {
        const side = this.#sides.get(effect.peer)
        if (side !== undefined) this.node.send(side, { t: 'cancel', id: effect.window })
        return
      }
      case 'pay':
        return this.node.life.start(this.#pay(effect.window))
      case 'look-up':
        return this.node.life.start(this.#lookUp(effect.window))
      case 'open':
        return this.node.life.start(this.#open(effect.window))
      case 'renew':
        return
      case 'discard': {
        const quote = this.#works.get(effect.window)?.signed?.quote.id
        if (quote !== undefined) this.#byQuote.delete(quote)
        this.#works.delete(effect.window)
        return
      }
      case 'drop': {
        const side = this.#sides.get(effect.peer)
        if (side !== undefined) this.node.port.cut(side, 0)
        return
      }
    }
  }

  #ask(id: buyers.WindowId, peer: string, pieces: readonly number[]): void {
    const side = this.#sides.get(peer)
    if (side === undefined) return
    const offer = this.buyer.peers.get(peer)
    this.#works.set(id, {
      peer,
      pieces,
      bytes: windowBytes(this.node.things.ports.shape, pieces),
      requestedAtMs: this.node.nowMs,
      price: offer === undefined || offer.gift ? ZERO : offer.price,
      cipher: new Uint8Array(),
      parts: [],
      received: 0,
      leaves: undefined,
      signed: undefined,
      secret: undefined,
      checking: false,
    })
    this.node.send(side, { t: 'request', id, pieces })
  }

  *#pay(id: buyers.WindowId): Job {
    const work = this.#works.get(id)
    if (work?.signed === undefined || work.leaves === undefined) return
    const { signed, leaves, cipher, requestedAtMs } = work
    const purchase: Purchase = { signed, leaves, cipher, requestedAtMs }
    yield* wait(this.node.disk.put(`buy/${signed.quote.id}`, purchase))
    yield* this.#sendPayment(id, work, signed)
  }

  *#sendPayment(id: buyers.WindowId, work: Work, signed: SignedQuote): Job {
    const { bank, see } = this.node.things
    const { quote } = signed
    see(
      {
        t: 'pays',
        buyer: this.node.id,
        seller: quote.seller,
        hash: quote.paymentHash,
        amount: quote.amount,
        pieces: quote.pieces,
        bytes: work.bytes,
        expiresAtMs: quote.expiry * 1000,
      },
      this.node.nowMs,
    )
    const result = yield* wait<PayAnswer>((resume) => bank.pay(this.node.id, quote.invoice, resume))
    if (result.tag === 'paid') return this.#onPreimage(id, work, signed, result.preimage, result.fees)
    if (this.buyer.feesOpen.has(id)) return yield* this.#askFees(id, work, signed)
    if (result.tag === 'unknown') return this.#step({ tag: 'pay-unknown', window: id })
    yield* wait(this.node.disk.delete(`buy/${quote.id}`))
    this.#step({ tag: 'pay-failed', window: id, code: result.code })
    if (result.code === 'insufficient-balance') this.#askWallet()
  }

  #onPreimage(id: buyers.WindowId, work: Work, signed: SignedQuote, preimage: string, fees: number): void {
    const secret = fromText(preimage)
    if (this.node.things.ports.hashOf(secret) !== signed.quote.paymentHash)
      return this.#step({ tag: 'pay-unknown', window: id })
    work.secret ??= secret
    const late = this.buyer.feesOpen.has(id)
    this.#step({ tag: 'settled', window: id, fees: msat(fees) })
    const key = `receipt/${signed.quote.id}`
    const paid = this.node.disk.records.get(key) as Paid | undefined
    if (late && paid !== undefined && paid.fees !== fees)
      this.node.life.start(wait(this.node.disk.put(key, { ...paid, fees } satisfies Paid)))
  }

  *#askFees(id: buyers.WindowId, work: Work, signed: SignedQuote): Job {
    const { bank } = this.node.things
    const answer = yield* wait<Parameters<Parameters<typeof bank.lookUp>[2]>[0]>((resume) =>
      bank.lookUp(this.node.id, signed.quote.paymentHash, resume),
    )
    if (answer.tag !== 'found' || answer.found?.preimage === undefined) return
    this.#onPreimage(id, work, signed, answer.found.preimage, answer.found.fees)
  }

  *#lookUp(id: buyers.WindowId): Job {
    const work = this.#works.get(id)
    if (work?.signed === undefined) return
    const { signed } = work
    const { bank } = this.node.things
    const answer = yield* wait<Parameters<Parameters<typeof bank.lookUp>[2]>[0]>((resume) =>
      bank.lookUp(this.node.id, signed.quote.paymentHash, resume),
    )
    if (answer.tag === 'found') {
      const { found } = answer
      if (found?.state === 'settled' && found.preimage !== undefined)
        return this.#onPreimage(id, work, signed, found.preimage, found.fees)
      if (found?.state === 'failed') {
        yield* wait(this.node.disk.delete(`buy/${signed.quote.id}`))
        return this.#step({ tag: 'pay-failed', window: id, code: 'payment-failed' })
      }
      if (found === undefined) {
        if (signed.quote.expiry * 1000 > this.node.nowMs) {
          if (buyers.payAgain(this.buyer, id, this.node.nowMs))
            return yield* this.#sendPayment(id, work, signed)
          return this.#step({ tag: 'pay-unknown', window: id })
        }
        // The wallet may take the request up late.
        const payingAtMs = this.buyer.windows.get(id)?.payingAtMs ?? 0
        if (this.node.nowMs < Math.min(payingAtMs, signed.quote.expiry * 1000) + LATEST_START_MS)
          return this.#step({ tag: 'pay-unknown', window: id })
        yield* wait(this.node.disk.delete(`buy/${signed.quote.id}`))
        return this.#step({ tag: 'pay-failed', window: id, code: 'expired' })
      }
    }
    this.#step({ tag: 'pay-unknown', window: id })
  }

  *#open(id: buyers.WindowId): Job {
    const work = this.#works.get(id)
    const window = this.buyer.windows.get(id)
    if (
      work?.signed === undefined ||
      work.secret === undefined ||
      work.leaves === undefined ||
      window === undefined
    )
      return
    const { signed, secret, leaves } = work
    const { ports, see } = this.node.things
    const { disk, id: node } = this.node
    const parts = ports.unseal(secret, signed.quote.id, work.cipher, work.pieces)
    const pieces = work.pieces.map((piece, i) => ({ piece, bytes: parts[i] as Bytes }))
    if (window.amount > 0)
      see({ t: 'opened', buyer: node, hash: signed.quote.paymentHash, pieces }, this.node.nowMs)
    const good = pieces.filter(({ piece, bytes }) => ports.proves(piece, bytes))
    const fresh = good.filter(({ piece }) => !disk.pieces.has(piece))
    if (good.length > 0)
      yield* wait((resume) => {
        let left = good.length
        for (const { piece, bytes } of good)
          disk.keep(
            piece,
            bytes,
          )(() => {
            see({ t: 'stored', node, piece, bytes }, this.node.nowMs)
            if (--left === 0) resume(undefined)
          })
      })
    if (fresh.length > 0) this.node.announce(fresh.map(({ piece }) => piece))
    const cheated = good.length < pieces.length
    if (window.amount > 0) {
      if (cheated) {
        const proof = ports.proof(signed, secret, work.cipher, leaves, parts)
        const loss: Loss = { why: buyers.FRAUD, amount: window.amount }
        yield* wait(disk.put(`bad/${signed.quote.seller}`, loss))
        if (proof !== undefined) this.node.things.accuse(proof, node)
      }
      const paid: Paid = {
        paymentHash: signed.quote.paymentHash,
        amount: signed.quote.amount,
        fees: window.fees,
        bytes: window.bytes,
      }
      yield* wait(disk.put(`receipt/${signed.quote.id}`, paid))
      if (window.fees !== paid.fees)
        yield* wait(disk.put(`receipt/${signed.quote.id}`, { ...paid, fees: window.fees }))
      yield* wait(disk.delete(`buy/${signed.quote.id}`))
    }
    if (cheated) this.#step({ tag: 'stored', pieces: good.map(({ piece }) => piece) })
    this.#step({ tag: 'opened', window: id, cheated })
    this.#byQuote.delete(signed.quote.id)
    this.#works.delete(id)
  }

  // Restart

  #resume(): void {
    const { disk } = this.node
    const done = new Set<string>()
    let [paid, fees, lost, bytes] = [0, 0, 0, 0]
    for (const key of disk.keys('receipt/')) {
      const row = disk.records.get(key) as Paid
      const id = key.slice('receipt/'.length)
      done.add(id)
      this.#used.add(id).add(row.paymentHash)
      paid += row.amount
      fees += row.fees
      bytes += row.bytes
    }
    for (const key of disk.keys('bad/')) {
      const loss = disk.records.get(key) as Loss
      lost += loss.amount
      this.#step({ tag: 'banned', key: key.slice('bad/'.length) as PartyKey, why: loss.why })
    }
    this.#step({ tag: 'resumed', paid: msat(paid), fees: msat(fees), lost: msat(lost), bytes })
    for (const key of [...disk.keys('buy/')]) {
      const { signed, leaves, cipher, requestedAtMs } = disk.records.get(key) as Purchase
      if (done.has(signed.quote.id)) {
        disk.records.delete(key)
        continue
      }
      const { seller, pieces, amount, paymentHash } = signed.quote
      this.#used.add(signed.quote.id).add(paymentHash)
      const size = windowBytes(this.node.things.ports.shape, pieces)
      const id = this.buyer.nextWindow
      this.#byQuote.set(signed.quote.id, id)
      this.#works.set(id, {
        peer: '',
        pieces,
        bytes: size,
        requestedAtMs,
        price: ZERO,
        cipher,
        parts: [],
        received: size,
        leaves,
        signed,
        secret: undefined,
        checking: true,
      })
      const quoteExpiresAtMs = signed.quote.expiry * 1000
      this.#step({
        tag: 'restored',
        window: { key: seller, pieces, bytes: size, amount, paymentHash, quoteExpiresAtMs, requestedAtMs },
      })
    }
  }

  // Clock

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

const joined = (parts: readonly Bytes[]): Bytes => {
  if (parts.length === 1) return parts[0] as Bytes
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export const toText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
export const fromText = (hex: string): Bytes => {
  const bytes = new Uint8Array(hex.length / 2)
  bytes.set(Buffer.from(hex, 'hex'))
  return bytes
}

/** The simulator's invoice is its three fields; BOLT 11 has vectors of its own. */
export function readInvoice(
  text: string,
): { paymentHash: string; amount: number; expiresAtMs: number } | 'unreadable' {
  const [paymentHash, amount, expiresAtMs] = text.split(' ')
  if (paymentHash === undefined || amount === undefined || expiresAtMs === undefined) return 'unreadable'
  return { paymentHash, amount: Number(amount), expiresAtMs: Number(expiresAtMs) }
}
