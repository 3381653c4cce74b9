/**
 * Keeps the vendor's signed metadata up to date: from the mirror at the start, after each reconnection, every few
 * minutes and whenever the vendor announces something. What it finds becomes jobs; what it cannot find, a notice.
 */
import type { PartyKey } from '../../web/core/bytes.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { RELEASE } from '../../web/core/nostr/kinds.ts'
import { floorFrom, readAnnouncement } from '../../web/core/release/announce.ts'
import { choose, whyText, type Refused } from '../../web/core/release/choose.ts'
import { isActive, stateOf } from '../../web/core/rollout/lifecycle.ts'
import { reconcile, type DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { waitText } from '../../web/core/rollout/lifecycle-wait.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import { failureText, lastVerified, refresh, type Verified } from '../../web/edge/release/mirror.ts'
import type { TextStore } from '../../web/edge/release/store.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import { BUILT_AT_S, type Ports } from './ports.ts'
import type { RecordKeeper } from './record.ts'
import { createWake } from './wake.ts'

export interface Looker {
  readonly verified: Live<Verified | undefined>
  /** JSON of the newest RELEASE event that the vendor signed: the floor for wires. */
  floor(): string | undefined
  /** A peer or relay showed a RELEASE event, unverified. */
  onFloor(eventJson: string): void
  look(): void
  /** Runs until the signal aborts. */
  run(): Promise<void>
}

export type LookerDeps = Readonly<{
  config: DeviceConfig
  ports: Ports
  pool: Pool
  store: TextStore
  keeper: RecordKeeper
  log: Logger
  signal: AbortSignal
}>

const MAX_EVENT_CHARS = 4096
/** Announcements heard before the vendor's key is known. */
const MAX_UNJUDGED = 16

export function createLooker(deps: LookerDeps): Looker {
  const { config, ports, keeper, log, signal } = deps
  const verified = liveCell<Verified | undefined>(undefined)
  const wake = createWake(signal)
  let floorEvent: { json: string; targetsVersion: number } | undefined
  let unjudged: string[] = []

  const vendorKey = (): PartyKey | undefined => verified.get()?.vendorBlock.nostr

  function judge(json: string): void {
    const key = vendorKey()
    if (key === undefined) {
      unjudged = [...unjudged.slice(1 - MAX_UNJUDGED), json]
      return
    }
    const targetsVersion = floorFrom(json, config.vendor, key)
    if (targetsVersion === undefined || targetsVersion <= (floorEvent?.targetsVersion ?? 0)) return
    floorEvent = { json, targetsVersion }
    if (targetsVersion > (verified.get()?.targetsVersion ?? 0)) wake.now()
  }

  const onEvent = (event: NostrEvent): void => {
    if (readAnnouncement(event)?.vendor !== config.vendor) return
    const { id, pubkey, created_at, kind, tags, content, sig } = event
    const json = JSON.stringify({ id, pubkey, created_at, kind, tags, content, sig })
    if (json.length <= MAX_EVENT_CHARS) judge(json)
  }

  function take(found: Verified): void {
    const before = verified.get()
    verified.set(found)
    if (before?.targetsVersion !== found.targetsVersion) {
      log.info(
        { targets: found.targetsVersion, releases: found.releases.length },
        'release metadata verified',
      )
      for (const { path, why } of found.skipped) log.warn({ path, why }, 'a target is left out')
    }
    for (const json of unjudged.splice(0)) judge(json)
  }

  async function follow(found: Verified): Promise<void> {
    await keeper.update((record) => {
      const next = followed(record, found, config, ports.nowMs())
      const same =
        next.notice === record.notice &&
        next.floorS === record.floorS &&
        JSON.stringify(next.jobs) === JSON.stringify(record.jobs)
      return same ? record : next
    })
  }

  const notice = (text: string): Promise<void> =>
    keeper.update((record) => (record.notice === text ? record : { ...record, notice: text.slice(0, 500) }))

  /** True when nothing needs another look soon. */
  async function once(): Promise<boolean> {
    const nowMs = ports.nowMs()
    const floorS = Math.max(BUILT_AT_S, keeper.get().floorS)
    if (nowMs / 1000 < floorS) {
      // Expiry cannot be judged without a clock.
      await notice(waitText({ why: 'time', nowS: Math.max(0, Math.floor(nowMs / 1000)), floorS }))
      return false
    }
    const result = await refresh({
      mirrors: config.relays,
      vendor: config.vendor,
      store: deps.store,
      nowMs,
      fetch: ports.fetch,
      signal,
      ...(floorEvent === undefined ? {} : { floor: floorEvent.targetsVersion }),
    })
    if (signal.aborted) return true
    if (result.tag === 'ok') {
      take(result.verified)
      await follow(result.verified)
      return true
    }
    const clock =
      result.tag === 'refused' && result.refusal.tag === 'freeze'
        ? ` This device’s clock says ${new Date(nowMs).toISOString().slice(0, 16).replace('T', ' ')} UTC: set it if that is wrong.`
        : ''
    const text = failureText(result) + clock
    log.warn({ reason: result.tag }, text)
    await notice(text)
    return false
  }

  /** A look that fails for whatever reason is followed by another. */
  async function tried(): Promise<boolean> {
    try {
      return await once()
    } catch (error) {
      if (signal.aborted) return true
      const reason = error instanceof Error ? error.message : String(error)
      log.error({ err: error }, 'a look at the release metadata failed and is tried again')
      await notice(`The releases could not be looked at: ${reason} It is tried again.`).catch(() => undefined)
      return false
    }
  }

  return {
    verified,
    floor: () => floorEvent?.json,
    onFloor(json) {
      if (json.length <= MAX_EVENT_CHARS) judge(json)
    },
    look: wake.now,
    async run() {
      const kept = await lastVerified(config.vendor, deps.store, ports.nowMs()).catch(() => undefined)
      if (kept !== undefined) take(kept)
      const stopEvents = deps.pool.subscribe([{ kinds: [RELEASE], '#i': [config.vendor] }], onEvent)
      let connected = false
      const stopStatus = deps.pool.status.subscribe((relays) => {
        const now = relays.some((relay) => relay.connected)
        if (now && !connected) wake.now()
        connected = now
      })
      try {
        let failures = 0
        while (!signal.aborted) {
          failures = (await tried()) ? 0 : failures + 1
          const soon = Math.min(config.checkEveryMs, ports.retryMs * 2 ** Math.min(failures, 6))
          await wake.sleep((failures === 0 ? config.checkEveryMs : soon) * (0.9 + 0.2 * ports.random()))
        }
      } finally {
        stopEvents()
        stopStatus()
      }
    },
  }
}

/** The record after a look at verified metadata. */
function followed(record: DeviceRecord, found: Verified, config: DeviceConfig, nowMs: number): DeviceRecord {
  const choice = choose(found.releases, {
    hardware: config.hardware,
    installed: Object.fromEntries(
      Object.entries(record.installed).map(([product, { version }]) => [product, version]),
    ),
    ...(config.priceCap === undefined ? {} : { priceCapMsat: config.priceCap }),
    failed: new Set(
      record.jobs
        .filter((job) => !isActive(job) && stateOf(job) !== 'healthy')
        .map((job) => job.release.path),
    ),
    ...(config.products.length === 0 ? {} : { products: new Set(config.products) }),
  })
  const chosen = choice.tag === 'take' ? [choice.release] : []
  const jobs = reconcile(record.jobs, chosen, found.releases, nowMs)
  const idle = !jobs.some(isActive)
  return {
    ...record,
    jobs: [...jobs],
    floorS: Math.max(record.floorS, ...found.releases.map((release) => release.releasedAt)),
    notice: idle && choice.tag === 'nothing' ? whyNothing(choice.refused) : null,
  }
}

function whyNothing(refused: readonly Refused[]): string {
  const [first] = refused
  if (first === undefined) return 'the vendor has no release out'
  return refused.map(whyText).slice(0, 3).join('; ').slice(0, 500)
}
