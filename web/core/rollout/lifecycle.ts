/**
 * The life of one release on one device (ARCHITECTURE.md "Devices"): announced, queued, buying, verified,
 * installing, then healthy, rolled back or failed. `due` says what a state demands; the shell does it and tells
 * `step` what came of it. Each state is on disk before it is acted on, so that after a power cut `resume` and
 * `due` lead on from wherever it was; every action may be done twice.
 */
import * as v from 'valibot'
import { releaseSchema, sha256HexSchema, type Release } from '../release/target.ts'
import type { DeviceState } from './messages.ts'
import { sameWait, waitSchema, waitText, type Wait } from './lifecycle-wait.ts'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const reason = v.pipe(v.string(), v.maxLength(2000))
const slot = v.picklist(['a', 'b'])

/** Where the artifact goes, and what ran before it (`null`: nothing). */
export const planSchema = v.object({ slot, previous: v.nullable(slot) })
export type Plan = v.InferOutput<typeof planSchema>
export type Slot = Plan['slot']

const stepSchema = v.variant('tag', [
  v.object({ tag: v.literal('placing'), plan: planSchema, attempt: count }),
  v.object({ tag: v.literal('switching'), plan: planSchema }),
  v.object({ tag: v.literal('checking'), plan: planSchema, attempt: count }),
  v.object({ tag: v.literal('restoring'), plan: planSchema, reason }),
])
export type InstallStep = v.InferOutput<typeof stepSchema>

const outcome = v.picklist(['healthy', 'rolled back', 'failed'])
export type Outcome = v.InferOutput<typeof outcome>

const blobSchema = v.object({ sha256: sha256HexSchema, key: sha256HexSchema })
/** The receipts' blob: owed, on the mirror, or nothing to send (none bought, or the mirror would not have it). */
const receiptsSchema = v.variant('tag', [
  v.object({ tag: v.literal('owed') }),
  v.object({ tag: v.literal('sent'), blob: blobSchema }),
  v.object({ tag: v.literal('none') }),
])
export type Blob = v.InferOutput<typeof blobSchema>

/** Unix ms; 0: never came to it. */
const times = { startedAt: count, verifiedAt: count }
const phaseSchema = v.variant('tag', [
  v.object({ tag: v.literal('announced') }),
  v.object({ tag: v.literal('queued'), wait: waitSchema }),
  v.object({ tag: v.literal('buying'), startedAt: count }),
  /** Queued after buying had begun: what was bought is kept. */
  v.object({ tag: v.literal('held'), startedAt: count, wait: waitSchema }),
  v.object({ tag: v.literal('verified'), ...times }),
  v.object({ tag: v.literal('installing'), ...times, step: stepSchema }),
  v.object({
    tag: v.literal('done'),
    ...times,
    finishedAt: count,
    outcome,
    reason: v.nullable(reason),
    told: v.object({ receipts: receiptsSchema, report: v.boolean(), attestation: v.boolean() }),
  }),
])
export type Phase = v.InferOutput<typeof phaseSchema>

export const jobSchema = v.object({
  release: releaseSchema,
  announcedAt: count,
  phase: phaseSchema,
  /** `open` from the first purchase until no payment's outcome is open. */
  payments: v.picklist(['none', 'open', 'settled']),
})
export type Job = Readonly<{
  release: Release
  announcedAt: number
  phase: Phase
  payments: 'none' | 'open' | 'settled'
}>

/** How often a health check (or the placing of an artifact) is begun again after a restart in the middle of it. */
export const MAX_ATTEMPTS = 3

export type Event =
  | { tag: 'admitted'; at: number }
  | { tag: 'held'; wait: Wait }
  | { tag: 'went-on' }
  /** All pieces are there, and the whole file has the signed length and SHA-256. */
  | { tag: 'proven'; at: number }
  | { tag: 'refused'; reason: string; at: number }
  | { tag: 'prepared'; plan: Plan }
  | { tag: 'placed' }
  | { tag: 'switched' }
  | { tag: 'passed'; at: number }
  /** Placing, switching or the health check failed for good. */
  | { tag: 'unfit'; reason: string }
  | { tag: 'restored'; at: number }
  /** There was nothing to go back to, or going back failed. */
  | { tag: 'not-restored'; reason: string; at: number }
  | { tag: 'settled' }
  | { tag: 'told'; what: 'receipts'; blob: Blob | undefined }
  | { tag: 'told'; what: 'report' | 'attestation' }
  | { tag: 'withdrawn' }
  | { tag: 'reinstated' }
  | { tag: 'superseded'; by: string; at: number }

/** What a state demands of the shell. */
export type Action =
  | { tag: 'admit' } // may it begin? also asked again while queued
  | { tag: 'buy' } // also while held: the same purchase goes on when it can
  | { tag: 'prepare' }
  | { tag: 'place'; plan: Plan }
  | { tag: 'switch'; plan: Plan }
  | { tag: 'check'; plan: Plan }
  | { tag: 'restore'; plan: Plan; reason: string }
  | { tag: 'settle' } // the end, but a payment is open
  | { tag: 'tell'; what: 'receipts' | 'report' | 'attestation' }
  | { tag: 'rest' }

export const announce = (release: Release, at: number): Job => ({
  release,
  announcedAt: at,
  phase: { tag: 'announced' },
  payments: 'none',
})

export function due(job: Job): Action {
  const { phase } = job
  switch (phase.tag) {
    case 'announced':
    case 'queued':
      return { tag: 'admit' }
    case 'buying':
    case 'held':
      return { tag: 'buy' }
    case 'verified':
      return { tag: 'prepare' }
    case 'installing':
      return dueStep(phase.step)
    case 'done':
      if (job.payments === 'open') return { tag: 'settle' }
      if (phase.told.receipts.tag === 'owed') return { tag: 'tell', what: 'receipts' }
      if (!phase.told.report) return { tag: 'tell', what: 'report' }
      return phase.told.attestation ? { tag: 'rest' } : { tag: 'tell', what: 'attestation' }
    default:
      return phase satisfies never
  }
}

function dueStep(step: InstallStep): Action {
  switch (step.tag) {
    case 'placing':
      return { tag: 'place', plan: step.plan }
    case 'switching':
      return { tag: 'switch', plan: step.plan }
    case 'checking':
      return { tag: 'check', plan: step.plan }
    case 'restoring':
      return { tag: 'restore', plan: step.plan, reason: step.reason }
    default:
      return step satisfies never
  }
}

const notTold = { receipts: { tag: 'owed' }, report: false, attestation: false } as const
type Times = { startedAt: number; verifiedAt: number }
const timesOf = (phase: Phase): Times => ({
  startedAt: 'startedAt' in phase ? phase.startedAt : 0,
  verifiedAt: 'verifiedAt' in phase ? phase.verifiedAt : 0,
})
const to = (job: Job, phase: Phase): Job => ({ ...job, phase })
const end = (job: Job, outcome: Outcome, why: string | null, at: number): Job =>
  to(job, {
    tag: 'done',
    ...timesOf(job.phase),
    finishedAt: at,
    outcome,
    reason: why === null ? null : why.slice(0, 2000),
    told: notTold,
  })

/** The next state; the same object when the event has no business here. */
export function step(job: Job, event: Event): Job {
  const { phase } = job
  if (event.tag === 'settled') return job.payments === 'open' ? { ...job, payments: 'settled' } : job
  switch (phase.tag) {
    case 'announced':
    case 'queued':
      return stepWaiting(job, phase, event)
    case 'buying':
    case 'held':
      return stepBuying(job, phase, event)
    case 'verified':
      if (event.tag === 'prepared') return installing(job, { tag: 'placing', plan: event.plan, attempt: 1 })
      if (event.tag === 'refused') return end(job, 'failed', event.reason, event.at)
      return job
    case 'installing':
      return stepInstalling(job, phase.step, event)
    case 'done':
      return stepDone(job, phase, event)
    default:
      return phase satisfies never
  }
}

function stepWaiting(job: Job, phase: Phase & { tag: 'announced' | 'queued' }, event: Event): Job {
  const withdrawn = phase.tag === 'queued' && phase.wait.why === 'withdrawn'
  switch (event.tag) {
    case 'admitted':
      if (withdrawn) return job
      return { ...job, phase: { tag: 'buying', startedAt: event.at }, payments: 'open' }
    case 'held':
      if (withdrawn || (phase.tag === 'queued' && sameWait(phase.wait, event.wait))) return job
      return to(job, { tag: 'queued', wait: event.wait })
    case 'refused':
      return end(job, 'failed', event.reason, event.at)
    case 'withdrawn':
      return withdrawn ? job : to(job, { tag: 'queued', wait: { why: 'withdrawn' } })
    case 'reinstated':
      return withdrawn ? to(job, { tag: 'announced' }) : job
    default:
      return job
  }
}

function stepBuying(job: Job, phase: Phase & { tag: 'buying' | 'held' }, event: Event): Job {
  const { startedAt } = phase
  switch (event.tag) {
    case 'held':
      if (phase.tag === 'held' && sameWait(phase.wait, event.wait)) return job
      return to(job, { tag: 'held', startedAt, wait: event.wait })
    case 'went-on':
      return phase.tag === 'held' ? to(job, { tag: 'buying', startedAt }) : job
    case 'proven':
      return to(job, { tag: 'verified', startedAt, verifiedAt: event.at })
    case 'refused':
      return end(job, 'failed', event.reason, event.at)
    case 'superseded':
      // One that is on its way is finished first: what was paid for is used.
      return phase.tag === 'held' ? end(job, 'failed', `superseded by ${event.by}`, event.at) : job
    default:
      return job
  }
}

const installing = (job: Job, next: InstallStep): Job =>
  to(job, { tag: 'installing', ...timesOf(job.phase), step: next })

function stepInstalling(job: Job, at: InstallStep, event: Event): Job {
  const { plan } = at
  switch (at.tag) {
    case 'placing':
      if (event.tag === 'placed') return installing(job, { tag: 'switching', plan })
      if (event.tag === 'unfit')
        return installing(job, { tag: 'restoring', plan, reason: event.reason.slice(0, 2000) })
      return job
    case 'switching':
      if (event.tag === 'switched') return installing(job, { tag: 'checking', plan, attempt: 1 })
      if (event.tag === 'unfit')
        return installing(job, { tag: 'restoring', plan, reason: event.reason.slice(0, 2000) })
      return job
    case 'checking':
      if (event.tag === 'passed') return end(job, 'healthy', null, event.at)
      if (event.tag === 'unfit')
        return installing(job, { tag: 'restoring', plan, reason: event.reason.slice(0, 2000) })
      return job
    case 'restoring':
      if (event.tag === 'restored') return end(job, 'rolled back', at.reason, event.at)
      if (event.tag === 'not-restored') return end(job, 'failed', `${at.reason}; ${event.reason}`, event.at)
      return job
    default:
      return at satisfies never
  }
}

function stepDone(job: Job, phase: Phase & { tag: 'done' }, event: Event): Job {
  if (event.tag !== 'told' || job.payments === 'open') return job
  const { told } = phase
  switch (event.what) {
    case 'receipts':
      if (told.receipts.tag !== 'owed') return job
      return to(job, {
        ...phase,
        told: { ...told, receipts: event.blob ? { tag: 'sent', blob: event.blob } : { tag: 'none' } },
      })
    case 'report':
      return told.report || told.receipts.tag === 'owed'
        ? job
        : to(job, { ...phase, told: { ...told, report: true } })
    case 'attestation':
      return told.attestation ? job : to(job, { ...phase, told: { ...told, attestation: true } })
    default:
      return event satisfies never
  }
}

/** Called once at each start, before anything is done: counts checks that the last run did not survive. */
export function resume(job: Job): Job {
  if (job.phase.tag !== 'installing') return job
  const { step: at } = job.phase
  if (at.tag !== 'checking' && at.tag !== 'placing') return job
  if (at.attempt < MAX_ATTEMPTS) return installing(job, { ...at, attempt: at.attempt + 1 })
  const what = at.tag === 'checking' ? 'health check' : 'installation'
  return installing(job, {
    tag: 'restoring',
    plan: at.plan,
    reason: `the device stopped ${MAX_ATTEMPTS} times in the middle of the ${what}`,
  })
}

/** True until the release's fate on this device is known. */
export const isActive = (job: Job): boolean => job.phase.tag !== 'done'
/** Sats have been, or may be, spent on it. */
export const hasBegun = (job: Job): boolean => job.payments !== 'none'

/** The word that people and the vendor see. */
export function stateOf(job: Job): DeviceState {
  switch (job.phase.tag) {
    case 'held':
      return 'queued'
    case 'done':
      return job.phase.outcome
    default:
      return job.phase.tag
  }
}

/** Why it waits or how it ended, in words. */
export function reasonOf(job: Job): string | undefined {
  switch (job.phase.tag) {
    case 'queued':
    case 'held':
      return waitText(job.phase.wait)
    case 'done':
      return job.phase.reason ?? undefined
    case 'installing':
      return job.phase.step.tag === 'restoring' ? job.phase.step.reason : undefined
    default:
      return undefined
  }
}
