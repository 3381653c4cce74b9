/** The keeper that runs the allowances: loads them, connects each to its source, serves each, and does what the owner wants. */
import { fromHex, isHex32, sha256Hex, toHex, type Bytes, type PartyKey } from '../../core/bytes.ts'
import { MAX_LAYERS, newAllowance, type Allowance } from '../../core/allowance/state.ts'
import { liveCell, type Live, type LiveCell } from '../../core/live.ts'
import type { Msat } from '../../core/money/msat.ts'
import { publicKey } from '../../core/nostr/event.ts'
import { createPool, type Pool } from '../nostr/pool.ts'
import { composeConnection, connectNwc } from '../wallet/nwc.ts'
import type { Wallet } from '../wallet/wallet.ts'
import {
  AllowanceError,
  type AllowanceChange,
  type AllowanceId,
  type AllowanceKeeper,
  type AllowanceView,
  type KeeperOptions,
  type KeeperView,
  type NewAllowance,
  type Source,
} from './api.ts'
import { holdersOf, type Holders } from './holders.ts'
import { localWallet } from './local-wallet.ts'
import { serveOverNostr, type NostrFront } from './nostr-front.ts'
import { KeyRing, Records, type Keys, type Loaded, type Meta } from './records.ts'
import { Running, wordsOf } from './running.ts'
import { watchSource, type SourceWatch } from './source-watch.ts'
import { checkExpiry, checkName, termsOf } from './terms.ts'
import { runningView, sourceView, walletRunView } from './view.ts'
import { WalletRun } from './wallet-run.ts'

type Here = { home: 'here'; meta: Meta; running: Running; front?: NostrFront }
type Entry = (Here | { home: 'wallet'; meta: Meta; run: WalletRun }) & {
  /** Why its secrets cannot be read. */
  locked?: string
  /** As the source of others. */
  asSource?: { wallet: Wallet; watch: SourceWatch }
}

type Draft = Omit<Meta, 'home' | 'service' | 'relays'>

const SHOW_AFTER_MS = 30

export class Leader implements Omit<AllowanceKeeper, 'view'> {
  readonly view: Live<KeeperView>
  readonly #view: LiveCell<KeeperView>
  readonly #options: KeeperOptions
  readonly #records: Records
  readonly #keyRing: KeyRing
  readonly #nowMs: () => number
  readonly #random: (length: number) => Bytes
  readonly #entries = new Map<AllowanceId, Entry>()
  readonly #wallets = new Map<string, SourceWatch>()
  readonly #pools = new Map<string, Pool>()
  readonly #holders: Holders
  #unwatch: () => void = () => undefined
  #showing: ReturnType<typeof setTimeout> | undefined
  #closed = false

  private constructor(options: KeeperOptions) {
    this.#options = options
    this.#records = new Records(options.journal)
    this.#keyRing = new KeyRing(options.journal, options.vault)
    this.#nowMs = options.nowMs ?? Date.now
    this.#random = options.random ?? ((length) => crypto.getRandomValues(new Uint8Array(length)))
    this.#view = liveCell<KeeperView>({ role: 'runs', sources: [], allowances: [], atMs: this.#nowMs() })
    this.view = {
      get: () => {
        this.#showNow()
        return this.#view.get()
      },
      subscribe: (run) => {
        this.#showNow()
        return this.#view.subscribe(run)
      },
    }
    this.#holders = holdersOf({
      keeper: this,
      children: (id) => this.#children(id).flatMap((one) => (one.home === 'here' ? [one.running] : [])),
      running: (id) => {
        const entry = this.#entries.get(id)
        return entry?.home === 'here' ? entry.running : undefined
      },
      make: (wanted, client) => this.#makeFor(wanted, client),
      depthBelow: ({ source }) => this.#depth(source) + 1,
    })
  }

  /** For whoever holds the keeper's lock. */
  static async start(options: KeeperOptions): Promise<Leader> {
    const leader = new Leader(options)
    for (const loaded of await leader.#records.all()) await leader.#add(loaded)
    leader.#unwatch = options.sources.subscribe(() => void leader.#connect())
    await leader.#connect()
    // Whoever looks first sees all of them, and not none.
    leader.#view.set(leader.#snapshot())
    return leader
  }

  async create(wanted: NewAllowance): Promise<{ id: AllowanceId; connection: string }> {
    const secret = this.#random(32)
    const { common, state } = this.#draft(wanted, publicKey(secret))
    const keys = { client: toHex(secret) }
    const wallet = await this.#openSource(wanted.source)
    if (wanted.home === 'wallet') {
      await stored(this.#keyRing.put(common.id, keys))
      const made = await WalletRun.create(wallet, common.client, wanted)
      const meta: Meta = { ...common, home: 'wallet', service: made.walletPubkey, relays: [...made.relays] }
      await this.#begin({ meta, state })
    } else await this.#serve(common, state, keys)
    return { id: common.id, connection: await this.connection(common.id) }
  }

  /** For a holder, who has the secret of `client`. */
  #makeFor(wanted: NewAllowance, client: PartyKey): Promise<Meta> {
    if (wanted.source.tag === 'allowance') this.#usable(wanted.source.id)
    const { common, state } = this.#draft(wanted, client)
    return this.#serve({ ...common, asked: true }, state, {})
  }

  #draft(wanted: NewAllowance, client: PartyKey): { common: Draft; state: Allowance } {
    const createdAtMs = this.#nowMs()
    const about = { nowMs: createdAtMs, count: this.#entries.size, depth: this.#depth(wanted.source) }
    const state = newAllowance(termsOf(wanted, about), createdAtMs)
    const id = toHex(this.#random(8)) as AllowanceId
    return { common: { id, source: wanted.source, client, createdAtMs }, state }
  }

  /** Under a key of its own; what is on the medium first makes it whole after any crash. */
  async #serve(common: Draft, state: Allowance, keys: Keys): Promise<Meta> {
    const service = this.#random(32)
    await stored(this.#keyRing.put(common.id, { ...keys, service: toHex(service) }))
    const meta: Meta = {
      ...common,
      home: 'here',
      service: publicKey(service),
      relays: [...this.#options.relays],
    }
    await this.#begin({ meta, state })
    return meta
  }

  async connection(id: AllowanceId): Promise<string> {
    const { meta } = this.#entry(id)
    const { client } = await this.#keys(id)
    if (client === undefined)
      throw new AllowanceError(
        'not-offered',
        'The holder of the allowance above asked for this one: its key is there, and there is no code to show.',
      )
    return composeConnection({ wallet: meta.service, relays: meta.relays, secret: client })
  }

  async setLimit(id: AllowanceId, limit: Msat): Promise<void> {
    const entry = this.#usable(id)
    if (entry.home === 'wallet') return entry.run.change({ limit })
    await entry.running.tell({ tag: 'terms-set', change: { limit } })
  }

  async topUp(id: AllowanceId, amount: Msat): Promise<void> {
    const entry = this.#usable(id)
    if (entry.home === 'wallet') return entry.run.topUp(amount)
    await entry.running.tell({ tag: 'topped-up', amount })
  }

  async change(id: AllowanceId, change: AllowanceChange): Promise<void> {
    const entry = this.#usable(id)
    if (change.name !== undefined) checkName(change.name)
    if (typeof change.expiresAtMs === 'number') checkExpiry(change.expiresAtMs, this.#nowMs())
    if (entry.home === 'wallet') {
      if (change.may)
        throw new AllowanceError(
          'not-offered',
          'What it may do is fixed where the wallet runs it; make another one.',
        )
      const { may: _, ...rest } = change
      return entry.run.change(rest)
    }
    const { expiresAtMs, ...rest } = change
    if (expiresAtMs === 'never') await entry.running.tell({ tag: 'never-expires' })
    const terms = { ...rest, ...(typeof expiresAtMs === 'number' && { expiresAtMs }) }
    await entry.running.tell({ tag: 'terms-set', change: terms })
  }

  pause = (id: AllowanceId): Promise<void> => this.#pause(id, true)
  resume = (id: AllowanceId): Promise<void> => this.#pause(id, false)

  async revoke(id: AllowanceId): Promise<void> {
    const entry = this.#entry(id)
    if (entry.home === 'wallet') await entry.run.revoke()
    else await entry.running.tell({ tag: 'revoked' })
    for (const child of this.#children(id)) await this.revoke(child.meta.id)
  }

  async remove(id: AllowanceId): Promise<void> {
    const entry = this.#entry(id)
    const { terms, open } = entry.home === 'here' ? entry.running.state : entry.run.loaded.state
    if (!terms.revoked) throw new AllowanceError('in-flight', 'Revoke it first.')
    if (open.size > 0)
      throw new AllowanceError(
        'in-flight',
        'Payments are still on their way through it; wait until they are known.',
      )
    for (const child of this.#children(id)) await this.remove(child.meta.id)
    this.#entries.delete(id)
    await this.#end(entry)
    await stored(this.#records.forget(id))
    this.#show()
  }

  async showPreimage(id: AllowanceId, preimage: string): Promise<void> {
    const shown = preimage.trim().toLowerCase()
    const entry = this.#entry(id)
    const known =
      entry.home === 'here' && isHex32(shown) && entry.running.state.open.has(sha256Hex(fromHex(shown)))
    // The same proof holds at every layer that runs here.
    for (const one of this.#entries.values())
      if (one.home === 'here') await one.running.tell({ tag: 'preimage-shown', preimage: shown })
    if (!known)
      throw new AllowanceError('not-found', 'No payment that is on its way here belongs to this preimage.')
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#showing)
    this.#unwatch()
    for (const entry of this.#entries.values()) await this.#end(entry)
    for (const watch of this.#wallets.values()) watch.stop()
    for (const pool of this.#pools.values()) pool.close()
  }

  async #begin(loaded: Loaded): Promise<void> {
    await stored(this.#records.save(loaded.meta, loaded.state))
    await this.#add(loaded)
    await this.#connect()
    this.#show()
  }

  async #add({ meta, state }: Loaded): Promise<void> {
    const log = this.#options.log ?? (() => undefined)
    if (meta.home === 'wallet') {
      const save = (next: Allowance): Promise<void> => stored(this.#records.save(meta, next))
      const run = new WalletRun({ meta, state }, save, () => this.#show())
      this.#entries.set(meta.id, { home: 'wallet', meta, run })
      return
    }
    const running = await Running.load(
      {
        ...{ meta, records: this.#records, nowMs: this.#nowMs, log },
        claimed: (hash) => this.#siblings(meta).some((one) => one.state.open.has(hash) || isPaid(one, hash)),
        onChange: () => {
          this.#show()
          this.#holders.changed(meta)
        },
        below: this.#holders.below(meta),
      },
      state,
    )
    this.#entries.set(meta.id, { home: 'here', meta, running })
  }

  /** Wallets that have opened or gone, secrets that have been unlocked: everything that can work does. */
  async #connect(): Promise<void> {
    if (this.#closed) return
    const open = this.#options.sources.get()
    for (const [id, watch] of this.#wallets) {
      if (open.get(id)?.wallet === watch.wallet) continue
      watch.stop()
      this.#wallets.delete(id)
    }
    for (const [id, { wallet }] of open) {
      if (this.#wallets.has(id)) continue
      const watch = watchSource(wallet, this.#nowMs)
      this.#wallets.set(id, watch)
      watch.state.subscribe(() => this.#show())
    }
    for (const entry of [...this.#entries.values()]) {
      await this.#unlock(entry)
      if (!this.#isHere(entry)) continue
      if (entry.home === 'here') entry.running.useSource(this.#watchOf(entry.meta.source))
      else entry.run.useSource(this.#watchOf(entry.meta.source))
    }
    this.#show()
  }

  /** It may have been removed, or all been closed, while its keys were read. */
  #isHere = (entry: Entry): boolean => !this.#closed && this.#entries.get(entry.meta.id) === entry

  /** Starts what needs the entry's secrets. */
  async #unlock(entry: Entry): Promise<void> {
    const { meta } = entry
    if (!this.#isHere(entry) || (entry.home === 'here' && entry.front)) return
    try {
      const keys = await this.#keys(meta.id)
      delete entry.locked
      if (entry.home === 'wallet') {
        if (this.#children(meta.id).length > 0) await this.#openConnection(entry)
        return
      }
      if (entry.front || !this.#isHere(entry)) return
      entry.front = serveOverNostr({
        running: entry.running,
        secret: fromHex(keys.service ?? ''),
        pool: this.#pool(meta.relays),
        random: this.#random,
        onChange: () => this.#show(),
        log: this.#options.log ?? (() => undefined),
      })
    } catch (error) {
      entry.locked = `Its keys cannot be read. ${wordsOf(error)}`
    }
  }

  #watchOf(source: Source): SourceWatch | undefined {
    if (source.tag === 'wallet') return this.#wallets.get(source.id)
    const entry = this.#entries.get(source.id)
    if (entry?.home === 'here' && !entry.asSource) {
      const wallet = localWallet(entry.running, this.#random)
      entry.asSource = { wallet, watch: watchSource(wallet, this.#nowMs) }
    }
    return entry?.asSource?.watch
  }

  /** @throws AllowanceError */
  async #openSource(source: Source): Promise<Wallet> {
    if (source.tag === 'allowance') {
      const entry = this.#usable(source.id)
      if (entry.home === 'wallet') await this.#openConnection(entry)
    }
    const wallet = this.#watchOf(source)?.wallet
    if (wallet) return wallet
    throw new AllowanceError('no-source', 'The wallet to cut from is not open here. Open it first.')
  }

  /** What its wallet runs is a wallet like any other to those that are cut from it here. */
  async #openConnection(entry: Entry): Promise<void> {
    if (entry.asSource) return
    const uri = await this.connection(entry.meta.id)
    const wallet = await connectNwc(uri, { nowMs: this.#nowMs })
    if (this.#closed || entry.asSource) return wallet.close()
    entry.asSource = { wallet, watch: watchSource(wallet, this.#nowMs) }
  }

  async #pause(id: AllowanceId, paused: boolean): Promise<void> {
    const entry = this.#usable(id)
    if (entry.home === 'wallet') return entry.run.change({ paused })
    await entry.running.tell({ tag: 'terms-set', change: { paused } })
  }

  #entry(id: AllowanceId): Entry {
    const entry = this.#entries.get(id)
    if (!entry)
      throw new AllowanceError('not-found', 'There is no such allowance here; it may have been removed.')
    return entry
  }

  #usable(id: AllowanceId): Entry {
    const entry = this.#entry(id)
    const { terms } = entry.home === 'here' ? entry.running.state : entry.run.loaded.state
    if (terms.revoked)
      throw new AllowanceError('revoked', 'This allowance has been revoked; make another one.')
    return entry
  }

  async #keys(id: AllowanceId): Promise<Keys> {
    const keys = await stored(this.#keyRing.get(id))
    if (!keys) throw new AllowanceError('storage', 'They are missing; make another allowance.')
    return keys
  }

  #depth(source: Source): number {
    let depth = 1
    for (let at = source; at.tag === 'allowance' && depth <= MAX_LAYERS; depth++) {
      const above = this.#entries.get(at.id)
      if (!above) break
      at = above.meta.source
    }
    return depth
  }

  #children = (id: AllowanceId): Entry[] =>
    [...this.#entries.values()].filter(
      ({ meta: { source } }) => source.tag === 'allowance' && source.id === id,
    )

  #siblings = (meta: Meta): Running[] =>
    [...this.#entries.values()].flatMap((entry) =>
      entry.home === 'here' && entry.meta.id !== meta.id && sameSource(entry.meta.source, meta.source)
        ? [entry.running]
        : [],
    )

  #pool(relays: readonly string[]): Pool {
    const name = relays.join(' ')
    let pool = this.#pools.get(name)
    if (!pool) this.#pools.set(name, (pool = (this.#options.openPool ?? createPool)(relays)))
    return pool
  }

  async #end(entry: Entry): Promise<void> {
    entry.asSource?.watch.stop()
    entry.asSource?.wallet.close()
    if (entry.home === 'wallet') return entry.run.stop()
    entry.front?.stop()
    await entry.running.stop()
  }

  #show(): void {
    this.#showing ??= setTimeout(() => this.#showNow(), SHOW_AFTER_MS)
  }

  /** Changes are told together; whoever asks sees what is true now. */
  #showNow(): void {
    if (this.#showing === undefined) return
    clearTimeout(this.#showing)
    this.#showing = undefined
    if (!this.#closed) this.#view.set(this.#snapshot())
  }

  #snapshot(): KeeperView {
    const open = this.#options.sources.get()
    const atMs = this.#nowMs()
    const sources = [...this.#wallets].map(([id, { state }]) =>
      sourceView(id, open.get(id)?.name ?? id, state.get()),
    )
    const allowances = [...this.#entries.values()].map((entry): AllowanceView => {
      const depth = this.#depth(entry.meta.source)
      if (entry.home === 'here') return runningView(entry.running, depth, entry.front, entry.locked)
      return walletRunView(
        entry.run.loaded,
        entry.run.told,
        depth,
        this.#watchOf(entry.meta.source)?.state.get(),
        atMs,
      )
    })
    return { role: 'runs', sources, allowances, atMs }
  }
}

const isPaid = ({ past }: Running, hash: Parameters<Running['past']['get']>[0]): boolean =>
  past.get(hash)?.fate.tag === 'paid'

const sameSource = (a: Source, b: Source): boolean => a.tag === b.tag && a.id === b.id

async function stored<T>(job: Promise<T>): Promise<T> {
  try {
    return await job
  } catch (cause) {
    if (cause instanceof AllowanceError) throw cause
    throw new AllowanceError('storage', `The storage of this browser refused. ${wordsOf(cause)}`, { cause })
  }
}
