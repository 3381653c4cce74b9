/**
 * Drives the buyer's state machine (`core/swarm/buyer.ts`) over the wires, the wallet and the disk. Its parts:
 * `window-intake.ts` collects and checks, `payer.ts` pays and looks up, `window-opening.ts` unlocks, proves and stores.
 */
import { fromHex, sha256Hex, type PartyKey } from '../../core/bytes.ts'
import { convictedText } from '../../core/exchange/cheats.ts'
import type { Message } from '../../core/exchange/message.ts'
import { parseEvent, readOffer, type Mode } from '../../core/exchange/offer.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import { liveCell } from '../../core/live.ts'
import { ZERO } from '../../core/money/msat.ts'
import type { WindowRow } from '../../core/rollout/messages.ts'
import * as buyers from '../../core/swarm/buyer.ts'
import type { Download, DownloadDeps, DownloadSnapshot } from './api.ts'
import { Books } from './books.ts'
import { Buffers } from './buffers.ts'
import { Works, type DownloadParts } from './download-parts.ts'
import { NOTHING_YET, snapshotOf } from './download-view.ts'
import { mirrorKey, MirrorPeers } from './mirror-peers.ts'
import { Owing } from './owing.ts'
import { Payer } from './payer.ts'
import { LatestOffers, type OfferMessage } from './latest-offers.ts'
import type { Peer } from './peer.ts'
import { SteadyClock } from './steady-clock.ts'
import { trading, type TradingSession } from './swarm.ts'
import type { Wallet } from '../wallet/wallet.ts'
import { WindowIntake } from './window-intake.ts'
import { WindowOpening } from './window-opening.ts'

const TICK_MS = 500
const SHOW_MS = 100
/** The balance is asked for this often, should a notification be lost or others spend from it. */
const BALANCE_MS = 10_000
/** The least between two changes of a line of credit that are followed: each may set off requests. */
const LINE_MS = 100
/** Windows that a line of credit is shared by. */
const WINDOWS_A_LINE = 4

export function createDownload(deps: DownloadDeps): Download {
  return new RunningDownload(deps)
}

class RunningDownload implements Download {
  readonly #deps: DownloadDeps
  readonly #session: TradingSession
  readonly #parts: DownloadParts
  readonly #clock: SteadyClock
  readonly #owing: Owing
  readonly #mirrors: MirrorPeers
  readonly #intake: WindowIntake
  readonly #payer: Payer
  readonly #opening: WindowOpening
  readonly #cell = liveCell<DownloadSnapshot>(NOTHING_YET)
  readonly #peers = new Map<string, Peer>()
  /** Unpaid bytes that each seller on credit lets us have, by wire. */
  readonly #lines = new Map<string, number>()
  /** Wires whose line was followed just now. */
  readonly #followed = new Map<string, ReturnType<typeof setTimeout>>()
  readonly #rates = new Map<PartyKey, { bytes: number; rate: number }>()
  readonly #plainKeys = new Set<PartyKey>()
  readonly complete: Promise<void>
  readonly settled: Promise<void>
  #resolveComplete: () => void = () => undefined
  #resolveSettled: () => void = () => undefined
  #stage: 'resuming' | 'buying' | 'complete' | 'settled' = 'resuming'
  #disk: string | undefined
  readonly #offers = new LatestOffers((peer, offer) => this.#onOffer(peer, offer))
  #stops: (() => void)[] = []
  #showTimer: ReturnType<typeof setTimeout> | undefined
  #wakeTimer: ReturnType<typeof setTimeout> | undefined
  #wakeAtMs = Number.POSITIVE_INFINITY
  #lastTickMs = 0

  constructor(deps: DownloadDeps) {
    this.#deps = deps
    this.#clock = new SteadyClock(deps.nowMs)
    this.#session = trading(deps.session)
    const seed = new DataView(fromHex(deps.identity.key).buffer).getUint32(0)
    this.#parts = {
      deps,
      clock: this.#clock,
      session: this.#session,
      works: new Works(),
      buffers: new Buffers(),
      books: new Books(deps.journal, this.#session.meta.infoHash),
      buyer: buyers.openBuyer(this.#session.meta, deps.policy, seed),
      running: false,
      step: (event) => this.#step(event),
      guard: (job) => void this.#guard(job),
      peer: (id) => this.#peers.get(id),
      peersOf: (key) => [...this.#peers.values()].filter((peer) => peer.key === key),
      received: (peer, bytes) => this.#countBytes(peer, bytes),
    }
    this.#owing = new Owing(this.#parts)
    this.#mirrors = new MirrorPeers(this.#parts)
    this.#payer = new Payer(this.#parts, this.#owing)
    this.#intake = new WindowIntake(this.#parts, this.#owing, this.#payer, this.#mirrors)
    this.#opening = new WindowOpening(this.#parts, this.#owing)
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
    return this.#parts.books.receipts
  }
  onLate(run: (receipt: Receipt, row: WindowRow) => void): () => void {
    this.#opening.onLate.add(run)
    return () => this.#opening.onLate.delete(run)
  }
  onFraud(run: (proof: Uint8Array, seller: PartyKey) => void): () => void {
    this.#opening.onFraud.add(run)
    return () => this.#opening.onFraud.delete(run)
  }

  async start(): Promise<void> {
    if (this.#parts.running) return
    this.#parts.running = true
    this.#stage = 'resuming'
    for (const kept of [this.#peers, this.#parts.works, this.#owing, this.#lines]) kept.clear()
    const { wallet, policy, identity, journal } = this.#deps
    const seed = new DataView(fromHex(identity.key).buffer).getUint32(0)
    this.#parts.buyer = buyers.openBuyer(this.#session.meta, policy, seed)
    // A wire may outlive this object: late frames of an earlier one must not fit a request of ours.
    this.#parts.buyer.nextWindow = crypto.getRandomValues(new Uint32Array(1))[0]! >>> 2
    this.#parts.books = new Books(journal, this.#session.meta.infoHash)
    this.#lastTickMs = this.#clock.nowMs()
    const { have } = this.#session.store
    const there: number[] = []
    for (let piece = 0; piece < this.#session.meta.pieces; piece++)
      if (((have[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) there.push(piece)
    this.#step({ tag: 'stored', pieces: there })
    const stops = this.#stops
    await this.#payer.resume()
    if (this.#stops !== stops) return // stopped meanwhile
    this.#stage = 'buying'
    if (this.#deps.cheats !== undefined)
      this.#stops.push(this.#deps.cheats.subscribe(() => this.#leaveCheats()))
    this.#stops.push(
      this.#session.attach({
        joined: (peer) => this.#joined(peer),
        message: (peer, message) => this.#onMessage(peer, message),
        haves: (peer, pieces) =>
          this.#peers.has(peer.id) && this.#step({ tag: 'has', peer: peer.id, pieces }),
        gives: (peer) => this.#gives(peer),
        gone: (peer) => {
          this.#lines.delete(peer.id)
          clearTimeout(this.#followed.get(peer.id))
          this.#followed.delete(peer.id)
          this.#offers.gone(peer)
          if (this.#peers.delete(peer.id)) this.#step({ tag: 'left', peer: peer.id })
        },
      }),
    )
    for (const peer of this.#session.proven()) {
      this.#joined(peer)
      if (peer.offer !== undefined) this.#onMessage(peer, peer.offer)
    }
    for (const peer of this.#session.plain()) if (!peer.choking) this.#gives(peer)
    if (wallet !== undefined) this.#stops.push(...this.#follow(wallet))
    const timer = setInterval(() => this.#tick(), TICK_MS)
    this.#stops.push(
      () => clearInterval(timer),
      () => this.#offers.stop(),
      () => {
        for (const timer of this.#followed.values()) clearTimeout(timer)
        this.#followed.clear()
      },
    )
    this.#stops.push(() => this.#mirrors.stop())
    for (const url of this.#deps.mirrors ?? []) this.#plainKeys.add(mirrorKey(url))
    this.#mirrors.start()
    await this.#payer.askWallet()
    this.#step({ tag: 'tick' })
  }

  stop(): Promise<void> {
    this.#parts.running = false
    this.#parts.buyer.running = false
    for (const stop of this.#stops) stop()
    this.#stops = []
    this.#parts.works.clear()
    clearTimeout(this.#showTimer)
    clearTimeout(this.#wakeTimer)
    this.#cell.set({ ...this.#snapshot(), state: { tag: 'stopped' } })
    return Promise.resolve()
  }

  // Peers and their messages

  #joined(peer: Peer): void {
    if (peer.key === undefined) return
    this.#peers.set(peer.id, peer)
  }

  /** Convicted keys of this swarm are left; the others of the book are none of its business. */
  #leaveCheats(): void {
    const { keys, peers } = this.#parts.buyer
    for (const key of new Set([...keys.keys(), ...[...peers.values()].map((peer) => peer.key)]))
      this.#leaveCheat(key)
  }
  #leaveCheat(key: PartyKey): void {
    const cheat = this.#deps.cheats?.get().get(key)
    if (cheat === undefined || this.#parts.buyer.keys.get(key)?.dropped !== undefined) return
    this.#step({ tag: 'banned', key, why: convictedText(cheat) })
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
        return this.#offers.heard(peer, message)
      case 'refuse':
        if (this.#parts.works.of(peer, message.id) === undefined) return
        this.#deps.log?.('request refused', { peer: peer.key, code: message.code })
        return this.#step({ tag: 'refused', window: message.id, code: message.code })
      case 'leaves':
        return this.#intake.onLeaves(peer, message)
      case 'data':
        return this.#intake.onData(peer, message)
      case 'quote':
        // The price may have changed just before.
        this.#offers.readLatest(peer)
        return this.#intake.onQuote(peer, message)
      case 'key':
        return this.#intake.onKey(message)
      case 'sending':
        return this.#step({ tag: 'sending', peer: peer.id, pieces: message.pieces })
      case 'credit':
        return this.#onCredit(peer, message.bytes)
      default:
        return
    }
  }

  #onOffer(peer: Peer, { event: json, gift }: OfferMessage): void {
    const event = parseEvent(json)
    const offer = event === undefined ? undefined : readOffer(event, this.#session.meta.infoHash)
    if (offer === undefined || offer.seller !== peer.key)
      return peer.drop('showed an offer that is not its own')
    if (offer.expiresAtS * 1000 <= this.#deps.nowMs()) return
    // Where both are offered the seller is paid for nothing that is not opened by paying.
    const mode = gift || offer.price === 0 ? 'free' : agreedMode(offer.modes)
    if (mode === undefined) return
    const { seller: key, price, money } = offer
    const maxWindowBytes =
      mode === 'credit' ? Math.min(offer.maxWindowBytes, this.#creditWindow(peer)) : offer.maxWindowBytes
    this.#leaveCheat(key)
    // Before anything is asked: the seller may not know yet that all is paid.
    if (mode === 'credit') this.#owing.onJoined(peer)
    this.#step({
      tag: 'joined',
      peer: peer.id,
      key,
      price,
      gift: gift || price === 0,
      money,
      maxWindowBytes,
      mode,
      offerUntilMs: this.#clock.fromWall(offer.expiresAtS * 1000),
    })
    this.#step({ tag: 'has', peer: peer.id, pieces: peer.haves() })
  }

  #onCredit(peer: Peer, bytes: number): void {
    this.#lines.set(peer.id, bytes)
    if (!this.#followed.has(peer.id)) this.#followLine(peer)
  }

  #followLine(peer: Peer): void {
    const known = this.#parts.buyer.peers.get(peer.id)
    if (known?.mode !== 'credit') return
    const { key, price, gift, money, mode, offerUntilMs } = known
    const maxWindowBytes = this.#creditWindow(peer)
    if (maxWindowBytes === known.maxWindowBytes) return
    const rested = (): void => {
      this.#followed.delete(peer.id)
      this.#followLine(peer)
    }
    this.#followed.set(peer.id, setTimeout(rested, LINE_MS))
    this.#step({ tag: 'joined', peer: peer.id, key, price, gift, money, maxWindowBytes, mode, offerUntilMs })
  }

  /** Several windows share the line, so that one is paid for while the next comes. */
  #creditWindow(peer: Peer): number {
    const { pieceLength } = this.#session.meta
    const line = this.#lines.get(peer.id) ?? pieceLength
    return Math.max(pieceLength, Math.floor(line / WINDOWS_A_LINE / pieceLength) * pieceLength)
  }

  // Effects

  #step(event: buyers.BuyerEvent): void {
    const effects = buyers.step(this.#parts.buyer, event, this.#clock.nowMs())
    for (const effect of effects) this.#run(effect)
    this.#wakeLater()
    this.#show()
  }

  #run(effect: buyers.BuyerEffect): void {
    switch (effect.tag) {
      case 'ask':
        return this.#intake.ask(effect.window, effect.peer, effect.pieces)
      case 'cancel':
        return this.#peers.get(effect.peer)?.send({ t: 'cancel', id: effect.window })
      case 'pay':
        return this.#parts.guard(this.#payer.pay(effect.window))
      case 'look-up':
        return this.#parts.guard(this.#payer.lookUp(effect.window))
      case 'open':
        return this.#parts.guard(this.#opening.open(effect.window))
      case 'renew':
        return this.#owing.renew(effect.window, effect.peer)
      case 'discard':
        return this.#parts.works.delete(effect.window)
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
      this.#parts.buyer.running = false
      this.#show()
    }
  }

  // Clock and view

  /** When somebody may be asked again who rests now. */
  #wakeLater(): void {
    const { wakeAtMs } = this.#parts.buyer
    if (wakeAtMs === this.#wakeAtMs) return
    this.#wakeAtMs = wakeAtMs
    clearTimeout(this.#wakeTimer)
    if (!this.#parts.running || !Number.isFinite(wakeAtMs)) return
    this.#wakeTimer = setTimeout(
      () => this.#step({ tag: 'tick' }),
      Math.max(1, wakeAtMs - this.#clock.nowMs()),
    )
  }

  /** Its own payments are counted here; to ask after each would triple what the wallet is asked. */
  #follow(wallet: Wallet): (() => void)[] {
    return [
      wallet.onEvent(({ tag }) => {
        if (tag !== 'sent') void this.#payer.askWallet()
      }),
      // A limit that was raised lets it go on.
      wallet.onConnection(() => {
        if (this.#cell.get().state.tag === 'waiting') void this.#payer.askWallet()
      }),
    ]
  }

  #tick(): void {
    const nowMs = this.#clock.nowMs()
    const seconds = Math.max(0.001, (nowMs - this.#lastTickMs) / 1000)
    this.#lastTickMs = nowMs
    for (const meter of this.#rates.values()) {
      meter.rate = meter.rate * 0.7 + (meter.bytes / seconds) * 0.3
      meter.bytes = 0
    }
    if (nowMs - this.#payer.askedAtMs > BALANCE_MS) void this.#payer.askWallet()
    this.#step({ tag: 'tick' })
  }

  #countBytes(peer: Peer, bytes: number): void {
    if (peer.key === undefined) return
    const meter = this.#rates.get(peer.key) ?? { bytes: 0, rate: 0 }
    meter.bytes += bytes
    this.#rates.set(peer.key, meter)
  }

  #show(): void {
    const { tag } = buyers.outlook(this.#parts.buyer, this.#clock.nowMs())
    if (tag === 'complete') this.#finish()
    this.#showTimer ??= setTimeout(() => {
      this.#showTimer = undefined
      if (this.#parts.running) this.#cell.set(this.#snapshot())
    }, SHOW_MS)
  }

  /** The sums are there to be read before anybody hears that it is over. */
  #finish(): void {
    const nowMs = this.#clock.nowMs()
    // A debt whose invoice has lapsed waits for its seller to come back, for however long: nothing is on its way.
    const open = [...this.#parts.buyer.windows.values()].some(
      (window) => !window.elsewhere && (window.mode !== 'credit' || window.quoteExpiresAtMs > nowMs),
    )
    const stage = open ? 'complete' : 'settled'
    if (
      !this.#parts.running ||
      this.#stage === 'resuming' ||
      this.#stage === stage ||
      this.#stage === 'settled'
    )
      return
    this.#stage = stage
    this.#cell.set(this.#snapshot())
    this.#resolveComplete()
    if (!open) this.#resolveSettled()
  }

  #snapshot(): DownloadSnapshot {
    return snapshotOf({
      buyer: this.#parts.buyer,
      rows: this.#parts.books.rows,
      mirror: this.#mirrors,
      running: this.#parts.running,
      trouble: this.#disk,
      walletTrouble: this.#payer.trouble,
      hasWallet: this.#deps.wallet !== undefined,
      rateOf: (key) => this.#rates.get(key)?.rate ?? 0,
      plainKeys: this.#plainKeys,
      nowMs: this.#clock.nowMs(),
    })
  }
}

const agreedMode = (modes: readonly Mode[]): 'atomic' | 'credit' | undefined =>
  modes.includes('atomic') ? 'atomic' : modes.includes('credit') ? 'credit' : undefined
