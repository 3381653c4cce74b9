/**
 * One end of a transfer, in a tab or in Node: the paid product, stock webtorrent and a bare data channel, each
 * as seller or as buyer. The two platforms differ only in what `Platform` names.
 */
import { fromHex, toHex, type Bytes, type InfoHash, type Sha256Hex } from '../../web/core/bytes.ts'
import { msat, type Msat } from '../../web/core/money/msat.ts'
import { publicKey, type SecretKey } from '../../web/core/nostr/event.ts'
import { readMetainfo } from '../../web/core/swarm/metainfo.ts'
import { BUYER_DEFAULTS } from '../../web/core/swarm/buyer-policy.ts'
import type { Journal, Metainfo, PieceStore } from '../../web/edge/swarm/api.ts'
import { createDownload } from '../../web/edge/swarm/download.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import { createSwarm } from '../../web/edge/swarm/swarm.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { connectedMs } from './tabs-connected.ts'
import { offerRaw, receiveRaw, sendRaw } from './tabs-raw.ts'

/** A release as it travels between the processes of the bench. */
export type Wanted = Readonly<{
  /** The .torrent, hex. */
  torrent: string
  infoHash: string
  piecesRoot: string
  bytes: number
  pieceLength: number
}>

export type Party = Readonly<{ tracker: string; wallet: string }>

export type Bought = Readonly<{
  /** From the first connection to the last proven and stored piece. */
  transferMs: number
  /** From joining the swarm. */
  totalMs: number
  paidMsat: number
  payments: number
  longestWindow: number
  /** Milliseconds after the first connection: asked, paid, done; and MiB. */
  windows: readonly (readonly [number, number, number, number])[]
}>

export type Platform = Readonly<{
  /** All of the artifact, ready to be sold or given. */
  fullStore(meta: Metainfo): Promise<PieceStore>
  emptyStore(meta: Metainfo): Promise<PieceStore>
  journal(name: string): Promise<Journal>
  connection(): RTCPeerConnection
  stockSeed(tracker: string, store: 'memory' | 'disk'): Promise<string>
  stockGet(
    torrent: Bytes,
    tracker: string,
    store: 'memory' | 'disk',
  ): Promise<{ transferMs: number; totalMs: number }>
}>

/** The limits of a fresh device. */
export type BuyTerms = Readonly<{
  priceCap: number
  budget: number
  riskBudget: number
  unprovenBudget: number
}>

/** Ends of all kinds are closed together. */
const closing: (() => Promise<unknown>)[] = []
let serial = 0

const unhex = (text: string): Bytes => fromHex(text)

function metaOf(wanted: Wanted): Metainfo {
  return readMetainfo(unhex(wanted.torrent), {
    infoHash: wanted.infoHash as InfoHash,
    piecesRoot: wanted.piecesRoot as Sha256Hex,
    bytes: wanted.bytes,
    pieceLength: wanted.pieceLength,
  })
}

const tellLog = (event: string, detail: Readonly<Record<string, unknown>>): void =>
  console.debug(event, JSON.stringify(detail))

const newSecret = (): SecretKey => crypto.getRandomValues(new Uint8Array(32)) as SecretKey

async function open(party: Party, role: 'distributor' | 'device') {
  const secret = newSecret()
  const identity = { secret, key: publicKey(secret) }
  // bittorrent-tracker pools sockets by URL: ends in one process must not share one.
  const trackers = [`${party.tracker}?end=${++serial}`]
  const [swarm, wallet] = await Promise.all([
    createSwarm({ identity, role, iceServers: [], trackers }),
    connectNwc(party.wallet),
  ])
  closing.push(() => swarm.close())
  closing.push(async () => wallet.close())
  return { identity, swarm, wallet }
}

const anyVendor = { vendor: '0'.repeat(64) as Sha256Hex, floor: () => undefined }

export function ends(platform: Platform) {
  let sending: RTCDataChannel | undefined
  let peer: RTCPeerConnection | undefined
  let received: Promise<number> | undefined

  return {
    async paidSell(wanted: Wanted, party: Party, price: number): Promise<void> {
      const meta = metaOf(wanted)
      const store = await platform.fullStore(meta)
      const { identity, swarm, wallet } = await open(party, 'distributor')
      const session = await swarm.join(meta, store, anyVendor)
      const shop = createShop({
        session,
        identity,
        wallet,
        journal: await platform.journal(`seller ${toHex(identity.secret).slice(0, 8)}`),
        policy: {
          price: msat(price),
          gifts: { to: 'nobody', copies: 0 },
          approved: [],
          unpaidBytes: 32 * 1024 * 1024,
          unprovenBytes: 16 * 1024 * 1024,
        },
        nowMs: Date.now,
        log: tellLog,
      })
      await shop.start()
      closing.unshift(() => shop.stop())
    },

    async paidBuy(wanted: Wanted, party: Party, terms: BuyTerms): Promise<Bought> {
      const meta = metaOf(wanted)
      const store = await platform.emptyStore(meta)
      const { identity, swarm, wallet } = await open(party, 'device')
      const startedMs = performance.now()
      const session = await swarm.join(meta, store, anyVendor)
      const download = createDownload({
        session,
        identity,
        wallet,
        journal: await platform.journal(`buyer ${toHex(identity.secret).slice(0, 8)}`),
        policy: {
          ...BUYER_DEFAULTS,
          priceCap: msat(terms.priceCap),
          budget: msat(terms.budget),
          riskBudget: msat(terms.riskBudget),
          unprovenBudget: msat(terms.unprovenBudget),
          lockedTimeoutMs: 60_000,
          approved: [],
        },
        nowMs: Date.now,
        log: tellLog,
      })
      await download.start()
      closing.unshift(() => download.stop())
      await download.complete
      const endMs = performance.now()
      await download.settled
      const { paid, windows } = download.get()
      return {
        transferMs: endMs - connectedMs(),
        totalMs: endMs - startedMs,
        paidMsat: paid as Msat,
        payments: windows.length,
        longestWindow: Math.max(0, ...windows.map((window) => window.bytes)),
        windows: windows.map(({ requestedAt, paidAt, doneAt, bytes }) => {
          const beganMs = performance.timeOrigin + connectedMs()
          return [requestedAt - beganMs, paidAt - beganMs, doneAt - beganMs, bytes / 1024 / 1024] as const
        }),
      }
    },

    stockSeed: (tracker: string, store: 'memory' | 'disk') => platform.stockSeed(tracker, store),
    stockGet: (torrent: string, tracker: string, store: 'memory' | 'disk') =>
      platform.stockGet(unhex(torrent), tracker, store),

    async rawOffer(): Promise<string> {
      peer = platform.connection()
      const { offer, channel } = await offerRaw(peer)
      sending = channel
      return offer
    },
    async rawAnswer(offer: string, bytes: number): Promise<string> {
      peer = platform.connection()
      const taking = await receiveRaw(peer, offer, bytes)
      received = taking.received
      return taking.answer
    },
    async rawAccept(answer: string): Promise<void> {
      await peer?.setRemoteDescription(JSON.parse(answer) as RTCSessionDescriptionInit)
    },
    async rawSend(bytes: number, messageBytes: number): Promise<void> {
      if (sending === undefined) throw new Error('rawOffer comes first')
      await sendRaw(sending, bytes, messageBytes)
    },
    async rawReceived(): Promise<number> {
      if (received === undefined) throw new Error('rawAnswer comes first')
      return received
    },

    async close(): Promise<void> {
      peer?.close()
      for (const close of closing.splice(0)) await close()
    },
  }
}

export type Ends = ReturnType<typeof ends>
