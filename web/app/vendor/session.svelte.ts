/**
 * The vendor's session in this browser: keys, engine, wallet and seeder, as Svelte state. One for the tab, outside
 * the pages, so that what runs keeps running behind them. All truth is on the relay; this only watches and asks.
 */
import type { PartyKey, VendorId } from '../../core/bytes.ts'
import type { Cheat } from '../../core/exchange/cheats.ts'
import type { Money, Msat } from '../../core/money/msat.ts'
import type { DeviceRelease, FleetView, KnownRelease } from '../../core/rollout/fleet.ts'
import type { Live } from '../../core/live.ts'
import type { Release } from '../../core/release/target.ts'
import { fetchRelayConfig, type RelayConfig } from '../../edge/relay-config.ts'
import { createPool, type Pool } from '../../edge/nostr/pool.ts'
import { createKeys, openKeys, restoreKeys, type BrowserKeys, type NextKeys } from '../../edge/vendor/keys.ts'
import { namesKey } from '../../edge/vendor/keys-file.ts'
import { keyId } from '../../core/release/keys.ts'
import { createVendor } from '../../edge/vendor/vendor.ts'
import type {
  Given,
  JoinRequestView,
  Outcome,
  ReleaseForm,
  SigningView,
  Vendor,
  VendorError,
  VendorStatus,
  WaitingView,
} from '../../edge/vendor/api.ts'
import type { Delegate } from '../../core/release/delegate.ts'
import type { RootDraft } from '../../core/release/people.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import { parseSignLink, type SignLink } from '../../core/release/sign-link.ts'
import { AppError, words, type Words } from '../errors.ts'
import { rememberRole } from '../shell/role.ts'
import { takeFragment } from '../shell/router.svelte.ts'
import { status as shell } from '../shell/status.svelte.ts'
import { drafts, type Draft } from './drafts.svelte.ts'
import { fetchHandover } from './handover.ts'
import { idbStore } from './idb-store.ts'
import { Purse } from './purse.svelte.ts'
import type { TabSeed } from './tab-seed.ts'
import { Seeding } from './seeding.ts'
import { keepGifts, loadGifts, type GiftPolicy } from './settings.ts'
import { wrapInWorker } from './wrap.ts'

export type Phase =
  | { tag: 'starting'; text: string }
  /** No keys in this browser. */
  | { tag: 'first-visit' }
  /** A one-time address would replace keys that are here. */
  | { tag: 'replace'; code: string; sealed: boolean }
  | { tag: 'open' }
  | { tag: 'trouble'; words: Words; retries?: boolean }

const RETRY_MS = 5000
const NO_FLEET: FleetView = { devices: [], unenrolled: [], releases: [] }

export class VendorSession {
  phase = $state.raw<Phase>({ tag: 'starting', text: 'Asking the relay' })
  config = $state.raw<RelayConfig>()
  keys = $state.raw<BrowserKeys>()
  status = $state.raw<VendorStatus>({ tag: 'starting' })
  releases = $state.raw<readonly KnownRelease[]>([])
  fleet = $state.raw<FleetView>(NO_FLEET)
  cheats = $state.raw<readonly Cheat[]>([])
  joinRequests = $state.raw<readonly JoinRequestView[]>([])
  approved = $state.raw<readonly PartyKey[]>([])
  mirrors = $state.raw<readonly string[]>([])
  readonly purse = new Purse()
  tabs = $state.raw<ReadonlyMap<string, TabSeed>>(new Map())
  /** The one-time code of the address that was opened. */
  admitCode = $state<string>()
  publicVendor = $state<VendorId>()
  /** What the address asks to be signed. */
  signLink = $state.raw<SignLink>()
  signing = $state.raw<SigningView>()
  waiting = $state.raw<readonly WaitingView[]>([])
  /** Another Nostr key is in force here than this page was opened with. */
  nostrMoved = $state(false)
  /** New keys that wait to replace those of this browser. */
  nextKeys = $state.raw<NextKeys>()
  #unsealed = $state(false)
  #gifts = $state.raw<GiftPolicy>(loadGifts())

  #vendor: Vendor | undefined
  #pool: Pool | undefined
  #seeding: Seeding | undefined
  #ends: (() => void)[] = []
  #started = false

  get money(): Money {
    return this.config?.money ?? 'sandbox:relay'
  }
  get trackers(): readonly string[] {
    return this.config ? [this.config.trackerUrl] : []
  }
  get pool(): Pool {
    if (!this.#pool) throw new AppError('unreachable', 'The relay has not answered yet.')
    return this.#pool
  }
  /** Whether devices report here, and hear what is announced here; others sign, and see less. */
  get announces(): boolean {
    return this.nostrMoved || this.signing === undefined || this.signing.nostr === this.keys?.nostr.key
  }
  /** True while the keys can still be read out because no backup was saved. */
  get unsealed(): boolean {
    return this.#unsealed
  }
  get gifts(): GiftPolicy {
    return this.#gifts
  }
  set gifts(gifts: GiftPolicy) {
    this.#gifts = gifts
    keepGifts(gifts)
    this.#seeding?.retune()
  }

  /** Called by the pages; only the first call does something. */
  start(): void {
    if (this.#started) return
    this.#started = true
    const vendor = new URL(location.href).searchParams.get('vendor')
    if (vendor !== null) this.publicVendor = vendor as VendorId
    this.admitCode = takeFragment('admit')
    this.signLink = parseSignLink(takeFragment('sign'))
    void this.#begin(takeFragment('keys'))
  }

  async #begin(handover: string | undefined): Promise<void> {
    while (this.config === undefined) {
      try {
        this.config = await fetchRelayConfig(location.origin)
      } catch (error) {
        shell.relay = shell.relay.tag === 'lost' ? shell.relay : { tag: 'lost', sinceMs: Date.now() }
        this.phase = { tag: 'trouble', words: words(error), retries: true }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
    const { config } = this
    try {
      this.#pool = createPool([config.nostrUrl])
      this.#pool.status.subscribe((relays) => {
        if (relays.some((relay) => relay.connected)) shell.relay = { tag: 'connected' }
        else if (shell.relay.tag === 'connected') shell.relay = { tag: 'lost', sinceMs: Date.now() }
      })
      const existing = await openKeys()
      if (handover !== undefined && existing) {
        this.phase = { tag: 'replace', code: handover, sealed: existing.sealed.get() }
      } else if (handover !== undefined) await this.takeOver(handover)
      else if (existing) this.#open(existing)
      else this.phase = { tag: 'first-visit' }
    } catch (error) {
      this.phase = { tag: 'trouble', words: words(error) }
    }
  }

  /** Restores the keys that a one-time address hands over; replaces those in this browser. */
  async takeOver(code: string): Promise<void> {
    this.phase = { tag: 'starting', text: 'Restoring the keys' }
    try {
      this.#open(await restoreKeys(await fetchHandover(code), code))
    } catch (error) {
      this.phase = { tag: 'trouble', words: words(error) }
    }
  }

  /** Keeps the keys of this browser and forgets the one-time address. */
  async keepOwn(): Promise<void> {
    const existing = await openKeys()
    if (existing) this.#open(existing)
    else this.phase = { tag: 'first-visit' }
  }

  async restore(text: string, passphrase: string): Promise<void> {
    this.#open(await restoreKeys(text, passphrase === '' ? undefined : passphrase))
  }

  /** First visit: keys, then the relay's admission with its one-time code. */
  async becomeVendor(code: string, name: string): Promise<void> {
    const keys = await createKeys()
    if (this.keys === undefined) this.#run(keys)
    await this.#engine.ready
    await this.#engine.admit(code, name)
    this.admitCode = undefined
    this.phase = { tag: 'open' }
    rememberRole('vendor')
    // Asked once, where losing the keys would hurt; the answer is the browser's.
    void navigator.storage.persist?.()
  }

  #open(keys: BrowserKeys): void {
    if (this.keys !== undefined) {
      // Other keys than those that run: a page of their own.
      location.replace(location.pathname)
      return
    }
    this.#run(keys)
    rememberRole('vendor')
    this.phase = { tag: 'open' }
  }

  #run(keys: BrowserKeys): void {
    const config = this.config
    if (!config) throw new AppError('unreachable', 'The relay has not answered yet.')
    this.keys = keys
    const store = idbStore(`satpatch-vendor-${keys.origin.slice(0, 16)}`)
    const vendor = createVendor({
      keys,
      relayUrl: location.origin,
      config,
      pool: this.pool,
      store,
      nowMs: Date.now,
      random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
      fetch: (...args) => fetch(...args),
      wrapKeys: wrapInWorker,
    })
    this.#vendor = vendor
    const watch = <T>(live: Live<T>, set: (value: T) => void) => this.#ends.push(live.subscribe(set))
    watch(keys.sealed, (sealed) => (this.#unsealed = !sealed))
    watch(keys.next, (next) => (this.nextKeys = next))
    watch(vendor.status, (status) => this.#onStatus(status))
    watch(vendor.waiting, (waiting) => (this.waiting = waiting))
    const opened = keys.nostr.key
    watch(vendor.signing, (signing) => {
      this.signing = signing
      if (!signing) return
      void keys.settle(signing.root).catch(() => undefined)
      void keys.settleNostr(signing.nostr).then(
        () => (this.nostrMoved = keys.nostr.key !== opened),
        () => undefined,
      )
    })
    watch(vendor.releases, (releases) => (this.releases = releases))
    watch(vendor.joinRequests, (requests) => (this.joinRequests = requests))
    watch(vendor.cheats, (cheats) => (this.cheats = cheats))
    watch(vendor.fleet, (fleet) => {
      this.fleet = fleet
      const live = fleet.releases.filter((r) => r.status === 'live' && r.healthy < r.enrolled).length
      shell.releases = live > 0 ? `${live} live` : undefined
      const enrolled = fleet.devices.filter((d) => d.enrolled).length
      shell.devices = enrolled > 0 ? String(enrolled) : undefined
    })
    this.#seeding = new Seeding({
      vendor,
      keys,
      config,
      pool: this.pool,
      wallet: this.purse.open(keys.origin, store, config.money, (wallet) => this.#seeding?.useWallet(wallet)),
      gifts: () => this.#gifts,
      approved: () => this.approved,
      onChange: (tabs) => (this.tabs = tabs),
    })
    this.#seeding.start()
    addEventListener('beforeunload', (event) => {
      if (this.#seeding?.hasOnlyCopy(this.fleet)) event.preventDefault()
    })
  }

  #onStatus(next: VendorStatus): void {
    this.status = next
    if (next.tag !== 'ready') return
    this.mirrors = next.mirrors ?? []
    if (next.approved === undefined) return
    const changed = next.approved.join() !== this.approved.join()
    this.approved = next.approved
    if (changed) this.#seeding?.retune()
  }

  get #wallet(): Wallet {
    const { wallet } = this.purse
    if (!wallet) throw new AppError('wallet', 'There is no wallet here yet to fund it from.')
    return wallet
  }

  get #engine(): Vendor {
    if (!this.#vendor) throw new AppError('closed', 'The vendor session is not open yet.')
    return this.#vendor
  }

  check(form: ReleaseForm, bytes: number): VendorError | undefined {
    return this.#engine.check(form, bytes)
  }

  /** Signs and publishes the drafts together; their seeding starts here, or in the tab that seeds. */
  async publish(list: readonly Draft[]): Promise<readonly Release[]> {
    const ready = list.map((draft) => draft.newRelease())
    if (ready.some((release) => release === undefined))
      throw new AppError('bad-form', 'Hashing has not ended yet.')
    list.forEach((draft) => draft.hashed && this.#seeding?.expect(draft.hashed.meta, draft))
    const releases = await this.#engine.publish(ready.filter((release) => release !== undefined))
    drafts.release(list)
    return releases
  }

  withdraw = (path: string): Promise<void> => this.#engine.withdraw(path)
  readers = (path: string): Promise<readonly PartyKey[]> => this.#engine.readers(path)
  wrapAgain = (path: string): Promise<void> => this.#engine.wrapAgain(path)
  resign = (): Promise<void> => this.#engine.resign()
  setApproved = (keys: readonly PartyKey[]): Promise<void> => this.#engine.setApproved(keys)
  setMirrors = (urls: readonly string[]): Promise<void> => this.#engine.setMirrors(urls)
  makeJoinCode = (): Promise<string> => this.#engine.makeJoinCode()
  decline = (id: string): Promise<void> => this.#engine.decline(id)
  revoke = (device: PartyKey): Promise<void> => this.#engine.revoke(device)

  async accept(id: string, name: string, fundMsat: Msat): Promise<void> {
    const { wallet } = this.purse
    if (!wallet && fundMsat > 0) throw new AppError('wallet', 'There is no wallet here yet to fund it from.')
    await this.#engine.accept(id, wallet === undefined ? { name, fundMsat } : { name, fundMsat, wallet })
    this.purse.refresh()
  }

  /** An allowance for a device that has none, or more on the one that it has. */
  async giveAllowance(device: PartyKey, fundMsat: Msat): Promise<Given> {
    const given = await this.#engine.giveAllowance(device, { fundMsat, wallet: this.#wallet })
    this.purse.refresh()
    return given
  }

  /** Pays the invoice that a waiting device shows. */
  async fund(device: PartyKey): Promise<void> {
    const result = await this.#engine.fund(device, this.#wallet)
    if (result.tag === 'failed') throw new AppError(result.code, result.message)
    if (result.tag === 'unknown') throw new AppError('wallet', result.message)
  }
  readonly fundRow = (row: DeviceRelease): Promise<void> => this.fund(row.device)

  backup(passphrase: string): Promise<string> {
    if (!this.keys) throw new AppError('closed', 'There are no keys here.')
    return this.keys.backup(passphrase)
  }
  /** Tries the backup; if it restores these keys, they can be read out no more. */
  async seal(text: string, passphrase: string): Promise<void> {
    await this.keys?.seal(text, passphrase)
  }

  /** Keys for signing what somebody else releases: no admission, no vendor of one's own. */
  async becomeSigner(): Promise<void> {
    const keys = await createKeys()
    if (this.keys === undefined) this.#run(keys)
    this.phase = { tag: 'open' }
    void navigator.storage.persist?.()
  }

  changeRoot = (edit: (draft: RootDraft) => RootDraft): Promise<Outcome> => this.#engine.changeRoot(edit)
  async changeNostr(): Promise<Outcome> {
    await this.keys?.prepareNextNostr()
    return this.#engine.changeNostr()
  }
  delegate = (delegate: Delegate): Promise<Outcome> => this.#engine.delegate(delegate)
  undelegate = (product: string): Promise<Outcome> => this.#engine.undelegate(product)
  look = (link: SignLink): Promise<WaitingView | undefined> => this.#engine.look(link.vendor, link.id)
  approve = (link: SignLink): Promise<Outcome> => this.#engine.approve(link.vendor, link.id)
  describe = (device: PartyKey, said: { name: string; group: string }): Promise<void> =>
    this.#engine.describe(device, said)

  async prepareNext(...which: Parameters<BrowserKeys['prepareNext']>): Promise<NextKeys> {
    if (!this.keys) throw new AppError('closed', 'There are no keys here.')
    return this.keys.prepareNext(...which)
  }
  async dropNext(): Promise<void> {
    const { signing, waiting } = this
    await this.keys?.dropNext(
      (key) =>
        (signing !== undefined && namesKey(signing.root, key)) ||
        waiting.some(({ names }) => names.has(keyId(key))),
    )
  }

  /** The name of an enrolled device, by its key. */
  readonly deviceName = (key: string): string | undefined => this.#names.get(key)
  readonly #names: ReadonlyMap<string, string> = $derived(
    new Map(this.fleet.devices.map((device) => [device.key, device.name])),
  )
}

export const session = new VendorSession()
