import { createHash } from 'node:crypto'
import { access, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fromHex, toHex, utf8, type Bytes, type Sha256Hex } from '../../web/core/bytes.ts'
import { receiptOf, signQuote, type Quote } from '../../web/core/exchange/quote.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import { msat, priceOf, ZERO, type Msat } from '../../web/core/money/msat.ts'
import { publicKey, signEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import * as kinds from '../../web/core/nostr/kinds.ts'
import { releaseEvent } from '../../web/core/release/announce.ts'
import { testEntry, testRepository, testVendor } from '../../web/core/release/test-repository.ts'
import type { Progress, Report, WindowRow } from '../../web/core/rollout/messages.ts'
import { buildMetainfo, type Metainfo } from '../../web/core/swarm/metainfo.ts'
import { matchesAny, type Filter } from '../../web/edge/nostr/filter.ts'
import { decryptFrom } from '../../web/edge/nostr/nip44.ts'
import { unwrap, wrap } from '../../web/edge/nostr/nip59.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import type {
  BuyPolicy,
  Download,
  DownloadDeps,
  DownloadSnapshot,
  Session,
  Swarm,
} from '../../web/edge/swarm/api.ts'
import { encodeJson } from '../../web/edge/swarm/records.ts'
import { createFakeMoney, type FakeMoney } from '../../web/edge/wallet/fake.ts'
import { parseConfig, type DeviceConfig } from '../config/config.ts'
import { deviceToml } from '../config/template.ts'
import { leavesPerPiece, pieceRoot } from '../storage/piece-root.ts'
import { readJoinState, writeJoinState } from './join-state.ts'
import { BUILT_AT_S, type Ports } from './ports.ts'
import { readReceiptsFile, rootOfReceipts } from './receipts.ts'
import { readRecord } from './record.ts'
import { runDevice, type RunningDevice } from './run-device.ts'
import { standing } from './view.ts'

const PIECE = 16_384
const VENDOR_SECRET = new Uint8Array(32).fill(7)
const SELLER_SECRET = new Uint8Array(32).fill(9)
const MONEY = 'sandbox:test'
const RELAY = 'http://relay.test'
const NOW = (BUILT_AT_S + 1000) * 1000
const sha = (bytes: Uint8Array): Sha256Hex => createHash('sha256').update(bytes).digest('hex') as Sha256Hex

const artifactOf = (version: string): Bytes => {
  const bytes = new Uint8Array(PIECE * 4 + 11)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + version.charCodeAt(0) * (i >> 8)) & 255
  return bytes
}
function metaOf(artifact: Bytes): Metainfo {
  const pieces = Math.ceil(artifact.length / PIECE)
  const layer = new Uint8Array(32 * pieces)
  const leaves = leavesPerPiece({ length: artifact.length, pieceLength: PIECE, pieces })
  for (let i = 0; i < pieces; i++)
    layer.set(pieceRoot(artifact.subarray(i * PIECE, (i + 1) * PIECE), leaves), i * 32)
  const sha1s = new Uint8Array(20 * pieces)
  return buildMetainfo({
    salt: new Uint8Array(16),
    name: 'f',
    length: artifact.length,
    pieceLength: PIECE,
    sha1s,
    layer,
    trackers: [],
  })
}

/** Everything around the device: a mirror, a Nostr relay, a swarm that sells when the test lets it. */
class World {
  readonly dir: string
  nowMs = NOW
  free = 1e12
  /** Pieces that the one seller gives before it waits. */
  selling = Number.POSITIVE_INFINITY
  waiting: DownloadSnapshot['state'] = { tag: 'looking' }
  bought: string[] = []
  online = true
  takesBlobs = true
  readonly repository = testRepository(NOW)
  readonly torrents = new Map<string, Metainfo>()
  readonly artifacts = new Map<string, Bytes>()
  readonly published: NostrEvent[] = []
  readonly blobs = new Map<string, Bytes>()
  readonly money: FakeMoney = createFakeMoney({ money: MONEY })
  readonly changed = liveCell(0)
  readonly poolStatus = liveCell([{ url: 'ws://relay.test/nostr', connected: true }])
  #subscriptions = new Set<{ filters: readonly Filter[]; run: (event: NostrEvent) => void }>()
  readonly walletOf = this.money.wallet('device', msat(1_000_000))
  readonly payer = this.money.wallet('vendor', msat(1_000_000))

  constructor(dir: string) {
    this.dir = dir
  }
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
      if (!this.poolStatus.get()[0]?.connected) return Promise.reject(new Error('no relay'))
      this.published.push(event)
      this.changed.set(this.changed.get() + 1)
      return Promise.resolve()
    },
    subscribe: (filters, run) => {
      const entry = { filters, run }
      this.#subscriptions.add(entry)
      return () => this.#subscriptions.delete(entry)
    },
    close: () => undefined,
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
  progress(): Progress[] {
    return this.published
      .filter((event) => event.kind === kinds.PROGRESS)
      .map((event) => JSON.parse(decryptFrom(VENDOR_SECRET, event.pubkey, event.content)) as Progress)
  }
  reports(): Report[] {
    return this.published
      .map((event) => unwrap(event, VENDOR_SECRET))
      .filter((rumour) => rumour?.kind === kinds.REPORT)
      .map((rumour) => JSON.parse(rumour?.content ?? '') as Report)
  }
}

/** Buys from one seller at one msat a piece: every piece is in `world.bought`, with a receipt in the journal. */
function fakeDownload(world: World, { session, journal, identity }: DownloadDeps): Download {
  const { meta, store } = session
  const artifact = world.artifacts.get(meta.infoHash)!
  const windows: WindowRow[] = []
  const count = (): number =>
    [...Array(meta.pieces).keys()].filter((i) => store.have[i >> 3]! & (0x80 >> (i & 7))).length
  const snapshot = (state: DownloadSnapshot['state']): DownloadSnapshot => ({
    state,
    have: count(),
    pieces: meta.pieces,
    rateBps: 0,
    paid: ZERO,
    fees: ZERO,
    locked: ZERO,
    sellers: [],
    windows: [...windows],
    boughtTwice: 0,
  })
  const cell = liveCell<DownloadSnapshot>(snapshot({ tag: 'looking' }))
  const complete = Promise.withResolvers<void>()
  const settled = Promise.withResolvers<void>()
  let running = false
  let ended: Promise<void> | undefined

  async function buy(piece: number): Promise<void> {
    const preimage = sha(utf8(`${meta.infoHash} ${piece}`))
    const quote: Quote = {
      id: sha(utf8(`id ${meta.infoHash} ${piece}`)),
      buyer: identity.key,
      seller: publicKey(SELLER_SECRET),
      root: meta.piecesRoot,
      shape: { length: meta.length, pieceLength: meta.pieceLength },
      pieces: [piece],
      cipherRoot: sha(utf8('c')),
      paymentHash: sha(fromHex(preimage)),
      amount: msat(1),
      money: MONEY,
      expiry: NOW / 1000 + 60,
      invoice: 'lnbcrt1',
    }
    const signed = signQuote(quote, SELLER_SECRET, new Uint8Array(32))
    const row = {
      seller: quote.seller,
      paymentHash: quote.paymentHash,
      pieces: [piece],
      bytes: Math.min(PIECE, meta.length - piece * PIECE),
      amountMsat: msat(1),
      feesMsat: ZERO,
      requestedAt: NOW,
      paidAt: NOW + piece,
      doneAt: NOW + piece,
      late: false,
    }
    world.bought.push(`${meta.infoHash} ${piece}`)
    await journal.put(
      `receipt/${meta.infoHash}/${quote.id}`,
      encodeJson({ receipt: receiptOf(signed, preimage), row }),
    )
    windows.push(row)
    await store.write(piece, artifact.subarray(piece * PIECE, (piece + 1) * PIECE))
  }

  async function run(): Promise<void> {
    for (let piece = 0; piece < meta.pieces && running; piece++) {
      if (store.have[piece >> 3]! & (0x80 >> (piece & 7))) continue
      while (running && world.selling <= 0) {
        cell.set(snapshot(world.waiting))
        await new Promise<void>((resolve) => {
          const stop = world.changed.subscribe(() => (world.selling > 0 || !running) && resolve())
          void Promise.resolve()
            .then(() => undefined)
            .finally(() => setTimeout(() => (stop(), resolve()), 5))
        })
      }
      if (!running) return
      world.selling--
      cell.set(snapshot({ tag: 'buying' }))
      await buy(piece)
    }
    if (!running) return
    cell.set(snapshot({ tag: 'complete' }))
    complete.resolve()
    settled.resolve()
  }

  return {
    get: cell.get,
    subscribe: cell.subscribe,
    complete: complete.promise,
    settled: settled.promise,
    start() {
      running = true
      ended = run().catch(() => undefined)
      return Promise.resolve()
    },
    async stop() {
      running = false
      await ended
    },
    receipts: () => [],
    onLate: () => () => undefined,
    onFraud: () => () => undefined,
  }
}

let dir: string
let world: World
let devices: RunningDevice[]
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-run-'))
  world = new World(dir)
  // The test repository signs one vendor block; ours must be the key that the test holds.
  Object.assign(testVendor, { nostr: world.vendorBlock.nostr })
  devices = []
})
afterEach(async () => {
  for (const device of devices) await device.stop()
  await rm(dir, { recursive: true, force: true })
})

async function configOf(edit: (toml: string) => string = (toml) => toml): Promise<DeviceConfig> {
  const file = join(dir, 'device.toml')
  const toml = edit(
    deviceToml({
      name: 'pump-7',
      hardware: 'pi4',
      dataDir: 'data',
      vendor: world.repository.vendor,
      relays: [RELAY],
      trackers: [],
      deviceSecret: '01'.repeat(32),
      walletClientSecret: '02'.repeat(32),
      walletConnection: `nostr+walletconnect://${'ab'.repeat(32)}?relay=ws%3A%2F%2Frelay.test&secret=${'cd'.repeat(32)}`,
      products: [],
      healthCommand: '',
      priceCapMsat: undefined,
    }),
  )
  await writeFile(file, toml)
  return parseConfig(toml, file)
}
async function start(config: DeviceConfig, ports: Partial<Ports> = {}): Promise<RunningDevice> {
  const device = await runDevice({
    config,
    log: pino({ level: process.env['TEST_LOG'] ?? 'silent' }),
    ports: world.ports(ports),
  })
  devices.push(device)
  return device
}
/** Waits for a value that satisfies `good`; the test's own time limit ends a wait in vain. */
function seen<T>(live: Live<T>, good: (value: T) => boolean): Promise<T> {
  return new Promise((resolve) => {
    let done = false
    const stop: { now?: () => void } = {}
    stop.now = live.subscribe((value) => {
      if (done || !good(value)) return
      done = true
      queueMicrotask(() => stop.now?.())
      resolve(value)
    })
  })
}
const state = (device: RunningDevice, wanted: string) => seen(device, (now) => now.state === wanted)
const allTold = (device: RunningDevice) =>
  seen(
    device.record,
    ({ jobs }) =>
      jobs.length > 0 &&
      jobs.every(({ phase }) => phase.tag === 'done' && phase.told.report && phase.told.attestation),
  )
const installed = (): Promise<string> =>
  readFile(join(dir, 'data', 'products', 'pump', 'current', 'pump ü.bin')).then(sha)

describe('device run', () => {
  test('learns of a release, buys it, installs it, and reports once with receipts that check', async () => {
    world.release('1.0')
    const device = await start(await configOf())
    const record = await allTold(device)
    expect(await installed()).toBe(sha(artifactOf('1.0')))
    expect(record.installed['pump']?.version).toBe('1.0')
    const reports = world.reports()
    expect(reports).toHaveLength(1)
    expect(reports[0]).toMatchObject({ outcome: 'healthy', paidMsat: 5, receipts: 5 })
    const file = await readReceiptsFile(
      join(dir, 'data', 'receipts', (await readdir(join(dir, 'data', 'receipts')))[0]!),
    )
    expect(rootOfReceipts(file!.receipts)).toBe(reports[0]?.receiptsRoot)
    const { sha256, key } = reports[0]!.blob!
    const blob = world.blobs.get(sha256)!
    const aes = await crypto.subtle.importKey('raw', fromHex(key), 'AES-GCM', false, ['decrypt'])
    const plain = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: blob.slice(0, 12) }, aes, blob.slice(12))
    expect((JSON.parse(new TextDecoder().decode(plain)) as { receipts: unknown[] }).receipts).toHaveLength(5)
    const attestation = world.published.find((event) => event.kind === kinds.ATTESTATION)!
    expect(attestation.tags).toContainEqual(['l', 'healthy', 'satpatch'])
    expect(world.progress().at(-1)).toMatchObject({ state: 'healthy', installed: { pump: '1.0' } })
    const seqs = world.progress().map(({ seq }) => seq)
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b))
  })

  test('stopped anywhere and started again it finishes, buys nothing twice and reports once', async () => {
    world.release('1.0')
    const config = await configOf()
    for (let pieces = 1; pieces <= 4; pieces++) {
      world.selling = 1
      const device = await start(config)
      await seen(device, (now) => now.download?.have === pieces && now.state === 'queued')
      await device.stop()
    }
    world.selling = Number.POSITIVE_INFINITY
    await allTold(await start(config))
    expect(new Set(world.bought).size).toBe(5)
    expect(world.bought).toHaveLength(5)
    expect(world.reports()).toHaveLength(1)
    expect(world.reports()[0]?.writeFactor).toBeLessThan(2.1)
    // Once more: nothing is left to do.
    await devices.at(-1)?.stop()
    const again = await start(config)
    await state(again, 'healthy')
    expect(world.bought).toHaveLength(5)
    expect(world.reports()).toHaveLength(1)
  })

  test('a newer release follows an announcement; an older one, or another vendor’s word, moves nothing', async () => {
    world.release('1.0')
    const device = await start(await configOf())
    await allTold(device)
    world.release('1.0', '2.0')
    world.announce('2.0', 2)
    await seen(device.record, ({ installed: now }) => now['pump']?.version === '2.0')
    expect(await installed()).toBe(sha(artifactOf('2.0')))
    world.release('1.5', '2.0')
    world.announce('1.5', 3)
    await seen(device.record, ({ notice }) => notice !== null && notice.includes('not newer than 2.0'))
  })

  test('a sick version is rolled back, reported as such and not tried again', async () => {
    world.release('1.0')
    await writeFile(
      join(dir, 'judge.sh'),
      '#!/bin/sh\ntest "$SATPATCH_VERSION" != 2.0 || { echo no pulse; exit 1; }\n',
      { mode: 0o755 },
    )
    const judge = `health_command = "sh ${dir}/judge.sh"`
    const device = await start(await configOf((toml) => toml.replace('health_command = ""', judge)))
    await allTold(device)
    world.release('1.0', '2.0')
    world.announce('2.0', 2)
    await state(device, 'rolled back')
    await seen(world.changed, () => world.reports().length === 2)
    expect(world.reports()[1]).toMatchObject({
      outcome: 'rolled back',
      reason: 'the health command exited with code 1: no pulse',
    })
    expect(await installed()).toBe(sha(artifactOf('1.0')))
    world.announce('2.0', 3)
    expect(device.record.get().jobs).toHaveLength(2)
  })

  test('without sats it waits, says how many, shows an invoice, and goes on by itself', async () => {
    world.release('1.0')
    world.selling = 2
    world.waiting = { tag: 'waiting', why: 'funds', needMsat: 2500 as Msat }
    const device = await start(await configOf())
    await seen(world.changed, () => world.progress().some(({ fundInvoice }) => fundInvoice !== undefined))
    const told = world.progress().findLast(({ fundInvoice }) => fundInvoice !== undefined)!
    expect(told).toMatchObject({ state: 'queued', needMsat: 3000 })
    expect(told.reason).toContain('needs 3 play sats more')
    expect(told.release?.receipts).toBe(2)
    expect(await world.payer.pay(told.fundInvoice!)).toMatchObject({ tag: 'paid' })
    world.selling = Number.POSITIVE_INFINITY
    await allTold(device)
    expect(world.bought).toHaveLength(5)
  })

  test('reasons to wait are told, and it goes on when they are gone', async () => {
    world.release('1.0')
    world.free = 1000
    const device = await start(await configOf())
    await seen(device, ({ reason }) => reason?.includes('Free some space') === true)
    expect(world.bought).toEqual([])
    world.free = 1e12
    await state(device, 'healthy')
  })

  test('with a clock before the program was built nothing is bought', async () => {
    world.release('1.0')
    world.nowMs = 1000
    const device = await start(await configOf())
    await seen(device, ({ reason }) => reason?.includes('no plausible time') === true)
    expect(world.bought).toEqual([])
    world.nowMs = NOW
    await state(device, 'healthy')
  })

  test('the byte budget of a day holds it, the next day lets it go on', async () => {
    world.release('1.0')
    world.selling = 2
    const device = await start(
      await configOf((toml) => toml.replace('bytes_per_day = 0', `bytes_per_day = ${PIECE * 2}`)),
    )
    await seen(device, ({ reason }) => reason?.includes('byte budget') === true)
    expect(world.bought).toHaveLength(2)
    world.selling = Number.POSITIVE_INFINITY
    world.nowMs += 86_400_000
    world.repository.publish([], world.nowMs)
    await seen(device, ({ download }) => (download?.have ?? 0) > 2)
    expect(new Set(world.bought).size).toBe(world.bought.length)
  })

  test('a withdrawn release that has not begun stops; a missing mirror is told', async () => {
    world.release('1.0')
    world.free = 0
    const device = await start(await configOf())
    await seen(device, ({ reason }) => reason?.includes('Free some space') === true)
    world.repository.publish([])
    world.announce('1.0', 2)
    await seen(device, ({ reason }) => reason === 'the vendor withdrew this release')
    world.free = 1e12
    world.online = false
    world.announce('1.0', 3)
    await seen(device.record, ({ notice }) => notice?.includes('No mirror could be used') === true)
    expect(world.bought).toEqual([])
  })

  test('a report waits for a relay, and goes without receipts when no mirror takes them', async () => {
    world.release('1.0')
    world.takesBlobs = false
    world.poolStatus.set([{ url: 'ws://relay.test/nostr', connected: false }])
    const device = await start(await configOf())
    await state(device, 'healthy')
    expect(world.reports()).toEqual([])
    world.poolStatus.set([{ url: 'ws://relay.test/nostr', connected: true }])
    await allTold(device)
    expect(world.reports()).toHaveLength(1)
    expect(world.reports()[0]?.blob).toBeUndefined()
  })

  test('a device that the vendor has not accepted waits and shows its code; the acceptance is written down', async () => {
    world.release('1.0')
    const config = await configOf((toml) => toml.replace(/connection = ".*"/, 'connection = ""'))
    const nostr = world.vendorBlock.nostr
    const joinState = { v: 1, secret: 'ab'.repeat(16), nostr, relay: RELAY, acceptedAt: null } as const
    await access(join(dir, 'data')).catch(() => start(config).then((first) => first.stop()))
    await writeJoinState(config.dataDir, joinState)
    const device = await start(config)
    await seen(device, ({ reason }) => /[0-9A-Z]{4}-[0-9A-Z]{4}/.test(reason ?? ''))
    const request = world.published
      .map((event) => unwrap(event, VENDOR_SECRET))
      .find((one) => one?.kind === kinds.JOIN_REQUEST)
    expect(JSON.parse(request!.content)).toMatchObject({ secret: 'ab'.repeat(16), name: 'pump-7' })
    expect(world.bought).toEqual([])
    const accept = {
      v: 1,
      vendor: config.vendor,
      name: 'pump-7',
      wallet: { walletPubkey: 'ef'.repeat(32), relays: ['ws://relay.test'] },
    }
    const template = { kind: kinds.JOIN_ACCEPT, created_at: 1, tags: [], content: JSON.stringify(accept) }
    world.say(wrap(template, new Uint8Array(32).fill(99), device.key)) // not the vendor
    world.say(wrap(template, VENDOR_SECRET, device.key))
    await state(device, 'healthy')
    const toml = await readFile(config.file, 'utf8')
    expect(parseConfig(toml, config.file).walletConnection).toContain('ef'.repeat(32))
    expect(toml.split('\n').length).toBe((await readFile(config.file, 'utf8')).split('\n').length)
  })

  test('an acceptance that cannot be written down is tried again, and status says why', async () => {
    const config = await configOf((toml) => toml.replace(/connection = ".*"/, 'connection = ""'))
    const nostr = world.vendorBlock.nostr
    await start(config).then((first) => first.stop())
    await writeJoinState(config.dataDir, {
      v: 1,
      secret: 'ab'.repeat(16),
      nostr,
      relay: RELAY,
      acceptedAt: null,
    })
    const device = await start(config)
    const whole = await readFile(config.file, 'utf8')
    await writeFile(config.file, whole.replace('hardware = ', 'hardware '))
    const wallet = { walletPubkey: 'ef'.repeat(32), relays: ['ws://relay.test'] }
    const content = JSON.stringify({ v: 1, vendor: config.vendor, name: 'pump-7', wallet })
    world.say(wrap({ kind: kinds.JOIN_ACCEPT, created_at: 1, tags: [], content }, VENDOR_SECRET, device.key))
    await seen(device, ({ reason }) => reason?.includes('accepted by the vendor, but') === true)
    await seen(device.record, ({ joinTrouble }) => joinTrouble?.includes('device.toml, line') === true)
    const kept = (await readRecord(config.dataDir))!
    expect(standing(kept, device.key, false).reason).toContain('device.toml, line')
    await writeFile(config.file, whole)
    await seen(device.record, (record) => record.joinTrouble === undefined)
    expect((await readJoinState(config.dataDir))?.acceptedAt).toBe(NOW)
    expect(parseConfig(await readFile(config.file, 'utf8'), config.file).walletConnection).toBeDefined()
  })

  test('a look at the mirror that throws is followed by another', async () => {
    world.release('1.0')
    let broken = false
    const nowMs = (): number => {
      if (!broken) return world.nowMs
      broken = false
      throw new Error('no clock')
    }
    const device = await start(await configOf(), { nowMs })
    await allTold(device)
    world.release('1.0', '2.0')
    broken = true
    world.announce('2.0', 2)
    await seen(device.record, ({ installed: now }) => now['pump']?.version === '2.0')
    expect(broken).toBe(false)
  })

  test('a swarm that could not be opened is opened by the next try; stopping meanwhile lets the directory go', async () => {
    world.release('1.0')
    const config = await configOf()
    let tries = 0
    const broken = await start(config, {
      createSwarm: () => {
        tries++
        return Promise.reject(new Error('no sockets left'))
      },
    })
    await seen(broken, ({ reason }) => reason?.includes('no sockets left') === true)
    await broken.stop()
    const before = tries
    const device = await start(config, {
      createSwarm: () => (tries++ === before ? Promise.reject(new Error('not yet')) : world.swarm()),
    })
    await state(device, 'healthy')
    expect(tries).toBe(before + 2)
  })

  test.each([
    ['', 4],
    ['risk_sats_unproven = 0', 1],
    ['risk_sats_unproven = 7', 7000],
  ])('new sellers may hold four pieces, or what the owner says (%j)', async (line, pieces) => {
    world.release('1.0')
    let policy: BuyPolicy | undefined
    const config = await configOf((toml) => toml.replace('# risk_sats_unproven = 100', line))
    const device = await start(config, {
      createDownload: (deps) => {
        policy = deps.policy
        return world.download(deps)
      },
    })
    await state(device, 'healthy')
    const piece = priceOf(PIECE, device.get().release!.priceCapMsat)
    expect(policy?.unprovenBudget).toBe(pieces === 7000 ? 7000 : pieces * piece)
  })

  test('a device is bound to one vendor, and runs once', async () => {
    const config = await configOf()
    const device = await start(config)
    await expect(start(config)).rejects.toThrow('Another process already runs')
    await device.stop()
    await expect(
      start({ ...config, vendor: toHex(new Uint8Array(32).fill(1)) as Sha256Hex }),
    ).rejects.toThrow('This device is bound to the vendor')
    expect((await readRecord(config.dataDir))?.vendor).toBe(world.repository.vendor)
  })
})
