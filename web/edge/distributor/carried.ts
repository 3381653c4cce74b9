/**
 * One release that is carried: gets the .torrent, opens the store, joins the swarm, fetches what is missing
 * (free first, then for sats if its owner allows) and sells what is proven, all at once. Its failures are its
 * own: it says what is wrong and tries again.
 */
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../core/exchange/desk.ts'
import type { Bytes, PartyKey } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { MIB, msat, priceOf, type Msat } from '../../core/money/msat.ts'
import { BUYER_DEFAULTS } from '../../core/swarm/buyer.ts'
import { readMetainfo } from '../../core/swarm/metainfo.ts'
import { fetchTorrent } from '../release/mirror.ts'
import type {
  BuyPolicy,
  CreateDownload,
  CreateShop,
  Download,
  DownloadSnapshot,
  Identity,
  Journal,
  Metainfo,
  PieceStore,
  SellPolicy,
  Session,
  SessionVendor,
  Shop,
  ShopSnapshot,
  Swarm,
} from '../swarm/api.ts'
import type { Cheats } from '../swarm/cheats.ts'
import type { RateLimit } from '../swarm/rate-limit.ts'
import type { Wallet } from '../wallet/wallet.ts'
import type { CarryState } from './api.ts'
import { loadTorrent, saveTorrent, type CarryRecord } from './records.ts'

/** How long it hopes for a free copy before it spends what it may. */
export const GIFT_PATIENCE_MS = 5_000
/** Ciphertext that may be out unpaid, in all and to keys that have not paid before (DESIGN: 32 MiB). */
export const LOCKED_TIMEOUT_MS = 60_000
/** At stake with one seller that has settled before, as bytes at the price cap; and with all new keys together. */
const RISK_WINDOW_BYTES = 4 * MIB
/** After trouble with the disk: doubled from one to the other while it lasts. */
export const DISK_RETRY_MS = { first: 30_000, most: 600_000 } as const
const RETRY_MS = [1_000, 3_000, 10_000, 30_000, 60_000] as const

export type Terms = Readonly<{
  wallet: Wallet | undefined
  /** Asked per MiB; the release's cap bounds it. */
  price: Msat
  uploadBps: number | undefined
  spend: Msat
  /** The vendor and the sellers it names. */
  approved: readonly PartyKey[]
}>

export type CarriedView = Readonly<{
  state: CarryState
  have: number
  pieces: number
  onDiskBytes: number
  connected: number
  fullCopies: number
  spent: Msat
  shop: ShopSnapshot | undefined
}>

export interface Carried {
  readonly record: CarryRecord
  readonly view: Live<CarriedView>
  start(): void
  setTerms(terms: Terms): void
  /** Leaves the swarm; bytes and records stay. */
  stop(): Promise<void>
  /** Leaves the swarm and removes the bytes. */
  destroy(): Promise<void>
}

export type CarriedDeps = Readonly<{
  record: CarryRecord
  relayUrl: string
  identity: Identity
  swarm: () => Promise<Swarm>
  cheats: Cheats
  floor: () => string | undefined
  onFloor: (eventJson: string) => void
  openStore: (meta: Metainfo) => Promise<PieceStore>
  journal: Journal
  createDownload: CreateDownload
  createShop: CreateShop
  /** Shared by everything that is carried. */
  upload: RateLimit
  download: RateLimit
  publishOffer: (eventJson: string) => void
  fetch: typeof globalThis.fetch
  nowMs: () => number
  log: (event: string, detail: Readonly<Record<string, unknown>>) => void
}>

type Open = { store: PieceStore; session: Session; unwatch: () => void }

export function createCarried(deps: CarriedDeps, firstTerms: Terms): Carried {
  const { release, vendor } = deps.record
  const { infoHash } = release
  const pieces = Math.max(1, Math.ceil(release.bytes / release.pieceLength))
  const pieceLog = (event: string, detail: Readonly<Record<string, unknown>>) =>
    deps.log(event, { release: release.path, ...detail })

  let terms = firstTerms
  let wanted = false
  let open: Open | undefined
  let store: PieceStore | undefined
  let download: { at: Download; wallet: Wallet | undefined; spend: Msat; unwatch: () => void } | undefined
  let shop: { at: Shop; wallet: Wallet | undefined; unwatch: () => void } | undefined
  let shopView: ShopSnapshot | undefined
  let downloadView: DownloadSnapshot | undefined
  let lastHave = 0
  let spent = msat(0)
  let trouble: string | undefined
  let failures = 0
  let progress = { have: 0, atMs: 0 }
  let timer: ReturnType<typeof setTimeout> | undefined
  let disk: { text: string; timer: ReturnType<typeof setTimeout> } | undefined
  let diskRetryMs: number = DISK_RETRY_MS.first
  const view = liveCell<CarriedView>(look())

  // One thing at a time: opening, changing terms and closing would meet half-made parts of each other.
  let queue: Promise<void> = Promise.resolve()
  const enqueue = (task: () => Promise<void>): Promise<void> => (queue = queue.then(task).catch(fail))

  function fail(error: unknown): void {
    failures++
    trouble = error instanceof Error ? error.message : String(error)
    pieceLog('carry-failed', { error: trouble })
    show()
    if (wanted) wait(RETRY_MS[Math.min(failures, RETRY_MS.length) - 1]!)
  }

  /** A download or shop that met a failing disk does not go on by itself: it is made anew when the wait is over. */
  function rest(error: unknown): void {
    if (disk !== undefined || !wanted) return
    const why = error instanceof Error ? error.message : String(error)
    const again = async (): Promise<void> => {
      disk = undefined
      await endDownload()
      await bringUp()
    }
    const seconds = diskRetryMs / 1000
    const wait = seconds < 180 ? `${seconds} seconds` : `${seconds / 60} minutes`
    const text = `${why.replace(/\.?$/, '.')} It is tried again in ${wait}.`
    disk = { text, timer: setTimeout(() => void enqueue(again), diskRetryMs) }
    diskRetryMs = Math.min(2 * diskRetryMs, DISK_RETRY_MS.most)
    pieceLog('disk-failed', { error: why })
    show()
  }
  const diskWorks = (): void => {
    diskRetryMs = DISK_RETRY_MS.first
  }
  const watched = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      rest(error)
      throw error
    }
  }
  const journal: Journal = {
    put: (key, ...parts) => watched(deps.journal.put(key, ...parts)),
    get: (key) => deps.journal.get(key),
    delete: (key) => watched(deps.journal.delete(key)),
    keys: (prefix) => deps.journal.keys(prefix),
  }
  const watchedStore = (at: PieceStore): PieceStore => ({
    get have() {
      return at.have
    },
    get bytesWritten() {
      return at.bytesWritten
    },
    read: (offset, length, into) => at.read(offset, length, into),
    write: (piece, bytes) => watched(at.write(piece, bytes).then(diskWorks)),
    close: () => at.close(),
    destroy: () => at.destroy(),
  })

  function wait(ms: number): void {
    clearTimeout(timer)
    timer = setTimeout(() => void enqueue(bringUp), ms)
  }

  /** Makes whatever is missing for the present wish and terms; called again after every change. */
  async function bringUp(): Promise<void> {
    if (!wanted) return
    open ??= await join()
    if (!wanted) return
    trouble = undefined
    failures = 0
    // Selling first: what is already here earns while the rest is fetched.
    await bringShop(open)
    await bringDownload(open)
    show()
  }

  /** Counts what a last run left on disk, also while the switch is off. */
  async function peek(): Promise<void> {
    const kept = await loadTorrent(deps.journal, infoHash)
    if (!kept) return
    store ??= await deps.openStore(readMetainfo(kept, release))
    show()
  }

  async function join(): Promise<Open> {
    const meta = readMetainfo(await torrent(), release)
    const opened = (store ??= await deps.openStore(meta))
    const sessionVendor: SessionVendor = { vendor, floor: deps.floor, onFloor: deps.onFloor }
    const session = await (await deps.swarm()).join(meta, watchedStore(opened), sessionVendor)
    const unwatch = session.peers.subscribe(() => show())
    return { store: opened, session, unwatch }
  }

  async function torrent(): Promise<Bytes> {
    const kept = await loadTorrent(deps.journal, infoHash)
    if (kept) return kept
    const fetched = await fetchTorrent([deps.relayUrl], vendor, infoHash, deps.fetch)
    if (fetched.tag === 'failed')
      throw new Error(`Its list of pieces could not be fetched and is asked for again (${fetched.text}).`)
    const { bytes } = fetched
    readMetainfo(bytes, release) // kept only if the vendor signed it
    await saveTorrent(deps.journal, infoHash, bytes)
    return bytes
  }

  const sellPolicy = (): SellPolicy => ({
    price: msat(Math.min(terms.price, release.priceCapMsat)),
    gifts: { to: 'nobody', copies: 0 },
    approved: terms.approved,
    unpaidBytes: DEFAULT_UNPAID_BYTES,
    unprovenBytes: DEFAULT_UNPROVEN_BYTES,
    ...(terms.uploadBps !== undefined && { uploadBps: terms.uploadBps }),
  })

  async function bringShop(at: Open): Promise<void> {
    const { wallet } = terms
    if (shop && shop.wallet !== wallet) {
      shop.unwatch()
      await shop.at.stop()
      shop = undefined
    }
    if (shop) return shop.at.setPolicy(sellPolicy())
    if (!wallet && sellPolicy().price > 0) return // nothing to be paid with yet
    const made = deps.createShop({
      session: at.session,
      identity: deps.identity,
      journal: deps.journal,
      ...(wallet && { wallet }),
      policy: sellPolicy(),
      nowMs: deps.nowMs,
      log: pieceLog,
      upload: deps.upload,
      publishOffer: deps.publishOffer,
    })
    const unwatch = made.subscribe((snapshot) => {
      shopView = snapshot
      show()
    })
    shop = { at: made, wallet, unwatch }
    // Not awaited: it asks the wallet, and fetching does not wait for a wallet.
    made
      .start()
      .catch((error: unknown) => {
        if (shop?.at !== made) return
        unwatch()
        shop = undefined
        rest(error)
      })
      .then(() => (shop?.at === made ? undefined : made.stop()))
      .catch((error: unknown) => pieceLog('shop-not-stopped', { error: String(error) }))
  }

  const mayPay = (): boolean => terms.wallet !== undefined && terms.spend > 0

  const buyPolicy = (): BuyPolicy => {
    const perWindow = priceOf(RISK_WINDOW_BYTES, release.priceCapMsat)
    const atStake = msat(Math.min(perWindow, terms.spend))
    return {
      ...BUYER_DEFAULTS,
      resells: true,
      priceCap: release.priceCapMsat,
      budget: terms.spend,
      riskBudget: atStake,
      unprovenBudget: atStake,
      lockedTimeoutMs: LOCKED_TIMEOUT_MS,
      approved: terms.approved,
    }
  }

  async function bringDownload(at: Open): Promise<void> {
    const have = countBits(at.store.have, pieces)
    if (have === pieces || disk !== undefined) return
    const now = deps.nowMs()
    if (!download || have > progress.have) progress = { have, atMs: now }
    const patient = now - progress.atMs < GIFT_PATIENCE_MS
    const pay = mayPay() && (download?.wallet !== undefined || (download !== undefined && !patient))
    const wallet = pay ? terms.wallet : undefined
    const spend = pay ? terms.spend : msat(0)
    if (download && download.wallet === wallet && download.spend === spend) {
      if (!pay && mayPay()) wait(Math.max(50, progress.atMs + GIFT_PATIENCE_MS - now))
      return
    }
    await endDownload()
    const made = deps.createDownload({
      session: at.session,
      identity: deps.identity,
      journal,
      ...(wallet && { wallet }),
      cheats: deps.cheats.proven,
      download: deps.download,
      policy: buyPolicy(),
      nowMs: deps.nowMs,
      log: pieceLog,
    })
    const watches = [
      made.subscribe((snapshot) => {
        downloadView = snapshot
        spent = msat(Math.max(spent, snapshot.paid + snapshot.fees))
        show()
      }),
      made.onFraud((proof, seller) => deps.cheats.accuse(infoHash, proof, seller)),
      at.session.peers.subscribe(({ provenKeys }) => deps.cheats.meet(provenKeys)),
    ]
    const unwatch = () => {
      for (const end of watches) end()
    }
    download = { at: made, wallet, spend, unwatch }
    if (!pay && mayPay()) wait(GIFT_PATIENCE_MS)
    try {
      await made.start()
    } catch (error) {
      await endDownload()
      rest(error)
    }
  }

  async function endDownload(): Promise<void> {
    if (!download) return
    const ending = download
    download = undefined
    ending.unwatch()
    await ending.at.stop()
    downloadView = undefined
  }

  async function takeDown(): Promise<void> {
    clearTimeout(timer)
    clearTimeout(disk?.timer)
    disk = undefined
    await endDownload()
    if (shop) {
      shop.unwatch()
      await shop.at.stop()
      shop = undefined
      if (shopView) shopView = { ...shopView, rateBps: 0, sales: [] }
    }
    if (open) {
      open.unwatch()
      await open.session.leave()
      open = undefined
    }
    if (store) await store.close()
    store = undefined
    show()
  }

  function show(): void {
    view.set(look())
  }

  function look(): CarriedView {
    const have = (lastHave = store ? countBits(store.have, pieces) : lastHave)
    const peers = open?.session.peers.get()
    return {
      state: stateOf(have),
      have,
      pieces,
      onDiskBytes: have === pieces ? release.bytes : have * release.pieceLength,
      connected: peers?.connected ?? 0,
      fullCopies: peers?.fullCopies ?? 0,
      spent,
      shop: shopView,
    }
  }

  function stateOf(have: number): CarryState {
    if (trouble !== undefined) return { tag: 'trouble', text: trouble }
    if (!wanted) return { tag: 'held' }
    if (disk !== undefined) return { tag: 'trouble', text: disk.text }
    if (have === pieces) return { tag: 'seeding' }
    const at = downloadView?.state
    if (!at || at.tag === 'looking' || at.tag === 'stopped') return { tag: 'looking' }
    if (at.tag === 'buying' || at.tag === 'complete') return { tag: 'fetching' }
    if (!download?.wallet)
      return mayPay()
        ? { tag: 'looking' }
        : {
            tag: 'waiting',
            text: 'Nobody gives it away now. Allow a sum for first copies in your terms, or wait.',
          }
    if (at.why === 'funds')
      return {
        tag: 'waiting',
        text: `Its first copy needs ${Math.ceil(at.needMsat / 1000)} sats more in your wallet.`,
      }
    return { tag: 'waiting', text: at.text }
  }

  void enqueue(peek)
  return {
    record: deps.record,
    view,
    start() {
      if (wanted) return
      wanted = true
      show()
      void enqueue(bringUp)
    },
    setTerms(next) {
      terms = next
      if (wanted) void enqueue(bringUp)
    },
    stop() {
      wanted = false
      return enqueue(takeDown)
    },
    destroy() {
      wanted = false
      return enqueue(async () => {
        const bytes = store
        store = undefined // so that it is destroyed, not closed
        await takeDown()
        await bytes?.destroy()
        lastHave = 0
        show()
      })
    },
  }
}

function countBits(bits: Uint8Array, pieces: number): number {
  let have = 0
  for (let piece = 0; piece < pieces; piece++) if ((bits[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) have++
  return have
}
