/** What a device shows of itself: on a terminal, to `status`, and to the vendor. */
import type { PartyKey } from '../../web/core/bytes.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import { deviceCode } from '../../web/core/rollout/join.ts'
import { current, type DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { waitText } from '../../web/core/rollout/lifecycle-wait.ts'
import { hasBegun, isActive, reasonOf, stateOf, type Job } from '../../web/core/rollout/lifecycle.ts'
import type { DeviceState, Progress, Refused } from '../../web/core/rollout/messages.ts'
import type { RelayStatus } from '../../web/edge/nostr/pool.ts'
import type { DownloadSnapshot, Journal } from '../../web/edge/swarm/api.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Funds } from './funds.ts'
import { bitfieldText } from './progress.ts'
import type { Purchase } from './purchase.ts'
import { feesSum, paidRecords, paidSum, sellerSums } from './receipts.ts'
import { resoldBefore, resoldOf } from './sums.ts'

export type DeviceSnapshot = Readonly<{
  key: PartyKey
  name: string
  state: DeviceState
  reason?: string
  release?: Release
  download?: DownloadSnapshot
  installed: Readonly<Record<string, string>>
  balance?: Msat
  relays: readonly RelayStatus[]
}>

/** The job that is shown: the one under way, else the last one that ended. */
export function shownJob(record: DeviceRecord): Job | undefined {
  return current(record.jobs) ?? record.jobs.findLast((job) => !isActive(job))
}

/** State and reason in the words of `messages.ts`. */
export function standing(
  record: DeviceRecord,
  key: PartyKey,
  accepted: boolean,
  joinTrouble = record.joinTrouble,
): { state: DeviceState; reason: string | undefined } {
  const job = shownJob(record)
  const notice = record.notice ?? undefined
  if (!accepted && (job === undefined || isActive(job))) {
    const code = deviceCode(key)
    return { state: 'queued', reason: joinTrouble ?? waitText({ why: 'not-accepted', code }) }
  }
  if (job === undefined) return { state: 'queued', reason: notice ?? 'waiting for the first release' }
  const quiet = isActive(job) && !hasBegun(job)
  return { state: stateOf(job), reason: reasonOf(job) ?? (quiet ? notice : undefined) }
}

export const versionsOf = (record: DeviceRecord): Record<string, string> =>
  Object.fromEntries(Object.entries(record.installed).map(([product, { version }]) => [product, version]))

export type ViewDeps = Readonly<{
  config: DeviceConfig
  record: () => DeviceRecord
  accepted: () => boolean
  /** As in the record, also while that cannot be written. */
  joinTrouble: () => string | undefined
  purchaseOf: (job: Job) => Purchase | undefined
  funds: Funds
  /** Client key of the vendor's allowance, where the device takes one. */
  allowance: PartyKey | undefined
  journal: Journal
  relays: () => readonly RelayStatus[]
  refused: () => readonly Refused[]
}>

export function snapshotOf(deps: ViewDeps): DeviceSnapshot {
  const { config } = deps
  const record = deps.record()
  const job = shownJob(record)
  const { state, reason } = standing(record, config.identity.key, deps.accepted(), deps.joinTrouble())
  const download = job && deps.purchaseOf(job)?.snapshot.get()
  const balance = deps.funds.balance()
  return {
    key: config.identity.key,
    name: config.name,
    state,
    ...(reason === undefined ? {} : { reason }),
    ...(job === undefined ? {} : { release: job.release }),
    ...(download === undefined ? {} : { download }),
    ...(balance === undefined ? {} : { balance }),
    installed: versionsOf(record),
    relays: deps.relays(),
  }
}

/** The content of a PROGRESS event. */
export async function progressOf(
  deps: ViewDeps,
): Promise<Omit<Progress, 'v' | 'seq' | 'at' | 'name' | 'hardware'>> {
  const record = deps.record()
  const job = shownJob(record)
  const { state, reason } = standing(record, deps.config.identity.key, deps.accepted(), deps.joinTrouble())
  const wait = job?.phase.tag === 'held' || job?.phase.tag === 'queued' ? job.phase.wait : undefined
  const needMsat = wait?.why === 'funds' && wait.needMsat > 0 ? wait.needMsat : undefined
  const fundInvoice = needMsat === undefined ? undefined : await deps.funds.invoice(needMsat)
  const balanceMsat = deps.funds.balance()
  const refused = [...deps.refused()]
  const before = record.jobs.toReversed().flatMap((one) => (one === job ? [] : [one.release]))
  return {
    state,
    ...(reason === undefined ? {} : { reason: reason.slice(0, 500) }),
    ...(needMsat === undefined ? {} : { needMsat }),
    ...(fundInvoice === undefined ? {} : { fundInvoice }),
    ...(balanceMsat === undefined ? {} : { balanceMsat }),
    ...(deps.allowance === undefined
      ? {}
      : { allowance: { client: deps.allowance, given: deps.funds.wallet() !== undefined } }),
    installed: versionsOf(record),
    ...(refused.length === 0 ? {} : { refused }),
    ...(job === undefined ? {} : { release: await releaseProgress(deps, job) }),
    ...(await resoldBefore(deps.journal, before)),
  }
}

async function releaseProgress(deps: ViewDeps, job: Job): Promise<NonNullable<Progress['release']>> {
  const { release, phase } = job
  const purchase = deps.purchaseOf(job)
  const pieces = Math.ceil(release.bytes / release.pieceLength)
  const proven = 'verifiedAt' in phase && phase.verifiedAt > 0
  const download = purchase?.snapshot.get()
  // Until a download of this run has looked, the journal knows what was paid.
  const rows = download?.windows ?? (await paidRecords(deps.journal, release)).map((record) => record.row)
  return {
    path: release.path,
    infoHash: release.infoHash,
    targetsVersion: release.targetsVersion,
    pieces,
    have: bitfieldText(proven || purchase === undefined ? bitfield(pieces, proven) : purchase.store.have),
    startedAt: 'startedAt' in phase ? phase.startedAt : 0,
    paidMsat: paidSum(rows),
    feesMsat: feesSum(rows),
    receipts: rows.length,
    ...(await resoldOf(deps.journal, release)),
    sellers: sellerSums(rows, download?.sellers ?? []).slice(0, 64),
    windows: rows.slice(-40),
  }
}

function bitfield(pieces: number, full: boolean): Uint8Array {
  const have = new Uint8Array(Math.ceil(pieces / 8))
  if (full) for (let piece = 0; piece < pieces; piece++) have[piece >> 3]! |= 0x80 >> (piece & 7)
  return have
}
