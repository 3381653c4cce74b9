/**
 * Serves a window: reads and proves the pieces once more, streams leaves and ciphertext, and sends the signed quote
 * when the sale is on disk. A peer's windows go out one after the other, each made ready while the one before it is
 * on its way; when it may go says the line (`upload-line.ts`).
 */
import { toHex, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { paymentHashOf } from '../../core/exchange/cipher.ts'
import type { Sale } from '../../core/exchange/desk-state.ts'
import type { LineWindow } from '../../core/exchange/line.ts'
import { signQuote, type Quote } from '../../core/exchange/quote.ts'
import type { Money } from '../../core/money/msat.ts'
import { pieceBytes, rootOfLeaves, type Shape } from '../../core/swarm/merkle.ts'
import type { Peer } from './peer.ts'
import { Buffers } from './buffers.ts'
import { CREDIT_QUOTE_S, type Debts } from './debts.ts'
import { createRateLimit } from './rate-limit.ts'
import { UploadLine } from './upload-line.ts'
import { saleWords } from './sale-words.ts'
import { writeSale } from './settling.ts'
import { messageOf, type ShopParts } from './shop-parts.ts'
import { SteadyClock } from './steady-clock.ts'
import { leafHashes, sealHashed } from './window-cipher.ts'
import { leavesProve } from './window-proof.ts'

const QUOTE_S = 120
/** Of an upload limit: what goes out in this time is nearly out. */
const NEARLY_OUT_S = 5
/** How far a window is, for the next one of the same peer. */
type Turn = Readonly<{ streaming: Promise<void>; streamed: Promise<void> }>
const NO_ONE_BEFORE: Turn = { streaming: Promise.resolve(), streamed: Promise.resolve() }

/** Where pieces lie, neighbours together: each read has its price. */
function runsOf(pieces: readonly number[], shape: Shape): { offset: number; length: number }[] {
  const runs: { offset: number; length: number }[] = []
  for (const piece of pieces) {
    const offset = piece * shape.pieceLength
    const last = runs.at(-1)
    if (last !== undefined && last.offset + last.length === offset) last.length += pieceBytes(shape, piece)
    else runs.push({ offset, length: pieceBytes(shape, piece) })
  }
  return runs
}

type Invoice = Readonly<{ bolt11: string; hash: Sha256Hex }>
/** What is to be paid, by when (Unix seconds). */
type Bill = Readonly<{ invoice: Promise<Invoice>; expiry: number }>
/** Bytes as they go out, and the hashes of their blocks; `plain` are those of what was read. */
type Window = Readonly<{ bytes: Bytes; plain: Bytes; leaves: Bytes }>

export class Serving {
  readonly #parts: ShopParts
  readonly #debts: Debts
  /** The last window of each peer: its next one waits for it. */
  readonly #queues = new Map<string, Turn>()
  /** Bytes that are out, of each sale that is on its way. */
  readonly #sent = new Map<Sha256Hex, number>()
  readonly #buffers = new Buffers()
  readonly #line: UploadLine
  /** How to end what is being streamed. */
  readonly #streams = new Map<LineWindow, () => void>()
  /** Where the process has no limit of its own. */
  readonly #upload = createRateLimit()
  /** Sent since it was last taken: for the rate. */
  #bytes = 0

  constructor(parts: ShopParts, debts: Debts) {
    this.#parts = parts
    this.#debts = debts
    this.#line = new UploadLine(parts.session.meta.pieces, new SteadyClock(parts.deps.nowMs).nowMs, {
      fresh: ({ peer }, pieces) => {
        if (parts.hasAll()) parts.tellOthers(peer, { t: 'sending', pieces })
      },
      giveUp: (window) => this.#streams.get(window)?.(),
    })
  }

  /** Every second or so: who is slow must not keep others waiting. */
  tick(): void {
    this.#line.tick()
  }

  serve(sale: Sale): void {
    const before = this.#queues.get(sale.peer) ?? NO_ONE_BEFORE
    const [streaming, streamed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    this.#queues.set(sale.peer, { streaming: streaming.promise, streamed: streamed.promise })
    void before.streaming
      .then(() => this.#serve(sale, before, streaming.resolve, streamed.resolve))
      .finally(() => {
        streaming.resolve()
        void before.streamed.then(streamed.resolve)
      })
  }

  gone(peer: string): void {
    this.#queues.delete(peer)
    this.#line.gone(peer)
  }

  got(peer: string, request: number): void {
    this.#line.got(peer, request)
  }

  sent(id: Sha256Hex): number {
    return this.#sent.get(id) ?? 0
  }
  takeBytes(): number {
    const bytes = this.#bytes
    this.#bytes = 0
    return bytes
  }

  async #serve(sale: Sale, before: Turn, streaming: () => void, streamed: () => void): Promise<void> {
    await this.#line.hold(sale)
    let held = true
    const letGo = (): void => {
      if (held) this.#line.letGo(sale)
      held = false
    }
    // What the wallet takes after the last byte keeps nobody waiting.
    const out = (): void => {
      streamed()
      letGo()
    }
    try {
      await this.#send(sale, before, streaming, out)
    } catch (error) {
      this.#parts.deps.log?.('window not served', { message: messageOf(error) })
      this.#parts.step({ tag: 'failed', id: sale.id, code: 'wallet' })
    } finally {
      this.#sent.delete(sale.id)
      letGo()
    }
  }

  async #send(sale: Sale, before: Turn, streaming: () => void, streamed: () => void): Promise<void> {
    const { step } = this.#parts
    const peer = this.#parts.peer(sale.peer)
    if (peer === undefined || sale.state !== 'preparing') return
    const onCredit = sale.mode === 'credit'
    const whole = await this.#make(sale)
    if (whole === undefined) return step({ tag: 'failed', id: sale.id, code: 'missing' })
    await before.streamed
    if ((sale.state as Sale['state']) !== 'preparing' || peer.gone) return
    streaming()
    // On credit the goods come as they are and whoever has them owes: not before there is an invoice.
    let bill = onCredit ? this.#bill(sale) : undefined
    await bill?.invoice
    await this.#line.enter(sale)
    try {
      if ((sale.state as Sale['state']) !== 'preparing' || peer.gone) return
      step({ tag: 'began', id: sale.id })
      // Block hashes first, what the seller stands for; then nothing that is worth anything without the secret.
      if (!onCredit) peer.send({ t: 'leaves', id: sale.request, leaves: whole.plain })
      await this.#stream(peer, sale, whole.bytes, () => (bill ??= this.#bill(sale)))
      this.#buffers.give(whole.bytes)
      streamed()
    } finally {
      void this.#line.leave(sale, peer.gone || (sale.state as Sale['state']) !== 'preparing')
    }
    // Without one it was given up before all of it was out.
    if (bill !== undefined)
      await this.#quote(peer, sale, toHex(rootOfLeaves(whole.leaves)) as Sha256Hex, bill)
  }

  async #quote(peer: Peer, sale: Sale, cipherRoot: Sha256Hex, { invoice, expiry }: Bill): Promise<void> {
    const { deps, session, step } = this.#parts
    const onCredit = sale.mode === 'credit'
    const { bolt11, hash } = await invoice
    if (sale.state !== 'preparing') return
    const quote: Quote = {
      id: sale.id,
      buyer: sale.buyer,
      seller: deps.identity.key,
      root: session.meta.piecesRoot,
      shape: { length: session.meta.length, pieceLength: session.meta.pieceLength },
      pieces: sale.pieces,
      cipherRoot,
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

  /** The window as it goes out, its pieces proven once more: a flipped bit on disk must not become a cheat. */
  async #make(sale: Sale): Promise<Window | undefined> {
    const { session, deps, secretOf } = this.#parts
    const bytes = await this.#read(sale)
    const whole =
      sale.mode === 'credit'
        ? await leafHashes(bytes).then((leaves) => ({ bytes, plain: leaves, leaves }))
        : await sealHashed(secretOf(sale.id), sale.id, bytes)
    if (leavesProve(whole.plain, sale.pieces, session.meta)) return whole
    this.#buffers.give(whole.bytes)
    deps.log?.('piece damaged on disk', { pieces: sale.pieces })
    return undefined
  }

  async #read(sale: Sale): Promise<Bytes> {
    const { meta, store } = this.#parts.session
    const memory = this.#buffers.take(sale.bytes)
    let at = 0
    for (const { offset, length } of runsOf(sale.pieces, meta)) {
      const into = memory.subarray(at, at + length)
      const part = await store.read(offset, length, into)
      if (part !== into && length === sale.bytes) {
        this.#buffers.give(memory)
        return part
      }
      if (part !== into) memory.set(part, at)
      at += length
    }
    return memory
  }

  /** `nearlyOut` is called, once or more, when little is left to be handed over. */
  async #stream(peer: Peer, sale: Sale, ciphertext: Bytes, nearlyOut: () => void): Promise<void> {
    const { deps, policy } = this.#parts
    const upload = deps.upload ?? this.#upload
    if (upload === this.#upload && upload.bps !== policy.uploadBps) upload.set(policy.uploadBps)
    const cut = Promise.withResolvers<void>()
    this.#streams.set(sale, () => {
      cut.resolve()
      this.#parts.step({ tag: 'failed', id: sale.id, code: 'busy' })
    })
    for (let at = 0; at < ciphertext.length && !peer.gone && sale.state === 'preparing';) {
      const bytes = ciphertext.subarray(at, at + peer.frame)
      peer.sendData(sale.request, at, bytes)
      at += bytes.length
      this.#bytes += bytes.length
      this.#sent.set(sale.id, at)
      const left = ciphertext.length - at
      if (left <= Math.min(peer.nearlyOut, (upload.bps ?? Infinity) * NEARLY_OUT_S)) nearlyOut()
      if (left === 0) this.#parts.step({ tag: 'delivered', id: sale.id })
      await Promise.all([upload.take(bytes.length), this.#line.paced(sale, bytes.length)])
      // A peer that does not read is waited for only as long as its window is on the line.
      await Promise.race([peer.drained(), cut.promise])
    }
    this.#streams.delete(sale)
    this.#parts.show()
  }

  /** The time to pay runs from here: of a slow line, not while its window is still on the way. */
  #bill(sale: Sale): Bill {
    const seconds = sale.mode === 'credit' ? CREDIT_QUOTE_S : QUOTE_S
    const invoice = this.#invoice(sale)
    // Awaited later; a rejection meanwhile must not count as unhandled.
    invoice.catch(() => undefined)
    return { invoice, expiry: Math.floor(this.#parts.deps.nowMs() / 1000) + seconds }
  }

  async #invoice(sale: Sale): Promise<Invoice> {
    const { deps, terms, session, byHash } = this.#parts
    const { wallet } = deps
    const secret = this.#parts.secretOf(sale.id)
    const own = paymentHashOf(secret)
    if (sale.amount === 0) return { bolt11: '', hash: own }
    if (wallet === undefined || terms === undefined) throw new Error('no wallet that can sell')
    if (sale.mode === 'credit') {
      const { bolt11, paymentHash } = await this.#debts.invoice(sale)
      return { bolt11, hash: paymentHash }
    }
    byHash.set(own, sale.id)
    const request = {
      amount: sale.amount,
      description: saleWords(sale.pieces.length, session.meta.name, {
        seller: deps.identity.key,
        buyer: sale.buyer,
      }),
      expirySeconds: QUOTE_S,
    }
    const { bolt11 } =
      terms.settling === 'preimage'
        ? await wallet.makeInvoice({ ...request, preimage: toHex(secret) })
        : await wallet.makeHoldInvoice({ ...request, paymentHash: own })
    return { bolt11, hash: own }
  }
}
