/**
 * Drives the seller's state machine (`core/exchange/desk.ts`): shows its offer and does what the desk decides.
 * Its parts: `serving.ts` makes and streams a window, `settling.ts` follows the payments.
 */
import { toHex, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { quoteSecret } from '../../core/exchange/cipher.ts'
import { step } from '../../core/exchange/desk.ts'
import type { DeskEffect, DeskEvent } from '../../core/exchange/desk-events.ts'
import { isGift, reserve } from '../../core/exchange/desk-gifts.ts'
import { creditLine } from '../../core/exchange/desk-limits.ts'
import { openDesk } from '../../core/exchange/desk-state.ts'
import type { Message } from '../../core/exchange/message.ts'
import { signOffer } from '../../core/exchange/offer.ts'
import { MAX_WINDOW_BYTES } from '../../core/exchange/quote.ts'
import { liveCell } from '../../core/live.ts'
import type { Money } from '../../core/money/msat.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import type { SellPolicy, Shop, ShopDeps, ShopSnapshot } from './api.ts'
import type { Peer } from './peer.ts'
import { Debts } from './debts.ts'
import { Serving } from './serving.ts'
import { Settling } from './settling.ts'
import { messageOf, type ShopParts } from './shop-parts.ts'
import { EMPTY_SHOP, shopSnapshot } from './shop-view.ts'
import { trading, type TradingSession } from './swarm.ts'

const OFFER_S = 3600
const OFFER_RENEW_MS = 30 * 60_000
const TICK_MS = 1000
const SHOW_MS = 100

export function createShop(deps: ShopDeps): Shop {
  return new RunningShop(deps)
}

class RunningShop implements Shop {
  readonly #deps: ShopDeps
  readonly #session: TradingSession
  readonly #parts: ShopParts
  readonly #debts: Debts
  readonly #serving: Serving
  readonly #settling: Settling
  readonly #cell = liveCell<ShopSnapshot>(EMPTY_SHOP)
  readonly #peers = new Map<string, Peer>()
  #trouble: string | undefined
  #sellerKey: Bytes = new Uint8Array()
  #offer: NostrEvent | undefined
  #offerAtMs = 0
  #running = false
  #stops: (() => void)[] = []
  #showTimer: ReturnType<typeof setTimeout> | undefined
  #meter = { rate: 0, atMs: 0 }

  constructor(deps: ShopDeps) {
    this.#deps = deps
    this.#session = trading(deps.session)
    this.#parts = {
      deps,
      session: this.#session,
      desk: openDesk(this.#session.meta, deps.policy),
      policy: deps.policy,
      terms: undefined,
      byHash: new Map(),
      secretOf: (quote) => quoteSecret(this.#sellerKey, quote),
      step: (event) => this.#step(event),
      peer: (id) => this.#peers.get(id),
      tellOthers: (id, message) => {
        for (const peer of this.#peers.values()) if (peer.id !== id) peer.send(message)
      },
      hasAll: () => this.#hasAll,
      show: () => this.#show(),
    }
    this.#debts = new Debts(this.#parts)
    this.#serving = new Serving(this.#parts, this.#debts)
    this.#settling = new Settling(this.#parts, this.#debts)
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
    this.#parts.desk.open = true
    const stops = this.#stops
    this.#sellerKey = await this.#loadSellerKey()
    await this.#debts.load()
    await this.#loadTerms()
    if (this.#stops !== stops) return // stopped meanwhile
    const { wallet } = this.#deps
    if (wallet !== undefined) {
      this.#stops.push(wallet.onEvent((event) => this.#settling.onWallet(event)))
      this.#stops.push(
        wallet.status.subscribe(({ connected }) => {
          if (!connected || !this.#running) return
          if (this.#parts.terms === undefined)
            this.#settling.quietly(this.#loadTerms().then(() => this.#showOffer()))
          this.#settling.quietly(this.#settling.lookUpOpen())
          this.#settling.quietly(this.#settling.recover())
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
    this.#settling.quietly(this.#settling.recover())
    this.#show()
  }

  setPolicy(policy: SellPolicy): void {
    this.#parts.policy = policy
    this.#parts.desk.policy = policy
    if (this.#running) this.#showOffer()
    this.#show()
  }

  stop(): Promise<void> {
    this.#running = false
    this.#parts.desk.open = false
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
          : info.features.has('receive')
            ? 'credit'
            : undefined
      this.#parts.terms = settling === undefined ? undefined : { money: info.money, settling }
      this.#trouble =
        settling === undefined
          ? 'This wallet connection may not receive, so nothing can be sold with it. Make one that may (make_invoice), and connect it.'
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
    const money = this.#parts.terms?.money ?? ('sandbox:none' as Money)
    this.#offer = signOffer(
      {
        infoHash: meta.infoHash,
        money,
        price: this.#parts.policy.price,
        modes: this.#parts.terms === undefined ? ['free'] : [this.#mode, 'free'],
        maxWindowBytes: Math.max(
          meta.pieceLength,
          Math.min(MAX_WINDOW_BYTES, this.#parts.policy.unpaidBytes),
        ),
        expiresAtS: nowS + OFFER_S,
      },
      this.#deps.identity.secret,
      crypto.getRandomValues(new Uint8Array(32)),
      nowS,
    )
    this.#offerAtMs = this.#deps.nowMs()
    for (const peer of this.#peers.values()) this.#sendOffer(peer)
    if (this.#parts.terms !== undefined) this.#deps.publishOffer?.(JSON.stringify(this.#offer))
  }

  #sendOffer(peer: Peer): void {
    if (this.#offer === undefined || peer.key === undefined) return
    const gift = isGift(this.#parts.desk, peer.key, peer.role ?? 'device')
    if (gift && this.#parts.policy.price > 0) reserve(this.#parts.desk, peer.key)
    if (!gift && this.#parts.terms === undefined) return
    peer.send({ t: 'offer', event: JSON.stringify(this.#offer), gift })
    if (!gift && this.#mode === 'credit')
      peer.send({ t: 'credit', bytes: creditLine(this.#parts.desk, peer.key) })
  }

  get #mode(): 'atomic' | 'credit' {
    return this.#parts.terms?.settling === 'credit' ? 'credit' : 'atomic'
  }

  // Peers

  #joined(peer: Peer): void {
    this.#peers.set(peer.id, peer)
    this.#sendOffer(peer)
  }

  #gone(peer: Peer): void {
    this.#peers.delete(peer.id)
    this.#serving.gone(peer.id)
    if (peer.key !== undefined) this.#step({ tag: 'left', peer: peer.id, buyer: peer.key })
  }

  get #hasAll(): boolean {
    const { have } = this.#session.store
    const { pieces } = this.#session.meta
    for (let piece = 0; piece < pieces; piece++)
      if ((((have[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) === 0) return false
    return true
  }

  #onMessage(peer: Peer, message: Message): void {
    if (message.t === 'got') return this.#serving.got(peer.id, message.id)
    if (message.t === 'cancel') {
      this.#step({ tag: 'cancelled', peer: peer.id, request: message.id })
      return this.#serving.got(peer.id, message.id)
    }
    if (message.t === 'paid') return this.#debts.onPaid(message)
    if (message.t === 'renew') return this.#settling.quietly(this.#debts.onRenew(peer, message))
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
      mode: this.#mode,
      money: this.#parts.terms?.money,
    })
  }

  #step(event: DeskEvent): void {
    for (const effect of step(this.#parts.desk, event, this.#deps.nowMs())) this.#run(effect)
    this.#show()
  }

  #run(effect: DeskEffect): void {
    switch (effect.tag) {
      case 'refuse':
        this.#deps.log?.('request refused', { peer: effect.peer, code: effect.code })
        return this.#peers.get(effect.peer)?.send({ t: 'refuse', id: effect.request, code: effect.code })
      case 'serve':
        return this.#serving.serve(effect.sale)
      case 'settle':
        return this.#settling.quietly(this.#settling.settle(effect.sale))
      case 'give-key': {
        const { sale } = effect
        const secret = this.#parts.secretOf(sale.id)
        this.#peers.get(sale.peer)?.send({ t: 'key', quote: sale.id, secret })
        return this.#settling.quietly(this.#settling.done(sale))
      }
      case 'raise-credit': {
        const { sale, bytes } = effect
        for (const peer of this.#peers.values())
          if (peer.key === sale.buyer) peer.send({ t: 'credit', bytes })
        return this.#settling.quietly(this.#settling.done(sale))
      }
      case 'forget':
        return this.#settling.quietly(this.#settling.forget(effect.sale))
    }
  }

  // Clock and view

  #tick(): void {
    const nowMs = this.#deps.nowMs()
    const seconds = Math.max(0.001, (nowMs - this.#meter.atMs) / 1000)
    const bytes = this.#serving.takeBytes()
    this.#meter = { rate: this.#meter.rate * 0.6 + (bytes / seconds) * 0.4, atMs: nowMs }
    if (nowMs - this.#offerAtMs > OFFER_RENEW_MS) this.#showOffer()
    this.#step({ tag: 'tick' })
    this.#serving.tick()
    this.#settling.quietly(this.#settling.tick())
  }

  #show(): void {
    this.#showTimer ??= setTimeout(() => {
      this.#showTimer = undefined
      this.#cell.set(this.#snapshot())
    }, SHOW_MS)
  }

  #snapshot(): ShopSnapshot {
    return shopSnapshot({
      desk: this.#parts.desk,
      policy: this.#parts.policy,
      money: this.#parts.terms?.money,
      trouble: this.#trouble,
      pieceLength: this.#session.meta.pieceLength,
      rateBps: this.#meter.rate,
      sent: (id) => this.#serving.sent(id),
    })
  }
}
