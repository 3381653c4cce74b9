/**
 * The distributor: follows vendors, carries what they signed inside its owner's limits, and sells it. It waits
 * and connects; what to carry is decided in `core/swarm/carry.ts`. States are shown as they are; what fails says so
 * and is tried again.
 */
import type { PartyKey, VendorId } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { parseEvent } from '../../core/exchange/offer.ts'
import { RELEASE } from '../../core/nostr/kinds.ts'
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
} from './api.ts'
import { createCarried, type Carried, type Terms } from './carried.ts'
import { createCarrying } from './carrying.ts'
import { followVendors } from './following.ts'
import { hearOthers } from './others.ts'
import { metadataStore, saveSettings, type CarryRecord } from './records.ts'
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
  let relay = { connected: false, sinceMs: nowMs() }
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
    carried: () => [...carrying.all.values()].map((at) => at.record.vendor),
    running: () => running,
    onChange: () => void carrying.plan(),
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
  const carrying = createCarrying({
    journal,
    watches,
    follows,
    diskLimitBytes: () => settings.diskLimitBytes,
    running: () => running,
    tally,
    others,
    open,
    apply,
    onChange: () => show(),
    nowMs,
    log,
  })
  const cell = liveCell<DistributorSnapshot>(snapshot())

  // --- starting from what is on disk

  const loaded = carrying.load(Promise.all([tally.load(), makeParts(), cheats.loaded]))
  loaded.catch(() => undefined) // shown with the troubles; `start` throws it

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

  // --- what is carried

  async function open(record: CarryRecord): Promise<Carried> {
    const { createDownload, createShop } = await makeParts()
    return createCarried(
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
    for (const at of carrying.all.values()) {
      at.setTerms(termsFor(at.record))
      if (on) at.start()
      else stopping.push(at.stop())
    }
    await Promise.all(stopping)
  }

  /** After a plan: what is carried now runs or rests, and is listened for. */
  async function apply(): Promise<void> {
    for (const [vendor, { view }] of running ? watches : []) {
      const { metadata } = view.get()
      if (!metadata) continue
      const { nostr, distributors } = metadata.block
      cheats.follow(vendor, metadata.releases, [nostr, ...distributors])
    }
    await applyMode()
    if (running) others.listen([...carrying.all.keys()])
  }

  // --- showing

  let showTimer: ReturnType<typeof setTimeout> | undefined
  let shownAt = -Infinity
  function show(): void {
    if (showTimer !== undefined) return
    const wait = shownAt + SHOW_EVERY_MS - Date.now()
    if (wait <= 0) return showNow()
    showTimer = setTimeout(showNow, Math.min(wait, SHOW_EVERY_MS)) // the clock may have been set back
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
      evicted: carrying.evicted,
      carried: [...carrying.all.values()],
      follows,
      watches,
      others: (infoHash) => others.of(infoHash),
      otherSellers: carrying.otherSellers,
      standing: carrying.standing,
      troubles: carrying.troubles,
    })
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
    for (const at of carrying.all.values()) at.setTerms(termsFor(at.record))
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
            if (!first) void carrying.plan()
            first = false
          }),
        )
      const tick = setInterval(() => {
        tally.roll()
        show()
      }, TICK_MS)
      const planTick = setInterval(() => void carrying.plan(), PLAN_EVERY_MS)
      endings.push(
        () => clearInterval(tick),
        () => clearInterval(planTick),
      )
      show()
      await loaded
      following.apply()
      await carrying.plan()
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
      await carrying.inTurn(async () => {
        await applyMode()
        if (running) return // started again meanwhile: what runs needs the swarm
        const leaving = swarm
        swarm = undefined
        if (leaving) await leaving.then((at) => at.close()).catch(() => undefined)
      })
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
      await carrying.plan()
    },

    async refresh() {
      await Promise.all([following.askConfig(), ...[...watches.values()].map((watch) => watch.look())])
    },
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error))
