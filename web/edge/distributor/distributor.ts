/**
 * The distributor: follows vendors, carries what they signed inside its owner's limits, and sells it. It waits
 * and connects; what to carry is decided in `core/swarm/carry.ts`. States are shown as they are; what fails says so
 * and is tried again.
 */
import type { InfoHash, PartyKey, VendorId } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { parseEvent } from '../../core/exchange/offer.ts'
import { RELEASE } from '../../core/nostr/kinds.ts'
import { releaseName, type Release } from '../../core/release/target.ts'
import {
  planCarry,
  supersededBy,
  type CarryItem,
  type CarryReason,
  type CarryStanding,
} from '../../core/swarm/carry.ts'
import { releaseSum } from '../../core/swarm/carry-earnings.ts'
import { isNewer } from '../../core/release/version.ts'
import { failureText, refresh } from '../release/mirror.ts'
import type { Swarm } from '../swarm/api.ts'
import { createCheats } from '../swarm/cheats.ts'
import { createRateLimit } from '../swarm/rate-limit.ts'
import type { Wallet } from '../wallet/wallet.ts'
import type {
  Distributor,
  DistributorDeps,
  DistributorMode,
  DistributorParts,
  DistributorSettings,
  DistributorSnapshot,
  EvictedRow,
} from './api.ts'
import { createCarried, type Carried, type CarriedView, type Terms } from './carried.ts'
import { followVendors } from './following.ts'
import { hearOthers } from './others.ts'
import {
  dropCarried,
  EVICTED_ROWS,
  loadCarried,
  loadEvicted,
  metadataStore,
  saveCarried,
  saveEvicted,
  saveSettings,
  type CarryRecord,
} from './records.ts'
import { buildSnapshot } from './snapshot.ts'
import { keepTally } from './tally.ts'
import type { VendorMetadata } from './vendor-watch.ts'
import { watchWallet } from './wallet-watch.ts'

export { defaultSettings, loadSettings } from './records.ts'

/** Snapshots are shown at most so often; the first at once. */
const SHOW_EVERY_MS = 150
const TICK_MS = 5_000
const PLAN_EVERY_MS = 60_000
const PUBLISH_TIMEOUT_MS = 15_000

type Makers = Omit<DistributorParts, 'readVendor'>

/** Makes a distributor; nothing runs before `start`. */
export function createDistributor(deps: DistributorDeps): Distributor {
  const { identity, pool, nowMs } = deps
  const { journal } = deps.stores
  const log = deps.log ?? (() => undefined)

  let settings = deps.settings
  const upload = createRateLimit(settings.uploadBps)
  const download = createRateLimit(settings.downloadBps)
  let running = false
  let evicted: readonly EvictedRow[] = []
  let planTrouble: string | undefined
  let tooLarge: readonly string[] = []
  let relay = { connected: false, sinceMs: nowMs() }
  const carried = new Map<InfoHash, Carried>()
  let wallet: { at: Wallet; watch: ReturnType<typeof watchWallet> } | undefined
  let swarm: Promise<Swarm> | undefined
  let parts: Promise<Makers> | undefined
  let endings: (() => void)[] = []

  const tally = keepTally({ journal, nowMs, log })
  const following = followVendors({
    relayUrl: deps.relayUrl,
    config: deps.config,
    fetch: deps.fetch,
    read: deps.parts?.readVendor ?? readFromMirror,
    follows,
    carried: () => [...carried.values()].map((at) => at.record.vendor),
    running: () => running,
    onChange: () => void plan(),
    nowMs,
    log,
  })
  const { watches } = following
  const others = hearOthers({
    pool,
    self: identity.key,
    money: deps.config.money,
    nowMs,
    onChange: () => show(),
  })
  const cheats = createCheats({
    pool,
    journal,
    identity,
    nowMs,
    random: () => deps.random(4).reduce((sofar, byte) => (sofar + byte) / 256, 0),
    randomBytes: deps.random,
    log,
  })
  const cell = liveCell<DistributorSnapshot>(snapshot())

  // --- starting from what is on disk

  const loaded = (async () => {
    const [records, rows] = await Promise.all([
      loadCarried(journal),
      loadEvicted(journal),
      tally.load(),
      makeParts(),
      cheats.loaded,
    ])
    evicted = rows
    for (const record of records) await carry(record)
    show()
  })()
  loaded.catch((error: unknown) => {
    planTrouble = `What this distributor carries could not be read: ${text(error)} Nothing was deleted.`
    show()
  })

  function makeParts(): Promise<Makers> {
    parts ??= (async () => {
      const given = deps.parts ?? {}
      const [createSwarm, createDownload, createShop] = await Promise.all([
        given.createSwarm ?? import('../swarm/swarm.ts').then((module) => module.createSwarm),
        given.createDownload ?? import('../swarm/download.ts').then((module) => module.createDownload),
        given.createShop ?? import('../swarm/shop.ts').then((module) => module.createShop),
      ])
      return { createSwarm, createDownload, createShop }
    })()
    return parts
  }

  // --- vendors

  function follows(vendor: VendorId): boolean {
    return settings.vendors === 'all' || settings.vendors.includes(vendor)
  }

  async function readFromMirror(vendor: VendorId, floor: number): Promise<VendorMetadata> {
    const result = await refresh({
      mirrors: [deps.relayUrl],
      vendor,
      store: metadataStore(journal, vendor),
      nowMs: nowMs(),
      fetch: deps.fetch,
      floor,
    })
    if (result.tag !== 'ok') throw new Error(failureText(result))
    const { vendorBlock: block, releases, targetsVersion } = result.verified
    return { block, releases, targetsVersion }
  }

  // --- what to carry

  let planning: Promise<void> = Promise.resolve()
  function plan(): Promise<void> {
    planning = planning.then(planOnce).catch((error: unknown) => {
      planTrouble = `What to carry could not be changed: ${text(error)} What is on disk stays.`
      log('plan-failed', { error: text(error) })
      show()
    })
    return planning
  }

  async function planOnce(): Promise<void> {
    const signed = new Map<
      InfoHash,
      { vendor: VendorId; vendorName: string; release: Release; standing: CarryStanding }
    >()
    for (const [vendor, watch] of watches) {
      const { metadata } = watch.view.get()
      if (!metadata) continue
      const { nostr, distributors } = metadata.block
      if (running) cheats.follow(vendor, metadata.releases, [nostr, ...distributors])
      for (const release of metadata.releases) {
        const standing = supersededBy(release, metadata.releases, isNewer, release.version)
          ? 'superseded'
          : 'current'
        signed.set(release.infoHash, { vendor, vendorName: metadata.block.name, release, standing })
      }
    }
    const items: CarryItem[] = []
    for (const at of carried.values()) items.push(itemOf(at.record, true, standingOf(at.record, signed)))
    for (const [infoHash, row] of signed)
      if (!carried.has(infoHash)) items.push(itemOf({ ...row, takenAt: 0 }, false, row.standing))
    const todo = planCarry(items, settings.diskLimitBytes, nowMs())

    for (const { infoHash, reason } of todo.evict) await evict(infoHash, reason)
    for (const infoHash of todo.fetch) {
      const row = signed.get(infoHash)
      if (!row || !running) continue
      const { vendor, vendorName, release } = row
      const record: CarryRecord = { v: 1, vendor, vendorName, release, takenAt: nowMs() }
      await saveCarried(journal, record)
      if (evicted.some((old) => old.infoHash === infoHash)) {
        evicted = evicted.filter((old) => old.infoHash !== infoHash)
        await saveEvicted(journal, evicted)
      }
      await carry(record)
    }
    tooLarge = todo.noRoom
      .map((infoHash) => signed.get(infoHash)?.release)
      .filter((release) => release !== undefined && release.bytes > settings.diskLimitBytes)
      .map((release) => releaseName(release!))
    planTrouble = undefined
    await applyMode()
    if (running) others.listen([...carried.keys()])
    show()
  }

  function standingOf(
    record: CarryRecord,
    signed: ReadonlyMap<InfoHash, { standing: CarryStanding }>,
  ): CarryStanding {
    if (!follows(record.vendor)) return 'unfollowed'
    // Before its vendor was heard in this run, the last proven word counts: it was signed when it was taken.
    if (!watches.get(record.vendor)?.view.get().metadata) return 'current'
    return signed.get(record.release.infoHash)?.standing ?? 'withdrawn'
  }

  function itemOf(
    record: Pick<CarryRecord, 'release' | 'takenAt'>,
    held: boolean,
    standing: CarryStanding,
  ): CarryItem {
    const { infoHash, bytes, releasedAt } = record.release
    const sum = releaseSum(tally.get(), infoHash)
    return {
      infoHash,
      bytes,
      held,
      evictedBefore: evicted.some((row) => row.infoHash === infoHash && row.reason === 'made room'),
      standing,
      otherSellers: otherSellers(infoHash),
      earnedMsat: sum.earned,
      releasedAt,
      lastUsefulAtMs: Math.max(sum.lastAt, record.takenAt),
    }
  }

  function otherSellers(infoHash: InfoHash): number {
    return Math.max(others.of(infoHash).length, carried.get(infoHash)?.view.get().fullCopies ?? 0)
  }

  async function evict(infoHash: InfoHash, reason: CarryReason): Promise<void> {
    const at = carried.get(infoHash)
    if (!at) return
    await at.destroy()
    await dropCarried(journal, infoHash)
    carried.delete(infoHash)
    tally.forget(infoHash)
    const { bytes } = at.record.release
    const row: EvictedRow = { infoHash, name: releaseName(at.record.release), bytes, at: nowMs(), reason }
    evicted = [row, ...evicted.filter((old) => old.infoHash !== infoHash)].slice(0, EVICTED_ROWS)
    await saveEvicted(journal, evicted)
    log('evicted', { release: at.record.release.path, reason })
  }

  async function carry(record: CarryRecord): Promise<void> {
    const { infoHash } = record.release
    const { createDownload, createShop } = await makeParts()
    const at = createCarried(
      {
        record,
        relayUrl: deps.relayUrl,
        identity,
        swarm: joinSwarm,
        cheats,
        floor: () => watches.get(record.vendor)?.floor(),
        onFloor: (json) => {
          const event = parseEvent(json)
          if (event?.kind === RELEASE) following.hear(event)
        },
        openStore: deps.stores.openStore,
        journal,
        createDownload,
        createShop,
        upload,
        download,
        publishOffer,
        fetch: deps.fetch,
        nowMs,
        log,
      },
      termsFor(record),
    )
    carried.set(infoHash, at)
    at.view.subscribe((view) => count(infoHash, view))
  }

  function joinSwarm(): Promise<Swarm> {
    if (!swarm) {
      const making = makeParts().then(({ createSwarm }) =>
        createSwarm({
          identity,
          iceServers: deps.config.iceServers,
          trackers: [deps.config.trackerUrl],
          role: 'distributor',
          log,
        }),
      )
      making.catch(() => (swarm = swarm === making ? undefined : swarm)) // the next join tries anew
      swarm = making
    }
    return swarm
  }

  function publishOffer(json: string): void {
    const event = parseEvent(json)
    if (!event) return
    pool
      .publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS })
      .catch((error: unknown) => log('offer-not-published', { error: text(error) }))
  }

  // --- terms and mode

  function termsFor(record: CarryRecord): Terms {
    const block = watches.get(record.vendor)?.view.get().metadata?.block
    const approved: PartyKey[] = block ? [block.nostr, ...block.distributors] : []
    return {
      wallet: wallet?.at,
      price: settings.price,
      uploadBps: settings.uploadBps,
      spend: settings.spendPerRelease,
      approved,
    }
  }

  function mode(): DistributorMode {
    if (!running) return { tag: 'off' }
    const { metered, lowBattery } = deps.conditions?.get() ?? { metered: false, lowBattery: false }
    if (metered && settings.pauseOn.metered)
      return {
        tag: 'paused',
        why: 'metered',
        text: 'This connection is metered. Seeding goes on when it is not.',
      }
    if (lowBattery && settings.pauseOn.lowBattery)
      return {
        tag: 'paused',
        why: 'low-battery',
        text: 'The battery is low. Seeding goes on when it charges.',
      }
    return { tag: 'on' }
  }

  async function applyMode(): Promise<void> {
    const on = mode().tag === 'on'
    const stopping: Promise<void>[] = []
    for (const at of carried.values()) {
      at.setTerms(termsFor(at.record))
      if (on) at.start()
      else stopping.push(at.stop())
    }
    await Promise.all(stopping)
  }

  // --- counting

  function count(infoHash: InfoHash, view: CarriedView): void {
    if (view.shop) {
      tally.count(infoHash, view.shop)
    }
    show()
  }

  // --- showing

  let showTimer: ReturnType<typeof setTimeout> | undefined
  let shownAt = -Infinity
  function show(): void {
    if (showTimer !== undefined) return
    const wait = shownAt + SHOW_EVERY_MS - Date.now()
    if (wait <= 0) return showNow()
    showTimer = setTimeout(showNow, wait)
  }
  function showNow(): void {
    clearTimeout(showTimer)
    showTimer = undefined
    shownAt = Date.now()
    cell.set(snapshot())
  }

  function snapshot(): DistributorSnapshot {
    return buildSnapshot({
      mode: mode(),
      config: following.config,
      settings,
      wallet: wallet?.watch.view.get(),
      relay,
      earnings: tally.get(),
      evicted,
      carried: [...carried.values()],
      follows,
      watches,
      others: (infoHash) => others.of(infoHash),
      otherSellers,
      standing: (record) => standingNow(record),
      troubles: [...(planTrouble ? [planTrouble] : []), ...tooLarge.map(tooLargeText)],
    })
  }

  function standingNow(record: CarryRecord): CarryStanding {
    const releases = watches.get(record.vendor)?.view.get().metadata?.releases
    if (!follows(record.vendor)) return 'unfollowed'
    if (!releases) return 'current'
    const mine = releases.find((release) => release.infoHash === record.release.infoHash)
    if (!mine) return 'withdrawn'
    return supersededBy(mine, releases, isNewer, mine.version) ? 'superseded' : 'current'
  }

  function setWallet(next: Wallet | undefined): void {
    if (wallet?.at === next) return
    wallet?.watch.stop()
    wallet = undefined
    if (next) {
      const watch = watchWallet(next, deps.config.money)
      wallet = { at: next, watch }
      watch.view.subscribe(() => show())
    }
    for (const at of carried.values()) at.setTerms(termsFor(at.record))
    show()
  }
  setWallet(deps.wallet)

  return {
    key: identity.key,
    get: cell.get,
    subscribe: cell.subscribe,
    setWallet,

    async start() {
      if (running) return
      running = true
      endings.push(
        pool.status.subscribe((relays) => {
          const connected = relays.some((at) => at.connected)
          if (connected !== relay.connected) relay = { connected, sinceMs: nowMs() }
          show()
        }),
        pool.subscribe([{ kinds: [RELEASE] }], (event) => following.hear(event)),
      )
      let first = true
      if (deps.conditions)
        endings.push(
          deps.conditions.subscribe(() => {
            if (!first) void plan()
            first = false
          }),
        )
      const tick = setInterval(() => {
        tally.roll()
        show()
      }, TICK_MS)
      const planTick = setInterval(() => void plan(), PLAN_EVERY_MS)
      endings.push(
        () => clearInterval(tick),
        () => clearInterval(planTick),
      )
      show()
      await loaded
      following.apply()
      await plan()
    },

    async stop() {
      if (!running) return
      running = false
      for (const end of endings) end()
      endings = []
      following.stop()
      others.stop()
      cheats.rest()
      await loaded.catch(() => undefined)
      await (planning = planning.then(applyMode))
      const leaving = swarm
      swarm = undefined
      if (leaving) await leaving.then((at) => at.close()).catch(() => undefined)
      await tally.save()
      showNow()
    },

    async updateSettings(change) {
      const next: { -readonly [K in keyof DistributorSettings]: DistributorSettings[K] } = {
        ...settings,
        ...change,
      }
      for (const limit of ['uploadBps', 'downloadBps'] as const)
        if (next[limit] === undefined) delete next[limit]
      settings = next
      upload.set(next.uploadBps)
      download.set(next.downloadBps)
      show()
      await saveSettings(journal, settings)
      following.apply()
      await plan()
    },

    async refresh() {
      await Promise.all([following.askConfig(), ...[...watches.values()].map((watch) => watch.look())])
    },
  }
}

const tooLargeText = (name: string): string =>
  `${name} is larger than your disk limit and is not carried. Raise the limit to carry it.`
const text = (error: unknown): string => (error instanceof Error ? error.message : String(error))
