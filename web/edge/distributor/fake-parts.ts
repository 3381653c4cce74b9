/** Swarm, download, shop, pool, store and journal in memory, driven by a test: nothing moves unless the test says so. */
import { toHex, utf8, type InfoHash, type PartyKey, type VendorId } from '../../core/bytes.ts'
import { liveCell, type LiveCell } from '../../core/live.ts'
import { msat, ZERO, type Money } from '../../core/money/msat.ts'
import {
  publicKey,
  signEvent,
  type EventTemplate,
  type NostrEvent,
  type SecretKey,
} from '../../core/nostr/event.ts'
import { releaseEvent } from '../../core/release/announce.ts'
import type { Release, VendorBlock } from '../../core/release/target.ts'
import { buildMetainfo } from '../../core/swarm/metainfo.ts'
import { matchesAny, type Filter } from '../nostr/filter.ts'
import type { Pool } from '../nostr/pool.ts'
import type { RelayConfig } from '../relay-config.ts'
import type {
  DownloadDeps,
  DownloadSnapshot,
  Metainfo,
  PieceStore,
  SaleRow,
  SellPolicy,
  Session,
  ShopDeps,
  ShopSnapshot,
  Swarm,
} from '../swarm/api.ts'
import type { DistributorParts } from './api.ts'
import type { VendorMetadata } from './vendor-watch.ts'

export const RELAY = 'http://relay.test'
const PIECE = 16_384

export const party = (n: number): { key: PartyKey; secret: SecretKey } => {
  const secret = new Uint8Array(32).fill(n) as SecretKey
  return { key: publicKey(secret), secret }
}

export type FakePool = Pool & {
  readonly published: NostrEvent[]
  say(event: NostrEvent): void
  connect(connected: boolean): void
}
export function fakePool(): FakePool {
  const subscriptions = new Set<{ filters: readonly Filter[]; run: (event: NostrEvent) => void }>()
  const published: NostrEvent[] = []
  const url = 'ws://relay.test/nostr'
  const status = liveCell([{ url, connected: true }])
  return {
    published,
    status,
    connect: (connected) => status.set([{ url, connected }]),
    publish: async (event) => void published.push(event),
    subscribe(filters, run) {
      const entry = { filters, run }
      subscriptions.add(entry)
      return () => subscriptions.delete(entry)
    },
    close: () => subscriptions.clear(),
    say(event) {
      for (const { filters, run } of [...subscriptions]) if (matchesAny(filters, event)) run(event)
    },
  }
}

/** A vendor that signs what the test says, and the mirror that shows it. */
export function fakeVendor(n: number, name: string) {
  const identity = party(n)
  const vendor = toHex(new Uint8Array(32).fill(n)) as VendorId
  const metas = new Map<InfoHash, Metainfo>()
  let metadata: VendorMetadata = {
    block: {
      name,
      nostr: identity.key,
      relays: [],
      trackers: [],
      distributors: [],
    } satisfies VendorBlock,
    releases: [],
    targetsVersion: 1,
  }
  return {
    vendor,
    identity,
    metas,
    get metadata() {
      return metadata
    },
    sign(releases: readonly Release[]): void {
      metadata = { ...metadata, releases, targetsVersion: metadata.targetsVersion + 1 }
    },
    release(product: string, version: string, pieces = 4): Release {
      const fill = [...`${product}@${version}`].reduce((total, char) => total + char.charCodeAt(0), 0)
      const layer = new Uint8Array(pieces * 32).fill(fill & 255)
      const meta = buildMetainfo({
        salt: new Uint8Array(16),
        name: `${product}-${version}.bin`,
        length: pieces * PIECE,
        pieceLength: PIECE,
        sha1s: new Uint8Array(pieces * 20).fill(fill & 255),
        layer,
        trackers: [],
      })
      metas.set(meta.infoHash, meta)
      return {
        product,
        version,
        fileName: meta.name,
        hardware: ['pi'],
        pieceLength: PIECE,
        piecesRoot: meta.piecesRoot,
        infoHash: meta.infoHash,
        magnet: 'magnet:?',
        priceCapMsat: msat(2_000),
        releasedAt: 1,
        path: `${product}/${version}/${meta.name}`,
        bytes: meta.length,
        sha256: meta.piecesRoot,
        targetsVersion: metadata.targetsVersion,
      }
    },
    announce(release: Release, signer = identity, targetsVersion = metadata.targetsVersion): NostrEvent {
      const status = 'live'
      return sign(releaseEvent({ vendor, release, status, targetsVersion, createdAtS: 1_000 }), signer.secret)
    },
  }
}
export type FakeVendor = ReturnType<typeof fakeVendor>

export const sign = (template: EventTemplate, secret: SecretKey): NostrEvent =>
  signEvent(template, secret, new Uint8Array(32))

export type FakeStore = PieceStore & { readonly meta: Metainfo; state: 'open' | 'closed' | 'destroyed' }
/** Stores that remember their pieces across close and open, as a disk does. */
export function fakeDisk() {
  const bits = new Map<InfoHash, Uint8Array>()
  const open: FakeStore[] = []
  let full: Error | undefined
  return {
    open,
    /** Writes are refused until it is called without an error. */
    fill: (error?: Error) => void (full = error),
    openStore: async (meta: Metainfo): Promise<PieceStore> => {
      const have = bits.get(meta.infoHash) ?? new Uint8Array(Math.ceil(meta.pieces / 8))
      bits.set(meta.infoHash, have)
      const store: FakeStore = {
        meta,
        have,
        state: 'open',
        bytesWritten: 0,
        read: async (_offset, length) => new Uint8Array(length),
        write: async (piece) => {
          if (full) throw full
          have[piece >> 3]! |= 0x80 >> (piece & 7)
        },
        close: async () => void (store.state = 'closed'),
        destroy: async () => {
          store.state = 'destroyed'
          bits.delete(meta.infoHash)
        },
      }
      open.push(store)
      return store
    },
  }
}

export type FakeDownload = { deps: DownloadDeps; cell: LiveCell<DownloadSnapshot>; running: boolean }
export type FakeShop = {
  deps: ShopDeps
  cell: LiveCell<ShopSnapshot>
  running: boolean
  policy: SellPolicy
  sell(sale: Partial<SaleRow> & { id: string }): void
}
export type FakeSession = Session & {
  joined: boolean
  floor: () => string | undefined
  hear: (json: string) => void
}

export function fakeParts(vendors: readonly FakeVendor[]) {
  const downloads: FakeDownload[] = []
  const shops: FakeShop[] = []
  const sessions: FakeSession[] = []
  const swarms: { closed: boolean }[] = []
  const reads: VendorId[] = []
  let broken: Error | undefined
  let brokenShops: Error | undefined
  const join: Swarm['join'] = async (meta, store, vendor) => {
    const session: FakeSession = {
      meta,
      store,
      peers: liveCell({ connected: 0, fullCopies: 0, provenKeys: [] }),
      joined: true,
      floor: vendor.floor,
      hear: (json) => vendor.onFloor?.(json),
      leave: async () => void (session.joined = false),
    }
    if (sessions.some((at) => at.joined && at.meta.infoHash === meta.infoHash))
      throw new Error('joined twice')
    sessions.push(session)
    return session
  }
  const parts: DistributorParts = {
    readVendor: async (vendor) => {
      reads.push(vendor)
      if (broken) throw broken
      const found = vendors.find((at) => at.vendor === vendor)
      if (!found) throw new Error('no such vendor')
      return found.metadata
    },
    createSwarm: async () => {
      const swarm = { closed: false }
      swarms.push(swarm)
      return { join, close: async () => void (swarm.closed = true) }
    },
    createDownload: (deps) => {
      const cell = liveCell<DownloadSnapshot>({
        state: { tag: 'looking' },
        have: 0,
        pieces: deps.session.meta.pieces,
        rateBps: 0,
        paid: ZERO,
        fees: ZERO,
        locked: ZERO,
        sellers: [],
        windows: [],
        boughtTwice: 0,
      })
      const fake: FakeDownload = { deps, cell, running: false }
      downloads.push(fake)
      const never = new Promise<void>(() => undefined)
      return {
        get: cell.get,
        subscribe: cell.subscribe,
        start: async () => void (fake.running = true),
        stop: async () => void (fake.running = false),
        complete: never,
        settled: never,
        receipts: () => [],
        onLate: () => () => undefined,
        onFraud: () => () => undefined,
      }
    },
    createShop: (deps) => {
      const cell = liveCell<ShopSnapshot>({
        money: undefined,
        uploadedBytes: 0,
        soldPieces: 0,
        earned: ZERO,
        unpaidBytes: 0,
        rateBps: 0,
        sales: [],
        giftsLeft: 0,
      })
      const fake: FakeShop = {
        deps,
        cell,
        running: false,
        policy: deps.policy,
        sell(sale) {
          const at = cell.get()
          const before = at.sales.find((row) => row.id === sale.id)
          const row: SaleRow = {
            buyer: party(90).key,
            pieces: 2,
            sentPieces: 2,
            state: 'sending',
            amount: msat(1_500),
            at: deps.nowMs(),
            ...before,
            ...sale,
          }
          const sales = [row, ...at.sales.filter((old) => old.id !== sale.id)]
          cell.set({ ...at, sales, uploadedBytes: at.uploadedBytes + (before ? 0 : row.pieces * PIECE) })
        },
      }
      shops.push(fake)
      return {
        get: cell.get,
        subscribe: cell.subscribe,
        start: async () => {
          if (brokenShops) throw brokenShops
          fake.running = true
        },
        stop: async () => void (fake.running = false),
        setPolicy: (policy) => void (fake.policy = policy),
      }
    },
  }
  return {
    parts,
    downloads,
    shops,
    sessions,
    swarms,
    reads,
    breakMirror: (error?: Error) => (broken = error),
    breakShops: (error?: Error) => void (brokenShops = error),
  }
}

export const fakeConfig = (money: Money, vendors: readonly FakeVendor[]): RelayConfig => ({
  version: '0',
  relayKey: party(200).key,
  money,
  nostrUrl: 'ws://relay.test/nostr',
  trackerUrl: 'ws://relay.test/tracker',
  iceServers: [],
  tuf: {
    snapshot: { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: 'a'.repeat(64) } },
    timestamp: { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: 'b'.repeat(64) } },
  },
  openAccounts: { grantMsat: msat(0), perAddress: 1 },
  vendors: vendors.map((at) => ({ id: at.vendor, name: at.metadata.block.name })),
})

/** The relay's HTTP: configuration and .torrent files. */
export const fakeFetch = (config: () => RelayConfig, vendors: readonly FakeVendor[]): typeof fetch =>
  (async (input: string | URL | Request) => {
    const url = new URL(input instanceof Request ? input.url : input)
    if (url.pathname === '/api/config') return new Response(JSON.stringify(config()))
    const infoHash = /\/torrents\/([0-9a-f]{40})\.torrent$/.exec(url.pathname)?.[1] as InfoHash | undefined
    for (const { metas } of vendors) {
      const meta = infoHash && metas.get(infoHash)
      if (meta) return new Response(meta.torrent)
    }
    return new Response(utf8('no'), { status: 404 })
  }) as typeof fetch
