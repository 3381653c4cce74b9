import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import type { InfoHash, Sha256Hex } from '../bytes.ts'
import { ZERO, msat, type Msat } from '../money/msat.ts'
import type { Release } from '../release/target.ts'
import {
  addBytes,
  bytesLeft,
  current,
  deviceRecordSchema,
  MAX_PAST_JOBS,
  newRecord,
  reconcile,
  takenUp,
  tomorrowS,
} from './lifecycle-device.ts'
import { DISK_RESERVE_BYTES, fundsWait, waitText, whyWait, type Facts, type Wait } from './lifecycle-wait.ts'
import {
  announce,
  due,
  isActive,
  jobSchema,
  MAX_ATTEMPTS,
  reasonOf,
  resume,
  stateOf,
  step,
  type Event,
  type Job,
  type Slot,
} from './lifecycle.ts'

const hex = (n: number, length = 64): string => n.toString(16).padStart(length, '0')
export const releaseOf = (version: string, product = 'pump', n = 1): Release => ({
  product,
  version,
  fileName: 'f.bin',
  hardware: ['pi4'],
  pieceLength: 16_384,
  piecesRoot: hex(n) as Sha256Hex,
  infoHash: hex(n, 40) as InfoHash,
  magnet: 'magnet:?',
  priceCapMsat: msat(1000),
  releasedAt: 1,
  path: `${product}/${version}/f.bin`,
  bytes: 10,
  sha256: hex(n) as Sha256Hex,
  targetsVersion: 1,
})

const anyWait = fc.constantFrom<Wait>(
  { why: 'sellers' },
  { why: 'funds', needMsat: 5 as Msat, unit: 'sats' },
  { why: 'disk', needBytes: 2, freeBytes: 1, path: '/d' },
)
const anySlot = fc.constantFrom<Slot>('a', 'b')
const anyEvent: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ tag: fc.constant('admitted' as const), at: fc.nat() }),
  fc.record({ tag: fc.constant('held' as const), wait: anyWait }),
  fc.constantFrom<Event>(
    { tag: 'went-on' },
    { tag: 'placed' },
    { tag: 'switched' },
    { tag: 'settled' },
    { tag: 'withdrawn' },
    { tag: 'reinstated' },
    { tag: 'told', what: 'report' },
    { tag: 'told', what: 'attestation' },
    { tag: 'told', what: 'receipts', blob: undefined },
    { tag: 'superseded', by: '9', at: 9 },
    { tag: 'refused', reason: 'no', at: 9 },
    { tag: 'unfit', reason: 'ill' },
    { tag: 'not-restored', reason: 'gone', at: 9 },
  ),
  fc.record({
    tag: fc.constantFrom('proven' as const, 'passed' as const, 'restored' as const),
    at: fc.nat(),
  }),
  fc
    .record({ slot: anySlot, previous: fc.option(anySlot) })
    .map((plan): Event => ({ tag: 'prepared', plan })),
)

describe('the life of a release', () => {
  test('any events in any order: nothing is installed before it is proven, the end is the end, one report', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        let job: Job = announce(releaseOf('1'), 1)
        let proven = false
        let reports = 0
        for (const event of events) {
          const before = job
          job = step(job, event)
          if (event.tag === 'proven' && job !== before) proven = true
          if (['place', 'switch', 'check', 'restore'].includes(due(job).tag)) expect(proven).toBe(true)
          if (!isActive(before)) expect(stateOf(job)).toBe(stateOf(before))
          if (proven) expect(['admit', 'buy']).not.toContain(due(job).tag)
          if (event.tag === 'told' && event.what === 'report' && job !== before) reports++
          if (reports > 0) expect(due(job)).not.toEqual({ tag: 'tell', what: 'report' })
          expect(v.parse(jobSchema, JSON.parse(JSON.stringify(job)))).toEqual(job) // each state can be kept on disk
        }
        expect(reports).toBeLessThanOrEqual(1)
      }),
      { numRuns: 500 },
    )
  })

  /** The device around the machine: what survives a power cut, and what each action does to it. */
  type World = {
    link: Slot | null
    slots: Record<Slot, string>
    bought: number
    reports: number
    placedNow: number
  }

  test('a power cut anywhere, any number of times: it ends, the link fits the outcome, one purchase, one report', () => {
    const scenario = fc.record({
      healthy: fc.boolean(),
      placeable: fc.boolean(),
      restorable: fc.boolean(),
      first: fc.boolean(),
      cuts: fc.array(fc.record({ after: fc.nat({ max: 6 }), beforeSaving: fc.boolean() }), { maxLength: 12 }),
    })
    fc.assert(
      fc.property(scenario, ({ healthy, placeable, restorable, first, cuts }) => {
        const world: World = {
          link: first ? null : 'a',
          slots: { a: first ? '' : 'old', b: '' },
          bought: 0,
          reports: 0,
          placedNow: 0,
        }
        let onDisk = JSON.stringify(announce(releaseOf('1'), 1))
        const act = (job: Job): Event | undefined => {
          const action = due(job)
          switch (action.tag) {
            case 'admit':
              return { tag: 'admitted', at: 2 }
            case 'buy':
              world.bought = 1 // pieces are kept: buying again adds nothing
              return { tag: 'proven', at: 3 }
            case 'prepare':
              return { tag: 'prepared', plan: { slot: world.link === 'a' ? 'b' : 'a', previous: world.link } }
            case 'place':
              if (!placeable) return { tag: 'unfit', reason: 'no room' }
              expect(world.link).not.toBe(action.plan.slot) // never into the slot that runs
              world.slots[action.plan.slot] = 'new'
              return { tag: 'placed' }
            case 'switch':
              world.link = action.plan.slot
              return { tag: 'switched' }
            case 'check':
              expect(world.slots[world.link!]).toBe('new')
              return healthy ? { tag: 'passed', at: 4 } : { tag: 'unfit', reason: 'ill' }
            case 'restore':
              world.link = action.plan.previous
              if (!restorable) return { tag: 'not-restored', reason: 'link', at: 5 }
              return { tag: 'restored', at: 5 }
            case 'settle':
              return { tag: 'settled' }
            case 'tell':
              if (action.what === 'receipts') return { tag: 'told', what: 'receipts', blob: undefined }
              return { tag: 'told', what: action.what }
            case 'rest':
              return undefined
          }
        }
        const run = (cut?: { after: number; beforeSaving: boolean }): boolean => {
          let job = resume(v.parse(jobSchema, JSON.parse(onDisk)) as Job)
          onDisk = JSON.stringify(job)
          for (let steps = 0; ; steps++) {
            if (cut && steps === cut.after && !cut.beforeSaving) return false
            const saved = due(job)
            const event = act(job)
            if (event === undefined) return true
            const next = step(job, event)
            if (cut && steps === cut.after && cut.beforeSaving) return false
            if (saved.tag === 'tell' && saved.what === 'report') world.reports++
            job = next
            onDisk = JSON.stringify(job)
            expect(steps).toBeLessThan(30)
          }
        }
        for (const cut of cuts) if (run(cut)) break
        expect(run()).toBe(true)
        const job = v.parse(jobSchema, JSON.parse(onDisk)) as Job
        expect(world.bought).toBe(1)
        expect(world.reports).toBeLessThanOrEqual(1)
        if (cuts.length === 0) expect(world.reports).toBe(1)
        if (stateOf(job) === 'healthy') {
          expect(world.slots[world.link!]).toBe('new')
          expect(healthy && placeable).toBe(true)
        } else {
          expect(world.link).toBe(first ? null : 'a')
          expect(reasonOf(job)).toBeTruthy()
        }
      }),
      { numRuns: 500 },
    )
  })

  test('a check that takes the device down each time ends in a roll-back, not in a loop', () => {
    const plan = { slot: 'b', previous: 'a' } as const
    let job = announce(releaseOf('1'), 1)
    for (const event of [
      { tag: 'admitted', at: 2 },
      { tag: 'proven', at: 3 },
      { tag: 'prepared', plan },
      { tag: 'placed' },
      { tag: 'switched' },
    ] as const)
      job = step(job, event)
    for (let starts = 1; starts < MAX_ATTEMPTS; starts++) {
      job = resume(job)
      expect(due(job).tag).toBe('check')
    }
    job = resume(job)
    expect(due(job)).toMatchObject({ tag: 'restore', plan })
    expect(reasonOf(job)).toContain('stopped 3 times')
  })

  test('a withdrawn release stops where it has not begun, and goes on where it has', () => {
    const fresh = announce(releaseOf('1'), 1)
    const withdrawn = step(fresh, { tag: 'withdrawn' })
    expect([stateOf(withdrawn), reasonOf(withdrawn)]).toEqual(['queued', 'the vendor withdrew this release'])
    expect(step(withdrawn, { tag: 'admitted', at: 1 })).toBe(withdrawn)
    expect(step(withdrawn, { tag: 'reinstated' })).toEqual(fresh)
    const begun = step(fresh, { tag: 'admitted', at: 2 })
    expect(step(begun, { tag: 'withdrawn' })).toBe(begun)
  })

  test('the report waits for the last open payment', () => {
    let job = announce(releaseOf('1'), 1)
    job = step(job, { tag: 'admitted', at: 2 })
    job = step(job, { tag: 'refused', reason: 'x', at: 3 })
    expect(due(job).tag).toBe('settle')
    expect(step(job, { tag: 'told', what: 'report' })).toBe(job)
    expect(due(step(job, { tag: 'settled' }))).toEqual({ tag: 'tell', what: 'receipts' })
  })
})

describe('the jobs of a device', () => {
  const one = releaseOf('1', 'pump', 1)
  const two = releaseOf('2', 'pump', 2)

  test('from a stick its release is begun anew, what was being bought of the same product waits, all else stays', () => {
    const sellers = { tag: 'held', wait: { why: 'sellers' } } as const
    const admitted = { tag: 'admitted', at: 2 } as const
    const statesOf = (...jobs: Job[]) => takenUp(jobs, two).map((job) => [job.release.path, stateOf(job)])
    const other = step(step(announce(releaseOf('1', 'valve', 1), 1), admitted), sellers)
    const older = step(announce(one, 1), admitted)
    const tried = announce(two, 1)
    expect(statesOf(older, other, step(tried, sellers))).toEqual([
      [one.path, 'queued'],
      [other.release.path, 'queued'],
      [two.path, 'announced'],
    ])
    expect(statesOf(step(step(tried, admitted), sellers))).toEqual([[two.path, 'buying']])
    const given = step(tried, { tag: 'refused', reason: 'x', at: 3 })
    expect(takenUp([given], two)).toEqual([given])
    // The one that waits gives way at the next look.
    expect(reconcile(takenUp([older], two), [two], [one, two], 3).map(stateOf)).toEqual([
      'failed',
      'announced',
    ])
  })

  test('a newer release takes the place of one that waits; one that is being bought is finished', () => {
    const waiting = reconcile([], [one], [one], 1)
    expect(reconcile(waiting, [two], [one, two], 2).map((job) => job.release.version)).toEqual(['2'])
    const buying = waiting.map((job) => step(job, { tag: 'admitted', at: 2 }))
    expect(reconcile(buying, [two], [one, two], 3)).toEqual(buying)
    const held = buying.map((job) => step(job, { tag: 'held', wait: { why: 'sellers' } }))
    const after = reconcile(held, [two], [one, two], 3)
    expect(after.map(stateOf)).toEqual(['failed', 'announced'])
    expect(reasonOf(after[0]!)).toBe('superseded by 2')
    expect(current(after)?.release.version).toBe('2')
  })

  test('one that failed is not tried again, one that was withdrawn is when it returns', () => {
    const failed = reconcile([], [one], [one], 1).map((job) =>
      step(job, { tag: 'refused', reason: 'x', at: 2 }),
    )
    expect(reconcile(failed, [one], [one], 3)).toEqual(failed)
    const withdrawn = reconcile(reconcile([], [one], [one], 1), [], [], 2)
    expect(withdrawn.map(stateOf)).toEqual(['queued'])
    expect(reconcile(withdrawn, [one], [one], 3).map(stateOf)).toEqual(['announced'])
  })

  test('remembers a bounded number of finished releases, and forgets none that is still owed a report', () => {
    let jobs: readonly Job[] = []
    for (let n = 0; n < MAX_PAST_JOBS + 5; n++) {
      const release = releaseOf(String(n), 'pump', n + 1)
      jobs = reconcile(jobs, [release], [release], n).map((job) => {
        let next = step(job, { tag: 'refused', reason: 'x', at: 2 })
        if (n === 0) return next
        for (const what of ['receipts', 'report', 'attestation'] as const) {
          next = step(
            next,
            what === 'receipts' ? { tag: 'told', what, blob: undefined } : { tag: 'told', what },
          )
        }
        return next
      })
    }
    jobs = reconcile(jobs, [], [], 1)
    expect(jobs.length).toBe(MAX_PAST_JOBS)
    const record = { ...newRecord(hex(1) as Sha256Hex), jobs: [...jobs] }
    expect(v.parse(deviceRecordSchema, JSON.parse(JSON.stringify(record)))).toEqual(record)
  })

  test('the byte budget is counted by the day', () => {
    const noon = Date.UTC(2026, 10, 21, 12)
    let record = addBytes(newRecord(hex(1) as Sha256Hex), 70, noon)
    record = addBytes(record, 20, noon + 1)
    expect(bytesLeft(record, 100, noon)).toBe(10)
    expect(bytesLeft(record, 80, noon)).toBe(0)
    expect(tomorrowS(noon) * 1000).toBe(Date.UTC(2026, 10, 22))
    expect(bytesLeft(record, 100, tomorrowS(noon) * 1000)).toBe(100)
    expect(addBytes(record, 5, tomorrowS(noon) * 1000).day).toEqual({ date: '2026-11-22', bytes: 5 })
  })
})

describe('waiting', () => {
  const facts: Facts = {
    accepted: true,
    deviceCode: 'AAAA-BBBB',
    nowS: 100,
    floorS: 100,
    wallet: { tag: 'ready', money: 'bitcoin', balance: ZERO },
    missingBytes: 1000,
    plainBytes: 0,
    freeBytes: 1000 + DISK_RESERVE_BYTES,
    dataDir: '/data',
    byteBudget: undefined,
    priceCap: msat(10),
  }
  const why = (change: Partial<Facts>) => whyWait({ ...facts, ...change })?.why

  test('each reason is found at its bound and not one short of it', () => {
    expect(why({})).toBeUndefined()
    expect(why({ nowS: 99 })).toBe('time')
    expect(why({ accepted: false })).toBe('not-accepted')
    expect(why({ freeBytes: 999 + DISK_RESERVE_BYTES })).toBe('disk')
    expect(why({ freeBytes: 0, missingBytes: 0 })).toBeUndefined()
    expect(why({ byteBudget: { leftBytes: 0, limitBytes: 9, untilS: 200 } })).toBe('byte-budget')
    expect(why({ byteBudget: { leftBytes: 1, limitBytes: 9, untilS: 200 } })).toBeUndefined()
    expect(why({ wallet: { tag: 'none' } })).toBe('no-wallet')
    expect(why({ wallet: { tag: 'none' }, priceCap: ZERO })).toBeUndefined()
    expect(why({ wallet: { tag: 'unreachable', text: 'x' } })).toBe('wallet')
  })

  test('sats are rounded up, play money is called so, times are UTC', () => {
    expect(waitText({ why: 'funds', needMsat: msat(1001), unit: 'play sats' })).toContain(
      'needs 2 play sats more',
    )
    expect(waitText({ why: 'time', nowS: 0, floorS: 1_780_000_000 })).toContain('1970-01-01 00:00 UTC')
  })
})

test('missing funds are told in whole sats', () => {
  expect(fundsWait(msat(26_840), 'sandbox:x')).toEqual({ why: 'funds', needMsat: 27_000, unit: 'play sats' })
})
