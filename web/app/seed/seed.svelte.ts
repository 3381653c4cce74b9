/**
 * Holds the volunteer's distributor for the page: one tab runs it (Web Locks), the others wait and take over.
 * Lives outside the page, so that seeding goes on while another page is shown.
 */
import { liveCell } from '../../core/live.ts'
import { createPool } from '../../edge/nostr/pool.ts'
import type { Distributor, DistributorSettings, DistributorSnapshot } from '../../edge/distributor/api.ts'
import { createDistributor, defaultSettings, loadSettings } from '../../edge/distributor/distributor.ts'
import { isUnderWay } from '../../edge/distributor/snapshot.ts'
import { fetchRelayConfig, type RelayConfig } from '../../edge/relay-config.ts'
import { openPlayAccount } from '../../edge/release/api.ts'
import { openIdbJournal } from '../../edge/storage/idb-journal.ts'
import type { Journal } from '../../edge/swarm/api.ts'
import { openOpfsStore } from '../../edge/swarm/opfs-store.ts'
import { connectNwc } from '../../edge/wallet/nwc.ts'
import { openSweeping, type Sweeping, type SweepOrder, type SweepWord } from '../../edge/wallet/sweeping.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import { words, type Words } from '../errors.ts'
import { rememberRole } from '../shell/role.ts'
import { status } from '../shell/status.svelte.ts'
import { browserVault } from '../wallet/vault.ts'
import { watchConditions } from './conditions.ts'
import {
  keepConfig,
  keepOn,
  keepPlayConnection,
  keepWallet,
  keptConfig,
  keptIdentity,
  keptPlayConnection,
  keptWallet,
  wasOn,
} from './kept.ts'

const LOCK = 'satpatch-seed'
const JOURNAL = 'satpatch-seed'
const CONFIG_RETRY_MS = 3_000
const WALLET_RETRY_MS = 5_000
/** A tab that was paid so lately counts as earning when it is closed. */
const EARNING_MS = 60_000

export type Phase =
  | { tag: 'starting' }
  /** Another tab of this browser seeds; this one waits for its lock. */
  | { tag: 'waiting' }
  | { tag: 'ready' }
  | { tag: 'failed'; trouble: Words }

export type WalletState =
  | { tag: 'none' }
  | { tag: 'opening' }
  | { tag: 'open'; from: 'play' | 'own' }
  /** One of this browser's wallets, not open: locked, or forgotten. */
  | { tag: 'locked' }
  | { tag: 'failed'; trouble: Words }

class Seed {
  phase = $state.raw<Phase>({ tag: 'starting' })
  snapshot = $state.raw<DistributorSnapshot>()
  wallet = $state.raw<WalletState>({ tag: 'none' })
  sweep = $state.raw<Readonly<{ order?: SweepOrder; last?: SweepWord }>>({})
  /** The switch as its owner left it. */
  on = $state(false)
  switching = $state(false)
  config = $state.raw<RelayConfig>()
  storage = $state.raw<{ persisted: boolean; quotaBytes?: number }>({ persisted: false })

  readonly #journal = openIdbJournal(JOURNAL)
  readonly #wallet = liveCell<Wallet | undefined>(undefined)
  #distributor: Distributor | undefined
  #sweeping: Sweeping | undefined
  #begun = false
  #unfollow: () => void = () => undefined
  /** Wallets that were chosen: what an earlier choice still waits for is not taken any more. */
  #choices = 0

  /** Called by the page whenever it is shown; the first call begins. */
  begin(): void {
    rememberRole('seed')
    if (this.#begun) return
    this.#begun = true
    this.on = wasOn()
    addEventListener('beforeunload', (event) => {
      if (this.earning) event.preventDefault()
    })
    void this.#lead()
  }

  get earning(): boolean {
    const now = this.snapshot
    if (now?.mode.tag !== 'on') return false
    const last = now.justPaid[0]?.at ?? 0
    return now.uploads.some(isUnderWay) || Date.now() - last < EARNING_MS
  }

  /** Waits to be the tab that seeds, then is it until it closes. */
  async #lead(): Promise<void> {
    try {
      // Asked without waiting first: only then is it known whether another tab has it.
      const free = await navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => lock !== null)
      if (!free) this.phase = { tag: 'waiting' }
      await navigator.locks.request(LOCK, async () => {
        this.on = wasOn()
        this.phase = { tag: 'starting' }
        await this.#run()
        await new Promise<never>(() => undefined)
      })
    } catch (error) {
      this.phase = { tag: 'failed', trouble: words(error) }
    }
  }

  async #run(): Promise<void> {
    const journal = this.#journal
    // All at once: the first sat waits for the slowest of these, not for their sum.
    const [identity, config, settings] = await Promise.all([
      keptIdentity(journal),
      this.#findConfig(),
      loadSettings(journal),
      import('../../edge/swarm/swarm.ts'),
    ])
    this.config = config
    const pool = createPool([config.nostrUrl])
    const distributor = createDistributor({
      identity,
      relayUrl: location.origin,
      config,
      pool,
      stores: { openStore: (meta) => openOpfsStore(meta, 'carried'), journal },
      settings: settings ?? defaultSettings(config.money),
      conditions: watchConditions(),
      nowMs: Date.now,
      random: (length) => crypto.getRandomValues(new Uint8Array(length)),
      fetch: (input, init) => fetch(input, init),
    })
    this.#distributor = distributor
    distributor.subscribe((now) => this.#show(now))
    this.#wallet.subscribe((wallet) => distributor.setWallet(wallet))
    void this.#beginSweeping(journal)
    this.phase = { tag: 'ready' }
    void this.#openKeptWallet(config)
    void this.#readStorage()
    if (this.on) await distributor.start()
  }

  #show(now: DistributorSnapshot): void {
    this.snapshot = now
    status.seed = now.mode.tag === 'off' ? undefined : now.mode.tag
    const { balance, money } = now.wallet ?? {}
    status.balance = balance !== undefined && money ? { msat: balance, money } : undefined
    if (now.mode.tag !== 'off')
      status.relay = now.relay.connected ? { tag: 'connected' } : { tag: 'lost', sinceMs: now.relay.sinceMs }
  }

  /** From the relay; while it does not answer, as it was at the last visit. */
  async #findConfig(): Promise<RelayConfig> {
    for (;;) {
      try {
        const config = await fetchRelayConfig(location.origin)
        status.relay = { tag: 'connected' }
        await keepConfig(this.#journal, config)
        return config
      } catch (error) {
        if (status.relay.tag !== 'lost') status.relay = { tag: 'lost', sinceMs: Date.now() }
        const kept = await keptConfig(this.#journal)
        if (kept) return kept
        this.phase = { tag: 'failed', trouble: words(error) }
        await new Promise((done) => setTimeout(done, CONFIG_RETRY_MS))
        this.phase = { tag: 'starting' }
      }
    }
  }

  // --- the switch and the terms

  async flip(on: boolean): Promise<void> {
    this.on = on
    keepOn(on)
    if (!this.#distributor) return
    this.switching = true
    try {
      if (on) {
        void this.persist()
        await this.#distributor.start()
      } else await this.#distributor.stop()
    } finally {
      this.switching = false
    }
  }

  async update(change: Partial<DistributorSettings>): Promise<void> {
    await this.#distributor?.updateSettings(change)
  }

  // --- the wallet

  async #openKeptWallet(config: RelayConfig): Promise<void> {
    const choice = ++this.#choices
    const kept = await keptWallet(this.#journal)
    if (kept?.from === 'own') return this.#follow(kept.id, choice)
    try {
      const connection = kept && (await keptPlayConnection(this.#journal, await browserVault(), config.money))
      if (connection !== undefined) return await this.#usePlay(connection, choice)
    } catch (error) {
      if (choice === this.#choices) this.wallet = { tag: 'failed', trouble: words(error) }
      return
    }
    if (config.money.startsWith('sandbox:') && choice === this.#choices) await this.openPlay()
  }

  /**
   * A play-money account at this relay: the one that was opened before, with what it has earned, else a new one. Tried
   * again by itself while the relay does not answer.
   */
  async openPlay(): Promise<void> {
    const money = this.config?.money
    if (money === undefined) return
    const choice = ++this.#choices
    this.wallet = { tag: 'opening' }
    try {
      const vault = await browserVault()
      // One that cannot be read any more is replaced.
      let connection = await keptPlayConnection(this.#journal, vault, money).catch(() => undefined)
      if (connection === undefined) {
        connection = (await openPlayAccount(location.origin, { name: 'distributor' })).connection
        await keepPlayConnection(vault, money, connection)
      }
      if (choice !== this.#choices) return
      await keepWallet(this.#journal, { from: 'play' })
      await this.#usePlay(connection, choice)
    } catch (error) {
      if (choice !== this.#choices) return
      this.wallet = { tag: 'failed', trouble: words(error) }
      const { code } = error as { code?: unknown }
      if (code === 'unreachable') setTimeout(() => this.#retryPlay(), WALLET_RETRY_MS)
    }
  }

  #retryPlay(): void {
    if (this.wallet.tag === 'failed' && this.#wallet.get() === undefined) void this.openPlay()
  }

  async #usePlay(connection: string, choice: number): Promise<void> {
    const wallet = await connectNwc(connection)
    if (choice === this.#choices) this.#use(wallet, 'play')
    else wallet.close()
  }

  /** Is paid into one of the wallets of this browser from now on. */
  async useOwn(id: string): Promise<void> {
    const choice = ++this.#choices
    await keepWallet(this.#journal, { from: 'own', id })
    await this.#follow(id, choice)
  }

  /** The wallets page holds it: it opens when it is unlocked, and is not closed from here. */
  async #follow(id: string, choice: number): Promise<void> {
    const { wallets } = await import('../wallet/wallets.svelte.ts')
    await wallets.begin()
    if (choice !== this.#choices) return
    this.#unfollow()
    this.#unfollow = wallets.open.subscribe((open) => {
      const wallet = open.get(id)?.wallet
      if (wallet) this.#use(wallet, 'own')
      else {
        this.wallet = { tag: 'locked' }
        this.#wallet.set(undefined)
      }
    })
  }

  #use(wallet: Wallet, from: 'play' | 'own'): void {
    const before = this.#wallet.get()
    const mine = this.wallet.tag === 'open' && this.wallet.from === 'play'
    if (from === 'play') this.#unfollow()
    this.wallet = { tag: 'open', from }
    if (wallet === before) return
    this.#wallet.set(wallet)
    if (mine) before?.close()
  }

  async #beginSweeping(journal: Journal): Promise<void> {
    const sweeping = await openSweeping({ journal, nowMs: Date.now })
    this.#sweeping = sweeping
    sweeping.state.subscribe((now) => (this.sweep = now))
    this.#wallet.subscribe((wallet) => sweeping.setWallet(wallet))
  }

  /** What is earned above a sum goes on by itself. @throws WalletError in words */
  async sendOn(order: SweepOrder | undefined): Promise<void> {
    await this.#sweeping?.order(order)
  }

  // --- storage

  async #readStorage(): Promise<void> {
    const [persisted, estimate] = await Promise.all([
      navigator.storage.persisted(),
      navigator.storage.estimate(),
    ])
    this.storage = { persisted, ...(estimate.quota !== undefined && { quotaBytes: estimate.quota }) }
  }

  /** Asks the browser not to delete what is carried when space runs short. */
  async persist(): Promise<void> {
    if (!(await navigator.storage.persisted())) await navigator.storage.persist()
    await this.#readStorage()
  }
}

export const seed = new Seed()
