/**
 * What a page or a terminal sees of a distributor: one object that follows vendors, fetches what they signed,
 * sells it piece by piece and keeps inside its owner's limits. The same engine runs in a tab and in Node.
 */
import type { Bytes, InfoHash, PartyKey, VendorId } from '../../core/bytes.ts'
import type { Live } from '../../core/live.ts'
import type { Money, Msat } from '../../core/money/msat.ts'
import type { CarryReason, CarryStanding } from '../../core/swarm/carry.ts'
import type { Earnings, PaidRow } from '../../core/swarm/carry-earnings.ts'
import type { Pool } from '../nostr/pool.ts'
import type { RelayConfig } from '../relay-config.ts'
import type {
  CreateDownload,
  CreateShop,
  CreateSwarm,
  Identity,
  Journal,
  Metainfo,
  PieceStore,
  SaleRow,
} from '../swarm/api.ts'
import type { Wallet } from '../wallet/wallet.ts'
import type { ReadVendor } from './vendor-watch.ts'

/** The owner's terms. Kept in the journal; `loadSettings` and `updateSettings` read and write them. */
export type DistributorSettings = Readonly<{
  /** Asked per MiB. */
  price: Msat
  diskLimitBytes: number
  /** Bytes a second for everything that goes up; absent: as fast as it goes. */
  uploadBps?: number
  /** The same for what comes down. */
  downloadBps?: number
  vendors: 'all' | readonly VendorId[]
  /** What it may pay for one release when no first copy is free any more; 0: wait for a free one. */
  spendPerRelease: Msat
  pauseOn: Readonly<{ metered: boolean; lowBattery: boolean }>
}>

/** What the machine says about itself; in Node and in browsers that tell nothing it is left out. */
export type Conditions = Readonly<{ metered: boolean; lowBattery: boolean }>

export type DistributorDeps = Readonly<{
  identity: Identity
  /** Base URL of the relay, without a slash at the end: `http://localhost:8787`. */
  relayUrl: string
  config: RelayConfig
  pool: Pool
  /** May come later through `setWallet`: joining and fetching do not wait for it. */
  wallet?: Wallet
  stores: Readonly<{ openStore: (meta: Metainfo) => Promise<PieceStore>; journal: Journal }>
  /** Terms of a first start, or those of `loadSettings`. */
  settings: DistributorSettings
  conditions?: Live<Conditions>
  nowMs: () => number
  /** Cryptographically random bytes. */
  random: (length: number) => Bytes
  fetch: typeof globalThis.fetch
  log?: (event: string, detail: Readonly<Record<string, unknown>>) => void
  /** Others than the real ones, for tests. */
  parts?: Partial<DistributorParts>
}>

export type DistributorParts = Readonly<{
  createSwarm: CreateSwarm
  createDownload: CreateDownload
  createShop: CreateShop
  readVendor: ReadVendor
}>

export type DistributorMode =
  { tag: 'off' } | { tag: 'on' } | { tag: 'paused'; why: 'metered' | 'low-battery'; text: string }

export type CarryState =
  | { tag: 'looking' } // nobody gives or sells it at the moment
  | { tag: 'fetching' }
  | { tag: 'waiting'; text: string } // for a free copy, funds, a price
  | { tag: 'seeding' }
  | { tag: 'held' } // on disk; the switch is off or paused
  | { tag: 'trouble'; text: string }

/** One release that this distributor has on disk or is fetching. */
export type CarryRow = Readonly<{
  infoHash: InfoHash
  vendor: VendorId
  vendorName: string
  /** `product version`. */
  name: string
  fileName: string
  /** Carried without being able to read it. */
  encrypted: boolean
  bytes: number
  onDiskBytes: number
  pieces: number
  have: number
  state: CarryState
  standing: CarryStanding
  otherSellers: number
  buyers: number
  /** Connected in its swarm now. */
  peers: number
  today: Msat
  spent: Msat
}>

/** A release that had to go, or was not taken, and why. */
export type EvictedRow = Readonly<{
  infoHash: InfoHash
  name: string
  bytes: number
  at: number
  reason: CarryReason
}>

export type VendorRow = Readonly<{
  id: VendorId
  name: string
  followed: boolean
  releases: number
  /** When its signed metadata was last proven, Unix ms. */
  checkedAt?: number
  trouble?: string
}>

export type UploadRow = SaleRow & Readonly<{ infoHash: InfoHash; release: string }>

export type DistributorSnapshot = Readonly<{
  mode: DistributorMode
  money: Money
  settings: DistributorSettings
  /** `undefined`: no wallet yet; what it holds can be given away but not sold. */
  wallet?: Readonly<{ connected: boolean; money?: Money; balance?: Msat; trouble?: string }>
  relay: Readonly<{ connected: boolean; sinceMs: number }>
  earnings: Earnings
  /** Latest first. */
  justPaid: readonly PaidRow[]
  rateBps: number
  /** Different keys that buy now. */
  buyers: number
  unpaidBytes: number
  unpaidLimitBytes: number
  /** Latest first, at most 50. */
  uploads: readonly UploadRow[]
  carrying: readonly CarryRow[]
  /** Latest first, at most 20. */
  evicted: readonly EvictedRow[]
  vendors: readonly VendorRow[]
  disk: Readonly<{ usedBytes: number; limitBytes: number }>
  /** Prices per MiB that others ask now, for what is carried, lowest first. */
  otherPrices: readonly Msat[]
  /** Highest price that any carried release allows. */
  priceCap?: Msat
  /** What its owner should know and may have to do; each a whole sentence. */
  troubles: readonly string[]
}>

export interface Distributor extends Live<DistributorSnapshot> {
  readonly key: PartyKey
  start(): Promise<void>
  /** Stops selling and leaves the swarm; what was earned, bought and is on disk stays. */
  stop(): Promise<void>
  updateSettings(change: Partial<DistributorSettings>): Promise<void>
  setWallet(wallet: Wallet | undefined): void
  /** Looks at the mirror now, for all followed vendors. */
  refresh(): Promise<void>
}
