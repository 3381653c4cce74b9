/** The jobs of the record by name, and the one way in which they change. */
import type { DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { step, type Event, type Job } from '../../web/core/rollout/lifecycle.ts'
import type { RecordKeeper } from './record.ts'

/** A job's name: one path may be signed with other bytes later. */
export const idOf = (job: Job): string => `${job.release.path} ${job.release.sha256}`

export interface Jobs {
  latest(job: Job): Job | undefined
  /** Durable when it resolves; writes nothing when the event changes nothing. */
  apply(job: Job, event: Event): Promise<void>
}

export function createJobs(keeper: RecordKeeper, writtenBy: (job: Job) => number): Jobs {
  return {
    latest: (job) => keeper.get().jobs.find((one) => idOf(one) === idOf(job)),
    apply: (job, event) =>
      keeper.update((record) => {
        const at = record.jobs.findIndex((one) => idOf(one) === idOf(job))
        const before = record.jobs[at] as Job | undefined
        if (before === undefined) return record
        const after = step(before, event)
        if (after === before) return record
        return { ...withSideEffects(record, before, event, writtenBy), jobs: record.jobs.with(at, after) }
      }),
  }
}

/** Counted over all runs, for the report; releases that are forgotten are forgotten here too. */
export function addWritten(record: DeviceRecord, path: string, bytes: number): DeviceRecord {
  const known = new Set(record.jobs.map((job) => job.release.path))
  const kept = Object.fromEntries(Object.entries(record.written).filter(([of]) => known.has(of)))
  return { ...record, written: { ...kept, [path]: (kept[path] ?? 0) + bytes } }
}

/** What else is true from the same moment on, and so is written in the same write. */
function withSideEffects(
  record: DeviceRecord,
  { release }: Job,
  event: Event,
  writtenBy: (job: Job) => number,
): DeviceRecord {
  switch (event.tag) {
    case 'proven': {
      const job = record.jobs.find((one) => one.release.path === release.path)
      return job === undefined ? record : addWritten(record, release.path, writtenBy(job))
    }
    case 'passed': {
      const { version, path, sha256 } = release
      return {
        ...record,
        installed: { ...record.installed, [release.product]: { version, path, sha256, at: event.at } },
      }
    }
    default:
      return record
  }
}
