/**
 * What the rest of the product sees of the swarm: one `Swarm` a process or tab, a `Session` per release,
 * a `Download` that buys into it and a `Shop` that sells from it. Library types stop behind this file.
 */
import type { Bytes, PartyKey, Sha256Hex, VendorId } from '../../core/bytes.ts'
import type { Live } from '../../core/live.ts'
import type { Money, Msat } from '../../core/money/msat.ts'
import type { SecretKey } from '../../core/nostr/event.ts'
import type { Cheat } from '../../core/exchange/cheats.ts'
import type { Role } from '../../core/exchange/message.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import type { SellerSum, WindowRow } from '../../core/rollout/messages.ts'
import type { BuyerPolicy } from '../../core/swarm/buyer-state.ts'
import type { Wallet } from '../wallet/wallet.ts'
import type { RateLimit } from './rate-limit.ts'

export type Identity = Readonly<{ key: PartyKey; secret: SecretKey }>

/** Where a release's bytes lie: parsed from the .torrent and proven against the signed `piecesRoot`. */
export type { Metainfo } from '../../core/swarm/metainfo.ts'
import type { Metainfo } from '../../core/swarm/metainfo.ts'

/** One artifact's bytes on disk (a file, or OPFS in a tab) and which pieces of them are proven. */
export interface PieceStore {
  readonly have: Uint8Array // bitfield, BEP 3 order; changes in place
  /** `into`, of `length` bytes, may be filled and given back in place of fresh memory. */
  read(offset: number, length: number, into?: Bytes): Promise<Bytes>
  /** Durable when it resolves; then the piece's bit is set. */
  write(piece: number, bytes: Uint8Array): Promise<void>
  /** Bytes written to the medium so far, for the report. */
  readonly bytesWritten: number
  close(): Promise<void>
  destroy(): Promise<void>
}

/** Small durable records: purchases under way, receipts, seller's secrets. Keys are `[a-z0-9/-]+`. */
export interface Journal {
  /** One record of all `parts` in a row; fsynced when it resolves. */
  put(key: string, ...parts: readonly Uint8Array[]): Promise<void>
  get(key: string): Promise<Bytes | undefined>
  delete(key: string): Promise<void>
  keys(prefix: string): Promise<string[]>
}

export type SwarmOptions = Readonly<{
  identity: Identity
  /** Shown and signed on every wire; `device` by default. A vendor gives first copies to distributors. */
  role?: Role
  iceServers: readonly { urls: string | string[]; username?: string; credential?: string }[]
  trackers: readonly string[]
  log?: (event: string, detail: Readonly<Record<string, unknown>>) => void
}>

export interface Swarm {
  /** Joins with bytes that may be partly or wholly there. One session per info-hash; joining twice is an error. */
  join(meta: Metainfo, store: PieceStore, vendor: SessionVendor): Promise<Session>
  close(): Promise<void>
}

export type SessionVendor = Readonly<{
  vendor: VendorId
  /** The newest vendor-signed RELEASE event known, carried in each handshake as a floor. */
  floor: () => string | undefined
  /** A peer showed this RELEASE event (unverified). */
  onFloor?: (eventJson: string) => void
}>

export interface Session {
  readonly meta: Metainfo
  readonly store: PieceStore
  /** Peers connected, and full copies among them (this one not counted). */
  readonly peers: Live<Readonly<{ connected: number; fullCopies: number; provenKeys: readonly PartyKey[] }>>
  leave(): Promise<void>
}

/** What a device may spend, risk and hold for one release. */
export type BuyPolicy = BuyerPolicy

export type SellPolicy = Readonly<{
  price: Msat // per MiB; 0 gives to everyone
  /** First copies free: to whom, and how many different keys. */
  gifts: Readonly<{ to: 'nobody' | 'approved' | 'distributors'; copies: number }>
  approved: readonly PartyKey[]
  unpaidBytes: number
  unprovenBytes: number
  /** For this shop alone; `ShopDeps.upload` stands above it. */
  uploadBps?: number
}>

export type DownloadState =
  | { tag: 'looking' } // no seller has what we lack
  | { tag: 'buying' }
  | { tag: 'waiting'; why: 'funds'; needMsat: Msat }
  | { tag: 'waiting'; why: 'price' | 'money' | 'budget' | 'payment' | 'wallet' | 'trouble'; text: string }
  | { tag: 'stopped' }
  | { tag: 'complete' } // all pieces proven; every payment settled or given up

export type DownloadSnapshot = Readonly<{
  state: DownloadState
  have: number
  pieces: number
  rateBps: number
  paid: Msat
  fees: Msat
  /** Locked in payments whose outcome is open. */
  locked: Msat
  sellers: readonly SellerSum[]
  /** In order of purchase. */
  windows: readonly WindowRow[]
  boughtTwice: number
  /** Bytes that came from a plain HTTP mirror, and its words when it last failed. */
  mirror?: Readonly<{ bytes: number; trouble?: string }>
}>

export interface Download extends Live<DownloadSnapshot> {
  start(): Promise<void>
  stop(): Promise<void>
  /** Resolves when all pieces are proven. */
  readonly complete: Promise<void>
  /** Resolves when all pieces are proven and no payment is open but those whose pieces were bought elsewhere. */
  readonly settled: Promise<void>
  receipts(): readonly Receipt[]
  /** A payment settled after its pieces had been bought elsewhere: for the addendum. */
  onLate(run: (receipt: Receipt, row: WindowRow) => void): () => void
  onFraud(run: (proof: Uint8Array, seller: PartyKey) => void): () => void
}

export type SaleRow = Readonly<{
  id: string
  buyer: PartyKey
  pieces: number
  sentPieces: number
  state: 'sending' | 'waiting' | 'paid' | 'given' | 'expired' | 'dropped'
  amount: Msat
  at: number
}>

export type ShopSnapshot = Readonly<{
  money: Money | undefined
  trouble?: string
  uploadedBytes: number
  soldPieces: number
  earned: Msat
  unpaidBytes: number
  rateBps: number
  /** Latest first, at most 50. */
  sales: readonly SaleRow[]
  giftsLeft: number
}>

export interface Shop extends Live<ShopSnapshot> {
  start(): Promise<void>
  setPolicy(policy: SellPolicy): void
  /** Stops taking requests; unsettled sales stay in the journal. */
  stop(): Promise<void>
}

export type DownloadDeps = Readonly<{
  session: Session
  identity: Identity
  journal: Journal
  /** Without one only gifts and free pieces are taken. */
  wallet?: Wallet
  /** Shared by all downloads of the process: requests are paced by it. */
  download?: RateLimit
  /** Where the artifact lies as a plain file: range requests of it are one more source, by `policy.mirror`. */
  mirrors?: readonly string[]
  /** For the mirrors; the platform's own unless given. */
  fetch?: typeof globalThis.fetch
  /** Keys that a proof convicted, in whatever release: never bought from. */
  cheats?: Live<ReadonlyMap<PartyKey, Cheat>>
  policy: BuyPolicy
  nowMs: () => number
  log?: (event: string, detail: Readonly<Record<string, unknown>>) => void
}>

export type ShopDeps = Readonly<{
  session: Session
  identity: Identity
  journal: Journal
  wallet?: Wallet
  policy: SellPolicy
  nowMs: () => number
  log?: (event: string, detail: Readonly<Record<string, unknown>>) => void
  /** Shared by all shops of the process. */
  upload?: RateLimit
  /** Called with the signed OFFER event whenever it changes, to be published. */
  publishOffer?: (eventJson: string) => void
}>

/** `swarm.ts` exports `createSwarm`, `download.ts` `createDownload`, `shop.ts` `createShop`. */
export type CreateSwarm = (options: SwarmOptions) => Promise<Swarm>
export type CreateDownload = (deps: DownloadDeps) => Download
export type CreateShop = (deps: ShopDeps) => Shop

/** `hash-artifact.ts`. Reads once, in order; the piece length follows from the length. */
export type HashArtifact = (
  source: ByteSource,
  name: string,
  trackers: readonly string[],
  onProgress?: (pieces: number, of: number) => void,
) => Promise<{ meta: Metainfo; sha256: Sha256Hex; magnet: string }>
export type ByteSource = { length: number; read(offset: number, length: number): Promise<Uint8Array> }
