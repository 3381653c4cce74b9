/**
 * Drives the seller's state machine (`core/exchange/desk.ts`): shows its offer, makes ciphertext, invoice and
 * quote for a window, writes the sale down before the quote goes out, settles what is locked, sends the secret.
 */
import * as v from 'valibot'
import { equal, fromUtf8, toHex, utf8, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { paymentHashOf, quoteSecret } from '../../core/exchange/cipher.ts'
import * as desks from '../../core/exchange/desk.ts'
import { FRAME, type Message } from '../../core/exchange/message.ts'
import { signOffer } from '../../core/exchange/offer.ts'
import { MAX_WINDOW_BYTES, signQuote, type Quote } from '../../core/exchange/quote.ts'
import { liveCell } from '../../core/live.ts'
import { ZERO, type Money } from '../../core/money/msat.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import { entry, pieceBytes, pieceRoot, rootOfLeaves } from '../../core/swarm/merkle.ts'
import type { WalletEvent } from '../wallet/wallet.ts'
import type { SaleRow, SellPolicy, Shop, ShopDeps, ShopSnapshot } from './api.ts'
import type { Peer } from './peer.ts'
import { trading, type TradingSession } from './swarm.ts'
import { cryptWindow, leafHashes } from './window-cipher.ts'

const QUOTE_S = 120
const OFFER_S = 3600
const OFFER_RENEW_MS = 30 * 60_000
const TICK_MS = 1000
const SHOW_MS = 100
/** Windows in memory at once, all peers together. */
const MAX_SERVING = 6
const MAX_ROWS = 50

type Settling = 'preimage' | 'hold'
type Terms = Readonly<{ money: Money; settling: Settling }>

/** `sale/<info-hash>/<quote id>`, on disk before the quote goes out: enough to settle after a crash. */
const saleSchema = v.object({
  hash: v.string(),
  amount: v.number(),
  settling: v.picklist(['preimage', 'hold']),
  expiry: v.number(),
})

export function createShop(deps: ShopDeps): Shop {
  return new RunningShop(deps)
}

class RunningShop implements Shop {
  readonly #deps: ShopDeps
  readonly #session: TradingSession
  readonly #desk: desks.Desk
  readonly #cell = liveCell<ShopSnapshot>({
    money: undefined,
    uploadedBytes: 0,
    soldPieces: 0,
    earned: ZERO,
    unpaidBytes: 0,
    rateBps: 0,
    sales: [],
    giftsLeft: 0,
  })
  readonly #peers = new Map<string, Peer>()
  readonly #byHash = new Map<string, Sha256Hex>()
  readonly #sent = new Map<Sha256Hex, number>()
  readonly #queues = new Map<string, Promise<void>>()
  #policy: SellPolicy
  #terms: Terms | undefined
  #trouble: string | undefined
  #sellerKey: Bytes = new Uint8Array()
  #offer: NostrEvent | undefined
  #offerAtMs = 0
  #running = false
  #serving = 0
  readonly #waiting: (() => void)[] = []
  #stops: (() => void)[] = []
  #showTimer: ReturnType<typeof setTimeout> | undefined
  #meter = { bytes: 0, rate: 0, atMs: 0 }
  #lastLookUpMs = 0

  constructor(deps: ShopDeps) {
    this.#deps = deps
    this.#session = trading(deps.session)
    this.#policy = deps.policy
    this.#desk = desks.openDesk(this.#session.meta, deps.policy)
  }

  get(): ShopSnapshot {
    return this.#cell.get()
  }
  subscribe(run: (value: ShopSnapshot) => void): () => void {
    return this.#cell.subscribe(run)
  }

  async start(): Promise<void> {
    if (this.#running) return
    this.#running = true
    this.#desk.open = true
    this.#sellerKey = await this.#loadSellerKey()
    await this.#loadTerms()
    const { wallet } = this.#deps
    if (wallet !== undefined) {
      this.#stops.push(wallet.onEvent((event) => this.#onWallet(event)))
      this.#stops.push(
        wallet.status.subscribe(({ connected }) => {
          if (!connected || !this.#running) return
          if (this.#terms === undefined) this.#quietly(this.#loadTerms().then(() => this.#showOffer()))
          this.#quietly(this.#lookUpOpen())
          this.#quietly(this.#recover())
        }),
      )
    }
    this.#stops.push(
      this.#session.attach({
        joined: (peer) => this.#joined(peer),
        message: (peer, message) => this.#onMessage(peer, message),
        gone: (peer) => this.#gone(peer),
      }),
    )
    for (const peer of this.#session.proven()) this.#joined(peer)
    this.#showOffer()
    const timer = setInterval(() => this.#tick(), TICK_MS)
    this.#stops.push(() => clearInterval(timer))
    this.#quietly(this.#recover())
    this.#show()
  }

  setPolicy(policy: SellPolicy): void {
    this.#policy = policy
    this.#desk.policy = policy
    if (this.#running) this.#showOffer()
    this.#show()
  }

  stop(): Promise<void> {
    this.#running = false
    this.#desk.open = false
    for (const stop of this.#stops) stop()
    this.#stops = []
    clearTimeout(this.#showTimer)
    return Promise.resolve()
  }

  // Terms and offers

  async #loadSellerKey(): Promise<Bytes> {
    const { journal } = this.#deps
    const kept = await journal.get('shop/key')
    if (kept?.length === 32) return kept
    const key = crypto.getRandomValues(new Uint8Array(32))
    await journal.put('shop/key', key)
    return key
  }

  async #loadTerms(): Promise<void> {
    const { wallet } = this.#deps
    if (wallet === undefined) return
    try {
      const info = await wallet.info()
      const settling = info.features.has('preimage-invoices')
        ? 'preimage'
        : info.features.has('hold-invoices')
          ? 'hold'
          : undefined
      this.#terms = settling === undefined ? undefined : { money: info.money, settling }
      this.#trouble =
        settling === undefined
          ? 'This wallet can neither hold invoices nor take a preimage, so it cannot sell piece by piece. Connect one that can, for example Alby Hub.'
          : undefined
    } catch (error) {
      this.#trouble = `The wallet does not answer: ${messageOf(error)}. Selling starts by itself when it does.`
    }
    this.#show()
  }

  #showOffer(): void {
    // Of two addressable events of one second a relay keeps either: each of ours is newer than the last.
    const nowS = Math.max(Math.floor(this.#deps.nowMs() / 1000), (this.#offer?.created_at ?? 0) + 1)
    const { meta } = this.#session
    // Without a wallet that can sell there is nothing to offer but gifts; those are said peer by peer.
    const money = this.#terms?.money ?? ('sandbox:none' as Money)
    this.#offer = signOffer(
      {
        infoHash: meta.infoHash,
        money,
        price: this.#policy.price,
        modes: this.#terms === undefined ? ['free'] : ['atomic', 'free'],
        maxWindowBytes: Math.max(meta.pieceLength, Math.min(MAX_WINDOW_BYTES, this.#policy.unpaidBytes)),
        expiresAtS: nowS + OFFER_S,
      },
      this.#deps.identity.secret,
      crypto.getRandomValues(new Uint8Array(32)),
      nowS,
    )
    this.#offerAtMs = this.#deps.nowMs()
    for (const peer of this.#peers.values()) this.#sendOffer(peer)
    if (this.#terms !== undefined) this.#deps.publishOffer?.(JSON.stringify(this.#offer))
  }

  #sendOffer(peer: Peer): void {
    if (this.#offer === undefined || peer.key === undefined) return
    const gift = desks.isGift(this.#desk, peer.key, peer.role ?? 'device')
    if (gift && this.#policy.price > 0) desks.reserve(this.#desk, peer.key)
    if (!gift && this.#terms === undefined) return
    peer.send({ t: 'offer', event: JSON.stringify(this.#offer), gift })
  }

  // Peers

  #joined(peer: Peer): void {
    this.#peers.set(peer.id, peer)
    this.#sendOffer(peer)
  }

  #gone(peer: Peer): void {
    this.#peers.delete(peer.id)
    this.#queues.delete(peer.id)
    if (peer.key !== undefined) this.#step({ tag: 'left', peer: peer.id, buyer: peer.key })
  }

  #onMessage(peer: Peer, message: Message): void {
    if (message.t === 'cancel') return this.#step({ tag: 'cancelled', peer: peer.id, request: message.id })
    if (message.t !== 'request' || peer.key === undefined) return
    const { have } = this.#session.store
    this.#step({
      tag: 'asked',
      id: toHex(crypto.getRandomValues(new Uint8Array(32))) as Sha256Hex,
      peer: peer.id,
      buyer: peer.key,
      role: peer.role ?? 'device',
      request: message.id,
      pieces: message.pieces,
      has: (piece) => (((have[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) === 1,
    })
  }

  #step(event: desks.DeskEvent): void {
    for (const effect of desks.step(this.#desk, event, this.#deps.nowMs())) this.#run(effect)
    this.#show()
  }

  #run(effect: desks.DeskEffect): void {
    switch (effect.tag) {
      case 'refuse':
        this.#deps.log?.('request refused', { peer: effect.peer, code: effect.code })
        return this.#peers.get(effect.peer)?.send({ t: 'refuse', id: effect.request, code: effect.code })
      case 'serve': {
        const { sale } = effect
        const before = this.#queues.get(sale.peer) ?? Promise.resolve()
        this.#queues.set(
          sale.peer,
          before.then(() => this.#serve(sale)),
        )
        return
      }
      case 'settle':
        return this.#quietly(this.#settle(effect.sale))
      case 'give-key': {
        const { sale } = effect
        this.#peers
          .get(sale.peer)
          ?.send({ t: 'key', quote: sale.id, secret: quoteSecret(this.#sellerKey, sale.id) })
        this.#byHash.delete(paymentHashOf(quoteSecret(this.#sellerKey, sale.id)))
        this.#sent.delete(sale.id)
        this.#quietly(this.#deps.journal.delete(this.#saleKey(sale.id)))
        return
      }
      case 'forget':
        return this.#quietly(this.#forget(effect.sale))
    }
  }

  /** A full or failing disk must not end the process: what was to be written is in the wallet too. */
  #quietly(job: Promise<void>): void {
    job.catch((error: unknown) => this.#deps.log?.('journal failed', { message: messageOf(error) }))
  }

  // One sale

  async #serve(sale: desks.Sale): Promise<void> {
    await this.#slot()
    try {
      await this.#send(sale)
    } catch (error) {
      this.#deps.log?.('window not served', { message: messageOf(error) })
      this.#step({ tag: 'failed', id: sale.id, code: 'wallet' })
    } finally {
      this.#serving--
      this.#waiting.shift()?.()
    }
  }

  async #slot(): Promise<void> {
    while (this.#serving >= MAX_SERVING) await new Promise<void>((done) => this.#waiting.push(done))
    this.#serving++
  }

  async #send(sale: desks.Sale): Promise<void> {
    const peer = this.#peers.get(sale.peer)
    if (peer === undefined || sale.state !== 'preparing') return
    const secret = quoteSecret(this.#sellerKey, sale.id)
    const hash = paymentHashOf(secret)
    const expiry = Math.floor(this.#deps.nowMs() / 1000) + QUOTE_S
    const invoicing = sale.amount > 0 ? this.#invoice(sale, hash, secret) : Promise.resolve('')
    // Awaited below; a rejection meanwhile must not count as unhandled.
    invoicing.catch(() => undefined)
    const plain = await this.#read(sale)
    if (plain === undefined) return this.#step({ tag: 'failed', id: sale.id, code: 'missing' })
    this.#step({ tag: 'began', id: sale.id })
    peer.send({ t: 'leaves', id: sale.request, leaves: plain.leaves })
    const ciphertext = await cryptWindow(secret, sale.id, plain.bytes)
    await this.#stream(peer, sale, ciphertext)
    const cipherRoot = toHex(rootOfLeaves(await leafHashes(ciphertext))) as Sha256Hex
    const invoice = await invoicing
    const quote: Quote = {
      id: sale.id,
      buyer: sale.buyer,
      seller: this.#deps.identity.key,
      root: this.#session.meta.piecesRoot,
      shape: { length: this.#session.meta.length, pieceLength: this.#session.meta.pieceLength },
      pieces: sale.pieces,
      cipherRoot,
      paymentHash: hash,
      amount: sale.amount,
      money: this.#terms?.money ?? ('sandbox:none' as Money),
      expiry,
      invoice,
    }
    const signed = signQuote(quote, this.#deps.identity.secret, crypto.getRandomValues(new Uint8Array(32)))
    if (sale.amount > 0) await this.#writeSale(sale, hash, expiry)
    if ((sale.state as desks.Sale['state']) !== 'preparing') return
    peer.send({ t: 'quote', id: sale.request, quote: signed.bytes, sig: signed.sig })
    this.#step({ tag: 'sent', id: sale.id, expiresAtMs: expiry * 1000 })
  }

  /** The window's bytes and leaves, proven once more: a flipped bit on disk must not become a cheat. */
  async #read(sale: desks.Sale): Promise<{ bytes: Bytes; leaves: Bytes } | undefined> {
    const { meta, store } = this.#session
    const bytes = new Uint8Array(sale.bytes)
    let at = 0
    for (const piece of sale.pieces) {
      const part = await store.read(piece * meta.pieceLength, pieceBytes(meta, piece))
      bytes.set(part, at)
      if (!equal(pieceRoot(await leafHashes(part), meta), entry(meta.layer, piece))) {
        this.#deps.log?.('piece damaged on disk', { piece })
        return undefined
      }
      at += part.length
    }
    return { bytes, leaves: await leafHashes(bytes) }
  }

  async #stream(peer: Peer, sale: desks.Sale, ciphertext: Bytes): Promise<void> {
    const { uploadBps } = this.#policy
    for (let at = 0; at < ciphertext.length && !peer.gone && sale.state === 'preparing'; at += FRAME) {
      const bytes = ciphertext.subarray(at, at + FRAME)
      peer.send({ t: 'data', id: sale.request, at, bytes })
      this.#meter.bytes += bytes.length
      this.#sent.set(sale.id, at + bytes.length)
      if (uploadBps !== undefined && uploadBps > 0) await sleep((bytes.length / uploadBps) * 1000)
      else await peer.drained()
    }
    this.#show()
  }

  async #invoice(sale: desks.Sale, hash: Sha256Hex, secret: Bytes): Promise<string> {
    const { wallet } = this.#deps
    if (wallet === undefined || this.#terms === undefined) throw new Error('no wallet that can sell')
    this.#byHash.set(hash, sale.id)
    const request = {
      amount: sale.amount,
      description: `${sale.pieces.length} pieces of ${this.#session.meta.name}`.slice(0, 200),
      expirySeconds: QUOTE_S,
    }
    const invoice =
      this.#terms.settling === 'preimage'
        ? await wallet.makeInvoice({ ...request, preimage: toHex(secret) })
        : await wallet.makeHoldInvoice({ ...request, paymentHash: hash })
    return invoice.bolt11
  }

  #saleKey(id: Sha256Hex): string {
    return `sale/${this.#session.meta.infoHash}/${id}`
  }

  #writeSale(sale: desks.Sale, hash: Sha256Hex, expiry: number): Promise<void> {
    const settling = this.#terms?.settling ?? 'preimage'
    return this.#deps.journal.put(
      this.#saleKey(sale.id),
      utf8(JSON.stringify({ hash, amount: sale.amount, settling, expiry })),
    )
  }

  // Payments

  #onWallet(event: WalletEvent): void {
    const id = this.#byHash.get(event.transaction.paymentHash)
    if (id === undefined) return
    // A sale from before a restart: the desk does not know it, the journal does.
    if (!this.#desk.sales.has(id)) return this.#quietly(this.#recover())
    if (event.tag === 'received') this.#step({ tag: 'settled', id })
    if (event.tag === 'hold-accepted') this.#step({ tag: 'locked', id })
  }

  async #settle(sale: desks.Sale): Promise<void> {
    const secret = quoteSecret(this.#sellerKey, sale.id)
    try {
      await this.#deps.wallet?.settleHoldInvoice(toHex(secret))
      this.#step({ tag: 'settled', id: sale.id })
    } catch (error) {
      this.#deps.log?.('settling failed, looking it up', { message: messageOf(error) })
      await this.#lookUp(sale.id, paymentHashOf(secret))
    }
  }

  /** Nobody pays it any more: make sure that nobody did, then let the wallet forget it. */
  async #forget(sale: desks.Sale): Promise<void> {
    const hash = paymentHashOf(quoteSecret(this.#sellerKey, sale.id))
    if (await this.#lookUp(sale.id, hash)) return
    this.#byHash.delete(hash)
    if (this.#terms?.settling === 'hold')
      await this.#deps.wallet?.cancelHoldInvoice(hash).catch(() => undefined)
    await this.#deps.journal.delete(this.#saleKey(sale.id))
  }

  /** Whether the payment is in. */
  async #lookUp(id: Sha256Hex, hash: Sha256Hex): Promise<boolean> {
    try {
      const found = await this.#deps.wallet?.lookUp(hash)
      if (found?.state === 'settled') {
        this.#step({ tag: 'settled', id })
        return true
      }
      if (found?.state === 'accepted') {
        await this.#deps.wallet?.settleHoldInvoice(toHex(quoteSecret(this.#sellerKey, id)))
        this.#step({ tag: 'settled', id })
        return true
      }
    } catch (error) {
      this.#deps.log?.('look-up failed', { message: messageOf(error) })
    }
    return false
  }

  /** Notifications may be lost with a connection: when it is back, open sales are looked up. */
  async #lookUpOpen(): Promise<void> {
    const nowMs = this.#deps.nowMs()
    if (nowMs - this.#lastLookUpMs < TICK_MS) return
    this.#lastLookUpMs = nowMs
    for (const sale of [...this.#desk.sales.values()]) {
      if (sale.state !== 'waiting' && sale.state !== 'locked') continue
      await this.#lookUp(sale.id, paymentHashOf(quoteSecret(this.#sellerKey, sale.id)))
    }
  }

  /** Sales that a crash cut off: what is locked is settled, what lapsed is forgotten. */
  async #recover(): Promise<void> {
    const { journal, wallet } = this.#deps
    if (wallet === undefined) return
    for (const key of await journal.keys(`sale/${this.#session.meta.infoHash}/`)) {
      const id = key.slice(key.lastIndexOf('/') + 1) as Sha256Hex
      if (this.#desk.sales.has(id)) continue
      const record = parseSale(await journal.get(key))
      if (record === undefined) {
        await journal.delete(key)
        continue
      }
      this.#byHash.set(record.hash, id)
      try {
        const found = await wallet.lookUp(record.hash as Sha256Hex)
        if (found?.state === 'accepted')
          await wallet.settleHoldInvoice(toHex(quoteSecret(this.#sellerKey, id)))
        const over =
          found === undefined || found.state !== 'pending' || record.expiry * 1000 < this.#deps.nowMs()
        if (over) await journal.delete(key)
        this.#deps.log?.('sale recovered', { state: found?.state ?? 'unknown' })
      } catch (error) {
        this.#deps.log?.('sale not recovered yet', { message: messageOf(error) })
      }
    }
  }

  // Clock and view

  #tick(): void {
    const nowMs = this.#deps.nowMs()
    const seconds = Math.max(0.001, (nowMs - this.#meter.atMs) / 1000)
    this.#meter = {
      bytes: 0,
      rate: this.#meter.rate * 0.6 + (this.#meter.bytes / seconds) * 0.4,
      atMs: nowMs,
    }
    if (nowMs - this.#offerAtMs > OFFER_RENEW_MS) this.#showOffer()
    this.#step({ tag: 'tick' })
  }

  #show(): void {
    this.#showTimer ??= setTimeout(() => {
      this.#showTimer = undefined
      this.#cell.set(this.#snapshot())
    }, SHOW_MS)
  }

  #snapshot(): ShopSnapshot {
    const desk = this.#desk
    const rows = [...desk.sales.values()]
      .slice(-MAX_ROWS)
      .reverse()
      .map((sale): SaleRow => this.#row(sale))
    return {
      money: this.#terms?.money,
      ...(this.#trouble === undefined ? {} : { trouble: this.#trouble }),
      uploadedBytes: desk.uploadedBytes,
      soldPieces: desk.soldPieces,
      earned: desk.earned,
      unpaidBytes: desk.unpaidBytes,
      rateBps: Math.round(this.#meter.rate),
      sales: rows,
      giftsLeft:
        this.#policy.gifts.to === 'nobody' ? 0 : Math.max(0, this.#policy.gifts.copies - desk.gifted.size),
    }
  }

  #row(sale: desks.Sale): SaleRow {
    const { pieceLength } = this.#session.meta
    const sentBytes = sale.state === 'preparing' ? (this.#sent.get(sale.id) ?? 0) : sale.bytes
    const states = {
      preparing: 'sending',
      waiting: 'waiting',
      locked: 'waiting',
      paid: 'paid',
      given: 'given',
      expired: 'expired',
      cancelled: 'dropped',
      failed: 'dropped',
    } as const
    return {
      id: sale.id,
      buyer: sale.buyer,
      pieces: sale.pieces.length,
      sentPieces: Math.min(sale.pieces.length, Math.ceil(sentBytes / pieceLength)),
      state: states[sale.state],
      amount: sale.amount,
      at: sale.at,
    }
  }
}

function parseSale(bytes: Uint8Array | undefined): v.InferOutput<typeof saleSchema> | undefined {
  try {
    return bytes === undefined ? undefined : v.parse(saleSchema, JSON.parse(fromUtf8(bytes)))
  } catch {
    return undefined
  }
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
