import fc from 'fast-check'
import { base64 } from '@scure/base'
import * as v from 'valibot'
import { expect, test } from 'vitest'
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { msat } from '../money/msat.ts'
import type { Release } from '../release/target.ts'
import { testEntry } from '../release/test-repository.ts'
import { fleetView, type FleetInput, type HeardReport, type KnownRelease } from './fleet.ts'
import {
  deviceStates,
  progressSchema,
  windowRowSchema,
  type Progress,
  type Report,
  type SellerSum,
} from './messages.ts'
import { emptyRoster, enrol, revoke } from './roster.ts'

const release = (version: string): Release => {
  const { path, custom, sha256 } = testEntry(version)
  return {
    ...custom,
    path,
    bytes: 10 * custom.pieceLength - 5,
    sha256: sha256 as Sha256Hex,
    targetsVersion: 1,
  }
}
const known = (
  version: string,
  publishedAt: number,
  status: KnownRelease['status'] = 'live',
): KnownRelease => ({
  release: release(version),
  status,
  publishedAt,
})
const key = (n: number) => String(n).repeat(64) as PartyKey
const seller = (n: number, paid: number): SellerSum => ({
  seller: key(n),
  pieces: 2,
  bytes: 20,
  paidMsat: msat(paid),
  feesMsat: msat(1),
  rateBps: 5,
})
const progress = (state: Progress['state'], more: Partial<Progress> = {}): Progress => ({
  v: 1,
  name: 'self-named',
  hardware: 'rpi4',
  seq: 1,
  at: 100,
  state,
  ...more,
})
const buying = (paid: number) =>
  progress('buying', {
    release: {
      path: release('1.0').path,
      infoHash: release('1.0').infoHash,
      targetsVersion: 1,
      pieces: 10,
      have: base64.encode(new Uint8Array([0b1110_0000, 0b0100_0000])),
      startedAt: 50,
      paidMsat: msat(paid),
      feesMsat: msat(1),
      receipts: 2,
      sellers: [seller(8, paid)],
      windows: [],
    },
  })
const report = (
  device: PartyKey,
  verdict: HeardReport['verdict'],
  outcome: Report['outcome'] = 'healthy',
): HeardReport => ({
  device,
  at: 200,
  verdict,
  report: {
    v: 1,
    vendor: 'ab'.repeat(32) as Sha256Hex,
    path: release('1.0').path,
    sha256: release('1.0').sha256,
    piecesRoot: release('1.0').piecesRoot,
    targetsVersion: 1,
    outcome,
    announcedAt: 10,
    startedAt: 20,
    verifiedAt: 30,
    finishedAt: 40,
    paidMsat: msat(500),
    feesMsat: msat(5),
    sellers: [seller(8, 300), seller(9, 200)],
    receipts: 4,
    receiptsRoot: '00'.repeat(32) as Sha256Hex,
  },
})
const accepted: HeardReport['verdict'] = {
  tag: 'accepted',
  receipts: 4,
  paidMsat: msat(500),
  earned: new Map(),
  payments: new Set(),
}
const refused: HeardReport['verdict'] = { tag: 'refused', why: 'sums-differ', text: 'no' }
const roster = [1, 2, 3].reduce(
  (all, n) => enrol(all, { key: key(n), name: `d${n}`, hardware: 'rpi4', enrolledAt: n }),
  emptyRoster,
)
const input = (more: Partial<FleetInput> = {}): FleetInput => ({
  releases: [known('1.0', 1)],
  roster,
  progress: new Map(),
  reports: [],
  ...more,
})

test('n of m: enrolled devices count, with their sums; strangers and revoked ones are shown and never counted', () => {
  const view = fleetView(
    input({
      roster: revoke(roster, key(3), 50),
      progress: new Map([
        [key(2), buying(100)],
        [key(3), buying(1000)],
        [key(4), buying(9999)],
      ]),
      reports: [report(key(1), accepted), report(key(4), accepted)],
    }),
  )
  const [one] = view.releases
  expect(one).toMatchObject({
    healthy: 1,
    enrolled: 2,
    paidMsat: 600,
    feesMsat: 6,
    receipts: 6,
    receiptsChecked: 4,
  })
  expect(one!.unenrolled.map((row) => row.device)).toEqual([key(3), key(4)])
  expect(view.unenrolled).toHaveLength(2)
  expect(one!.sellers.map((row) => [row.seller, row.paidMsat])).toEqual([
    [key(8), 400],
    [key(9), 200],
  ])
  expect(one!.edges.filter((edge) => edge.device === key(2))).toMatchObject([
    { seller: key(8), paidMsat: 100 },
  ])
  expect(one!.devices.find((row) => row.device === key(2))).toMatchObject({
    name: 'd2',
    state: 'buying',
    havePieces: 4,
    pieces: 10,
  })
})

test('a refused report changes nothing but the count of refusals', () => {
  const before = fleetView(input({ progress: new Map([[key(1), buying(100)]]) }))
  const after = fleetView(
    input({ progress: new Map([[key(1), buying(100)]]), reports: [report(key(1), refused)] }),
  )
  const { refused: count, devices, ...rest } = after.releases[0]!
  const { refused: none, devices: same, ...restBefore } = before.releases[0]!
  expect([none, count]).toEqual([0, 1])
  expect(rest).toEqual(restBefore)
  expect(devices.slice(1)).toEqual(same.slice(1))
  expect(devices[0]).toMatchObject({ state: 'buying', verdict: { tag: 'refused' } })
})

test('late payments are added to the report that they belong to', () => {
  const late = {
    device: key(1),
    path: release('1.0').path,
    seller: key(9),
    paymentHash: 'x',
    paidMsat: msat(7),
    feesMsat: msat(1),
  }
  const view = fleetView(input({ reports: [report(key(1), accepted)], addenda: [late] }))
  expect(view.releases[0]).toMatchObject({ paidMsat: 507, feesMsat: 6, receipts: 5, receiptsChecked: 5 })
  expect(view.releases[0]!.sellers).toMatchObject([{ paidMsat: 300 }, { seller: key(9), paidMsat: 207 }])
})

test('absurd sums, a seller named twice and bits of no piece do not stop the view, of enrolled devices or strangers', () => {
  const most = msat(Number.MAX_SAFE_INTEGER)
  const resold = { earnedMsat: most, pieces: 1, bytes: 1 }
  const [now, second] = [buying(0).release!, release('2.0').path]
  const absurd = progress('buying', {
    release: {
      ...now,
      have: base64.encode(new Uint8Array([255, 255])),
      paidMsat: most,
      feesMsat: most,
      sellers: [seller(8, most), seller(8, most)],
      resold,
    },
    resoldBefore: [{ path: second, ...resold }],
  })
  const view = fleetView(
    input({
      releases: [known('1.0', 1), known('2.0', 2)],
      progress: new Map([1, 2, 4].map((n) => [key(n), absurd])),
    }),
  )
  const one = view.releases[1]!
  expect(one).toMatchObject({ paidMsat: most, feesMsat: most, resold: { earnedMsat: most } })
  expect(one.sellers).toMatchObject([{ seller: key(8), paidMsat: most }])
  expect(one.edges.map((edge) => edge.device)).toEqual([key(1), key(2)])
  expect(one.devices[0]).toMatchObject({ havePieces: 10, pieces: 10 })
  expect(view.unenrolled[0]).toMatchObject({ key: key(4), resold: { earnedMsat: most } })
})

test('a time that no date can hold is no message', () => {
  const at = (ms: number) => v.is(progressSchema, { ...buying(1), at: ms })
  expect([at(8.64e15), at(8.64e15 + 1)]).toEqual([true, false])
  const windowAt = (doneAt: number) =>
    v.is(windowRowSchema, {
      ...{ seller: key(8), paymentHash: 'ab'.repeat(32), pieces: [0], bytes: 1, amountMsat: 1, feesMsat: 0 },
      ...{ requestedAt: 1, paidAt: 1, doneAt, late: false },
    })
  expect([windowAt(8.64e15), windowAt(8.64e15 + 1)]).toEqual([true, false])
})

test('a device that runs the version is healthy although its report is gone; an older release waits', () => {
  const view = fleetView(
    input({
      releases: [known('1.0', 1), known('2.0', 2)],
      progress: new Map([[key(1), progress('healthy', { installed: { pump: '2.0' } })]]),
    }),
  )
  expect(view.releases.map((one) => one.release.version)).toEqual(['2.0', '1.0'])
  const states = view.devices[0]!.releases.map((one) => one.state)
  expect(states).toEqual(['healthy', 'waiting'])
})

test('what a device sold on counts for its release, after its report and while the next release is shown', () => {
  const sold = (n: number) => ({ earnedMsat: msat(900 * n), pieces: n, bytes: 256 * n })
  const [first, second] = [release('1.0').path, release('2.0').path]
  const now = buying(0).release!
  const view = fleetView(
    input({
      releases: [known('1.0', 1), known('2.0', 2)],
      progress: new Map([
        [key(1), progress('healthy', { release: { ...now, path: first, resold: sold(3) } })],
        [
          key(2),
          progress('buying', {
            release: { ...now, path: second, resold: sold(1) },
            resoldBefore: [{ path: first, ...sold(5) }],
          }),
        ],
        // A stranger's word: shown with it, in no sum.
        [key(4), progress('buying', { release: { ...now, path: first, resold: sold(100) } })],
      ]),
      reports: [report(key(1), accepted)],
    }),
  )
  expect(view.releases.map(({ resold }) => resold)).toEqual([sold(1), sold(8)])
  expect(view.devices.map(({ resold }) => resold)).toEqual([sold(3), sold(6), undefined])
  expect(view.unenrolled[0]?.resold).toEqual(sold(100))
})

test('the order in which events came does not show, and every enrolled device is in exactly one state', () => {
  const device = fc.integer({ min: 1, max: 5 }).map(key)
  const anyProgress = fc.uniqueArray(
    fc.tuple(
      device,
      fc.oneof(
        fc.nat(9).map(buying),
        fc.constantFrom(...deviceStates).map((state) => progress(state)),
      ),
    ),
    { selector: ([who]) => who },
  )
  const anyReports = fc.uniqueArray(
    fc
      .tuple(device, fc.constantFrom(accepted, refused, { tag: 'checking' } as const))
      .map(([who, verdict]) => report(who, verdict)),
    { selector: (one) => one.device },
  )
  fc.assert(
    fc.property(anyProgress, anyReports, (heard, reports) => {
      const a = fleetView(input({ progress: new Map(heard), reports }))
      const b = fleetView(input({ progress: new Map(heard.toReversed()), reports: reports.toReversed() }))
      expect(b).toEqual(a)
      const [one] = a.releases
      const counted = Object.values(one!.counts).reduce((x, y) => x + y, 0)
      expect(counted).toBe(one!.enrolled)
      expect(one!.enrolled).toBe(3)
      expect(one!.sellers.reduce((x, y) => x + y.paidMsat, 0)).toBe(one!.paidMsat)
    }),
  )
})
