/**
 * Keeps the vendor's signed metadata up to date: from the mirror at the start, after each reconnection, every few
 * minutes and whenever the vendor announces something. What it finds becomes jobs; what it cannot find, a notice.
 */
import { sha256Hex, utf8, type PartyKey, type Sha256Hex } from '../../web/core/bytes.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { RELEASE } from '../../web/core/nostr/kinds.ts'
import { floorFrom, readAnnouncement } from '../../web/core/release/announce.ts'
import { announcersOf } from '../../web/core/release/announcers.ts'
import { choose, whyText, type Choice, type Refused } from '../../web/core/release/choose.ts'
import { readRoot } from '../../web/core/release/repository.ts'
import type { RootSigned } from '../../web/core/release/tuf.ts'
import { isActive, stateOf } from '../../web/core/rollout/lifecycle.ts'
import { reconcile, type DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { waitText } from '../../web/core/rollout/lifecycle-wait.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import {
  failureText,
  lastVerified,
  refresh,
  type RefreshResult,
  type Verified,
} from '../../web/edge/release/mirror.ts'
import type { TextStore } from '../../web/edge/release/store.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import { createClock } from './clock.ts'
import { BUILT_AT_S, type Ports } from './ports.ts'
import type { RecordKeeper } from './record.ts'
import type { RefusedBook } from './refused.ts'
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
  /** What was refused, by the attack's name. */
  refused: Pick<RefusedBook, 'note'>
  log: Logger
  signal: AbortSignal
}>

/** The newest announcement outlives a restart, as the metadata does. */
const FLOOR = 'floor/announcement.json'
const MAX_EVENT_CHARS = 4096
/** Words that are no floor cost a look at most so often. */
const SIGNER_EVERY_MS = 10_000
/** Announcements heard before the vendor's key is known. */
const MAX_UNJUDGED = 16

export function createLooker(deps: LookerDeps): Looker {
  const { config, ports, keeper, log, signal } = deps
  const verified = liveCell<Verified | undefined>(undefined)
  const wake = createWake(signal)
  let floorEvent: { json: string; targetsVersion: number; by: PartyKey } | undefined
  let unjudged: string[] = []
  const clockJudge = createClock(deps.store, ports.bootId?.())
  let signerTimer: ReturnType<typeof setTimeout> | undefined
  let signerAgain = false
  /** What the vendor signed under a key that it has changed since is no attack. */
  const formerKeys = new Set<string>()

  const vendorKey = (): PartyKey | undefined => verified.get()?.vendorBlock.nostr

  function judge(json: string): void {
    const key = vendorKey()
    if (key === undefined) {
      unjudged = [...unjudged.slice(1 - MAX_UNJUDGED), json]
      return
    }
    const targetsVersion = floorFrom(json, config.vendor, key)
    if (targetsVersion === undefined) return others(json, key)
    if (targetsVersion <= (floorEvent?.targetsVersion ?? 0)) return
    floorEvent = { json, targetsVersion, by: key }
    deps.store.put(FLOOR, json).catch((error: unknown) => log.warn({ err: error }, 'a floor was not kept'))
    if (targetsVersion > (verified.get()?.targetsVersion ?? 0)) wake.now()
  }

  /** Said by somebody else: who signs releases too makes the device look, and raises no floor. */
  function others(json: string, key: PartyKey): void {
    const found = verified.get()
    const author = /"pubkey":"([0-9a-f]{64})"/.exec(json)?.[1] ?? 'unknown'
    const product = /\["d","([^"@]{1,64})@/.exec(json)?.[1] ?? ''
    const who =
      found &&
      announcersOf(
        found.current.root.signed,
        found.current.targets.signed,
        found.vendorBlock,
      )(author, product)
    if (formerKeys.has(author) || who === 'former') return
    if (found && who === 'signer' && floorFrom(json, config.vendor, author as PartyKey) !== undefined) {
      return signerHeard()
    }
    const text =
      author === key
        ? 'its signature is none'
        : 'it is signed by a key that the vendor’s metadata does not name'
    deps.refused.note(
      'forged-announcement',
      author.slice(0, 16),
      `An announcement is not the vendor’s: ${text}.`,
    )
  }

  /** Looks at once, and once more for all that is heard soon after. */
  function signerHeard(): void {
    if (signerTimer !== undefined) {
      signerAgain = true
      return
    }
    wake.now()
    signerTimer = setTimeout(() => {
      signerTimer = undefined
      if (signerAgain) signerHeard()
      signerAgain = false
    }, SIGNER_EVERY_MS)
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
      for (const { path, why, attack } of found.skipped) {
        log.warn({ path, why }, 'a target is left out')
        if (attack !== undefined)
          deps.refused.note(attack, 'the vendor’s targets', `${path.slice(0, 100)}: ${why}.`)
      }
    }
    // Delegates publish without a new version of the vendor's targets.
    if (JSON.stringify(found.unheard) !== JSON.stringify(before?.unheard ?? []))
      for (const { role, text, attack } of found.unheard) {
        log.warn({ role, why: text }, 'a delegated role goes unheard')
        if (attack !== undefined) deps.refused.note(attack, role, text)
      }
    if (before !== undefined && before.vendorBlock.nostr !== found.vendorBlock.nostr)
      formerKeys.add(before.vendorBlock.nostr)
    // An announcement counts for as long as the vendor names the key that made it.
    if (floorEvent !== undefined && floorEvent.by !== found.vendorBlock.nostr) floorEvent = undefined
    for (const json of unjudged.splice(0)) judge(json)
  }

  async function follow(found: Verified): Promise<void> {
    await keeper.update((record) => {
      const next = followed(record, found, config, ports.nowMs())
      const same =
        next.notice === record.notice &&
        next.floorS === record.floorS &&
        next.floorBy === record.floorBy &&
        JSON.stringify(next.jobs) === JSON.stringify(record.jobs)
      return same ? record : next
    })
  }

  const notice = (text: string): Promise<void> =>
    keeper.update((record) => (record.notice === text ? record : { ...record, notice: text.slice(0, 500) }))

  const refreshed = (nowMs: number, floor: number | undefined): Promise<RefreshResult> =>
    refresh({
      mirrors: [...config.relays, ...config.mirrors, ...(verified.get()?.vendorBlock.mirrors ?? [])],
      vendor: config.vendor,
      store: deps.store,
      nowMs,
      fetch: ports.fetch,
      signal,
      ...(floor === undefined ? {} : { floor }),
      ...(ports.offline === undefined ? {} : { offline: true }),
      onRefused: (mirror, { tag, text }) => deps.refused.note(tag, mirror, text),
    })

  /**
   * An announcement that nobody can follow, because a stolen Nostr key made it, ends when the vendor's metadata names
   * another key: signed targets say that, and older ones than those seen are refused as ever.
   */
  async function withoutStolenFloor(nowMs: number): Promise<RefreshResult | undefined> {
    const by = floorEvent?.by
    const result = await refreshed(nowMs, undefined)
    return result.tag === 'ok' && by !== undefined && result.verified.vendorBlock.nostr !== by
      ? result
      : undefined
  }

  /** True when nothing needs another look soon. */
  async function once(): Promise<boolean> {
    const clockMs = ports.nowMs()
    await dropForeignFloor()
    // It is at least as late as what the vendor signed last: a clock that was set back brings nothing expired back.
    const floorS = Math.max(BUILT_AT_S, keeper.get().floorS)
    const nowMs = Math.max(clockMs, floorS * 1000)
    const wrongClock =
      clockMs < nowMs
        ? waitText({ why: 'time', nowS: Math.max(0, Math.floor(clockMs / 1000)), floorS })
        : undefined
    const says = await clockJudge.judge(clockMs, floorS)
    if (says.tag === 'set-back') deps.refused.note('clock-set-back', 'this device', says.text)
    let result = await refreshed(nowMs, floorEvent?.targetsVersion)
    if (signal.aborted) return true
    if (result.tag === 'refused' && result.refusal.tag === 'freeze' && floorEvent !== undefined) {
      result = (await withoutStolenFloor(nowMs)) ?? result
      if (signal.aborted) return true
    }
    if (result.tag === 'ok') {
      take(result.verified)
      await follow(result.verified)
      if (wrongClock !== undefined) await notice(wrongClock)
      return wrongClock === undefined
    }
    const clock =
      result.tag === 'refused' && result.refusal.tag === 'freeze'
        ? ` This device’s clock says ${new Date(clockMs).toISOString().slice(0, 16).replace('T', ' ')} UTC: set it if that is wrong.`
        : ''
    const text = wrongClock ?? failureText(result) + clock
    log.warn({ reason: result.tag }, text)
    await notice(text)
    return false
  }

  /** A floor of time falls with the keys that signed it: the way out after a thief has signed a far future. */
  async function dropForeignFloor(): Promise<void> {
    const { floorBy } = keeper.get()
    if (floorBy === undefined) return
    const kept = await deps.store.get('root.json')
    const root = kept === undefined ? undefined : readRoot(utf8(kept))
    if (root?.tag !== 'ok' || targetsSigners(root.value.signed) === floorBy) return
    await keeper.update(({ floorBy: _gone, ...record }) => ({ ...record, floorS: 0 }))
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
      const floorJson = await deps.store.get(FLOOR).catch(() => undefined)
      if (floorJson !== undefined) judge(floorJson)
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
        clearTimeout(signerTimer)
      }
    },
  }
}

/** The top-level targets role's keys, as one text that two roots can be compared by. */
const targetsSigners = (root: RootSigned): Sha256Hex =>
  sha256Hex(utf8([...root.roles.targets.keyids].sort().join()))

/** Which of the signed releases this device takes next. */
export const choiceFor = (record: DeviceRecord, found: Verified, config: DeviceConfig): Choice =>
  choose(found.releases, {
    hardware: config.hardware,
    // An install step of its own has its own settings, and the last word.
    handsOver: config.installCommand !== undefined || config.installSocket !== undefined,
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

/** The record after a look at verified metadata. */
function followed(record: DeviceRecord, found: Verified, config: DeviceConfig, nowMs: number): DeviceRecord {
  const choice = choiceFor(record, found, config)
  const chosen = choice.tag === 'take' ? [choice.release] : []
  const jobs = reconcile(record.jobs, chosen, found.releases, nowMs)
  const idle = !jobs.some(isActive)
  return {
    ...record,
    jobs: [...jobs],
    floorS: Math.max(record.floorS, ...found.releases.map((release) => release.releasedAt)),
    floorBy: targetsSigners(found.current.root.signed),
    notice: idle && choice.tag === 'nothing' ? whyNothing(choice.refused) : null,
  }
}

function whyNothing(refused: readonly Refused[]): string {
  const [first] = refused
  if (first === undefined) return 'the vendor has no release out'
  return refused.map(whyText).slice(0, 3).join('; ').slice(0, 500)
}
