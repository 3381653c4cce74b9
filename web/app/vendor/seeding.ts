/**
 * Seeds the vendor's live releases from this browser. Web Locks elect one tab to run it; the others show its
 * state, and one of them takes over when it closes. Bytes come from the chosen file, or from the copy in OPFS.
 */
import type { Bytes, InfoHash, PartyKey } from '../../core/bytes.ts'
import type { FleetView } from '../../core/rollout/fleet.ts'
import type { Release } from '../../core/release/target.ts'
import type { Pool } from '../../edge/nostr/pool.ts'
import type { RelayConfig } from '../../edge/relay-config.ts'
import { openIdbJournal } from '../../edge/storage/idb-journal.ts'
import { fileStore, openOpfsStore } from '../../edge/swarm/opfs-store.ts'
import type { Metainfo, PieceStore, Swarm } from '../../edge/swarm/api.ts'
import type { Seed, Vendor, VendorKeys } from '../../edge/vendor/api.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import { words } from '../errors.ts'
import type { Draft } from './drafts.svelte.ts'
import type { TabSeed } from './tab-seed.ts'
import { sellPolicy, type GiftPolicy } from './settings.ts'

const LOCK = 'satpatch/vendor-seeder'
const CHANNEL = 'satpatch/vendor-seeder'
/** At most so many tellings of the tab's state a second. */
const TELL_EVERY_MS = 250

/** Files handed over by other tabs, at most. */
const MAX_FILES = 64

/** `key`: the file is the plain one, and pieces of the encrypted artifact are made of it. */
type Chosen = Readonly<{ file: File; key?: Bytes }>
type Running = { seed?: Seed; sells?: boolean; ends: (() => void)[] }
type Said =
  | { tag: 'copied' }
  /** No copy could be kept: whichever tab seeds reads the file itself. */
  | ({ tag: 'file'; infoHash: InfoHash } & Chosen)
  | { tag: 'state'; tabs: readonly (readonly [string, TabSeed])[] }

export type SeedingDeps = Readonly<{
  vendor: Vendor
  keys: VendorKeys
  config: RelayConfig
  pool: Pool
  /** Settles once; without a wallet it gives and does not sell, until `useWallet`. */
  wallet: Promise<Wallet | undefined>
  gifts: () => GiftPolicy
  approved: () => readonly PartyKey[]
  onChange: (tabs: ReadonlyMap<string, TabSeed>) => void
}>

export class Seeding {
  readonly #deps: SeedingDeps
  readonly #tabs = new Map<string, TabSeed>()
  readonly #running = new Map<string, Running>()
  /** Files chosen in this tab or handed over by another, by info-hash: served from where they lie. */
  readonly #files = new Map<InfoHash, Chosen>()
  readonly #channel = new BroadcastChannel(CHANNEL)
  #swarm: Promise<Swarm> | undefined
  #wallet: Wallet | undefined
  /** How often other tabs have told of a copy or a file. */
  #told = 0
  #leads = false
  #telling: ReturnType<typeof setTimeout> | undefined

  constructor(deps: SeedingDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#channel.addEventListener('message', (event: MessageEvent<Said>) => {
      const said = event.data
      if (said.tag === 'file' && this.#files.size < MAX_FILES) this.#files.set(said.infoHash, said)
      if (said.tag !== 'state') this.#told++
      if (this.#leads && said.tag !== 'state') this.#follow()
      if (!this.#leads && said.tag === 'state') {
        this.#deps.onChange(new Map(said.tabs.map(([path, tab]) => [path, shownElsewhere(tab)])))
      }
    })
    // Held until the tab closes; granted to the next tab then.
    void navigator.locks.request(LOCK, async () => {
      await this.#deps.wallet
      this.#leads = true
      this.#deps.vendor.releases.subscribe(() => this.#follow())
      await new Promise(() => undefined)
    })
  }

  /** About to be published here: this tab has the file at hand. */
  expect(meta: Metainfo, draft: Draft): void {
    const { key } = draft.hashed?.confidential ?? {}
    const chosen: Chosen = { file: draft.file, ...(key && { key }) }
    this.#files.set(meta.infoHash, chosen)
    // `copied` settles when copying has ended, well or not.
    void draft.copied.then(() => {
      const said: Said =
        draft.copy.tag === 'failed' && !this.#leads
          ? { tag: 'file', infoHash: meta.infoHash, ...chosen }
          : { tag: 'copied' }
      this.#channel.postMessage(said)
    })
  }

  /** The wallet opened late: what was only given is sold from now on. */
  useWallet(wallet: Wallet): void {
    this.#wallet = wallet
    for (const [path, running] of this.#running)
      if (running.seed && !running.sells) void this.#again(path, running)
  }

  async #again(path: string, running: Running): Promise<void> {
    const pause: Running = { ends: [] }
    this.#running.set(path, pause)
    for (const end of running.ends) end()
    await running.seed?.stop().catch(() => undefined)
    if (this.#running.get(path) !== pause) return
    this.#running.delete(path)
    this.#follow()
  }

  /** Price, first copies or approved keys changed. */
  retune(): void {
    for (const known of this.#deps.vendor.releases.get()) {
      this.#running.get(known.release.path)?.seed?.shop.setPolicy(this.#policy(known.release))
    }
  }

  /** Whether closing this tab takes the only full copy from devices that still need it. */
  hasOnlyCopy(fleet: FleetView): boolean {
    return [...this.#tabs].some(([path, tab]) => {
      if (tab.tag !== 'seeding' || tab.fullCopies > 0) return false
      const view = fleet.releases.find((release) => release.release.path === path)
      return view?.status === 'live' && view.healthy < Math.max(1, view.enrolled)
    })
  }

  #follow(): void {
    for (const { release, status } of this.#deps.vendor.releases.get()) {
      if (status === 'withdrawn') {
        this.#stop(release.path)
        this.#tell(release.path, { tag: 'stopped' })
      } else if (!this.#running.has(release.path)) void this.#seed(release)
    }
  }

  async #seed(release: Release): Promise<void> {
    const running: Running = { ends: [] }
    this.#running.set(release.path, running)
    this.#tell(release.path, { tag: 'starting' })
    const told = this.#told
    try {
      const meta = await this.#deps.vendor.torrent(release)
      const chosen = this.#files.get(meta.infoHash)
      const store = chosen ? fileStore(chosen.file, meta, chosen.key) : await openCopy(meta)
      if (!store) {
        // Looked for again when another tab says that it has copied something.
        this.#running.delete(release.path)
        this.#tell(release.path, { tag: 'no-copy' })
        // One came while it was being looked for.
        if (told !== this.#told) this.#follow()
        return
      }
      // The swarm is large and only those who seed need it.
      const [{ createSwarm }, { createShop }, { startSeed }] = await Promise.all([
        import('../../edge/swarm/swarm.ts'),
        import('../../edge/swarm/shop.ts'),
        import('../../edge/vendor/seed.ts'),
      ])
      const { keys, config, pool, vendor } = this.#deps
      this.#swarm ??= createSwarm({
        identity: keys.nostr,
        role: 'vendor',
        iceServers: config.iceServers,
        trackers: [config.trackerUrl],
      })
      const wallet = this.#wallet ?? (await this.#deps.wallet)
      const seed = await startSeed({
        vendor,
        keys,
        swarm: await this.#swarm,
        pool,
        release,
        meta,
        store,
        journal: openIdbJournal('satpatch-vendor'),
        ...(wallet === undefined ? {} : { wallet }),
        policy: this.#policy(release),
        nowMs: Date.now,
        createShop,
      })
      if (this.#running.get(release.path) !== running) return void seed.stop()
      running.seed = seed
      running.sells = wallet !== undefined
      const sinceMs = Date.now()
      const show = () =>
        this.#tell(release.path, {
          tag: 'seeding',
          sinceMs,
          fullCopies: seed.fullCopies.get(),
          connected: seed.session.peers.get().connected,
          provenKeys: seed.session.peers.get().provenKeys,
          shop: seed.shop.get(),
        })
      running.ends.push(
        seed.fullCopies.subscribe(show),
        seed.session.peers.subscribe(show),
        seed.shop.subscribe(show),
      )
      // It opened while the seed was starting.
      if (!running.sells && this.#wallet) await this.#again(release.path, running)
    } catch (error) {
      const { what, todo } = words(error)
      this.#running.delete(release.path)
      this.#tell(release.path, { tag: 'trouble', text: `${what} ${todo}`.trim() })
    }
  }

  #policy(release: Release) {
    return sellPolicy(this.#deps.gifts(), release.priceCapMsat, this.#deps.approved())
  }

  #stop(path: string): void {
    const running = this.#running.get(path)
    this.#running.delete(path)
    this.#tabs.delete(path)
    for (const end of running?.ends ?? []) end()
    void running?.seed?.stop()
  }

  #tell(path: string, tab: TabSeed): void {
    this.#tabs.set(path, tab)
    if (this.#telling !== undefined) return
    this.#telling = setTimeout(() => {
      this.#telling = undefined
      this.#deps.onChange(new Map(this.#tabs))
      this.#channel.postMessage({ tag: 'state', tabs: [...this.#tabs] } satisfies Said)
    }, TELL_EVERY_MS)
  }
}

const shownElsewhere = (tab: TabSeed): TabSeed =>
  tab.tag === 'seeding' || tab.tag === 'starting' ? { tag: 'other-tab' } : tab

/** The whole copy that an earlier visit left in this browser, if there is one. */
async function openCopy(meta: Metainfo): Promise<PieceStore | undefined> {
  if (!(await hasCopy(meta.infoHash))) return undefined
  const store = await openOpfsStore(meta)
  for (let piece = 0; piece < meta.pieces; piece++) {
    if (((store.have[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) === 0) {
      await store.close()
      return undefined
    }
  }
  return store
}

async function hasCopy(infoHash: InfoHash): Promise<boolean> {
  try {
    const root = await navigator.storage.getDirectory()
    const folder = await root.getDirectoryHandle('artifacts')
    await folder.getFileHandle(infoHash)
    return true
  } catch {
    return false
  }
}
