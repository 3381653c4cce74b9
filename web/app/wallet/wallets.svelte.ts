/**
 * The wallets of this browser: kept in its vault, opened when it is unlocked, watched while they are open. Every page
 * that needs a wallet takes it from here, and there is one way to add one.
 */
import { liveCell, type Live } from '../../core/live.ts'
import type { Money } from '../../core/money/msat.ts'
import { fetchRelayConfig, type RelayConfig } from '../../edge/relay-config.ts'
import { openPlayAccount } from '../../edge/release/api.ts'
import { browserPasskeys } from '../../edge/vault/passkey.ts'
import type { Opening, Vault, VaultState } from '../../edge/vault/vault.ts'
import { publicKey } from '../../core/nostr/event.ts'
import { connectNwc, parseConnection } from '../../edge/wallet/nwc.ts'
import { connectWebLn, offeredWebLn } from '../../edge/wallet/webln.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import {
  forgetWallet,
  keepWallet,
  keptWallets,
  type KeptWallet,
  type Origin as KeptOrigin,
} from '../../edge/wallets/kept.ts'
import type { PlayPage } from '../../edge/wallets/play.ts'
import { watchWallet, type WalletWatch, type WatchedWallet } from '../../edge/wallets/watch.ts'
import { words, type Words } from '../errors.ts'
import { status } from '../shell/status.svelte.ts'
import { onWalletsChanged, tellWalletsChanged } from './changed.ts'
import { browserVault } from './vault.ts'

const CHOSEN = 'satpatch.wallet'
/** What the accounts are called that pages open for themselves. */
const PAGE_NAMES: Readonly<Record<PlayPage, string>> = { seed: 'Seed page', releases: 'Releases page' }

/** `session`: its provider lives as long as this page; it is not kept. A page's name: the page opened it for itself. */
export type Origin = KeptOrigin | PlayPage | 'session'

/** What of a wallet is shown. `locked`: its secret waits for the passphrase or passkey. */
export type WalletRow = Readonly<
  { id: string } & (
    | { tag: 'locked' }
    | { tag: 'failed'; name: string; trouble: Words }
    | { tag: 'open'; name: string; origin: Origin; view: WatchedWallet }
  )
>
type Opened = { name: string; origin: Origin; wallet: Wallet; watch: WalletWatch; connection?: string }
/** A wallet that has been tried, and is to be kept. */
export type Found = Readonly<{
  name: string
  origin: Origin
  wallet: Wallet
  connection?: string
  money: Money
}>

class Wallets {
  phase = $state.raw<{ tag: 'starting' } | { tag: 'ready' } | { tag: 'failed'; trouble: Words }>({
    tag: 'starting',
  })
  rows = $state.raw<readonly WalletRow[]>([])
  lock = $state.raw<VaultState>({ tag: 'unset' })
  passkeys = $state(false)
  config = $state.raw<RelayConfig>()
  /** Names of the allowances of this browser, by client key; told by those, which this does not load. */
  allowances = $state.raw<ReadonlyMap<string, string>>(new Map())
  #chosen = $state<string | undefined>(remembered())

  readonly #opened = new Map<string, Opened>()
  readonly #open = liveCell<ReadonlyMap<string, Opened>>(new Map())
  #vault: Vault | undefined
  #begun: Promise<void> | undefined

  /** The wallets that are open, by id; for what runs beside the pages. */
  get open(): Live<ReadonlyMap<string, Readonly<{ name: string; wallet: Wallet }>>> {
    return this.#open
  }
  /** The wallet whose numbers the page shows. */
  get chosen(): WalletRow | undefined {
    return this.rows.find((row) => row.id === this.#chosen) ?? this.rows[0]
  }
  choose(id: string): void {
    this.#chosen = id
    remember(id)
    this.#tell()
  }
  wallet(id: string): Wallet | undefined {
    return this.#opened.get(id)?.wallet
  }
  /** Asks a wallet for its numbers now. */
  refresh(id: string): void {
    this.#opened.get(id)?.watch.refresh()
  }
  balanceMoved(id: string): void {
    this.#opened.get(id)?.watch.balanceMoved()
  }

  /** Called by every page that needs wallets; the first call opens the vault. */
  begin(): Promise<void> {
    this.#begun ??= this.#begin()
    return this.#begun
  }

  async #begin(): Promise<void> {
    try {
      this.#vault = await browserVault()
      this.#vault.state.subscribe((state) => (this.lock = state))
      void browserPasskeys.possible().then((possible) => (this.passkeys = possible))
      onWalletsChanged(() => void this.#read())
      await this.#read()
      // The first look at an empty page says what the relay offers.
      if (this.rows.length === 0) await this.#askRelay()
      this.phase = { tag: 'ready' }
    } catch (error) {
      this.phase = { tag: 'failed', trouble: words(error) }
      return
    }
    if (!this.config) await this.#askRelay()
  }

  /** Which accounts of the Releases page are of this relay is known only then. */
  async #askRelay(): Promise<void> {
    try {
      await this.relay()
      await this.#read()
    } catch {
      // the page shows what it has
    }
  }

  /** What the relay says of itself. @throws RelayConfigError */
  async relay(): Promise<RelayConfig> {
    this.config ??= await fetchRelayConfig(location.origin)
    if (status.relay.tag === 'connecting') status.relay = { tag: 'connected' }
    return this.config
  }
  get vault(): Vault {
    if (!this.#vault) throw new Error('The vault of this browser is not open yet.')
    return this.#vault
  }

  /** Keeps the allowances' secrets encrypted like the wallets'. */
  get boxes(): Vault['boxes'] {
    return this.vault.boxes
  }

  // --- adding and forgetting

  /** Keeps a wallet that was tried. Real money goes under the lock, which must be open. @throws VaultError */
  async add(found: Found): Promise<string> {
    const known = [...this.#opened].find(
      ([, one]) => found.connection !== undefined && one.connection === found.connection,
    )
    if (known) {
      found.wallet.close()
      this.choose(known[0])
      return known[0]
    }
    const id = crypto.randomUUID()
    const { name, origin, wallet, connection } = found
    if (isPage(origin)) throw new Error('Pages keep their own accounts.')
    const secret = connection === undefined ? {} : { connection }
    const under = needsLock(found) ? 'lock' : 'browser'
    if (origin !== 'session')
      await keepWallet(this.vault, id, { name, origin, ...secret, addedAtMs: Date.now() }, under)
    this.#use(id, { name, origin, wallet, ...secret })
    this.choose(id)
    tellWalletsChanged()
    return id
  }

  /** A play-money account of this relay. @throws ApiError, WalletError */
  async openPlay(name: string): Promise<string> {
    const { connection, money } = await openPlayAccount(location.origin, { name })
    return this.add({ name, origin: 'play', wallet: await connectNwc(connection), connection, money })
  }

  async forget(id: string): Promise<void> {
    await forgetWallet(this.vault, id)
    this.#end(id)
    this.rows = this.rows.filter((row) => row.id !== id)
    tellWalletsChanged()
  }
  /** What the open wallet with this client key is called here. */
  nameOf(client: string): string | undefined {
    for (const { name, connection } of this.#opened.values()) {
      const read = connection === undefined ? undefined : parseConnection(connection)
      if (read?.ok && publicKey(read.connection.secret) === client) return name
    }
    return undefined
  }
  /** The connection string again, to be shown to its owner. */
  connection(id: string): string | undefined {
    return this.#opened.get(id)?.connection
  }

  // --- the lock

  async chooseLock(opening: Opening): Promise<void> {
    await this.vault.choose(opening)
  }
  async unlock(opening: Opening): Promise<void> {
    await this.vault.unlock(opening)
    await this.#read()
  }
  /** Forgets the key; wallets under it close. */
  async lockUp(): Promise<void> {
    this.vault.lock()
    for (const { id, under } of await keptWallets(this.vault, undefined)) if (under === 'lock') this.#end(id)
    await this.#read()
  }

  // --- opening what is kept

  async #read(): Promise<void> {
    await this.vault.refresh()
    const before = new Set(this.#opened.keys())
    const kept = await keptWallets(this.vault, this.config?.money)
    // What was opened while the vault was read is not in the list yet.
    const stays = (id: string): boolean =>
      !before.has(id) || this.#opened.get(id)?.origin === 'session' || kept.some((one) => one.id === id)
    for (const id of [...this.#opened.keys()]) if (!stays(id)) this.#end(id)
    const open = this.rows.filter(({ id, tag }) => tag === 'open' && this.#opened.has(id))
    this.rows = inOrder([
      ...kept.map((one) => open.find(({ id }) => id === one.id) ?? rowOf(one)),
      ...open.filter(({ id }) => !kept.some((one) => one.id === id)),
    ])
    await Promise.all(kept.map((one) => this.#openKept(one)))
  }

  async #openKept(kept: KeptWallet): Promise<void> {
    if ((kept.tag !== 'open' && kept.tag !== 'page') || this.#opened.has(kept.id)) return
    const { id, connection } = kept
    const { name, origin } = shownAs(kept)
    try {
      const wallet = connection === undefined ? await openWebLn() : await connectNwc(connection)
      if (this.#opened.has(id)) return wallet.close()
      this.#use(id, { name, origin, wallet, ...(connection !== undefined && { connection }) })
    } catch (error) {
      this.#show({ id, tag: 'failed', name, trouble: words(error) })
    }
  }

  #use(id: string, opened: Omit<Opened, 'watch'>): void {
    const watch = watchWallet(opened.wallet)
    const { name, origin } = opened
    this.#opened.set(id, { ...opened, watch })
    watch.view.subscribe((view) => this.#show({ id, tag: 'open', name, origin, view }))
    this.#open.set(new Map(this.#opened))
  }

  #show(row: WalletRow): void {
    const known = this.rows.some(({ id }) => id === row.id)
    this.rows = known ? this.rows.map((old) => (old.id === row.id ? row : old)) : inOrder([...this.rows, row])
    this.#tell()
  }

  /** Balance and relay in the frame around the pages. */
  #tell(): void {
    const { chosen } = this
    const { balance, info, connected } = (chosen?.tag === 'open' && chosen.view) || {}
    status.ownBalance = balance !== undefined && info ? { msat: balance, money: info.money } : undefined
    if (connected === true && status.relay.tag === 'connecting') status.relay = { tag: 'connected' }
  }

  #end(id: string): void {
    const one = this.#opened.get(id)
    if (!one) return
    this.#opened.delete(id)
    this.#open.set(new Map(this.#opened))
    one.watch.stop()
    one.wallet.close()
  }
}

export const needsLock = ({ connection, money }: Pick<Found, 'connection' | 'money'>): boolean =>
  connection !== undefined && !money.startsWith('sandbox:')

/** @throws WalletError when the browser has none, or its owner says no */
export async function openWebLn(): Promise<Wallet> {
  const provider = offeredWebLn()
  if (!provider) throw new Error('The wallet of this browser is not there any more. Switch its extension on.')
  return connectWebLn(provider)
}

export const isPage = (origin: Origin): origin is PlayPage => origin in PAGE_NAMES

/** Those that pages opened for themselves come last. */
function inOrder(rows: readonly WalletRow[]): readonly WalletRow[] {
  const last = (row: WalletRow): boolean => row.tag === 'open' && isPage(row.origin)
  return [...rows.filter((row) => !last(row)), ...rows.filter(last)]
}

const shownAs = (kept: KeptWallet & { tag: 'open' | 'page' }): { name: string; origin: Origin } =>
  kept.tag === 'open' ? kept : { name: PAGE_NAMES[kept.page], origin: kept.page }

function rowOf(kept: KeptWallet): WalletRow {
  if (kept.tag === 'locked') return { id: kept.id, tag: 'locked' }
  if (kept.tag === 'open' || kept.tag === 'page') {
    const { name, origin } = shownAs(kept)
    return { id: kept.id, tag: 'open', name, origin, view: { connected: false, lines: [] } }
  }
  const trouble = {
    what: 'What was kept of this wallet cannot be read.',
    todo: 'Forget it here and connect it again.',
  }
  return { id: kept.id, tag: 'failed', name: 'Unreadable wallet', trouble }
}

function remembered(): string | undefined {
  try {
    return localStorage.getItem(CHOSEN) ?? undefined
  } catch {
    return undefined
  }
}
function remember(id: string): void {
  try {
    localStorage.setItem(CHOSEN, id)
  } catch {
    // it holds until the page is closed
  }
}

export const wallets = new Wallets()
