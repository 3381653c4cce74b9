/** Everything around a device in its tests: a mirror, a Nostr relay, a swarm that sells when the test lets it. */
import type { Bytes } from '../../web/core/bytes.ts'
import { liveCell } from '../../web/core/live.ts'
import { msat } from '../../web/core/money/msat.ts'
import { publicKey, signEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import * as kinds from '../../web/core/nostr/kinds.ts'
import { releaseEvent } from '../../web/core/release/announce.ts'
import { testEntry, testRepository, testVendor } from '../../web/core/release/test-repository.ts'
import type { Addendum, Progress, Report } from '../../web/core/rollout/messages.ts'
import type { Metainfo } from '../../web/core/swarm/metainfo.ts'
import { matchesAny, type Filter } from '../../web/edge/nostr/filter.ts'
import { decryptFrom } from '../../web/edge/nostr/nip44.ts'
import { unwrap } from '../../web/edge/nostr/nip59.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import type { Download, DownloadDeps, DownloadSnapshot, Session, Swarm } from '../../web/edge/swarm/api.ts'
import { createFakeMoney, type FakeMoney } from '../../web/edge/wallet/fake.ts'
import { localLink } from '../install/test-link.ts'
import { fakeDownload, type Seller } from './fake-trade.ts'
import { settingsOf } from './installing.ts'
import { BUILT_AT_S, type Ports } from './ports.ts'
import { artifactOf, MONEY, metaOf, NOW, PIECE, sha } from './test-artifact.ts'

export const VENDOR_SECRET = new Uint8Array(32).fill(7)

export class World implements Seller {
  nowMs = NOW
  free = 1e12
  selling = Number.POSITIVE_INFINITY
  waiting: DownloadSnapshot['state'] = { tag: 'looking' }
  bought: string[] = []
  online = true
  takesBlobs = true
  relayAnswers = true
  readonly repository = testRepository(NOW)
  readonly torrents = new Map<string, Metainfo>()
  readonly artifacts = new Map<string, Bytes>()
  readonly published: NostrEvent[] = []
  /** What no relay took. */
  readonly lost: NostrEvent[] = []
  readonly blobs = new Map<string, Bytes>()
  readonly money: FakeMoney = createFakeMoney({ money: MONEY })
  readonly changed = liveCell(0)
  readonly poolStatus = liveCell([{ url: 'ws://relay.test/nostr', connected: true }])
  readonly #unanswered: ((error: Error) => void)[] = []
  #subscriptions = new Set<{ filters: readonly Filter[]; run: (event: NostrEvent) => void }>()
  readonly walletOf = this.money.wallet('device', msat(1_000_000))
  readonly payer = this.money.wallet('vendor', msat(1_000_000))
  readonly vendorBlock = { ...testVendor, nostr: publicKey(VENDOR_SECRET) }

  release(...versions: string[]): void {
    this.repository.publish(
      versions.map((version) => {
        const artifact = artifactOf(version)
        const meta = metaOf(artifact)
        this.torrents.set(meta.infoHash, meta)
        this.artifacts.set(meta.infoHash, artifact)
        const { piecesRoot, infoHash } = meta
        return {
          ...testEntry(version, {
            piecesRoot,
            infoHash,
            pieceLength: PIECE,
            hardware: ['pi4'],
            releasedAt: NOW / 1000 - 5,
          }),
          bytes: artifact.length,
          sha256: sha(artifact),
        }
      }),
    )
  }
  announce(version: string, targetsVersion: number): void {
    const release = { product: 'pump', version, sha256: sha(artifactOf(version)) }
    const { vendor } = this.repository
    const template = releaseEvent({ vendor, release, status: 'live', targetsVersion, createdAtS: NOW / 1000 })
    this.say(signEvent(template, VENDOR_SECRET, new Uint8Array(32)))
  }
  say(event: NostrEvent): void {
    for (const { filters, run } of [...this.#subscriptions]) if (matchesAny(filters, event)) run(event)
  }

  fetch: typeof fetch = async (input, init) => {
    if (!this.online) throw new TypeError('no route')
    const { pathname } = new URL(input instanceof Request ? input.url : input)
    const answer = (body: Bytes | string | null, status = 200) => new Response(body, { status })
    const torrent = /\/torrents\/(\w+)\.torrent$/.exec(pathname)?.[1]
    if (torrent !== undefined)
      return answer(this.torrents.get(torrent)?.torrent ?? null, this.torrents.has(torrent) ? 200 : 404)
    const blob = /\/blobs\/(\w+)$/.exec(pathname)?.[1]
    if (blob !== undefined && init?.method === 'PUT') {
      if (!this.takesBlobs) return answer('{"error":{"code":"full","message":"Full."}}', 413)
      this.blobs.set(blob, new Uint8Array(init.body as Uint8Array<ArrayBuffer>))
      return answer('{}', 201)
    }
    const file = /\/metadata\/([^/]+)$/.exec(pathname)?.[1]
    const bytes = file === undefined ? undefined : this.repository.files[file]
    return bytes === undefined ? answer(null, 404) : answer(bytes)
  }

  pool = (): Pool => ({
    status: this.poolStatus,
    publish: (event) => {
      if (!this.relayAnswers) return new Promise((_, reject) => this.#unanswered.push(reject))
      if (!this.poolStatus.get()[0]?.connected) {
        this.lost.push(event)
        return Promise.reject(new Error('no relay'))
      }
      this.published.push(event)
      this.changed.set(this.changed.get() + 1)
      return Promise.resolve()
    },
    subscribe: (filters, run) => {
      const entry = { filters, run }
      this.#subscriptions.add(entry)
      return () => this.#subscriptions.delete(entry)
    },
    close: () => this.#unanswered.forEach((reject) => reject(new Error('the pool is closed'))),
  })

  swarm = (): Promise<Swarm> =>
    Promise.resolve({
      join: (meta, store) => {
        const peers = liveCell({ connected: 0, fullCopies: 0, provenKeys: [] })
        return Promise.resolve({ meta, store, peers, leave: () => Promise.resolve() } satisfies Session)
      },
      close: () => Promise.resolve(),
    })

  download = (deps: DownloadDeps): Download => fakeDownload(this, deps)

  ports(more: Partial<Ports> = {}): Ports {
    return {
      createSwarm: this.swarm,
      createDownload: this.download,
      createShop: () => {
        throw new Error('nothing is resold here')
      },
      createPool: this.pool,
      // One wallet for all runs of the device: closing a connection to it does not close the wallet.
      openWallet: () => Promise.resolve({ ...this.walletOf, close: () => undefined }),
      openInstallStep: ({ config, signal }) =>
        localLink({ settings: settingsOf(config), nowMs: () => this.nowMs, builtAtS: BUILT_AT_S, signal }),
      fetch: this.fetch,
      nowMs: () => this.nowMs,
      random: () => 0.5,
      randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
      freeBytes: () => Promise.resolve(this.free),
      retryMs: 20,
      lonelyMs: 0,
      lateWatchMs: 60_000,
      ...more,
    }
  }
  progress(events: readonly NostrEvent[] = this.published): Progress[] {
    return events
      .filter((event) => event.kind === kinds.PROGRESS)
      .map((event) => JSON.parse(decryptFrom(VENDOR_SECRET, event.pubkey, event.content)) as Progress)
  }
  reports = (): Report[] => this.#rumours(kinds.REPORT) as Report[]
  addenda = (): Addendum[] => this.#rumours(kinds.REPORT_ADDENDUM) as Addendum[]
  #rumours(kind: number): unknown[] {
    return this.published
      .map((event) => unwrap(event, VENDOR_SECRET))
      .filter((rumour) => rumour?.kind === kind)
      .map((rumour) => JSON.parse(rumour?.content ?? '') as unknown)
  }
}
