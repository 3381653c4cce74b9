import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { sha256Hex, utf8 } from '../bytes.ts'
import {
  describe,
  emptyRoster,
  enrol,
  isEnrolled,
  isMember,
  MAX_MEMBERS,
  MAX_PART_BYTES,
  mergeRosters,
  partNames,
  partsOf,
  revoke,
} from './roster.ts'
import type { Roster } from './messages.ts'

const key = (n: number) => String(n).repeat(64) as PartyKey
const member = (n: number, enrolledAt: number) => ({ key: key(n), name: `d${n}`, hardware: 'x', enrolledAt })

test('enrolled, revoked, enrolled again', () => {
  const one = enrol(emptyRoster, member(1, 10))
  expect(isEnrolled(one, key(1))).toBe(true)
  const gone = revoke(one, key(1), 20)
  expect(isEnrolled(gone, key(1))).toBe(false)
  expect(isEnrolled(enrol(gone, member(1, 30)), key(1))).toBe(true)
  expect(isEnrolled(one, key(2))).toBe(false)
})

test('enrolled again on a machine whose clock is behind: a tab that only heard of the revocation does not undo it', () => {
  const gone = revoke(enrol(emptyRoster, member(1, 10)), key(1), 500)
  expect(isEnrolled(mergeRosters(enrol(gone, member(1, 30)), gone), key(1))).toBe(true)
})

test('two tabs that edited apart agree, in whatever order they hear of each other', () => {
  const edit = fc.tuple(
    fc.constantFrom('enrol', 'revoke', 'describe'),
    fc.integer({ min: 1, max: 3 }),
    fc.nat(5),
  )
  const anyRoster = fc
    .array(edit, { maxLength: 5 })
    .map((edits) =>
      edits.reduce(
        (r, [what, n, at]) =>
          what === 'enrol'
            ? enrol(r, member(n, at))
            : what === 'revoke'
              ? revoke(r, key(n), at)
              : describe(r, key(n), { name: `n${at}`, group: at > 2 ? 'lab' : '' }, at),
        emptyRoster,
      ),
    )
  fc.assert(
    fc.property(anyRoster, anyRoster, anyRoster, (a, b, c) => {
      expect(mergeRosters(a, b)).toEqual(mergeRosters(b, a))
      expect(mergeRosters(mergeRosters(a, b), c)).toEqual(mergeRosters(a, mergeRosters(b, c)))
      expect(mergeRosters(a, a)).toEqual(mergeRosters(a, emptyRoster))
    }),
  )
})

test('a revocation wins over the enrolment that it ends, heard again later', () => {
  const before = enrol(emptyRoster, member(1, 10))
  expect(isEnrolled(mergeRosters(revoke(before, key(1), 11), before), key(1))).toBe(false)
  expect(isEnrolled(mergeRosters(revoke(before, key(1), 10), before), key(1))).toBe(false)
})

test('a rename that had not heard of a revocation does not undo it, and neither is lost', () => {
  const before = enrol(emptyRoster, member(1, 10))
  const renamed = describe(before, key(1), { name: 'hall', group: 'lab' }, 30)
  const merged = mergeRosters(revoke(before, key(1), 20), renamed)
  expect(isEnrolled(merged, key(1))).toBe(false)
  expect(merged.devices).toMatchObject([{ name: 'hall', group: 'lab', revokedAt: 20 }])
  expect(describe(merged, key(2), { name: 'x', group: '' }, 40)).toEqual(merged)
  const back = describe(merged, key(1), { name: 'hall', group: '' }, 25)
  expect(mergeRosters(back, merged).devices[0]).not.toHaveProperty('group')
})

const fleetOf = (count: number): Roster => ({
  v: 1,
  devices: Array.from({ length: count }, (_, n) => ({
    ...member(1, n),
    key: sha256Hex(utf8(`device ${n}`)) as string as PartyKey,
    name: `Pump station ${n}, hall ${n % 7}`,
  })),
})

test('a small roster is one part; ten thousand devices are parts that a relay takes, and come back whole', () => {
  expect([...(partsOf(emptyRoster) ?? [])]).toEqual([['', emptyRoster]])
  const small = fleetOf(100)
  expect([...(partsOf(small)?.keys() ?? [])]).toEqual([''])

  const largest = fleetOf(MAX_MEMBERS)
  const parts = partsOf(largest)!
  for (const [name, part] of parts) {
    expect(partNames).toContain(name)
    expect(utf8(JSON.stringify(part)).length).toBeLessThanOrEqual(MAX_PART_BYTES)
  }
  expect(mergeRosters(...parts.values())).toEqual(mergeRosters(largest))
  // A part of before, from when the fleet was small, takes nothing back.
  expect(mergeRosters(fleetOf(50), ...parts.values())).toEqual(mergeRosters(largest))
  expect(partsOf(fleetOf(MAX_MEMBERS + 1))).toBeUndefined()
  expect(isMember(largest, largest.devices[9999]!.key)).toBe(true)
  expect(isMember(largest, key(2))).toBe(false)
})

test('a part that is too long for a relay is refused, not cut', () => {
  const alike: Roster = {
    v: 1,
    devices: fleetOf(1000).devices.map((one) => ({ ...one, key: `ab${one.key.slice(2)}` as PartyKey })),
  }
  expect(partsOf(alike)).toBeUndefined()
})
