/**
 * One release that is carried: gets the .torrent, opens the store, joins the swarm, fetches what is missing
 * (free first, then for sats if its owner allows) and sells what is proven, all at once. Its failures are its
 * own: it says what is wrong and tries again.
 */
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../core/exchange/desk-policy.ts'
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
import { carryState, countBits } from './carry-state.ts'
import { createDiskRest } from './disk-rest.ts'
import { loadTorrent, saveTorrent, type CarryRecord } from './records.ts'

/** How long it hopes for a free copy before it spends what it may. */
export const GIFT_PATIENCE_MS = 5_000
const LOCKED_TIMEOUT_MS = 60_000
/** At stake with one seller that has settled before, as bytes at the price cap: rate × payment time fits in, at 2 MB/s with payments of 8 s. */
const RISK_BYTES = 16 * MIB
/** The same with all new keys together, but at least a piece. */
const UNPROVEN_BYTES = 4 * MIB
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

  const disk = createDiskRest({
    journal: deps.journal,
    wanted: () => wanted,
    again: () =>
      void enqueue(async () => {
        disk.end()
        await endDownload()
        await bringUp()
      }),
    onBegin(why) {
      pieceLog('disk-failed', { error: why })
      show()
    },
  })

  const view = liveCell<CarriedView>(look())

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
    const session = await (await deps.swarm()).join(meta, disk.watch(opened), sessionVendor)
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
    if (shop?.wallet !== wallet) await endShop()
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
        disk.begin(error)
        return endShop()
      })
      .then(() => (shop?.at === made ? undefined : made.stop()))
      .catch((error: unknown) => pieceLog('shop-not-stopped', { error: String(error) }))
  }

  async function endShop(): Promise<void> {
    if (!shop) return
    const ending = shop
    shop = undefined
    shopView = undefined
    ending.unwatch()
    await ending.at.stop()
  }

  function mayPay(): boolean {
    return terms.wallet !== undefined && terms.spend > 0
  }

  const buyPolicy = (): BuyPolicy => {
    const piece = Math.min(release.pieceLength, release.bytes)
    const atStake = (bytes: number): Msat =>
      msat(Math.min(priceOf(Math.max(bytes, piece), release.priceCapMsat), terms.spend))
    return {
      ...BUYER_DEFAULTS,
      resells: true,
      priceCap: release.priceCapMsat,
      budget: terms.spend,
      riskBudget: atStake(RISK_BYTES),
      unprovenBudget: atStake(UNPROVEN_BYTES),
      lockedTimeoutMs: LOCKED_TIMEOUT_MS,
      approved: terms.approved,
    }
  }

  const owes = async (): Promise<boolean> => (await deps.journal.keys(`buy/${infoHash}/`)).length > 0
  async function bringDownload(at: Open): Promise<void> {
    const have = countBits(at.store.have, pieces)
    if (disk.text !== undefined) return
    // A copy that is whole may not be paid for yet: what is owed, or of unknown outcome, is seen through.
    if (have === pieces && (download !== undefined || terms.wallet === undefined || !(await owes()))) return
    const now = deps.nowMs()
    if (!download || have > progress.have) progress = { have, atMs: now }
    const waited = Math.abs(now - progress.atMs) // a clock that was set back is no reason to wait on
    const patient = waited < GIFT_PATIENCE_MS
    const pay =
      have === pieces
        ? terms.wallet !== undefined
        : mayPay() && (download?.wallet !== undefined || (download !== undefined && !patient))
    const wallet = pay ? terms.wallet : undefined
    const spend = pay ? terms.spend : msat(0)
    if (download && download.wallet === wallet && download.spend === spend) {
      if (!pay && mayPay()) wait(Math.max(50, GIFT_PATIENCE_MS - waited))
      return
    }
    await endDownload()
    const made = deps.createDownload({
      session: at.session,
      identity: deps.identity,
      journal: disk.journal,
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
    // A debt whose invoice has lapsed waits for its seller to come back.
    if (have === pieces)
      void made.settled.then(() =>
        enqueue(async () => (download?.at === made && !(await owes()) ? endDownload() : undefined)),
      )
    if (!pay && mayPay()) wait(GIFT_PATIENCE_MS)
    try {
      await made.start()
    } catch (error) {
      await endDownload()
      disk.begin(error)
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
    disk.end()
    await endDownload()
    await endShop()
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
      state: carryState({
        trouble,
        wanted,
        disk: disk.text,
        complete: have === pieces,
        download: downloadView?.state,
        pays: download?.wallet !== undefined,
        mayPay: mayPay(),
      }),
      have,
      pieces,
      onDiskBytes: have === pieces ? release.bytes : have * release.pieceLength,
      connected: peers?.connected ?? 0,
      fullCopies: peers?.fullCopies ?? 0,
      spent,
      shop: shopView,
    }
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
        await peek() // `stop` has closed it
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
