/**
 * Collects a window: asks for it, takes leaves, ciphertext and quote as they come, and checks all of it against
 * the release before a sat moves. Ordinary peers' pieces take the same way, without a key and without money.
 */
import { concat, sha256Hex, toHex, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import type { Message } from '../../core/exchange/message.ts'
import { openQuote, windowBytes } from '../../core/exchange/quote.ts'
import { ZERO, type Msat } from '../../core/money/msat.ts'
import type { WindowId } from '../../core/swarm/buyer.ts'
import { blocksIn, BLOCK, HASH, pieceBytes, rootOfLeaves } from '../../core/swarm/merkle.ts'
import type { DownloadParts, Work } from './download-parts.ts'
import { isMirror, type MirrorPeers } from './mirror-peers.ts'
import type { Owing } from './owing.ts'
import type { Payer } from './payer.ts'
import type { Peer } from './peer.ts'
import { refusalOf } from './quote-check.ts'
import type { RateLimit } from './rate-limit.ts'
import { arrivingHashes, leafHashes } from './window-cipher.ts'
import { leavesProve } from './window-proof.ts'

/** Windows that were given up may still be under way, as much as a seller lets be out unpaid, twice over. */
const MAX_STRAY_BYTES = 64 * 1024 * 1024

type Of<T extends Message['t']> = Extract<Message, { t: T }>

/** A request that waits for the owner's download limit says so this often. */
const PACED_MS = 2000

export class WindowIntake {
  readonly #parts: DownloadParts
  /** Bytes of no open window, since the last whole one. */
  readonly #stray = new WeakMap<Peer, number>()
  readonly #owing: Owing
  readonly #payer: Payer
  readonly #mirrors: MirrorPeers

  constructor(parts: DownloadParts, owing: Owing, payer: Payer, mirrors: MirrorPeers) {
    this.#parts = parts
    this.#owing = owing
    this.#payer = payer
    this.#mirrors = mirrors
  }

  ask(id: WindowId, peerId: string, pieces: readonly number[]): void {
    const { session, buyer, deps, works, guard } = this.#parts
    const peer = this.#parts.peer(peerId)
    if (peer === undefined && !isMirror(peerId)) return
    const bytes = windowBytes(session.meta, pieces)
    const offer = buyer.peers.get(peerId)
    const work: Work = {
      peer: peerId,
      pieces,
      bytes,
      requestedAt: deps.nowMs(),
      price: offer === undefined || offer.gift ? ZERO : offer.price,
      ciphertext: new Uint8Array(),
      received: 0,
      checking: false,
    }
    works.set(id, work)
    const go = (): void => {
      if (peer === undefined) guard(this.#mirrors.fetch(id, work))
      else if (peer.plain) guard(this.#fetch(id, work, peer))
      else peer.send({ t: 'request', id, pieces })
    }
    if (deps.download?.bps === undefined) go()
    else guard(this.#paced(id, work, deps.download, go))
  }

  /** What is not asked for does not come. The wait is ours, so it does not count as the seller's silence. */
  async #paced(id: WindowId, work: Work, limit: RateLimit, go: () => void): Promise<void> {
    const own = setInterval(() => this.#parts.step({ tag: 'progress', window: id }), PACED_MS)
    await limit.take(work.bytes)
    clearInterval(own)
    if (this.#parts.running && this.#parts.works.get(id) === work) go()
  }

  onLeaves(peer: Peer, message: Of<'leaves'>): void {
    const work = this.#parts.works.of(peer, message.id)
    if (work === undefined) return
    if (work.leaves !== undefined) return this.spoil(message.id, 'sent its block hashes twice')
    const { meta } = this.#parts.session
    const blocks = work.pieces.reduce((total, piece) => total + blocksIn(pieceBytes(meta, piece)), 0)
    if (message.leaves.length !== blocks * HASH)
      return this.spoil(message.id, 'sent another number of block hashes')
    work.leaves = message.leaves
    this.#parts.guard(this.#check(message.id, work))
  }

  onData(peer: Peer, message: Of<'data'>): void {
    const work = this.#parts.works.of(peer, message.id)
    if (work === undefined) return this.#strayed(peer, message.bytes.length)
    if (message.at !== work.received || message.at + message.bytes.length > work.bytes)
      return this.spoil(message.id, 'sent data out of place')
    if (message.bytes.length % BLOCK !== 0 && message.at + message.bytes.length !== work.bytes)
      return this.spoil(message.id, 'sent a frame that is not whole blocks')
    // Not before it comes: a queued window needs no memory.
    if (work.ciphertext.length === 0) work.ciphertext = this.#parts.buffers.take(work.bytes)
    work.hashes ??= arrivingHashes(work.bytes)
    work.ciphertext.set(message.bytes, message.at)
    work.hashes.arrived(message.bytes, message.at)
    work.received += message.bytes.length
    this.#parts.received(peer, message.bytes.length)
    if (work.received === work.bytes) peer.send({ t: 'got', id: message.id })
    this.#parts.step({ tag: 'progress', window: message.id, bytes: work.received })
    this.#parts.guard(this.#check(message.id, work))
  }

  onQuote(peer: Peer, message: Of<'quote'>): void {
    const { works, books } = this.#parts
    const work = works.of(peer, message.id)
    if (work === undefined || (work.signed !== undefined && work.renewing !== true)) return
    const signed = openQuote(message.quote, message.sig)
    if (work.renewing === true) {
      if (signed !== undefined) this.#parts.guard(this.#owing.onRenewed(message.id, work, signed))
      return
    }
    if (signed === undefined) return this.spoil(message.id, 'sent a quote that it did not sign')
    if (!books.firstUse(signed.quote)) return this.spoil(message.id, 'used a quote or a secret twice')
    works.quoted(message.id, work, signed)
    this.#stray.delete(peer)
    this.#parts.guard(this.#check(message.id, work))
  }

  onKey(message: Of<'key'>): void {
    const { works, buyer } = this.#parts
    const id = works.idOfQuote(message.quote)
    const work = id === undefined ? undefined : works.get(id)
    if (id === undefined || work?.signed === undefined || work.preimage !== undefined) return
    if (sha256Hex(message.secret) !== work.signed.quote.paymentHash)
      return this.spoil(id, 'sent a secret that does not fit')
    const window = buyer.windows.get(id)
    if (window === undefined) return
    // The ciphertext has a channel of its own: a gift's secret may be here before the last block is, or is checked.
    const early = window.state === 'asked' && work.signed.quote.amount === 0
    // Before the payment a secret proves nothing owed; with a payment out, or out before a restart, it is the settlement.
    const out = window.state === 'unknown' || (window.state === 'paying' && this.#payer.handedIn(work))
    if (!early && window.amount > 0 && !out) return
    work.preimage = toHex(message.secret)
    // What a payment cost is the wallet's to say.
    if (!early) this.#parts.step({ tag: 'settled', window: id, ...(window.amount === 0 && { fees: ZERO }) })
  }

  /** Data of no window that is open. */
  #strayed(peer: Peer, bytes: number): void {
    const stray = (this.#stray.get(peer) ?? 0) + bytes
    this.#stray.set(peer, stray)
    if (stray > MAX_STRAY_BYTES) peer.drop('sent what nobody asked for')
  }

  spoil(id: WindowId, why: string): void {
    const { deps, buyer } = this.#parts
    deps.log?.('window spoilt', { why, seller: buyer.windows.get(id)?.key })
    this.#parts.step({ tag: 'spoilt', window: id, why })
  }

  /** Everything is here: check it against the release before a sat moves. */
  async #check(id: WindowId, work: Work): Promise<void> {
    const { leaves, signed, hashes } = work
    const { session, works, buyer } = this.#parts
    const onCredit = buyer.windows.get(id)?.mode === 'credit'
    if (leaves === undefined && !onCredit) return
    if (signed === undefined || hashes === undefined || work.received < work.bytes || work.checking) return
    work.checking = true
    const { meta } = session
    const sent = await hashes.leaves(work.ciphertext)
    // On credit the bytes themselves prove into the release; else what the seller says of them, until they are opened.
    if (!leavesProve(onCredit || leaves === undefined ? sent : leaves, work.pieces, meta))
      return this.spoil(id, 'stands for blocks that are not the release’s')
    const cipherRoot = toHex(rootOfLeaves(sent)) as Sha256Hex
    const window = buyer.windows.get(id)
    const peer = buyer.peers.get(work.peer)
    if (window === undefined || peer === undefined || works.get(id) !== work) return
    const refusal = refusalOf(this.#parts, signed.quote, {
      seller: peer.key,
      pieces: work.pieces,
      cipherRoot,
      mode: onCredit ? 'credit' : undefined,
      // An offer may change while a window is under way: the later price is no cheat, and not paid either.
      offered: Math.max(work.price, peer.gift ? ZERO : peer.price) as Msat,
    })
    if (refusal !== undefined) return this.spoil(id, `sent a quote ${refusal}`)
    if (onCredit) return this.#owing.take(id, work, signed)
    const { amount, paymentHash, expiry } = signed.quote
    const expiresAtMs = this.#parts.clock.fromWall(expiry * 1000)
    this.#parts.step({ tag: 'quoted', window: id, amount, paymentHash, expiresAtMs })
    if (amount === 0 && work.preimage !== undefined)
      this.#parts.step({ tag: 'settled', window: id, fees: ZERO })
  }

  /** An ordinary peer's piece: no key, no money, the same proof. */
  async #fetch(id: WindowId, work: Work, peer: Peer): Promise<void> {
    const { session, deps } = this.#parts
    const { meta } = session
    try {
      const pieces: Bytes[] = []
      for (const piece of work.pieces) {
        const bytes = await peer.fetch(piece, pieceBytes(meta, piece))
        if (!leavesProve(await leafHashes(bytes), [piece], meta))
          return this.spoil(id, 'gave a piece that is not the release’s')
        pieces.push(bytes)
        work.received += bytes.length
        this.#parts.step({ tag: 'progress', window: id, bytes: work.received })
      }
      work.plain = concat(...pieces)
      this.#parts.step({
        tag: 'quoted',
        window: id,
        amount: ZERO,
        paymentHash: '',
        expiresAtMs: Number.POSITIVE_INFINITY,
      })
      this.#parts.step({ tag: 'settled', window: id, fees: ZERO })
    } catch (error) {
      deps.log?.('free piece failed', {
        peer: peer.id,
        message: error instanceof Error ? error.message : String(error),
      })
      this.#parts.step({ tag: 'refused', window: id, code: 'closed' })
    }
  }
}
