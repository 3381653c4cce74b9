/** Buying and selling as tests of a device want it, with receipts that check. */
import { fromHex, utf8, type Bytes } from '../../web/core/bytes.ts'
import { receiptOf, signQuote, type Quote } from '../../web/core/exchange/quote.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import { msat, ZERO } from '../../web/core/money/msat.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import type { WindowRow } from '../../web/core/rollout/messages.ts'
import type {
  Download,
  DownloadDeps,
  DownloadSnapshot,
  ShopDeps,
  ShopSnapshot,
} from '../../web/edge/swarm/api.ts'
import { encodeJson } from '../../web/edge/swarm/records.ts'
import { EMPTY_SHOP } from '../../web/edge/swarm/shop-view.ts'
import { MONEY, NOW, PIECE, sha } from './test-artifact.ts'

const SELLER_SECRET = new Uint8Array(32).fill(9)

/** Sells what the test says. */
export function fakeShop(deps: ShopDeps) {
  const cell = liveCell<ShopSnapshot>(EMPTY_SHOP)
  const shop = {
    deps,
    stopped: false,
    get: cell.get,
    subscribe: cell.subscribe,
    start: () => Promise.resolve(),
    setPolicy: () => undefined,
    sell: (sums: Partial<ShopSnapshot>) => cell.set({ ...cell.get(), ...sums }),
    stop() {
      shop.stopped = true
      return Promise.resolve()
    },
  }
  return shop
}

export interface Seller {
  /** Pieces that it gives before it waits. */
  selling: number
  /** What the download says meanwhile. */
  readonly waiting: DownloadSnapshot['state']
  /** Info-hash and piece of each one sold. */
  readonly bought: string[]
  readonly artifacts: ReadonlyMap<string, Bytes>
  /** Moves when it may sell again. */
  readonly changed: Live<number>
}

/** Buys from the one seller at one msat a piece, with a receipt in the journal. */
export function fakeDownload(from: Seller, { session, journal, identity }: DownloadDeps): Download {
  const { meta, store } = session
  const artifact = from.artifacts.get(meta.infoHash)!
  const windows: WindowRow[] = []
  const count = (): number =>
    [...Array(meta.pieces).keys()].filter((i) => store.have[i >> 3]! & (0x80 >> (i & 7))).length
  const snapshot = (state: DownloadSnapshot['state']): DownloadSnapshot => ({
    state,
    have: count(),
    pieces: meta.pieces,
    rateBps: 0,
    paid: ZERO,
    fees: ZERO,
    locked: ZERO,
    sellers: [],
    windows: [...windows],
    boughtTwice: 0,
  })
  const cell = liveCell<DownloadSnapshot>(snapshot({ tag: 'looking' }))
  const complete = Promise.withResolvers<void>()
  const settled = Promise.withResolvers<void>()
  let running = false
  let ended: Promise<void> | undefined

  async function buy(piece: number): Promise<void> {
    const preimage = sha(utf8(`${meta.infoHash} ${piece}`))
    const quote: Quote = {
      id: sha(utf8(`id ${meta.infoHash} ${piece}`)),
      buyer: identity.key,
      seller: publicKey(SELLER_SECRET),
      root: meta.piecesRoot,
      shape: { length: meta.length, pieceLength: meta.pieceLength },
      pieces: [piece],
      cipherRoot: sha(utf8('c')),
      paymentHash: sha(fromHex(preimage)),
      amount: msat(1),
      money: MONEY,
      expiry: NOW / 1000 + 60,
      invoice: 'lnbcrt1',
    }
    const signed = signQuote(quote, SELLER_SECRET, new Uint8Array(32))
    const row = {
      seller: quote.seller,
      paymentHash: quote.paymentHash,
      pieces: [piece],
      bytes: Math.min(PIECE, meta.length - piece * PIECE),
      amountMsat: msat(1),
      feesMsat: ZERO,
      requestedAt: NOW,
      paidAt: NOW + piece,
      doneAt: NOW + piece,
      late: false,
    }
    from.bought.push(`${meta.infoHash} ${piece}`)
    await journal.put(
      `receipt/${meta.infoHash}/${quote.id}`,
      encodeJson({ receipt: receiptOf(signed, preimage), row }),
    )
    windows.push(row)
    await store.write(piece, artifact.subarray(piece * PIECE, (piece + 1) * PIECE))
  }

  async function run(): Promise<void> {
    for (let piece = 0; piece < meta.pieces && running; piece++) {
      if (store.have[piece >> 3]! & (0x80 >> (piece & 7))) continue
      while (running && from.selling <= 0) {
        cell.set(snapshot(from.waiting))
        await new Promise<void>((resolve) => {
          const stop = from.changed.subscribe(() => (from.selling > 0 || !running) && resolve())
          void Promise.resolve()
            .then(() => undefined)
            .finally(() => setTimeout(() => (stop(), resolve()), 5))
        })
      }
      if (!running) return
      from.selling--
      cell.set(snapshot({ tag: 'buying' }))
      await buy(piece)
    }
    if (!running) return
    cell.set(snapshot({ tag: 'complete' }))
    complete.resolve()
    settled.resolve()
  }

  return {
    get: cell.get,
    subscribe: cell.subscribe,
    complete: complete.promise,
    settled: settled.promise,
    start() {
      running = true
      ended = run().catch(() => undefined)
      return Promise.resolve()
    },
    async stop() {
      running = false
      await ended
    },
    receipts: () => [],
    onLate: () => () => undefined,
    onFraud: () => () => undefined,
  }
}
