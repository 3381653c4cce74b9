/**
 * Buys one release: opens the file, joins the swarm, drives a `Download` and takes it up again after trouble with the
 * disk. The same object waits for the last payments while the release is already being installed.
 */
import { rm } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { liveCell, type Live } from '../../web/core/live.ts'
import { priceOf, type Msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import { BUYER_DEFAULTS, memoryBytesFor } from '../../web/core/swarm/buyer.ts'
import type { Verified } from '../../web/edge/release/mirror.ts'
import type {
  BuyPolicy,
  Download,
  DownloadSnapshot,
  Journal,
  Metainfo,
  PieceStore,
  Session,
  Swarm,
} from '../../web/edge/swarm/api.ts'
import type { RateLimit } from '../../web/edge/swarm/rate-limit.ts'
import type { Cheats } from '../../web/edge/swarm/cheats.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import { artifactPath, downloadDir } from '../storage/downloads.ts'
import { StorageError } from '../storage/errors.ts'
import type { NodeJournal } from '../storage/journal.ts'
import { countPieces, hasPiece, openPieceStore } from '../storage/piece-store.ts'
import { metainfoOf, mirrorsOf } from './metainfo.ts'
import type { Ports } from './ports.ts'
import type { RefusedBook } from './refused.ts'
import { createResale, openInstalled } from './resale.ts'
import { encodeCount, mirrorBytesKey, type Sold } from './sums.ts'

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
  /** Something of what was bought has been sold on. */
  onSold: () => void
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
  /** The next release has begun: this one stays open for its payments only. */
  stopSelling(): Promise<void>
  close(): Promise<void>
}

export { artifactPath, downloadDir }

/** What was downloaded for a release goes, once it is installed or given up. */
export const removeDownload = (dataDir: string, release: Release): Promise<void> =>
  rm(downloadDir(dataDir, release), { recursive: true, force: true })

/**
 * `buy`: pieces are bought, and sold where the owner wants it. The file has been proven and moved away: `settle`, only
 * payments are still open; `resell`, and it is sold from where it is installed.
 */
export type PurchaseMode = 'buy' | 'settle' | 'resell'

/** @throws PurchaseError, StorageError */
export async function openPurchase(
  deps: PurchaseDeps,
  release: Release,
  mode: PurchaseMode,
): Promise<Purchase> {
  const { config, ports, log } = deps
  const meta = await metainfoOf(deps, release)
  const installed = mode === 'resell' ? await openInstalled(config.dataDir, release, meta) : undefined
  if (mode === 'resell' && installed === undefined)
    log.warn({ path: release.path }, 'not resold any more: the installed file has changed')
  const store =
    mode === 'buy'
      ? await openPieceStore(artifactPath(config.dataDir, release), meta)
      : (installed ?? sealedStore(meta))
  const sells = mode === 'buy' || installed !== undefined
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
  const resale = createResale({
    config,
    ports,
    journal,
    session,
    release,
    priceCap: capOf(config, release),
    verified: deps.verified,
    uploadLimit: deps.uploadLimit,
    startedMs,
    onSold: deps.onSold,
    log,
  })

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
    if (wallet !== undefined && sells) resale.start(wallet)
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
    sold: resale.sold,
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
    stopSelling: resale.stop,
    async close() {
      if (closed) return
      closed = true
      await resale.stop()
      await end()
      await session.leave()
      await store.close()
    },
  }
}

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
    unprovenBudget:
      config.unprovenBudget === undefined ? undefined : (Math.max(config.unprovenBudget, piece) as Msat),
    lockedTimeoutMs: config.lockedTimeoutMs,
    approved: vendor === undefined ? [] : [vendor.nostr, ...vendor.distributors],
  }
}

/** The lower of the vendor's and the owner's cap. */
export const capOf = (config: DeviceConfig, release: Release): Msat =>
  config.priceCap !== undefined && config.priceCap < release.priceCapMsat
    ? config.priceCap
    : release.priceCapMsat

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
