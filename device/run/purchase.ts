/**
 * Buys one release: opens the file, joins the swarm, drives a `Download` and takes it up again after trouble with the
 * disk. The same object waits for the last payments while the release is already being installed.
 */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../web/core/exchange/desk.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import { priceOf, type Msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import { BUYER_DEFAULTS, memoryBytesFor } from '../../web/core/swarm/buyer.ts'
import { readMetainfo } from '../../web/core/swarm/metainfo.ts'
import { artifactUrl, fetchTorrent, type Verified } from '../../web/edge/release/mirror.ts'
import type {
  BuyPolicy,
  Download,
  DownloadSnapshot,
  Journal,
  Metainfo,
  PieceStore,
  Session,
  Shop,
  Swarm,
} from '../../web/edge/swarm/api.ts'
import type { RateLimit } from '../../web/edge/swarm/rate-limit.ts'
import type { Cheats } from '../../web/edge/swarm/cheats.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import type { DeviceConfig } from '../config/config.ts'
import { asEventLog, type Logger } from '../log.ts'
import { writeDurably } from '../storage/durable.ts'
import { errnoOf, StorageError, storageError } from '../storage/errors.ts'
import type { NodeJournal } from '../storage/journal.ts'
import { countPieces, hasPiece, openPieceStore } from '../storage/piece-store.ts'
import type { Ports } from './ports.ts'
import type { RefusedBook } from './refused.ts'
import { encodeCount, encodeSold, mirrorBytesKey, soldKey, type Sold } from './sums.ts'

/** The message is for the device's owner; the purchase is tried again. */
export class PurchaseError extends Error {
  override readonly name = 'PurchaseError'
}

export type PurchaseDeps = Readonly<{
  config: DeviceConfig
  ports: Ports
  journal: NodeJournal
  swarm: () => Promise<Swarm>
  /** Of the whole process. */
  uploadLimit?: RateLimit
  downloadLimit?: RateLimit
  cheats: Cheats
  verified: () => Verified | undefined
  floor: () => string | undefined
  onFloor: (eventJson: string) => void
  /** What was refused, by the attack's name. */
  refused: Pick<RefusedBook, 'note'>
  /** A payment that settled after the pieces had been bought elsewhere. */
  onLate: () => void
  log: Logger
}>

export interface Purchase {
  readonly release: Release
  readonly meta: Metainfo
  readonly store: PieceStore
  readonly snapshot: Live<DownloadSnapshot | undefined>
  /** What this device sold of it in this run. */
  readonly sold: Live<Sold>
  /** Bytes written for this release since the last call, ciphertext included. */
  takeWritten(): number
  missingBytes(): number
  /**
   * Buys until all pieces are there ('complete'), the signal ends it ('stopped') or the disk fails (throws
   * StorageError). May be called again after either of the last two.
   */
  buy(wallet: Wallet | undefined, signal: AbortSignal): Promise<'complete' | 'stopped'>
  /** Resolves when no payment is open; goes on with `buy`'s download or starts one. */
  settle(wallet: Wallet | undefined, signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

export const downloadDir = (dataDir: string, release: Release): string =>
  join(dataDir, 'downloads', release.infoHash)
export const artifactPath = (dataDir: string, release: Release): string =>
  join(downloadDir(dataDir, release), 'artifact')

/** What was downloaded for a release goes, once it is installed or given up. */
export const removeDownload = (dataDir: string, release: Release): Promise<void> =>
  rm(downloadDir(dataDir, release), { recursive: true, force: true })

/** @throws PurchaseError, StorageError */
export async function openPurchase(
  deps: PurchaseDeps,
  release: Release,
  /** The file has been proven and moved to its slot: only payments are still open. */
  sealed: boolean,
): Promise<Purchase> {
  const { config, ports, log } = deps
  const meta = await metainfoOf(deps, release)
  const store = sealed ? sealedStore(meta) : await openPieceStore(artifactPath(config.dataDir, release), meta)
  const journalBefore = deps.journal.bytesWritten
  const startedMs = ports.nowMs()
  let taken = 0

  // The download reports a failing disk as one reason among others; here it is told apart, and taken up again.
  let trouble: StorageError | undefined
  let onTrouble: (() => void) | undefined
  const watched = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      if (error instanceof StorageError) {
        trouble ??= error
        onTrouble?.()
      }
      throw error
    }
  }
  const watchedStore: PieceStore = {
    get have() {
      return store.have
    },
    get bytesWritten() {
      return store.bytesWritten
    },
    read: (offset, length, into) => store.read(offset, length, into),
    write: (piece, bytes) => watched(store.write(piece, bytes)),
    close: () => store.close(),
    destroy: () => store.destroy(),
  }
  const journal: Journal = {
    put: (key, ...parts) => watched(deps.journal.put(key, ...parts)),
    get: (key) => deps.journal.get(key),
    delete: (key) => watched(deps.journal.delete(key)),
    keys: (prefix) => deps.journal.keys(prefix),
  }

  let session: Session
  try {
    const swarm = await deps.swarm()
    session = await swarm.join(meta, watchedStore, {
      vendor: config.vendor,
      floor: deps.floor,
      onFloor: deps.onFloor,
    })
  } catch (error) {
    await store.close()
    throw error
  }

  const snapshot = liveCell<DownloadSnapshot | undefined>(undefined)
  let download: Download | undefined
  let stopWatching: (() => void)[] = []
  let closed = false
  let shop: Shop | undefined
  const sold = liveCell<Sold>({ earned: 0 as Msat, pieces: 0, bytes: 0 })

  async function begin(wallet: Wallet | undefined): Promise<Download> {
    if (download !== undefined) return download
    trouble = undefined
    // Whoever was convicted before is not asked in the first second either.
    await deps.cheats.loaded.catch(() => undefined)
    const made = ports.createDownload({
      session,
      identity: config.identity,
      journal,
      ...(wallet === undefined ? {} : { wallet }),
      cheats: deps.cheats.proven,
      ...(deps.downloadLimit === undefined ? {} : { download: deps.downloadLimit }),
      mirrors: mirrorsOf(config, release, deps.verified()),
      fetch: ports.fetch,
      policy: policyOf(config, release, deps.verified()),
      nowMs: ports.nowMs,
      log(event, detail) {
        log.debug(detail, event)
        if (event === 'mirror spoilt')
          deps.refused.note('wrong-pieces', String(detail['url']), 'It has other bytes than the release.')
        if (event === 'wallet gave a preimage that does not fit')
          deps.refused.note(
            'false-preimage',
            'the wallet',
            'It says that it has paid, and shows no proof of it.',
          )
      },
    })
    let mirrorBytes = 0
    made.subscribe(({ mirror }) => {
      if (mirror === undefined || mirror.bytes === mirrorBytes) return
      mirrorBytes = mirror.bytes
      note(mirrorBytesKey(release, startedMs), encodeCount(mirrorBytes))
    })
    download = made
    sellTo(wallet)
    stopWatching = [
      made.subscribe((value) => snapshot.set(value)),
      made.onLate(deps.onLate),
      made.onFraud((proof, seller) => deps.cheats.accuse(release.infoHash, proof, seller)),
      session.peers.subscribe(({ provenKeys }) => deps.cheats.meet(provenKeys)),
    ]
    await made.start()
    return made
  }

  /** For people only: a disk that fails here fails elsewhere, and is told there. */
  function note(key: string, value: Uint8Array): void {
    deps.journal.put(key, value).catch((error: unknown) => log.warn({ err: error }, 'a sum was not kept'))
  }

  /** What is proven here is sold while it is here; never given. */
  function sellTo(wallet: Wallet | undefined): void {
    const price = config.trade.resell
    if (price === undefined || wallet === undefined || shop !== undefined || sealed) return
    const vendor = deps.verified()?.vendorBlock
    const made = ports.createShop({
      session,
      identity: config.identity,
      journal,
      wallet,
      policy: {
        price: Math.min(price, capOf(config, release)) as Msat,
        gifts: { to: 'nobody', copies: 0 },
        approved: vendor === undefined ? [] : [vendor.nostr],
        unpaidBytes: DEFAULT_UNPAID_BYTES,
        unprovenBytes: DEFAULT_UNPROVEN_BYTES,
      },
      ...(deps.uploadLimit === undefined ? {} : { upload: deps.uploadLimit }),
      nowMs: ports.nowMs,
      log: asEventLog(log),
    })
    shop = made
    made.subscribe((now) => {
      const before = sold.get()
      sold.set({ earned: now.earned, pieces: now.soldPieces, bytes: now.uploadedBytes })
      if (now.earned !== before.earned) note(soldKey(release, startedMs), encodeSold(sold.get()))
    })
    made.start().catch((error: unknown) => log.warn({ err: error }, 'reselling did not start'))
  }

  async function end(): Promise<void> {
    for (const stop of stopWatching) stop()
    stopWatching = []
    const old = download
    download = undefined
    await old?.stop()
  }

  /** Waits for `done`; the signal and the disk end it earlier. */
  async function until(done: Promise<void>, signal: AbortSignal): Promise<'done' | 'stopped'> {
    if (trouble !== undefined) throw trouble
    let onAbort: (() => void) | undefined
    try {
      return await new Promise((resolve, reject) => {
        onAbort = () => resolve('stopped')
        if (signal.aborted) return onAbort()
        signal.addEventListener('abort', onAbort, { once: true })
        onTrouble = () => reject(trouble ?? new Error('the disk failed'))
        done.then(() => resolve('done'), reject)
      })
    } finally {
      onTrouble = undefined
      if (onAbort !== undefined) signal.removeEventListener('abort', onAbort)
    }
  }

  return {
    release,
    meta,
    store,
    snapshot,
    sold,
    takeWritten() {
      const total = store.bytesWritten + deps.journal.bytesWritten - journalBefore
      const since = total - taken
      taken = total
      return since
    },
    missingBytes() {
      const short = hasPiece(store.have, meta.pieces - 1) ? 0 : meta.pieces * meta.pieceLength - meta.length
      return (meta.pieces - countPieces(store.have)) * meta.pieceLength - short
    },
    async buy(wallet, signal) {
      try {
        const running = await begin(wallet)
        if ((await until(running.complete, signal)) === 'done') return 'complete'
        await end()
        return 'stopped'
      } catch (error) {
        await end()
        throw error
      }
    },
    async settle(wallet, signal) {
      try {
        const running = await begin(wallet)
        await until(running.settled, signal)
      } catch (error) {
        await end()
        throw error
      }
    },
    async close() {
      if (closed) return
      closed = true
      await shop?.stop()
      await end()
      await session.leave()
      await store.close()
    },
  }
}

/** Pieces that may be at stake with sellers that have not delivered yet, all together, unless the owner says otherwise. */
const UNPROVEN_PIECES = 4
/** With a download limit no more is asked for than comes in so many seconds: well within a seller's time for a window. */
const PACED_SECONDS = 4

/** Risk limits never fall below what one honest exchange needs, whatever the piece length. */
function policyOf(config: DeviceConfig, release: Release, verified: Verified | undefined): BuyPolicy {
  const priceCap = capOf(config, release)
  const piece = priceOf(Math.min(release.pieceLength, release.bytes), priceCap)
  const vendor = verified?.vendorBlock
  const { trade } = config
  const memory = memoryBytesFor(totalmem())
  return {
    ...BUYER_DEFAULTS,
    prefer: trade.prefer,
    budgetBytes: trade.budgetBytes,
    paymentSlots: trade.paymentSlots,
    mirror: trade.mirror,
    resells: trade.resell !== undefined,
    memoryBytes:
      trade.downloadBps === undefined ? memory : Math.min(memory, trade.downloadBps * PACED_SECONDS),
    priceCap,
    budget: config.budget,
    riskBudget: Math.max(config.riskBudget, piece) as Msat,
    unprovenBudget: Math.max(config.unprovenBudget ?? UNPROVEN_PIECES * piece, piece) as Msat,
    lockedTimeoutMs: config.lockedTimeoutMs,
    approved: vendor === undefined ? [] : [vendor.nostr, ...vendor.distributors],
  }
}

/** The lower of the vendor's and the owner's cap. */
export const capOf = (config: DeviceConfig, release: Release): Msat =>
  config.priceCap !== undefined && config.priceCap < release.priceCapMsat
    ? config.priceCap
    : release.priceCapMsat

/** Static hosts of the owner's choice and of the vendor's. */
const staticMirrors = (config: DeviceConfig, verified: Verified | undefined): readonly string[] => [
  ...new Set([...config.mirrors, ...(verified?.vendorBlock.mirrors ?? [])]),
]

/** Where the artifact may lie as a plain file. */
function mirrorsOf(
  config: DeviceConfig,
  release: Release,
  verified: Verified | undefined,
): readonly string[] {
  const { mirrorUrl } = config.trade
  const own =
    mirrorUrl === undefined ? [] : [mirrorUrl.replaceAll('{file}', encodeURIComponent(release.fileName))]
  const hosts = staticMirrors(config, verified)
  return [...own, ...hosts.map((host) => artifactUrl(host, config.vendor, release.sha256))]
}

/** From disk, or from a mirror and then kept: an open payment must be settled without any mirror. */
async function metainfoOf(deps: PurchaseDeps, release: Release): Promise<Metainfo> {
  const directory = downloadDir(deps.config.dataDir, release)
  const path = join(directory, 'metainfo.torrent')
  try {
    return readMetainfo(await readFile(path), release)
  } catch (error) {
    const code = errnoOf(error)
    if (code !== undefined && code !== 'ENOENT') throw storageError(error, path)
  }
  const meta = await fetchMetainfo(deps, release)
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writeDurably(path, meta.torrent)
  } catch (error) {
    throw storageError(error, path)
  }
  return meta
}

/** Each mirror in turn: one that shows another list is passed over like one that shows none. @throws PurchaseError */
async function fetchMetainfo(
  { config, ports, refused, verified }: PurchaseDeps,
  release: Release,
): Promise<Metainfo> {
  const troubles: string[] = []
  for (const mirror of [...config.relays, ...staticMirrors(config, verified())]) {
    const fetched = await fetchTorrent([mirror], config.vendor, release.infoHash, ports.fetch)
    if (fetched.tag === 'failed') {
      troubles.push(fetched.text)
      continue
    }
    try {
      return readMetainfo(fetched.bytes, release)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      refused.note('wrong-pieces', mirror, `The list of pieces is not the release’s: ${why}.`)
      troubles.push(`${mirror}: its list of pieces is not the release’s`)
    }
  }
  throw new PurchaseError(
    `The list of pieces cannot be fetched (${troubles.join('; ').slice(0, 400)}). It is tried again.`,
  )
}

/** Stands for a file that is proven and moved away: everything is there, nothing is written. */
function sealedStore(meta: Metainfo): PieceStore {
  const have = new Uint8Array(Math.ceil(meta.pieces / 8))
  for (let piece = 0; piece < meta.pieces; piece++) have[piece >> 3]! |= 0x80 >> (piece & 7)
  return {
    have,
    bytesWritten: 0,
    read: () => Promise.reject(new StorageError('io', 'The file has been installed; nothing is read here.')),
    // A payment that was open over a restart unlocks pieces that are there already.
    write: () => Promise.resolve(),
    close: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  }
}
