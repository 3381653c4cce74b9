/** What a device keeps on disk about itself, and how its jobs follow what the vendor's signed metadata offers. */
import * as v from 'valibot'
import { sha256HexSchema, type Release } from '../release/target.ts'
import { announce, due, hasBegun, isActive, jobSchema, step, type Job } from './lifecycle.ts'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const short = (max: number) => v.pipe(v.string(), v.maxLength(max))

/** Finished releases that are remembered: none of them is tried again. */
export const MAX_PAST_JOBS = 50

const installedSchema = v.object({
  version: short(64),
  path: short(512),
  sha256: sha256HexSchema,
  at: count,
})
export type Installed = v.InferOutput<typeof installedSchema>

export const deviceRecordSchema = v.object({
  v: v.literal(1),
  /** The one vendor that this device is bound to. */
  vendor: sha256HexSchema,
  /** Sequence number of the last PROGRESS event. */
  seq: count,
  /** Latest time signed by the vendor, Unix seconds: the clock must not stand before it. */
  floorS: count,
  /** Which targets keys signed it: a hash over their ids. The floor falls when the root names others. */
  floorBy: v.optional(sha256HexSchema),
  installed: v.record(short(64), installedSchema),
  jobs: v.pipe(v.array(jobSchema), v.maxLength(MAX_PAST_JOBS * 2)),
  /** Bytes bought on one day (UTC, `YYYY-MM-DD`). */
  day: v.object({ date: short(10), bytes: count }),
  /** Bytes written to disk for a release, by its path, over all runs. */
  written: v.record(short(512), count),
  /** Why nothing goes on, when it is no single release's matter. */
  notice: v.nullable(short(500)),
  /** Why the vendor's acceptance has come and could not be taken up. */
  joinTrouble: v.optional(short(500)),
})
export type DeviceRecord = v.InferOutput<typeof deviceRecordSchema>

export const newRecord = (vendor: DeviceRecord['vendor']): DeviceRecord => ({
  v: 1,
  vendor,
  seq: 0,
  floorS: 0,
  installed: {},
  jobs: [],
  day: { date: '1970-01-01', bytes: 0 },
  written: {},
  notice: null,
})

const sameRelease = (a: Release, b: Release): boolean => a.path === b.path && a.sha256 === b.sha256

/**
 * Jobs after a look at the vendor's verified metadata. `chosen`: the release to go for, one per product at most,
 * newer than what is installed. `listed`: all that the metadata still names.
 */
export function reconcile(
  jobs: readonly Job[],
  chosen: readonly Release[],
  listed: readonly Release[],
  at: number,
): readonly Job[] {
  let next = jobs.map((job) => {
    const live = listed.some((release) => sameRelease(release, job.release))
    return step(job, live ? { tag: 'reinstated' } : { tag: 'withdrawn' })
  })
  for (const release of chosen) {
    if (next.some((job) => sameRelease(job.release, release))) continue
    next = next
      .map((job) =>
        job.release.product === release.product
          ? step(job, { tag: 'superseded', by: release.version, at })
          : job,
      )
      .filter((job) => hasBegun(job) || !isActive(job) || job.release.product !== release.product)
    if (next.some((job) => isActive(job) && job.release.product === release.product)) continue
    next.push(announce(release, at))
  }
  return trimmed(next)
}

/** The oldest finished and fully reported ones go. */
function trimmed(jobs: readonly Job[]): readonly Job[] {
  let spare = jobs.filter((job) => due(job).tag === 'rest').length - MAX_PAST_JOBS
  return jobs.filter((job) => due(job).tag !== 'rest' || spare-- <= 0)
}

/**
 * For a source that is there once, such as a stick with `release`: its job is begun anew, whatever it waited for, and
 * what was being bought of the same product before waits. So each word on the job from here on is of this try.
 */
export const takenUp = (jobs: readonly Job[], release: Release): readonly Job[] =>
  jobs.map((job) => {
    if (job.release.product !== release.product) return job
    if (!sameRelease(job.release, release))
      return job.phase.tag === 'buying' ? step(job, { tag: 'held', wait: { why: 'sellers' } }) : job
    if (job.phase.tag === 'queued') return announce(job.release, job.announcedAt)
    return step(job, { tag: 'went-on' })
  })

/** The one job that may buy or install now: one that has begun comes first. */
export function current(jobs: readonly Job[]): Job | undefined {
  const active = jobs.filter(isActive)
  return active.find((job) => hasBegun(job)) ?? active.find((job) => !isWithdrawn(job)) ?? active[0]
}

const isWithdrawn = (job: Job): boolean => job.phase.tag === 'queued' && job.phase.wait.why === 'withdrawn'

export const today = (nowMs: number): string => new Date(nowMs).toISOString().slice(0, 10)

/** Start of the next day (UTC), Unix seconds. */
export const tomorrowS = (nowMs: number): number => (Math.floor(nowMs / 86_400_000) + 1) * 86_400

export function addBytes(record: DeviceRecord, bytes: number, nowMs: number): DeviceRecord {
  const date = today(nowMs)
  const before = record.day.date === date ? record.day.bytes : 0
  return { ...record, day: { date, bytes: before + bytes } }
}

/** What is left of the day's byte budget. */
export function bytesLeft(record: DeviceRecord, limitBytes: number, nowMs: number): number {
  return Math.max(0, limitBytes - (record.day.date === today(nowMs) ? record.day.bytes : 0))
}
