import { expect, test } from 'vitest'
import type { PartyKey } from '../../core/bytes.ts'
import type { Msat } from '../../core/money/msat.ts'
import type { DeviceRelease, ReleaseView } from '../../core/rollout/fleet.ts'
import { MAX_MARKS, marksFor, tallies, threadPoint } from './flow.ts'
import { FLEET_SQUARES, LANES, SELLER_ROWS, swarmModel, type Thread } from './model.ts'

const key = (n: number) => n.toString(16).padStart(64, '0') as PartyKey
const zero = 0 as Msat

function device(n: number, state: DeviceRelease['state'], havePieces = 0): DeviceRelease {
  return {
    device: key(n),
    name: `pi-${n}`,
    enrolled: true,
    path: 'p/1/f',
    state,
    pieces: 10,
    havePieces,
    paidMsat: zero,
    feesMsat: zero,
    receipts: 0,
    receiptsChecked: 0,
    sellers: [],
    windows: [],
  }
}

function view(
  devices: DeviceRelease[],
  sellers: { n: number; bps: number; dropped?: string }[],
): ReleaseView {
  const counts = Object.fromEntries(
    [
      'waiting',
      'announced',
      'queued',
      'buying',
      'verified',
      'installing',
      'healthy',
      'rolled back',
      'failed',
    ].map((state) => [state, devices.filter((d) => d.state === state).length]),
  )
  return {
    devices,
    enrolled: devices.length,
    healthy: counts['healthy'],
    counts,
    edges: sellers.map((s) => ({
      seller: key(s.n),
      device: devices[0]!.device,
      pieces: 3,
      bytes: 3,
      paidMsat: 5,
      rateBps: s.bps,
    })),
    sellers: sellers.map((s) => ({
      seller: key(s.n),
      pieces: 3,
      bytes: 3,
      paidMsat: 5,
      feesMsat: 0,
      rateBps: s.bps,
      ...(s.dropped === undefined ? {} : { dropped: s.dropped }),
    })),
  } as unknown as ReleaseView
}
const names = { own: key(900), tab: 'this tab', device: () => undefined }

test('a small fleet is shown whole, with this tab among the sellers although it sold nothing', () => {
  const model = swarmModel(
    view([device(1, 'buying', 4), device(2, 'healthy', 10)], [{ n: 50, bps: 9 }]),
    names,
    [],
  )
  expect(model.lanes.map((l) => l.name)).toEqual(['pi-1', 'pi-2'])
  expect(model.sellers.map((s) => s.name)).toEqual(['this tab', 'seed-0000'])
  expect(model.threads).toHaveLength(1)
})

test('what does not fit is merged; a barred seller and this tab are never merged away', () => {
  const many = Array.from({ length: 30 }, (_, i) => ({ n: i + 50, bps: 1000 - i }))
  many[29] = { n: 79, bps: 0, dropped: 'fraud: block 3 is not the release' } as (typeof many)[0]
  const devices = Array.from({ length: 30 }, (_, i) => device(i + 1, 'buying', 2))
  const model = swarmModel(view(devices, many), names, [])
  expect(model.sellers).toHaveLength(SELLER_ROWS)
  expect(model.sellers.some((s) => s.barred !== undefined)).toBe(true)
  expect(model.sellers.some((s) => s.name === 'this tab')).toBe(true)
  expect(model.sellers.at(-1)!.name).toBe('25 more')
  expect(model.lanes).toHaveLength(LANES)
  expect(model.lanes.at(-1)!.name).toBe('23 more')
})

test('connected distributors stand among the sellers before they sold; devices do not', () => {
  const present = [key(50), key(60), key(1)]
  const device1 = (k: string) => (k === key(1) ? 'pi-1' : undefined)
  const model = swarmModel(
    view([device(1, 'buying')], [{ n: 50, bps: 1 }]),
    { ...names, device: device1, present },
    [],
  )
  expect(model.sellers.map((s) => s.key)).toEqual([key(900), key(50), key(60)])
})

test('one bad device among 10,000 shows in its shared square', () => {
  const devices = Array.from({ length: 10_000 }, (_, i) =>
    device(i + 1, i === 4321 ? 'rolled back' : 'healthy', 10),
  )
  const model = swarmModel(view(devices, []), names, [])
  expect(model.fleet.length).toBeLessThanOrEqual(FLEET_SQUARES)
  expect(model.fleet.filter((c) => c.state === 'rolled back')).toHaveLength(1)
  expect(model.fleet.reduce((a, c) => a + c.devices, 0)).toBe(10_000)
})

test('order is by first seen: a faster newcomer takes nobody’s place', () => {
  const seen: string[] = []
  const devices = [device(1, 'buying')]
  swarmModel(view(devices, [{ n: 51, bps: 1 }]), names, seen)
  const model = swarmModel(
    view(devices, [
      { n: 50, bps: 99 },
      { n: 51, bps: 1 },
    ]),
    names,
    seen,
  )
  expect(model.sellers.map((s) => s.key)).toEqual([key(900), key(51), key(50)])
})

test('marks are made of what changed: a piece each, none for a thread seen first, never more than fit', () => {
  const thread = (pieces: number, paidMsat: number): Thread => ({
    id: '0-0',
    seller: 0,
    lane: 0,
    rateBps: 1,
    pieces,
    paidMsat,
  })
  expect(marksFor(tallies([]), [thread(5, 5)], 0, MAX_MARKS).marks).toEqual([])
  const before = tallies([thread(5, 5)])
  expect(marksFor(before, [thread(5, 5)], 0, MAX_MARKS).marks).toEqual([])
  const some = marksFor(before, [thread(8, 9)], 0, MAX_MARKS)
  expect(some.perMark).toBe(1)
  expect(some.marks.map((m) => m.sort)).toEqual(['piece', 'piece', 'piece', 'payment'])
  const many = marksFor(before, [thread(5 + MAX_MARKS * 3, 5)], 0, MAX_MARKS)
  expect(many.perMark).toBe(3)
  expect(many.marks.length).toBe(MAX_MARKS)
  expect(marksFor(before, [thread(50, 9)], 0, 0).marks).toEqual([])
})

test('a thread starts at the seller and ends at the buyer', () => {
  expect(threadPoint(100, 10, 50, 0)).toEqual([0, 10])
  expect(threadPoint(100, 10, 50, 1)).toEqual([100, 50])
})
