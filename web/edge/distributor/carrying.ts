/**
 * What is carried: decided in `core/swarm/carry.ts` from what the followed vendors have signed; taken up, kept in the
 * journal and evicted here, one change after the other.
 */
import type { InfoHash, VendorId } from '../../core/bytes.ts'
import { releaseName, type Release } from '../../core/release/target.ts'
import { isNewer } from '../../core/release/version.ts'
import {
  planCarry,
  supersededBy,
  type CarryItem,
  type CarryReason,
  type CarryStanding,
} from '../../core/swarm/carry.ts'
import { releaseSum } from '../../core/swarm/carry-earnings.ts'
import type { Journal } from '../swarm/api.ts'
import type { EvictedRow } from './api.ts'
import type { Carried } from './carried.ts'
import type { OthersHeard } from './others.ts'
import {
  dropCarried,
  EVICTED_ROWS,
  loadCarried,
  loadEvicted,
  saveCarried,
  saveEvicted,
  type CarryRecord,
} from './records.ts'
import type { Tally } from './tally.ts'
import type { VendorWatch } from './vendor-watch.ts'

export type CarryingDeps = Readonly<{
  journal: Journal
  watches: ReadonlyMap<VendorId, VendorWatch>
  follows: (vendor: VendorId) => boolean
  diskLimitBytes: () => number
  running: () => boolean
  tally: Tally
  others: OthersHeard
  /** Opens what a record says; it does not run yet. */
  open: (record: CarryRecord) => Promise<Carried>
  /** After each plan: runs or rests what is carried now. */
  apply: () => Promise<void>
  onChange: () => void
  nowMs: () => number
  log: (event: string, detail: Readonly<Record<string, unknown>>) => void
}>

export interface Carrying {
  readonly all: ReadonlyMap<InfoHash, Carried>
  readonly evicted: readonly EvictedRow[]
  /** For people to read. */
  readonly troubles: readonly string[]
  /** Takes up what is on disk, once what that needs is here. */
  load(needs: Promise<unknown>): Promise<void>
  /** Fetches and evicts; what goes wrong is shown in `troubles`. */
  plan(): Promise<void>
  /** Runs when no plan is under way. */
  inTurn(run: () => Promise<void>): Promise<void>
  standing(record: CarryRecord): CarryStanding
  otherSellers(infoHash: InfoHash): number
}

type Signed = Readonly<{ vendor: VendorId; vendorName: string; release: Release; standing: CarryStanding }>

export function createCarrying(deps: CarryingDeps): Carrying {
  const { journal, watches, follows, tally, others, nowMs, log } = deps
  const all = new Map<InfoHash, Carried>()
  let evicted: readonly EvictedRow[] = []
  let trouble: string | undefined
  let tooLarge: readonly Release[] = []
  let planning: Promise<void> = Promise.resolve()

  const load = (needs: Promise<unknown>): Promise<void> => inTurn(() => loadOnce(needs))

  async function loadOnce(needs: Promise<unknown>): Promise<void> {
    try {
      const [records, rows] = await Promise.all([loadCarried(journal), loadEvicted(journal), needs])
      evicted = rows
      for (const record of records) await carry(record)
    } catch (error) {
      trouble = `What this distributor carries could not be read: ${text(error)} Nothing was deleted.`
      throw error
    } finally {
      deps.onChange()
    }
  }

  function inTurn(run: () => Promise<void>): Promise<void> {
    const done = planning.then(run)
    planning = done.catch(() => undefined)
    return done
  }

  const plan = (): Promise<void> =>
    inTurn(() =>
      planOnce().catch((error: unknown) => {
        trouble = `What to carry could not be changed: ${text(error)} What is on disk stays.`
        log('plan-failed', { error: text(error) })
        deps.onChange()
      }),
    )

  async function planOnce(): Promise<void> {
    const signed = signedNow()
    const items: CarryItem[] = []
    for (const { record } of all.values()) items.push(itemOf(record, true, standing(record)))
    for (const [infoHash, row] of signed)
      if (!all.has(infoHash)) items.push(itemOf({ ...row, takenAt: 0 }, false, row.standing))
    const limit = deps.diskLimitBytes()
    const todo = planCarry(items, limit, nowMs())

    for (const { infoHash, reason } of todo.evict) await evict(infoHash, reason)
    for (const infoHash of todo.fetch) {
      const row = signed.get(infoHash)
      if (row && deps.running()) await take(row)
    }
    tooLarge = todo.noRoom.flatMap((infoHash) => {
      const release = signed.get(infoHash)?.release
      return release && release.bytes > limit ? [release] : []
    })
    trouble = undefined
    await deps.apply()
    deps.onChange()
  }

  function signedNow(): Map<InfoHash, Signed> {
    const signed = new Map<InfoHash, Signed>()
    for (const [vendor, watch] of watches) {
      const { metadata } = watch.view.get()
      if (!metadata) continue
      for (const release of metadata.releases)
        signed.set(release.infoHash, {
          ...{ vendor, vendorName: metadata.block.name, release },
          standing: among(release, metadata.releases),
        })
    }
    return signed
  }

  function standing({ vendor, release: { infoHash } }: CarryRecord): CarryStanding {
    if (!follows(vendor)) return 'unfollowed'
    const releases = watches.get(vendor)?.view.get().metadata?.releases
    // Before its vendor was heard in this run, the last proven word counts: it was signed when it was taken.
    if (!releases) return 'current'
    const release = releases.find((one) => one.infoHash === infoHash)
    return release ? among(release, releases) : 'withdrawn'
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

  const otherSellers = (infoHash: InfoHash): number =>
    Math.max(others.of(infoHash).length, all.get(infoHash)?.view.get().fullCopies ?? 0)

  async function take({ vendor, vendorName, release }: Signed): Promise<void> {
    const record: CarryRecord = { v: 1, vendor, vendorName, release, takenAt: nowMs() }
    await saveCarried(journal, record)
    const rest = evicted.filter((old) => old.infoHash !== release.infoHash)
    if (rest.length < evicted.length) {
      evicted = rest
      await saveEvicted(journal, evicted)
    }
    await carry(record)
  }

  async function carry(record: CarryRecord): Promise<void> {
    const { infoHash } = record.release
    const at = await deps.open(record)
    all.set(infoHash, at)
    at.view.subscribe(({ shop }) => {
      if (shop) tally.count(infoHash, shop)
      deps.onChange()
    })
  }

  async function evict(infoHash: InfoHash, reason: CarryReason): Promise<void> {
    const at = all.get(infoHash)
    if (!at) return
    await at.destroy()
    await dropCarried(journal, infoHash)
    all.delete(infoHash)
    tally.forget(infoHash)
    const { release } = at.record
    const row: EvictedRow = {
      infoHash,
      name: releaseName(release),
      bytes: release.bytes,
      at: nowMs(),
      reason,
    }
    evicted = [row, ...evicted.filter((old) => old.infoHash !== infoHash)].slice(0, EVICTED_ROWS)
    await saveEvicted(journal, evicted)
    log('evicted', { release: release.path, reason })
  }

  return {
    all,
    get evicted() {
      return evicted
    },
    get troubles() {
      return [...(trouble === undefined ? [] : [trouble]), ...tooLarge.map(tooLargeText)]
    },
    load,
    plan,
    inTurn,
    standing,
    otherSellers,
  }
}

const among = (release: Release, all: readonly Release[]): CarryStanding =>
  supersededBy(release, all, isNewer, release.version) ? 'superseded' : 'current'
const tooLargeText = (release: Release): string =>
  `${releaseName(release)} is larger than your disk limit and is not carried. Raise the limit to carry it.`
const text = (error: unknown): string => (error instanceof Error ? error.message : String(error))
