/**
 * Drives the buyer's state machine (`core/swarm/buyer.ts`) over the wires, the wallet and the disk: collects
 * ciphertext, checks quotes, writes them down before paying, unlocks, proves and stores.
 */
import {
  concat,
  fromHex,
  sha256Hex,
  toHex,
  type Bytes,
  type PartyKey,
  type Sha256Hex,
} from '../../core/bytes.ts'
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
import { msat, ZERO, type Money, type Msat } from '../../core/money/msat.ts'
import type { WindowRow } from '../../core/rollout/messages.ts'
import * as buyers from '../../core/swarm/buyer.ts'
import { blocksIn, BLOCK, HASH, pieceBytes, rootOfLeaves } from '../../core/swarm/merkle.ts'
import type { Download, DownloadDeps, DownloadSnapshot } from './api.ts'
import { Books } from './books.ts'
import { NOTHING_YET, snapshotOf } from './download-view.ts'
import type { Peer } from './peer.ts'
import type { PurchaseRecord } from './records.ts'
import { trading, type TradingSession } from './swarm.ts'
import { cryptWindow, leafHashes } from './window-cipher.ts'
import { fraudProof, leavesProve, sortPieces, type Wrong } from './window-proof.ts'

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
  readonly #cell = liveCell<DownloadSnapshot>(NOTHING_YET)
  readonly #peers = new Map<string, Peer>()
  readonly #work = new Map<buyers.WindowId, Work>()
  readonly #byQuote = new Map<Sha256Hex, buyers.WindowId>()
  #books: Books
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
  /** The wallet's words when it last refused a payment. */
  #walletTrouble: string | undefined
  #stops: (() => void)[] = []
  #showTimer: ReturnType<typeof setTimeout> | undefined
  #lastTickMs = 0
  #lastBalanceMs = 0
  #askingWallet = false

  constructor(deps: DownloadDeps) {
    this.#deps = deps
    this.#session = trading(deps.session)
    const seed = new DataView(fromHex(deps.identity.key).buffer).getUint32(0)
    this.#buyer = buyers.openBuyer(this.#session.meta, deps.policy, seed)
    this.#books = new Books(deps.journal, this.#session.meta.infoHash)
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
    return this.#books.receipts
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
    for (const kept of [this.#peers, this.#byQuote]) kept.clear()
    const { wallet, policy, identity, journal } = this.#deps
    const seed = new DataView(fromHex(identity.key).buffer).getUint32(0)
    this.#buyer = buyers.openBuyer(this.#session.meta, policy, seed)
    // A wire may outlive this object: late frames of an earlier one must not fit a request of ours.
    this.#buyer.nextWindow = crypto.getRandomValues(new Uint32Array(1))[0]! >>> 2
    this.#books = new Books(journal, this.#session.meta.infoHash)
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
    if (wallet !== undefined) this.#stops.push(wallet.onEvent(() => void this.#askWallet()))
    const timer = setInterval(() => this.#tick(), TICK_MS)
    this.#stops.push(() => clearInterval(timer))
    await this.#askWallet()
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
        // Ids are easily guessed: only the seller that was asked may refuse.
        if (this.#workOf(peer, message.id) === undefined) return
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
        if (!this.#books.firstUse(signed.quote))
          return this.#spoil(message.id, 'used a quote or a secret twice')
        work.signed = signed
        this.#byQuote.set(signed.quote.id, message.id)
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
        if (!leavesProve(await leafHashes(bytes), [piece], meta))
          return this.#spoil(id, 'gave a piece that is not the release’s')
        parts.push(bytes)
        this.#step({ tag: 'progress', window: id })
      }
      work.plain = concat(...parts)
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
    const { wallet } = this.#deps
    if (work?.signed === undefined || work.leaves === undefined || wallet === undefined) return
    const { signed } = work
    await this.#books.begin(signed.quote.id, {
      quote: toHex(signed.bytes),
      sig: toHex(signed.sig),
      leaves: toHex(work.leaves),
      requestedAt: work.requestedAt,
      ciphertext: work.ciphertext,
    })
    if (!this.#running) return
    await this.#sendPayment(id, work, signed)
  }

  async #sendPayment(id: buyers.WindowId, work: Work, signed: SignedQuote): Promise<void> {
    const result = await (this.#deps.wallet as NonNullable<DownloadDeps['wallet']>).pay(signed.quote.invoice)
    if (!this.#running) return
    this.#walletTrouble = result.tag === 'failed' ? result.message : undefined
    if (result.tag === 'paid') return this.#onPreimage(id, work, signed, result.preimage, result.fees)
    this.#deps.log?.('payment open', {
      tag: result.tag,
      message: result.message,
      hash: signed.quote.paymentHash,
    })
    if (result.tag === 'unknown') return this.#step({ tag: 'pay-unknown', window: id })
    await this.#books.end(signed.quote.id)
    this.#step({ tag: 'pay-failed', window: id, code: result.code })
    if (result.code === 'insufficient-balance') await this.#askWallet()
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
        await this.#books.end(signed.quote.id)
        return this.#step({ tag: 'pay-failed', window: id, code: 'payment-failed' })
      }
      if (found === undefined) {
        // The wallet never heard of it. An invoice pays once, so the same one may be handed in again while it lives.
        if (signed.quote.expiry * 1000 > this.#deps.nowMs()) {
          if (buyers.mayPayAgain(this.#buyer, id)) return await this.#sendPayment(id, work, signed)
          return this.#step({ tag: 'pay-unknown', window: id })
        }
        await this.#books.end(signed.quote.id)
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
    const { good, wrong } = await sortPieces(plain, work.leaves, work.pieces, meta)
    // Together, so that a store which groups its syncs pays for one.
    await Promise.all(good.map(({ piece, bytes }) => this.#session.keep(piece, bytes)))
    const cheated = good.length < work.pieces.length
    if (signed !== undefined && preimage !== undefined && window.amount > 0) {
      // The proof first: with the receipt on disk a restart takes the window for finished.
      if (wrong !== undefined) await this.#accuse(signed, preimage, work, wrong, window)
      await this.#keepReceipt(window, signed, preimage)
      await this.#books.end(signed.quote.id)
    }
    if (cheated) this.#step({ tag: 'stored', pieces: good.map(({ piece }) => piece) })
    this.#step({ tag: 'opened', window: id, cheated })
    if (signed !== undefined) this.#byQuote.delete(signed.quote.id)
    this.#work.delete(id)
  }

  async #keepReceipt(window: buyers.Window, signed: SignedQuote, preimage: string): Promise<void> {
    const row: WindowRow = {
      seller: signed.quote.seller,
      paymentHash: signed.quote.paymentHash,
      pieces: [...signed.quote.pieces],
      bytes: window.bytes,
      amountMsat: signed.quote.amount,
      feesMsat: window.fees,
      requestedAt: window.requestedAtMs,
      paidAt: window.paidAtMs,
      doneAt: this.#deps.nowMs(),
      late: window.elsewhere,
    }
    const receipt = receiptOf(signed, preimage)
    await this.#books.keep(signed.quote.id, receipt, row)
    if (row.late) for (const run of this.#onLate) run(receipt, row)
  }

  async #accuse(
    signed: SignedQuote,
    preimage: string,
    work: Work,
    wrong: Wrong,
    window: buyers.Window,
  ): Promise<void> {
    const receipt = receiptOf(signed, preimage)
    const proof = await fraudProof(
      receipt,
      work.ciphertext,
      work.leaves ?? new Uint8Array(),
      wrong,
      this.#session.meta,
    )
    const { seller } = signed.quote
    await this.#books.accuse(seller, proof, buyers.FRAUD, window.amount)
    for (const run of this.#onFraud) run(proof, seller)
  }

  // Restart

  /** Takes up what a power cut left: sums, cheats, and payments whose outcome is not known. */
  async #resume(): Promise<void> {
    const { banned, open, paid, fees, lost } = await this.#books.reopen()
    for (const { key, why } of banned) this.#step({ tag: 'banned', key, why })
    this.#step({ tag: 'resumed', paid, fees, lost })
    for (const { signed, record } of open) this.#restore(signed, record)
  }

  #restore(signed: SignedQuote, record: PurchaseRecord): void {
    const { quote } = signed
    const bytes = windowBytes(this.#session.meta, quote.pieces)
    const { seller: key, pieces, amount, paymentHash } = quote
    const quoteExpiresAtMs = quote.expiry * 1000
    const requestedAtMs = record.requestedAt
    const window = { key, pieces, bytes, amount, paymentHash, quoteExpiresAtMs, requestedAtMs }
    const id = this.#buyer.nextWindow
    this.#byQuote.set(quote.id, id)
    this.#work.set(id, {
      peer: '',
      pieces,
      bytes,
      requestedAt: record.requestedAt,
      price: ZERO,
      ciphertext: record.ciphertext,
      received: bytes,
      leaves: fromHex(record.leaves),
      signed,
      checking: true,
    })
    this.#step({ tag: 'restored', window })
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
      void this.#askWallet()
    this.#step({ tag: 'tick' })
  }

  #countBytes(peer: Peer, bytes: number): void {
    if (peer.key === undefined) return
    const meter = this.#rates.get(peer.key) ?? { bytes: 0, rate: 0 }
    meter.bytes += bytes
    this.#rates.set(peer.key, meter)
  }

  /** What the wallet holds, and in what money: asked again until it answers. */
  async #askWallet(): Promise<void> {
    const { wallet } = this.#deps
    if (wallet === undefined || this.#askingWallet) return
    this.#askingWallet = true
    this.#lastBalanceMs = this.#deps.nowMs()
    try {
      const money = this.#buyer.money ?? (await wallet.info()).money
      const [balance, budget] = await Promise.all([wallet.balance(), wallet.budget().catch(() => undefined)])
      const left = budget === undefined ? balance : Math.max(0, budget.total - budget.used)
      if (this.#running) this.#step({ tag: 'wallet', money, balance: msat(Math.min(balance, left)) })
    } catch (error) {
      this.#deps.log?.('wallet silent', { message: error instanceof Error ? error.message : String(error) })
    } finally {
      this.#askingWallet = false
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
    return snapshotOf({
      buyer: this.#buyer,
      rows: this.#books.rows,
      running: this.#running,
      trouble: this.#disk,
      walletTrouble: this.#walletTrouble,
      hasWallet: this.#deps.wallet !== undefined,
      rateOf: (key) => this.#rates.get(key)?.rate ?? 0,
      plainKeys: this.#plainKeys,
      nowMs: this.#deps.nowMs(),
    })
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
