/**
 * Drives the buyer's state machine (`core/swarm/buyer.ts`) over the wires, the wallet and the disk: collects
 * ciphertext, checks quotes, writes them down before paying, unlocks, proves and stores.
 */
import {
  equal,
  fromHex,
  sha256Hex,
  toHex,
  type Bytes,
  type PartyKey,
  type Sha256Hex,
} from '../../core/bytes.ts'
import { encodeProof } from '../../core/exchange/fraud.ts'
import { FRAME, type Message } from '../../core/exchange/message.ts'
import { parseEvent, readOffer } from '../../core/exchange/offer.ts'
import {
  openQuote,
  receiptOf,
  refuseQuote,
  windowBytes,
  type SignedQuote,
} from '../../core/exchange/quote.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import { liveCell } from '../../core/live.ts'
import { decodeInvoice, prefixOf } from '../../core/money/bolt11.ts'
import { sum, unitOf, ZERO, type Money, type Msat } from '../../core/money/msat.ts'
import type { SellerSum, WindowRow } from '../../core/rollout/messages.ts'
import * as buyers from '../../core/swarm/buyer.ts'
import {
  blocksIn,
  BLOCK,
  entry,
  HASH,
  pieceBytes,
  pieceRoot,
  releasePath,
  rootOfLeaves,
  windowPath,
} from '../../core/swarm/merkle.ts'
import type { Download, DownloadDeps, DownloadSnapshot, DownloadState } from './api.ts'
import type { Peer } from './peer.ts'
import { decodeLoss, decodePaid, decodePurchase, encodeJson, encodePurchase, lossKey } from './records.ts'
import { trading, type TradingSession } from './swarm.ts'
import { cryptWindow, leafHashes } from './window-cipher.ts'

/** One window's bytes while they come in and until they are opened. */
type Work = {
  readonly peer: string
  readonly pieces: readonly number[]
  readonly bytes: number
  readonly requestedAt: number
  /** msat per MiB that the request was made at. */
  readonly price: Msat
  ciphertext: Bytes
  received: number
  leaves?: Bytes
  signed?: SignedQuote
  preimage?: string
  plain?: Bytes
  checking: boolean
}

const TICK_MS = 500
const SHOW_MS = 100
/** While sats are missing the balance is asked for this often, should the wallet's notification be lost. */
const BALANCE_MS = 10_000

export function createDownload(deps: DownloadDeps): Download {
  return new RunningDownload(deps)
}

class RunningDownload implements Download {
  readonly #deps: DownloadDeps
  readonly #session: TradingSession
  readonly #cell = liveCell<DownloadSnapshot>({
    state: { tag: 'stopped' },
    have: 0,
    pieces: 0,
    rateBps: 0,
    paid: ZERO,
    fees: ZERO,
    locked: ZERO,
    sellers: [],
    windows: [],
    boughtTwice: 0,
  })
  readonly #peers = new Map<string, Peer>()
  readonly #work = new Map<buyers.WindowId, Work>()
  readonly #byQuote = new Map<Sha256Hex, buyers.WindowId>()
  /** Ids and payment hashes of every quote that was checked or paid: none is paid a second time. */
  readonly #used = new Set<string>()
  readonly #receipts: Receipt[] = []
  readonly #rows: WindowRow[] = []
  readonly #rates = new Map<PartyKey, { bytes: number; rate: number }>()
  readonly #plainKeys = new Set<PartyKey>()
  readonly #onLate = new Set<(receipt: Receipt, row: WindowRow) => void>()
  readonly #onFraud = new Set<(proof: Uint8Array, seller: PartyKey) => void>()
  readonly complete: Promise<void>
  readonly settled: Promise<void>
  #buyer: buyers.Buyer
  #resolveComplete: () => void = () => undefined
  #resolveSettled: () => void = () => undefined
  #running = false
  #stage: 'resuming' | 'buying' | 'complete' | 'settled' = 'resuming'
  #disk: string | undefined
  #stops: (() => void)[] = []
  #showTimer: ReturnType<typeof setTimeout> | undefined
  #lastTickMs = 0
  #lastBalanceMs = 0

  constructor(deps: DownloadDeps) {
    this.#deps = deps
    this.#session = trading(deps.session)
    const seed = new DataView(fromHex(deps.identity.key).buffer).getUint32(0)
    this.#buyer = buyers.openBuyer(this.#session.meta, deps.policy, undefined, seed)
    this.complete = new Promise((done) => (this.#resolveComplete = done))
    this.settled = new Promise((done) => (this.#resolveSettled = done))
  }

  get(): DownloadSnapshot {
    return this.#cell.get()
  }
  subscribe(run: (value: DownloadSnapshot) => void): () => void {
    return this.#cell.subscribe(run)
  }
  receipts(): readonly Receipt[] {
    return this.#receipts
  }
  onLate(run: (receipt: Receipt, row: WindowRow) => void): () => void {
    this.#onLate.add(run)
    return () => this.#onLate.delete(run)
  }
  onFraud(run: (proof: Uint8Array, seller: PartyKey) => void): () => void {
    this.#onFraud.add(run)
    return () => this.#onFraud.delete(run)
  }

  async start(): Promise<void> {
    if (this.#running) return
    this.#running = true
    this.#stage = 'resuming'
    this.#receipts.length = this.#rows.length = 0
    for (const kept of [this.#peers, this.#byQuote, this.#used]) kept.clear()
    const { wallet, policy, identity } = this.#deps
    const money = wallet === undefined ? undefined : await moneyOf(wallet)
    const seed = new DataView(fromHex(identity.key).buffer).getUint32(0)
    this.#buyer = buyers.openBuyer(this.#session.meta, policy, money, seed)
    this.#lastTickMs = this.#deps.nowMs()
    const { have } = this.#session.store
    const there: number[] = []
    for (let piece = 0; piece < this.#session.meta.pieces; piece++)
      if (((have[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) there.push(piece)
    this.#step({ tag: 'stored', pieces: there })
    await this.#resume()
    this.#stage = 'buying'
    this.#stops.push(
      this.#session.attach({
        joined: (peer) => this.#joined(peer),
        message: (peer, message) => this.#onMessage(peer, message),
        haves: (peer, pieces) =>
          this.#peers.has(peer.id) && this.#step({ tag: 'has', peer: peer.id, pieces }),
        gives: (peer) => this.#gives(peer),
        gone: (peer) => {
          if (this.#peers.delete(peer.id)) this.#step({ tag: 'left', peer: peer.id })
        },
      }),
    )
    for (const peer of this.#session.proven()) {
      this.#joined(peer)
      if (peer.offer !== undefined) this.#onMessage(peer, peer.offer)
    }
    for (const peer of this.#session.plain()) if (!peer.choking) this.#gives(peer)
    if (wallet !== undefined) this.#stops.push(wallet.onEvent(() => void this.#refreshBalance()))
    const timer = setInterval(() => this.#tick(), TICK_MS)
    this.#stops.push(() => clearInterval(timer))
    await this.#refreshBalance()
    this.#step({ tag: 'tick' })
  }

  stop(): Promise<void> {
    this.#running = false
    this.#buyer.running = false
    for (const stop of this.#stops) stop()
    this.#stops = []
    this.#work.clear()
    clearTimeout(this.#showTimer)
    this.#cell.set({ ...this.#snapshot(), state: { tag: 'stopped' } })
    return Promise.resolve()
  }

  // Peers and their messages

  #joined(peer: Peer): void {
    if (peer.key === undefined) return
    this.#peers.set(peer.id, peer)
  }

  #gives(peer: Peer): void {
    if (this.#peers.has(peer.id)) return
    this.#peers.set(peer.id, peer)
    // An ordinary peer has no key: a name of its own keeps its record apart and out of the report.
    const key = sha256Hex(new TextEncoder().encode(`plain ${peer.id}`)) as string as PartyKey
    this.#plainKeys.add(key)
    this.#step({
      tag: 'joined',
      peer: peer.id,
      key,
      price: ZERO,
      gift: true,
      money: undefined,
      maxWindowBytes: this.#session.meta.pieceLength,
    })
    this.#step({ tag: 'has', peer: peer.id, pieces: peer.haves() })
  }

  #onMessage(peer: Peer, message: Message): void {
    switch (message.t) {
      case 'offer':
        return this.#onOffer(peer, message.event, message.gift)
      case 'refuse':
        this.#deps.log?.('request refused', { peer: peer.key, code: message.code })
        return this.#step({ tag: 'refused', window: message.id, code: message.code })
      case 'leaves': {
        const work = this.#workOf(peer, message.id)
        if (work === undefined) return
        if (work.leaves !== undefined) return this.#spoil(message.id, 'sent its block hashes twice')
        const blocks = work.pieces.reduce(
          (total, piece) => total + blocksIn(pieceBytes(this.#session.meta, piece)),
          0,
        )
        if (message.leaves.length !== blocks * HASH)
          return this.#spoil(message.id, 'sent another number of block hashes')
        work.leaves = message.leaves
        return void this.#check(message.id, work)
      }
      case 'data': {
        const work = this.#workOf(peer, message.id)
        if (work === undefined) return
        if (message.at !== work.received || message.at + message.bytes.length > work.bytes)
          return this.#spoil(message.id, 'sent data out of place')
        if (
          message.bytes.length % BLOCK !== 0 &&
          message.at + message.bytes.length !== work.bytes &&
          message.bytes.length !== FRAME
        )
          return this.#spoil(message.id, 'sent a frame that is not whole blocks')
        work.ciphertext.set(message.bytes, message.at)
        work.received += message.bytes.length
        this.#countBytes(peer, message.bytes.length)
        this.#step({ tag: 'progress', window: message.id })
        return void this.#check(message.id, work)
      }
      case 'quote': {
        const work = this.#workOf(peer, message.id)
        if (work === undefined || work.signed !== undefined) return
        const signed = openQuote(message.quote, message.sig)
        if (signed === undefined) return this.#spoil(message.id, 'sent a quote that it did not sign')
        const { id, paymentHash } = signed.quote
        if (this.#used.has(id) || this.#used.has(paymentHash))
          return this.#spoil(message.id, 'used a quote or a secret twice')
        this.#used.add(id).add(paymentHash)
        work.signed = signed
        this.#byQuote.set(id, message.id)
        return void this.#check(message.id, work)
      }
      case 'key': {
        const id = this.#byQuote.get(message.quote)
        const work = id === undefined ? undefined : this.#work.get(id)
        if (id === undefined || work?.signed === undefined || work.preimage !== undefined) return
        if (sha256Hex(message.secret) !== work.signed.quote.paymentHash)
          return this.#spoil(id, 'sent a secret that does not fit')
        const window = this.#buyer.windows.get(id)
        // Before the payment a secret proves nothing owed; with a payment out it is the settlement.
        if (
          window === undefined ||
          (window.amount > 0 && window.state !== 'paying' && window.state !== 'unknown')
        )
          return
        work.preimage = toHex(message.secret)
        return this.#step({ tag: 'settled', window: id, fees: ZERO })
      }
      default:
        return
    }
  }

  #onOffer(peer: Peer, json: string, gift: boolean): void {
    const event = parseEvent(json)
    const offer = event === undefined ? undefined : readOffer(event, this.#session.meta.infoHash)
    if (offer === undefined || offer.seller !== peer.key)
      return peer.drop('showed an offer that is not its own')
    if (offer.expiresAtS * 1000 <= this.#deps.nowMs()) return
    if (!gift && !offer.modes.includes('atomic')) return
    const { seller: key, price, money, maxWindowBytes } = offer
    this.#step({ tag: 'joined', peer: peer.id, key, price, gift: gift || price === 0, money, maxWindowBytes })
    this.#step({ tag: 'has', peer: peer.id, pieces: peer.haves() })
  }

  #workOf(peer: Peer, id: number): Work | undefined {
    const work = this.#work.get(id)
    return work?.peer === peer.id ? work : undefined
  }

  #spoil(id: buyers.WindowId, why: string): void {
    this.#deps.log?.('window spoilt', { why, seller: this.#buyer.windows.get(id)?.key })
    this.#step({ tag: 'spoilt', window: id, why })
  }

  /** Everything is here: check it against the release before a sat moves. */
  async #check(id: buyers.WindowId, work: Work): Promise<void> {
    const { leaves, signed } = work
    if (leaves === undefined || signed === undefined || work.received < work.bytes || work.checking) return
    work.checking = true
    const { meta } = this.#session
    if (!leavesProve(leaves, work.pieces, meta))
      return this.#spoil(id, 'stands for blocks that are not the release’s')
    const cipherRoot = toHex(rootOfLeaves(await leafHashes(work.ciphertext))) as Sha256Hex
    const window = this.#buyer.windows.get(id)
    const peer = this.#buyer.peers.get(work.peer)
    if (window === undefined || peer === undefined || this.#work.get(id) !== work) return
    const refusal = refuseQuote(signed.quote, {
      buyer: this.#deps.identity.key,
      seller: peer.key,
      root: meta.piecesRoot,
      shape: meta,
      pieces: work.pieces,
      cipherRoot,
      money: this.#buyer.money ?? 'bitcoin',
      // An offer may change while a window is under way: the later price is no cheat, and not paid either.
      offered: Math.max(work.price, peer.gift ? ZERO : peer.price) as Msat,
      cap: this.#deps.policy.priceCap,
      nowMs: this.#deps.nowMs(),
      invoice: signed.quote.amount === 0 ? undefined : readInvoice(signed.quote.invoice, this.#buyer.money),
    })
    if (refusal !== undefined) return this.#spoil(id, `sent a quote ${refusal}`)
    const { amount, paymentHash, expiry } = signed.quote
    this.#step({ tag: 'quoted', window: id, amount, paymentHash, expiresAtMs: expiry * 1000 })
  }

  // Effects

  #step(event: buyers.BuyerEvent): void {
    const effects = buyers.step(this.#buyer, event, this.#deps.nowMs())
    for (const effect of effects) this.#run(effect)
    this.#show()
  }

  #run(effect: buyers.BuyerEffect): void {
    switch (effect.tag) {
      case 'ask':
        return this.#ask(effect.window, effect.peer, effect.pieces)
      case 'cancel':
        return this.#peers.get(effect.peer)?.send({ t: 'cancel', id: effect.window })
      case 'pay':
        return void this.#guard(this.#pay(effect.window))
      case 'look-up':
        return void this.#guard(this.#lookUp(effect.window))
      case 'open':
        return void this.#guard(this.#open(effect.window))
      case 'discard': {
        const quote = this.#work.get(effect.window)?.signed?.quote.id
        if (quote !== undefined) this.#byQuote.delete(quote)
        this.#work.delete(effect.window)
        return
      }
      case 'drop':
        this.#deps.log?.('seller dropped', { key: effect.key, why: effect.why })
        return this.#peers.get(effect.peer)?.drop(effect.why)
    }
  }

  /** A full disk stops the buying and says so; what was paid stays in the journal. */
  async #guard(job: Promise<void>): Promise<void> {
    try {
      await job
    } catch (error) {
      this.#disk = error instanceof Error ? error.message : String(error)
      this.#deps.log?.('download stopped', { message: this.#disk })
      this.#buyer.running = false
      this.#show()
    }
  }

  #ask(id: buyers.WindowId, peerId: string, pieces: readonly number[]): void {
    const peer = this.#peers.get(peerId)
    if (peer === undefined) return
    const bytes = windowBytes(this.#session.meta, pieces)
    const offer = this.#buyer.peers.get(peerId)
    const work: Work = {
      peer: peerId,
      pieces,
      bytes,
      requestedAt: this.#deps.nowMs(),
      price: offer === undefined || offer.gift ? ZERO : offer.price,
      ciphertext: new Uint8Array(bytes),
      received: 0,
      checking: false,
    }
    this.#work.set(id, work)
    if (peer.plain) return void this.#fetch(id, work, peer)
    peer.send({ t: 'request', id, pieces })
  }

  /** An ordinary peer's piece: no key, no money, the same proof. */
  async #fetch(id: buyers.WindowId, work: Work, peer: Peer): Promise<void> {
    const { meta } = this.#session
    try {
      const parts: Bytes[] = []
      for (const piece of work.pieces) {
        const bytes = await peer.fetch(piece, pieceBytes(meta, piece))
        if (!equal(pieceRoot(await leafHashes(bytes), meta), entry(meta.layer, piece)))
          return this.#spoil(id, 'gave a piece that is not the release’s')
        parts.push(bytes)
        this.#step({ tag: 'progress', window: id })
      }
      let at = 0
      const plain = new Uint8Array(work.bytes)
      for (const part of parts) {
        plain.set(part, at)
        at += part.length
      }
      work.plain = plain
      this.#step({
        tag: 'quoted',
        window: id,
        amount: ZERO,
        paymentHash: '',
        expiresAtMs: Number.POSITIVE_INFINITY,
      })
      this.#step({ tag: 'settled', window: id, fees: ZERO })
    } catch (error) {
      this.#deps.log?.('free piece failed', {
        peer: peer.id,
        message: error instanceof Error ? error.message : String(error),
      })
      this.#step({ tag: 'refused', window: id, code: 'closed' })
    }
  }

  async #pay(id: buyers.WindowId): Promise<void> {
    const work = this.#work.get(id)
    const { wallet, journal } = this.#deps
    if (work?.signed === undefined || work.leaves === undefined || wallet === undefined) return
    const { signed } = work
    await journal.put(
      this.#purchaseKey(signed.quote.id),
      encodePurchase({
        quote: toHex(signed.bytes),
        sig: toHex(signed.sig),
        leaves: toHex(work.leaves),
        requestedAt: work.requestedAt,
        ciphertext: work.ciphertext,
      }),
    )
    if (!this.#running) return
    await this.#sendPayment(id, work, signed)
  }

  async #sendPayment(id: buyers.WindowId, work: Work, signed: SignedQuote): Promise<void> {
    const result = await (this.#deps.wallet as NonNullable<DownloadDeps['wallet']>).pay(signed.quote.invoice)
    if (!this.#running) return
    if (result.tag === 'paid') return this.#onPreimage(id, work, signed, result.preimage, result.fees)
    this.#deps.log?.('payment open', {
      tag: result.tag,
      message: result.message,
      hash: signed.quote.paymentHash,
    })
    if (result.tag === 'unknown') return this.#step({ tag: 'pay-unknown', window: id })
    await this.#deps.journal.delete(this.#purchaseKey(signed.quote.id))
    this.#step({ tag: 'pay-failed', window: id, code: result.code })
    if (result.code === 'insufficient-balance') await this.#refreshBalance()
  }

  #onPreimage(id: buyers.WindowId, work: Work, signed: SignedQuote, preimage: string, fees: Msat): void {
    if (sha256Hex(fromHex(preimage)) !== signed.quote.paymentHash) {
      this.#deps.log?.('wallet gave a preimage that does not fit', { hash: signed.quote.paymentHash })
      return this.#step({ tag: 'pay-unknown', window: id })
    }
    work.preimage ??= preimage
    this.#step({ tag: 'settled', window: id, fees })
  }

  async #lookUp(id: buyers.WindowId): Promise<void> {
    const work = this.#work.get(id)
    const { wallet } = this.#deps
    if (work?.signed === undefined || wallet === undefined) return
    const { signed } = work
    try {
      const found = await wallet.lookUp(signed.quote.paymentHash)
      if (!this.#running) return
      if (found?.state === 'settled' && found.preimage !== undefined)
        return this.#onPreimage(id, work, signed, found.preimage, found.fees)
      if (found?.state === 'failed' || found?.state === 'expired') {
        await this.#deps.journal.delete(this.#purchaseKey(signed.quote.id))
        return this.#step({ tag: 'pay-failed', window: id, code: 'payment-failed' })
      }
      if (found === undefined) {
        // The wallet never heard of it. An invoice pays once, so the same one may be handed in again while it lives.
        if (signed.quote.expiry * 1000 > this.#deps.nowMs()) {
          if (buyers.mayPayAgain(this.#buyer, id)) return await this.#sendPayment(id, work, signed)
          return this.#step({ tag: 'pay-unknown', window: id })
        }
        await this.#deps.journal.delete(this.#purchaseKey(signed.quote.id))
        return this.#step({ tag: 'pay-failed', window: id, code: 'expired' })
      }
    } catch (error) {
      this.#deps.log?.('look-up failed', { message: error instanceof Error ? error.message : String(error) })
    }
    this.#step({ tag: 'pay-unknown', window: id })
  }

  async #open(id: buyers.WindowId): Promise<void> {
    const work = this.#work.get(id)
    const window = this.#buyer.windows.get(id)
    if (work === undefined || window === undefined) return
    const { meta } = this.#session
    const { signed, preimage } = work
    const plain =
      work.plain ??
      (signed === undefined || preimage === undefined
        ? undefined
        : await cryptWindow(fromHex(preimage), signed.quote.id, work.ciphertext))
    if (plain === undefined) return
    const leaves = await leafHashes(plain)
    const good: { piece: number; bytes: Uint8Array }[] = []
    let wrong: { piece: number; block: number; index: number } | undefined
    let at = 0
    for (const piece of work.pieces) {
      const bytes = plain.subarray(at, at + pieceBytes(meta, piece))
      const first = at / BLOCK
      const own = leaves.subarray(first * HASH, (first + blocksIn(bytes.length)) * HASH)
      if (equal(pieceRoot(own, meta), entry(meta.layer, piece))) good.push({ piece, bytes })
      else
        wrong ??= wrongBlock(
          own,
          (work.leaves as Bytes).subarray(first * HASH, first * HASH + own.length),
          piece,
          first,
        )
      at += bytes.length
    }
    // Together, so that a store which groups its syncs pays for one.
    await Promise.all(good.map(({ piece, bytes }) => this.#session.keep(piece, bytes)))
    const cheated = wrong !== undefined
    if (signed !== undefined && preimage !== undefined && window.amount > 0) {
      // The proof first: with the receipt on disk a restart takes the window for finished.
      if (wrong !== undefined) await this.#accuse(signed, preimage, work, wrong, window)
      await this.#keepReceipt(window, signed, preimage)
      await this.#deps.journal.delete(this.#purchaseKey(signed.quote.id))
    }
    if (cheated) this.#step({ tag: 'stored', pieces: good.map(({ piece }) => piece) })
    this.#step({ tag: 'opened', window: id, cheated })
    if (signed !== undefined) this.#byQuote.delete(signed.quote.id)
    this.#work.delete(id)
  }

  async #keepReceipt(window: buyers.Window, signed: SignedQuote, preimage: string): Promise<void> {
    const nowMs = this.#deps.nowMs()
    const row: WindowRow = {
      seller: signed.quote.seller,
      paymentHash: signed.quote.paymentHash,
      pieces: [...signed.quote.pieces],
      bytes: window.bytes,
      amountMsat: signed.quote.amount,
      feesMsat: window.fees,
      requestedAt: window.requestedAtMs,
      paidAt: window.paidAtMs,
      doneAt: nowMs,
      late: window.elsewhere,
    }
    const receipt = receiptOf(signed, preimage)
    await this.#deps.journal.put(
      `receipt/${this.#session.meta.infoHash}/${signed.quote.id}`,
      encodeJson({ receipt, row }),
    )
    this.#receipts.push(receipt)
    this.#rows.push(row)
    if (row.late) for (const run of this.#onLate) run(receipt, row)
  }

  async #accuse(
    signed: SignedQuote,
    preimage: string,
    work: Work,
    wrong: { piece: number; block: number; index: number },
    window: buyers.Window,
  ): Promise<void> {
    const { meta } = this.#session
    const cipherLeaves = await leafHashes(work.ciphertext)
    const claimed = work.leaves as Bytes
    const first = wrong.index - wrong.block
    const own = claimed.subarray(first * HASH, (first + blocksIn(pieceBytes(meta, wrong.piece))) * HASH)
    const proof = encodeProof({
      receipt: receiptOf(signed, preimage),
      piece: wrong.piece,
      block: wrong.block,
      ciphertext: work.ciphertext.slice(wrong.index * BLOCK, Math.min((wrong.index + 1) * BLOCK, work.bytes)),
      cipherPath: windowPath(cipherLeaves, wrong.index),
      leaf: entry(own, wrong.block),
      releasePath: releasePath(own, meta.layer, meta, wrong.piece, wrong.block),
    })
    const seller = signed.quote.seller
    await this.#deps.journal.put(`fraud/${meta.infoHash}/${seller}`, proof)
    await this.#deps.journal.put(
      lossKey(meta.infoHash, seller),
      encodeJson({
        why: 'fraud: sold a block that is not the release’s',
        amount: window.unproven ? window.amount : ZERO,
      }),
    )
    for (const run of this.#onFraud) run(proof, seller)
  }

  // Restart

  #purchaseKey(quoteId: Sha256Hex): string {
    return `buy/${this.#session.meta.infoHash}/${quoteId}`
  }

  /** Takes up what a power cut left: sums, cheats, and payments whose outcome is not known. */
  async #resume(): Promise<void> {
    const { journal } = this.#deps
    const { meta } = this.#session
    const done = new Set<string>()
    for (const key of await journal.keys(`receipt/${meta.infoHash}/`)) {
      const record = decodePaid(await journal.get(key))
      if (record === undefined) continue
      done.add(key.slice(key.lastIndexOf('/') + 1))
      this.#receipts.push(record.receipt)
      this.#rows.push(record.row)
      this.#used.add(key.slice(key.lastIndexOf('/') + 1)).add(record.row.paymentHash)
    }
    this.#rows.sort((a, b) => a.paidAt - b.paidAt)
    let lost = 0
    for (const key of await journal.keys(`bad/${meta.infoHash}/`)) {
      const loss = decodeLoss(await journal.get(key))
      if (loss === undefined) continue
      lost += loss.amount
      this.#step({ tag: 'banned', key: key.slice(key.lastIndexOf('/') + 1) as PartyKey, why: loss.why })
    }
    this.#step({
      tag: 'resumed',
      paid: sum(this.#rows.map((row) => row.amountMsat)),
      fees: sum(this.#rows.map((row) => row.feesMsat)),
      lostToUnproven: lost as Msat,
    })
    for (const key of await journal.keys(`buy/${meta.infoHash}/`)) {
      const record = decodePurchase((await journal.get(key)) ?? new Uint8Array())
      const signed = record === undefined ? undefined : openQuote(fromHex(record.quote), fromHex(record.sig))
      if (record === undefined || signed === undefined || done.has(signed.quote.id)) {
        await journal.delete(key)
        continue
      }
      this.#restore(signed, record)
    }
  }

  #restore(signed: SignedQuote, record: { leaves: string; requestedAt: number; ciphertext: Bytes }): void {
    const { quote } = signed
    const nowMs = this.#deps.nowMs()
    const bytes = windowBytes(this.#session.meta, quote.pieces)
    this.#step({
      tag: 'restored',
      window: {
        peer: '',
        key: quote.seller,
        pieces: quote.pieces,
        bytes,
        amount: quote.amount,
        fees: ZERO,
        state: 'unknown',
        paymentHash: quote.paymentHash,
        quoteExpiresAtMs: quote.expiry * 1000,
        requestedAtMs: record.requestedAt,
        progressAtMs: nowMs,
        payingAtMs: nowMs,
        paidAtMs: 0,
        doneAtMs: 0,
        unproven: false,
        elsewhere: false,
        restored: true,
        payAfterMs: 0,
        lookUps: 0,
        lookUpAtMs: nowMs,
      },
    })
    const id = this.#buyer.nextWindow - 1
    this.#used.add(quote.id).add(quote.paymentHash)
    this.#byQuote.set(quote.id, id)
    this.#work.set(id, {
      peer: '',
      pieces: quote.pieces,
      bytes,
      requestedAt: record.requestedAt,
      price: ZERO,
      ciphertext: record.ciphertext,
      received: bytes,
      leaves: fromHex(record.leaves),
      signed,
      checking: true,
    })
  }

  // Clock and view

  #tick(): void {
    const nowMs = this.#deps.nowMs()
    const seconds = Math.max(0.001, (nowMs - this.#lastTickMs) / 1000)
    this.#lastTickMs = nowMs
    for (const meter of this.#rates.values()) {
      meter.rate = meter.rate * 0.7 + (meter.bytes / seconds) * 0.3
      meter.bytes = 0
    }
    if (this.#cell.get().state.tag === 'waiting' && nowMs - this.#lastBalanceMs > BALANCE_MS)
      void this.#refreshBalance()
    this.#step({ tag: 'tick' })
  }

  #countBytes(peer: Peer, bytes: number): void {
    if (peer.key === undefined) return
    const meter = this.#rates.get(peer.key) ?? { bytes: 0, rate: 0 }
    meter.bytes += bytes
    this.#rates.set(peer.key, meter)
  }

  async #refreshBalance(): Promise<void> {
    const { wallet } = this.#deps
    if (wallet === undefined) return
    this.#lastBalanceMs = this.#deps.nowMs()
    try {
      const balance = await wallet.balance()
      if (this.#running) this.#step({ tag: 'balance', balance })
    } catch (error) {
      this.#deps.log?.('balance unknown', { message: error instanceof Error ? error.message : String(error) })
    }
  }

  #show(): void {
    const { tag } = buyers.outlook(this.#buyer, this.#deps.nowMs())
    if (tag === 'complete') this.#finish()
    this.#showTimer ??= setTimeout(() => {
      this.#showTimer = undefined
      if (this.#running) this.#cell.set(this.#snapshot())
    }, SHOW_MS)
  }

  /** The sums are there to be read before anybody hears that it is over. */
  #finish(): void {
    const open = [...this.#buyer.windows.values()].some((window) => !window.elsewhere)
    const stage = open ? 'complete' : 'settled'
    if (!this.#running || this.#stage === 'resuming' || this.#stage === stage || this.#stage === 'settled')
      return
    this.#stage = stage
    this.#cell.set(this.#snapshot())
    this.#resolveComplete()
    if (!open) this.#resolveSettled()
  }

  #snapshot(): DownloadSnapshot {
    const buyer = this.#buyer
    const lockedWindows = [...buyer.windows.values()].filter(
      (window) => window.state === 'paying' || window.state === 'unknown',
    )
    const sellers = this.#sellers()
    return {
      state: this.#state(),
      have: buyer.haveCount,
      pieces: buyer.have.length,
      rateBps: Math.round(sellers.reduce((total, seller) => total + seller.rateBps, 0)),
      paid: buyer.paid,
      fees: buyer.fees,
      locked: sum(lockedWindows.map((window) => window.amount)),
      sellers,
      windows: [...this.#rows],
      boughtTwice: buyer.boughtTwice,
    }
  }

  #sellers(): SellerSum[] {
    const sums = new Map<PartyKey, SellerSum>()
    for (const [key, of] of this.#buyer.keys) {
      if (this.#plainKeys.has(key)) continue
      const rate = Math.round(this.#rates.get(key)?.rate ?? 0)
      const given = { pieces: of.pieces, bytes: of.bytes, paidMsat: ZERO, feesMsat: ZERO }
      sums.set(key, {
        seller: key,
        ...given,
        rateBps: rate,
        ...(of.dropped === undefined ? {} : { dropped: of.dropped }),
      })
    }
    // Sats from the receipts: they outlive a restart, the session's records do not.
    const restored = new Map<PartyKey, { pieces: number; bytes: number }>()
    for (const row of this.#rows) {
      const of = sums.get(row.seller) ?? {
        seller: row.seller,
        pieces: 0,
        bytes: 0,
        paidMsat: ZERO,
        feesMsat: ZERO,
        rateBps: 0,
      }
      sums.set(row.seller, {
        ...of,
        paidMsat: (of.paidMsat + row.amountMsat) as Msat,
        feesMsat: (of.feesMsat + row.feesMsat) as Msat,
      })
      const bought = restored.get(row.seller) ?? { pieces: 0, bytes: 0 }
      restored.set(row.seller, { pieces: bought.pieces + row.pieces.length, bytes: bought.bytes + row.bytes })
    }
    return [...sums.values()].map((of) => {
      const bought = restored.get(of.seller)
      return bought === undefined
        ? of
        : { ...of, pieces: Math.max(of.pieces, bought.pieces), bytes: Math.max(of.bytes, bought.bytes) }
    })
  }

  #state(): DownloadState {
    if (!this.#running) return { tag: 'stopped' }
    if (this.#disk !== undefined) return { tag: 'waiting', why: 'wallet', text: this.#disk }
    const outlook = buyers.outlook(this.#buyer, this.#deps.nowMs())
    switch (outlook.tag) {
      case 'complete':
        return { tag: 'complete' }
      case 'buying':
        return { tag: 'buying' }
      case 'looking':
        return { tag: 'looking' }
      case 'funds':
        return { tag: 'waiting', why: 'funds', needMsat: outlook.need }
      case 'budget':
        return {
          tag: 'waiting',
          why: 'budget',
          text: 'The budget for this release is used up. Raise it and the download goes on from here.',
        }
      case 'price':
        return {
          tag: 'waiting',
          why: 'price',
          text: `The cheapest seller asks ${outlook.lowest / 1000} sats per MiB, above the cap of ${this.#deps.policy.priceCap / 1000}.`,
        }
      case 'money':
        return { tag: 'waiting', why: 'money', text: moneyText(outlook.offered, this.#buyer.money) }
      case 'unproven':
        return {
          tag: 'waiting',
          why: 'payment',
          text: 'Waiting for the first payment to each seller to settle; nothing more is risked with sellers that never delivered.',
        }
    }
  }
}

function moneyText(offered: Money | undefined, own: Money | undefined): string {
  if (own === undefined) return 'This device has no wallet: connect one to buy.'
  return `Sellers here ask for ${offered === undefined ? 'other money' : `${unitOf(offered)} (${offered})`}; this wallet holds ${unitOf(own)} (${own}).`
}

async function moneyOf(wallet: NonNullable<DownloadDeps['wallet']>): Promise<Money | undefined> {
  try {
    return (await wallet.info()).money
  } catch {
    return undefined
  }
}

function readInvoice(
  text: string,
  money: Money | undefined,
): { paymentHash: string; amount: number; expiresAtMs: number } | 'unreadable' {
  const decoded = decodeInvoice(text, money === undefined ? {} : { prefix: prefixOf(money) })
  if (!decoded.ok) return 'unreadable'
  const { paymentHash, amount, expiresAtMs } = decoded.invoice
  return amount === undefined ? 'unreadable' : { paymentHash, amount, expiresAtMs }
}

function leavesProve(
  leaves: Bytes,
  pieces: readonly number[],
  meta: { length: number; pieceLength: number; layer: Bytes },
): boolean {
  let at = 0
  for (const piece of pieces) {
    const blocks = blocksIn(pieceBytes(meta, piece))
    if (!equal(pieceRoot(leaves.subarray(at * HASH, (at + blocks) * HASH), meta), entry(meta.layer, piece)))
      return false
    at += blocks
  }
  return true
}

function wrongBlock(
  found: Uint8Array,
  claimed: Uint8Array,
  piece: number,
  first: number,
): { piece: number; block: number; index: number } | undefined {
  for (let block = 0; block * HASH < found.length; block++) {
    if (!equal(entry(found, block), entry(claimed, block))) return { piece, block, index: first + block }
  }
  return undefined
}
