import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { InfoHash } from '../bytes.ts'
import {
  compareWanted,
  planCarry,
  RETURN_MARGIN_SELLERS,
  supersededBy,
  WITHDRAWN_IDLE_MS,
  type CarryItem,
} from './carry.ts'

const NOW = 1_000 * WITHDRAWN_IDLE_MS
const hash = (n: number): InfoHash => n.toString(16).padStart(40, '0') as InfoHash

const item = (n: number, change: Partial<CarryItem> = {}): CarryItem => ({
  infoHash: hash(n),
  bytes: 10,
  held: true,
  evictedBefore: false,
  standing: 'current',
  otherSellers: 0,
  earnedMsat: 0,
  releasedAt: 0,
  lastUsefulAtMs: NOW,
  ...change,
})

// Small numbers, so that ties, exact fits and one byte too many really occur.
const anyItems = fc
  .array(
    fc.record({
      bytes: fc.integer({ min: 0, max: 6 }),
      held: fc.boolean(),
      evictedBefore: fc.boolean(),
      standing: fc.constantFrom('current', 'superseded', 'withdrawn', 'unfollowed'),
      otherSellers: fc.integer({ min: 0, max: 3 }),
      earnedMsat: fc.integer({ min: 0, max: 3 }),
      releasedAt: fc.integer({ min: 0, max: 2 }),
      lastUsefulAtMs: fc.constantFrom(NOW, NOW - WITHDRAWN_IDLE_MS),
    }),
    { maxLength: 9 },
  )
  .map((rows): CarryItem[] => rows.map((row, i) => item(i, row)))
const anyLimit = fc.integer({ min: 0, max: 24 })

describe('what a distributor carries', () => {
  test('never plans more than the limit holds, and every release gets exactly one fate', () => {
    fc.assert(
      fc.property(anyItems, anyLimit, (items, limit) => {
        const plan = planCarry(items, limit, NOW)
        const bytes = (ids: readonly InfoHash[]): number =>
          ids.reduce((total, id) => total + items.find((item) => item.infoHash === id)!.bytes, 0)
        expect(bytes([...plan.keep, ...plan.fetch])).toBeLessThanOrEqual(limit)
        const evicted = plan.evict.map((row) => row.infoHash)
        const held = items.filter((item) => item.held).map((item) => item.infoHash)
        expect([...plan.keep, ...evicted].sort()).toEqual(held.sort())
        const wanted = items.filter((item) => !item.held && item.standing === 'current')
        expect([...plan.fetch, ...plan.noRoom].sort()).toEqual(wanted.map((item) => item.infoHash).sort())
      }),
    )
  })

  test('what goes for want of room is wanted less than everything that stays', () => {
    fc.assert(
      fc.property(anyItems, anyLimit, (items, limit) => {
        const plan = planCarry(items, limit, NOW)
        const of = (id: InfoHash): CarryItem => items.find((item) => item.infoHash === id)!
        const forRoom = plan.evict.map((row) => of(row.infoHash)).filter((item) => forcedOut(item) === false)
        for (const gone of forRoom)
          for (const kept of plan.keep) expect(compareWanted(of(kept), gone)).toBeLessThan(0)
      }),
    )
  })

  test('a plan carried out is stable: planned again it changes nothing', () => {
    fc.assert(
      fc.property(anyItems, anyLimit, (items, limit) => {
        const plan = planCarry(items, limit, NOW)
        const gone = new Set(plan.evict.map((row) => row.infoHash))
        const after = items.map((item): CarryItem => {
          if (plan.fetch.includes(item.infoHash)) return { ...item, held: true }
          return gone.has(item.infoHash) ? { ...item, held: false, evictedBefore: true } : item
        })
        const again = planCarry(after, limit, NOW)
        expect(again.evict).toEqual([])
        // Gaps that a large release left may take a smaller one, once.
        expect(again.fetch.every((id) => plan.noRoom.includes(id) || gone.has(id))).toBe(true)
      }),
    )
  })

  test('the order in which releases are listed does not matter', () => {
    fc.assert(
      fc.property(anyItems, anyLimit, (items, limit) => {
        const a = planCarry(items, limit, NOW)
        const b = planCarry([...items].reverse(), limit, NOW)
        expect([[...b.keep], [...b.fetch]]).toEqual([[...a.keep], [...a.fetch]])
        expect(b.evict).toEqual(a.evict)
      }),
    )
  })

  test('withdrawn goes first, then superseded, then what most others sell, then what earns least per byte', () => {
    const items = [
      item(1, { standing: 'withdrawn', earnedMsat: 900 }),
      item(2, { standing: 'superseded', earnedMsat: 800 }),
      item(3, { otherSellers: 5, earnedMsat: 700 }),
      item(4, { earnedMsat: 1 }),
      item(5, { earnedMsat: 10 }),
    ]
    const order = [40, 30, 20, 10, 0].map((limit) => planCarry(items, limit, NOW).evict.at(-1))
    expect(order).toEqual([
      { infoHash: hash(1), reason: 'withdrawn' },
      { infoHash: hash(2), reason: 'superseded' },
      { infoHash: hash(3), reason: 'limit lowered' },
      { infoHash: hash(4), reason: 'limit lowered' },
      { infoHash: hash(5), reason: 'limit lowered' },
    ])
  })

  test('a new release displaces an old one that others sell, and the old one does not come back at once', () => {
    const old = item(1, { otherSellers: 1 })
    const fresh = item(2, { held: false })
    expect(planCarry([old, fresh], 10, NOW)).toMatchObject({
      fetch: [hash(2)],
      evict: [{ infoHash: hash(1), reason: 'made room' }],
    })
    const back = { ...old, held: false, evictedBefore: true, otherSellers: 0 }
    const margin = RETURN_MARGIN_SELLERS
    const held = { ...fresh, held: true, earnedMsat: 0, releasedAt: -1 }
    expect(planCarry([back, { ...held, otherSellers: margin }], 10, NOW).noRoom).toEqual([])
    expect(planCarry([back, { ...held, otherSellers: margin - 1 }], 10, NOW).noRoom).toEqual([hash(1)])
  })

  test('a release larger than the limit is refused and displaces nothing', () => {
    const plan = planCarry([item(1, { standing: 'withdrawn' }), item(2, { held: false, bytes: 11 })], 10, NOW)
    expect(plan).toEqual({ keep: [hash(1)], fetch: [], evict: [], noRoom: [hash(2)] })
    expect(planCarry([item(2, { held: false, bytes: 10 })], 10, NOW).fetch).toEqual([hash(2)])
  })

  test('withdrawn and unsold for a day goes unasked; one millisecond before it stays', () => {
    const at = (idleMs: number) =>
      planCarry([item(1, { standing: 'withdrawn', lastUsefulAtMs: NOW - idleMs })], 100, NOW).evict.length
    expect([at(WITHDRAWN_IDLE_MS - 1), at(WITHDRAWN_IDLE_MS)]).toEqual([0, 1])
  })
})

const forcedOut = (item: CarryItem): boolean =>
  item.standing === 'unfollowed' ||
  (item.standing === 'withdrawn' && NOW - item.lastUsefulAtMs >= WITHDRAWN_IDLE_MS)

describe('superseded', () => {
  const release = (version: string, hardware: string[], product = 'os') => ({
    product,
    version,
    hardware,
    path: `${product}/${version}/f`,
  })
  const newer = (a: string, b: string): boolean => Number(a) > Number(b)
  test('by a newer version for at least the same hardware, not by another product or half the hardware', () => {
    const old = release('1', ['a', 'b'])
    const by = (other: ReturnType<typeof release>) => supersededBy(old, [old, other], newer, old.version)
    expect(by(release('2', ['b', 'a', 'c']))).toBe('os/2/f')
    expect(by(release('2', ['a']))).toBeUndefined()
    expect(by(release('2', ['a', 'b'], 'agent'))).toBeUndefined()
    expect(by(release('0', ['a', 'b']))).toBeUndefined()
  })
})
