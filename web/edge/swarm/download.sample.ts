/** A `Download` without a network, for tests: the frames of sellers are made by hand, the wallet and the disk are given. */
import { ctr } from '@noble/ciphers/aes.js'
import { concat, toHex, type Bytes, type InfoHash, type Sha256Hex } from '../../core/bytes.ts'
import { counterAt, paymentHashOf, windowKey } from '../../core/exchange/cipher.ts'
import type { Message } from '../../core/exchange/message.ts'
import { signOffer, type Mode } from '../../core/exchange/offer.ts'
import { signQuote, windowBytes, type Quote } from '../../core/exchange/quote.ts'
import { artifact, bytes32, leavesOf, MONEY, party } from '../../core/exchange/sample.ts'
import { encodeInvoice } from '../../core/money/bolt11.ts'
import { msat, priceOf, type Msat } from '../../core/money/msat.ts'
import { BUYER_DEFAULTS } from '../../core/swarm/buyer.ts'
import { pieceBytes, piecesOf, rootOfLeaves, type Shape } from '../../core/swarm/merkle.ts'
import type { Wallet } from '../wallet/wallet.ts'
import type { Journal, PieceStore } from './api.ts'
import { createDownload } from './download.ts'
import { memoryJournal, memoryStore } from './memory.ts'
import type { Peer } from './peer.ts'
import type { SessionPart, TradingSession } from './swarm.ts'

export const PRICE = msat(1000)
const FRAME = 65_536

type Of<T extends Message['t']> = Extract<Message, { t: T }>
/** How a quote differs from an honest one; seconds from now. */
type Terms = Readonly<{ quoteS?: number; invoiceS?: number; amount?: Msat }>
type Scene = Readonly<{
  wallet: Wallet
  journal?: Journal
  store?: PieceStore
  nowMs?: () => number
  mode?: Mode
}>

export function scene(shape: Shape, { wallet, journal, nowMs = Date.now, mode = 'atomic', ...kept }: Scene) {
  const of = artifact(shape)
  const identity = party('buyer')
  const store = kept.store ?? memoryStore(shape)
  const pieces = piecesOf(shape)
  let part: SessionPart | undefined
  const session = {
    meta: {
      ...shape,
      pieces,
      infoHash: 'ab'.repeat(20) as InfoHash,
      piecesRoot: of.root,
      layer: of.layer,
      name: 'x',
      torrent: new Uint8Array(),
    },
    store,
    attach(attached: SessionPart) {
      part = attached
      return () => (part = undefined)
    },
    proven: () => [],
    plain: () => [],
    keep: (piece: number, bytes: Uint8Array) => store.write(piece, bytes),
  } as unknown as TradingSession
  const download = createDownload({
    session,
    identity,
    journal: journal ?? memoryJournal(),
    wallet,
    nowMs,
    policy: {
      ...BUYER_DEFAULTS,
      priceCap: msat(2000),
      budget: msat(1e9),
      riskBudget: msat(1e6),
      unprovenBudget: msat(1e6),
      lockedTimeoutMs: 60_000,
      approved: [],
    },
  })

  /** A seller of everything, on its wire. */
  function seller(name: string) {
    const me = party(name)
    const sent: Message[] = []
    const peer = {
      id: `wire of ${name}`,
      key: me.key,
      dropped: undefined as string | undefined,
      haves: () => Array.from({ length: pieces }, (_, piece) => piece),
      send: (message: Message) => sent.push(message),
      drop(why: string) {
        peer.dropped = why
        part?.gone?.(wire)
      },
    }
    const wire = peer as unknown as Peer
    const say = (message: Message): void => part?.message?.(wire, message)
    const nowS = (): number => Math.floor(nowMs() / 1000)
    const offer = (price: Msat = PRICE, forS = 3600): void => {
      const event = signOffer(
        {
          infoHash: session.meta.infoHash,
          money: MONEY,
          price,
          modes: [mode],
          maxWindowBytes: 16 * 1024 * 1024,
          expiresAtS: nowS() + forS,
        },
        me.secret,
        bytes32('aux'),
        nowS(),
      )
      say({ t: 'offer', event: JSON.stringify(event), gift: false })
    }
    part?.joined?.(wire)

    /** All of a window but its quote. */
    function deliver(request: Of<'request'>): Bytes {
      const plain = concat(
        ...request.pieces.map((piece) => {
          const at = piece * shape.pieceLength
          return of.bytes.subarray(at, at + pieceBytes(shape, piece))
        }),
      )
      const { id, secret } = saleOf(request)
      const bytes =
        mode === 'credit' ? plain : (ctr(windowKey(secret, id), counterAt(0)).encrypt(plain) as Bytes)
      if (mode === 'atomic') say({ t: 'leaves', id: request.id, leaves: leavesOf(plain) })
      for (let at = 0; at < bytes.length; at += FRAME)
        say({ t: 'data', id: request.id, at, bytes: bytes.slice(at, at + FRAME) })
      return bytes
    }
    const saleOf = (request: Of<'request'>) => ({
      id: toHex(bytes32(`quote ${name} ${request.id}`)) as Sha256Hex,
      secret: bytes32(`secret ${name} ${request.id}`),
    })
    function quote(request: Of<'request'>, bytes: Bytes, terms: Terms = {}) {
      const { id, secret } = saleOf(request)
      const amount = terms.amount ?? priceOf(windowBytes(shape, request.pieces), PRICE)
      const paymentHash = paymentHashOf(secret)
      const { quoteS = 120, invoiceS = quoteS } = terms
      const invoice = encodeInvoice(
        {
          prefix: 'lnbcrt',
          amount,
          paymentHash,
          paymentSecret: toHex(bytes32('payment secret')),
          description: '',
          createdAtMs: nowS() * 1000,
          expirySeconds: invoiceS,
        },
        bytes32('node'),
      )
      const made: Quote = {
        id,
        buyer: identity.key,
        seller: me.key,
        root: of.root,
        shape,
        pieces: request.pieces,
        cipherRoot: toHex(rootOfLeaves(leavesOf(bytes))) as Sha256Hex,
        paymentHash,
        amount,
        money: MONEY,
        ...(mode === 'credit' ? { mode } : {}),
        expiry: nowS() + quoteS,
        invoice,
      }
      const signed = signQuote(made, me.secret, bytes32('aux'))
      say({ t: 'quote', id: request.id, quote: signed.bytes, sig: signed.sig })
      return { id, secret, paymentHash, amount }
    }
    return {
      peer,
      say,
      offer,
      deliver,
      quote,
      requests: () => sent.filter((message) => message.t === 'request'),
      serve: (request: Of<'request'>, terms?: Terms) => quote(request, deliver(request), terms),
    }
  }
  return { download, store, seller }
}

/** A wallet that never answers a payment, but for what is said otherwise. */
export const muteWallet = (change: Partial<Wallet> = {}): Wallet =>
  ({
    status: { get: () => ({ connected: true }), subscribe: () => () => undefined },
    info: () => Promise.resolve({ money: MONEY, alias: 'w', features: new Set(['pay', 'look-up']) }),
    balance: () => Promise.resolve(msat(1e9)),
    budget: () => Promise.resolve(undefined),
    onEvent: () => () => undefined,
    onConnection: () => () => undefined,
    pay: () => Promise.resolve({ tag: 'unknown', message: '' }),
    lookUp: () => Promise.resolve(undefined),
    ...change,
  }) as unknown as Wallet
