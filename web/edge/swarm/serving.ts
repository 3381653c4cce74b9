/**
 * Serves a window: reads and proves the pieces once more, streams leaves and ciphertext, and sends the signed quote
 * when the sale is on disk. One window a peer at a time, a few in all.
 */
import { toHex, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { paymentHashOf } from '../../core/exchange/cipher.ts'
import type { Sale } from '../../core/exchange/desk.ts'
import { signQuote, type Quote } from '../../core/exchange/quote.ts'
import { whoseTurn, type Waiting } from '../../core/exchange/turn.ts'
import type { Money } from '../../core/money/msat.ts'
import { pieceBytes, rootOfLeaves } from '../../core/swarm/merkle.ts'
import type { Peer } from './peer.ts'
import { CREDIT_QUOTE_S, type Debts } from './debts.ts'
import { writeSale } from './settling.ts'
import { messageOf, type ShopParts } from './shop-parts.ts'
import { cryptHashed, leafHashes } from './window-cipher.ts'
import { leavesProve } from './window-proof.ts'

const QUOTE_S = 120
/** Windows in memory at once, all peers together. */
const MAX_SERVING = 6

/** Bytes as they go out, and the hashes of their blocks where they are known. */
type Window = Readonly<{ bytes: Bytes; leaves?: Bytes }>

export class Serving {
  readonly #parts: ShopParts
  readonly #debts: Debts
  /** The last window of each peer: its next one waits for it. */
  readonly #queues = new Map<string, Promise<void>>()
  readonly #sent = new Map<Sha256Hex, number>()
  readonly #waiting: (Waiting & { go: () => void })[] = []
  /** How often each piece went out. */
  readonly #served: Uint32Array
  #serving = 0
  /** Sent since it was last taken: for the rate. */
  #bytes = 0

  constructor(parts: ShopParts, debts: Debts) {
    this.#parts = parts
    this.#debts = debts
    this.#served = new Uint32Array(parts.session.meta.pieces)
  }

  serve(sale: Sale): void {
    const before = this.#queues.get(sale.peer) ?? Promise.resolve()
    this.#queues.set(
      sale.peer,
      before.then(() => this.#serve(sale)),
    )
  }

  gone(peer: string): void {
    this.#queues.delete(peer)
  }

  /** Bytes of a sale that are out. */
  sent(id: Sha256Hex): number {
    return this.#sent.get(id) ?? 0
  }
  forget(id: Sha256Hex): void {
    this.#sent.delete(id)
  }
  takeBytes(): number {
    const bytes = this.#bytes
    this.#bytes = 0
    return bytes
  }

  async #serve(sale: Sale): Promise<void> {
    await this.#slot(sale)
    try {
      await this.#send(sale)
    } catch (error) {
      this.#parts.deps.log?.('window not served', { message: messageOf(error) })
      this.#parts.step({ tag: 'failed', id: sale.id, code: 'wallet' })
    } finally {
      this.#serving--
      const next = whoseTurn(this.#waiting, this.#served, this.#parts.deps.nowMs())
      if (next !== -1) this.#waiting.splice(next, 1)[0]?.go()
    }
  }

  async #slot({ pieces }: Sale): Promise<void> {
    const sinceMs = this.#parts.deps.nowMs()
    while (this.#serving >= MAX_SERVING)
      await new Promise<void>((go) => this.#waiting.push({ pieces, sinceMs, go }))
    this.#serving++
    for (const piece of pieces) this.#served[piece] = (this.#served[piece] ?? 0) + 1
  }

  async #send(sale: Sale): Promise<void> {
    const { deps, session, step } = this.#parts
    const peer = this.#parts.peer(sale.peer)
    if (peer === undefined || sale.state !== 'preparing') return
    const onCredit = sale.mode === 'credit'
    const expiry = Math.floor(deps.nowMs() / 1000) + (onCredit ? CREDIT_QUOTE_S : QUOTE_S)
    const invoicing = this.#invoice(sale)
    // Awaited below; a rejection meanwhile must not count as unhandled.
    invoicing.catch(() => undefined)
    const plain = await this.#read(sale)
    if (plain === undefined) return step({ tag: 'failed', id: sale.id, code: 'missing' })
    // On credit the goods come as they are and whoever has them owes: not before there is an invoice.
    if (onCredit) await invoicing
    step({ tag: 'began', id: sale.id })
    const sent = onCredit ? plain : await this.#seal(peer, sale, plain)
    await this.#stream(peer, sale, sent.bytes)
    const { bolt11, hash } = await invoicing
    const quote: Quote = {
      id: sale.id,
      buyer: sale.buyer,
      seller: deps.identity.key,
      root: session.meta.piecesRoot,
      shape: { length: session.meta.length, pieceLength: session.meta.pieceLength },
      pieces: sale.pieces,
      cipherRoot: toHex(rootOfLeaves(sent.leaves ?? (await leafHashes(sent.bytes)))) as Sha256Hex,
      paymentHash: hash,
      amount: sale.amount,
      money: this.#parts.terms?.money ?? ('sandbox:none' as Money),
      ...(onCredit ? { mode: 'credit' as const } : {}),
      expiry,
      invoice: bolt11,
    }
    const signed = signQuote(quote, deps.identity.secret, crypto.getRandomValues(new Uint8Array(32)))
    if (onCredit) await this.#debts.write(sale, signed)
    else if (sale.amount > 0) await writeSale(this.#parts, sale, hash, expiry)
    if ((sale.state as Sale['state']) !== 'preparing') return onCredit ? this.#debts.drop(sale.id) : undefined
    peer.send({ t: 'quote', id: sale.request, quote: signed.bytes, sig: signed.sig })
    step({ tag: 'sent', id: sale.id, expiresAtMs: expiry * 1000 })
  }

  /** Block hashes first, what the seller stands for; then nothing that is worth anything without the secret. */
  async #seal(peer: Peer, sale: Sale, plain: Window): Promise<Window> {
    peer.send({ t: 'leaves', id: sale.request, leaves: plain.leaves ?? (await leafHashes(plain.bytes)) })
    return cryptHashed(this.#parts.secretOf(sale.id), sale.id, plain.bytes)
  }

  /** The window's bytes and leaves, proven once more: a flipped bit on disk must not become a cheat. */
  async #read(sale: Sale): Promise<Window | undefined> {
    const { meta, store } = this.#parts.session
    const bytes = new Uint8Array(sale.bytes)
    let at = 0
    for (const piece of sale.pieces) {
      const part = await store.read(piece * meta.pieceLength, pieceBytes(meta, piece))
      bytes.set(part, at)
      at += part.length
    }
    const leaves = await leafHashes(bytes)
    if (leavesProve(leaves, sale.pieces, meta)) return { bytes, leaves }
    this.#parts.deps.log?.('piece damaged on disk', { pieces: sale.pieces })
    return undefined
  }

  async #stream(peer: Peer, sale: Sale, ciphertext: Bytes): Promise<void> {
    const { uploadBps } = this.#parts.policy
    const { frame } = peer
    for (let at = 0; at < ciphertext.length && !peer.gone && sale.state === 'preparing'; at += frame) {
      const bytes = ciphertext.subarray(at, at + frame)
      peer.sendData(sale.request, at, bytes)
      this.#bytes += bytes.length
      this.#sent.set(sale.id, at + bytes.length)
      if (uploadBps !== undefined && uploadBps > 0) await sleep((bytes.length / uploadBps) * 1000)
      else await peer.drained()
    }
    this.#parts.show()
  }

  async #invoice(sale: Sale): Promise<{ bolt11: string; hash: Sha256Hex }> {
    const { deps, terms, session, byHash } = this.#parts
    const { wallet } = deps
    const secret = this.#parts.secretOf(sale.id)
    const own = paymentHashOf(secret)
    if (sale.amount === 0) return { bolt11: '', hash: own }
    if (wallet === undefined || terms === undefined) throw new Error('no wallet that can sell')
    if (sale.mode === 'credit') {
      const { bolt11, paymentHash } = await this.#debts.invoice(sale.amount, sale.pieces.length)
      return { bolt11, hash: paymentHash }
    }
    byHash.set(own, sale.id)
    const request = {
      amount: sale.amount,
      description: `${sale.pieces.length} pieces of ${session.meta.name}`.slice(0, 200),
      expirySeconds: QUOTE_S,
    }
    const { bolt11 } =
      terms.settling === 'preimage'
        ? await wallet.makeInvoice({ ...request, preimage: toHex(secret) })
        : await wallet.makeHoldInvoice({ ...request, paymentHash: own })
    return { bolt11, hash: own }
  }
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))
