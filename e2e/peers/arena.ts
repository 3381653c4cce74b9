/**
 * A place to fight in: a tracker, play money, a clock that can be moved, and parties that meet over real WebRTC.
 * bittorrent-tracker pools sockets by URL, so each party in this process has a URL of its own.
 */
import Server from 'bittorrent-tracker/server'
import { randomBytes } from 'node:crypto'
import type { PartyKey, Sha256Hex } from '../../web/core/bytes.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import { msat, priceOf, type Msat } from '../../web/core/money/msat.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import type {
  BuyPolicy,
  Download,
  DownloadSnapshot,
  Identity,
  Journal,
  PieceStore,
  SellPolicy,
  Session,
  Shop,
} from '../../web/edge/swarm/api.ts'
import { BUYER_DEFAULTS } from '../../web/core/swarm/buyer.ts'
import type { Metainfo } from '../../web/core/swarm/metainfo.ts'
import { createDownload } from '../../web/edge/swarm/download.ts'
import { hashArtifact } from '../../web/edge/swarm/hash-artifact.ts'
import { memoryJournal, memoryStore } from '../../web/edge/swarm/memory.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import { createSwarm, trading, type TradingSession } from '../../web/edge/swarm/swarm.ts'
import { createFakeMoney, type FakeMoney } from '../../web/edge/wallet/fake.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'

const MIB = 1024 * 1024
export const PIECE = 256 * 1024
/** msat per MiB, and the most that the device pays. */
export const PRICE = msat(4000)
export const CAP = msat(8000)
export const ONE_PIECE: Msat = priceOf(PIECE, CAP)
export const GRANT = msat(10_000_000)

/** The server with a port of its own, which the relay does not use. */
const Listening = Server as unknown as new (options: object) => {
  listen(port: number, host: string, done: () => void): void
  close(done: () => void): void
  http: { address(): { port: number } }
}

export type Member = Readonly<{
  identity: Identity
  session: TradingSession
  wallet: Wallet
  journal: Journal
  store: PieceStore
  /** Why wires of this member were dropped by it, latest last. */
  drops: Live<readonly string[]>
}>
export type Self = Pick<Member, 'identity' | 'wallet' | 'journal' | 'store'>
export type Device = Member & { readonly download: Download }
export type Seller = Member & { readonly shop: Shop }

export const buyPolicy: BuyPolicy = {
  ...BUYER_DEFAULTS,
  priceCap: CAP,
  budget: msat(1_000_000),
  riskBudget: msat(20_000),
  unprovenBudget: msat(10_000),
  lockedTimeoutMs: 60_000,
  approved: [],
}
export const sellPolicy: SellPolicy = {
  price: PRICE,
  gifts: { to: 'nobody', copies: 0 },
  approved: [],
  unpaidBytes: 32 * MIB,
  unprovenBytes: 8 * MIB,
}

export class Arena {
  readonly tracker: string
  readonly meta: Metainfo
  readonly content: Uint8Array
  readonly money: FakeMoney
  readonly #server: { close(done: () => void): void }
  readonly #closing: (() => Promise<unknown>)[] = []
  #offsetMs = 0
  #members = 0

  private constructor(
    tracker: string,
    meta: Metainfo,
    content: Uint8Array,
    server: { close(done: () => void): void },
    money?: FakeMoney,
    holdLimitMs?: number,
  ) {
    this.tracker = tracker
    this.meta = meta
    this.content = content
    this.#server = server
    this.money =
      money ??
      createFakeMoney({
        money: 'sandbox:arena',
        now: this.nowMs,
        ...(holdLimitMs === undefined ? {} : { holdLimitMs }),
      })
  }

  /** Another tracker for the same artifact and money: who is there meets nobody here. */
  beside(): Promise<Arena> {
    return Arena.open(0, this)
  }

  /** `holdLimitMs`: after which the wallets give an unsettled hold back, in real time. */
  static async open(pieces = 5, like?: Arena, holdLimitMs?: number): Promise<Arena> {
    const server = new Listening({ udp: false, http: false, ws: true, stats: false, interval: 25_000 })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const tracker = `ws://127.0.0.1:${server.http.address().port}`
    if (like !== undefined) return new Arena(tracker, like.meta, like.content, server, like.money)
    const content = randomBytes(pieces * PIECE - 1000)
    const source = {
      length: content.length,
      read: (at: number, length: number) => Promise.resolve(content.subarray(at, at + length)),
    }
    const { meta } = await hashArtifact(source, `arena ${randomBytes(4).toString('hex')}`, [])
    return new Arena(tracker, meta, content, server, undefined, holdLimitMs)
  }

  readonly nowMs = (): number => Date.now() + this.#offsetMs
  /** Moves everybody's clock; timers still run in real time. */
  skip(ms: number): void {
    this.#offsetMs += ms
  }

  onClose(run: () => Promise<unknown>): void {
    this.#closing.push(run)
  }
  async close(): Promise<void> {
    for (const run of this.#closing.reverse()) await run()
    await new Promise<void>((done) => this.#server.close(done))
  }

  trackerOf(name: string): string {
    return `${this.tracker}/${name}${++this.#members}`
  }

  async member(
    name: string,
    options: {
      full: boolean
      role?: 'device' | 'distributor'
      as?: Self
      balance?: Msat
      /** Where it meets others; at the arena's tracker unless said. */
      trackers?: readonly string[]
    },
  ): Promise<Member & { leave(): Promise<void> }> {
    const { full, as } = options
    const secret = new Uint8Array(randomBytes(32))
    const identity = as?.identity ?? { secret, key: publicKey(secret) }
    const drops = liveCell<readonly string[]>([])
    const swarm = await createSwarm({
      log: (event, detail) => {
        if (event === 'peer dropped') drops.set([...drops.get(), String(detail['why'])])
      },
      identity,
      role: options.role ?? 'device',
      iceServers: [],
      trackers: [...(options.trackers ?? [this.trackerOf(name)])],
    })
    let open = true
    const leave = async (): Promise<void> => {
      if (!open) return
      open = false
      await swarm.close()
    }
    this.onClose(leave)
    const store = as?.store ?? memoryStore(this.meta, full ? this.content : undefined)
    const session: Session = await swarm.join(this.meta, store, {
      vendor: '0'.repeat(64) as Sha256Hex,
      floor: () => undefined,
    })
    return {
      identity,
      session: trading(session),
      store,
      journal: as?.journal ?? memoryJournal(),
      wallet:
        as?.wallet ?? this.money.wallet(`${name} ${identity.key.slice(0, 8)}`, options.balance ?? msat(0)),
      drops,
      leave,
    }
  }

  async device(
    policy: Partial<BuyPolicy> = {},
    as?: Self,
    trackers?: readonly string[],
  ): Promise<Device & { kill(): Promise<void> }> {
    const member = await this.member('device', {
      full: false,
      balance: GRANT,
      ...(as === undefined ? {} : { as }),
      ...(trackers === undefined ? {} : { trackers }),
    })
    const download = createDownload({
      ...member,
      policy: { ...buyPolicy, ...policy },
      nowMs: this.nowMs,
      ...logTo('device'),
    })
    this.onClose(() => download.stop())
    await download.start()
    const kill = async (): Promise<void> => {
      await download.stop()
      await member.leave()
    }
    return { ...member, download, kill }
  }

  async seller(
    policy: Partial<SellPolicy> = {},
    as?: Self,
    trackers?: readonly string[],
  ): Promise<Seller & { kill(): Promise<void> }> {
    const member = await this.member('seller', {
      full: true,
      ...(as === undefined ? {} : { as }),
      ...(trackers === undefined ? {} : { trackers }),
    })
    const shop = createShop({
      ...member,
      policy: { ...sellPolicy, ...policy },
      nowMs: this.nowMs,
      ...logTo('seller'),
    })
    this.onClose(() => shop.stop())
    await shop.start()
    const kill = async (): Promise<void> => {
      await shop.stop()
      await member.leave()
    }
    return { ...member, shop, kill }
  }

  intact(device: Device): boolean {
    const bytes = (device.store as ReturnType<typeof memoryStore>).bytes
    return Buffer.compare(bytes, this.content) === 0
  }
}

function logTo(who: string): { log?: (event: string, detail: Readonly<Record<string, unknown>>) => void } {
  if (process.env['PEERS_LOG'] === undefined) return {}
  return { log: (event, detail) => console.error(who, event, JSON.stringify(detail)) }
}

/** Resolves with the first value that fits. */
export function until<T, S extends T>(live: Live<T>, fits: (value: T) => value is S): Promise<S>
export function until<T>(live: Live<T>, fits: (value: T) => boolean): Promise<T>
export function until<T>(live: Live<T>, fits: (value: T) => boolean): Promise<T> {
  return new Promise((done) => {
    let found = false
    const stop = live.subscribe((value) => {
      if (found || !fits(value)) return
      found = true
      queueMicrotask(() => stop())
      done(value)
    })
  })
}

export const droppedFor =
  (key: PartyKey) =>
  (snapshot: DownloadSnapshot): boolean =>
    snapshot.sellers.some((seller) => seller.seller === key && seller.dropped !== undefined)

export const whyDropped = (device: Device, key: PartyKey): string =>
  device.download.get().sellers.find((seller) => seller.seller === key)?.dropped ?? 'not dropped'
