/** The vendor's list of enrolled devices and how two tabs' edits come together. Times are Unix ms. */
import { utf8, type PartyKey } from '../bytes.ts'
import type { Roster } from './messages.ts'

export type Member = Roster['devices'][number]

export const emptyRoster: Roster = { v: 1, devices: [] }
export const MAX_MEMBERS = 10_000
/** A relay takes messages of 64 KiB, which is some 40,000 bytes before encryption: a few hundred members. */
export const MAX_PART_BYTES = 40_000
/** The whole roster's part, and those that it is split into where it is longer: by the first byte of a device's key. */
const WHOLE = ''
const PARTS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
export const partNames: readonly string[] = [WHOLE, ...PARTS]

/** Adds a device, or enrols one again that was revoked. */
export function enrol(
  roster: Roster,
  member: Pick<Member, 'key' | 'name' | 'hardware' | 'enrolledAt'>,
): Roster {
  const { key, name, hardware } = member
  const before = roster.devices.find((one) => one.key === key)
  // Later than the revocation that it ends, whatever this machine's clock says.
  const enrolledAt = Math.max(member.enrolledAt, before ? lastWord(before) + 1 : 0)
  return sorted([...roster.devices.filter((one) => one !== before), { key, name, hardware, enrolledAt }])
}

export const MAX_NAME_CHARS = 80
export const MAX_GROUP_CHARS = 40
/** What is wrong with a trimmed name or group, in words. */
export function checkDescription({
  name,
  group,
}: Readonly<{ name: string; group: string }>): string | undefined {
  if (name === '' || name.length > MAX_NAME_CHARS) return `A name has 1 to ${MAX_NAME_CHARS} characters.`
  return group.length > MAX_GROUP_CHARS ? `A group has at most ${MAX_GROUP_CHARS} characters.` : undefined
}

/** Gives a device another name or group; an empty group is none. A device that is not on the roster stays out. */
export const describe = (
  roster: Roster,
  key: PartyKey,
  { name, group }: Readonly<{ name: string; group: string }>,
  describedAt: number,
): Roster =>
  sorted(
    roster.devices.map((one) => {
      if (one.key !== key) return one
      const { group: _before, ...rest } = one
      // Never older than what it replaces, whatever this machine's clock says.
      const at = Math.max(describedAt, lastSaid(one) + 1)
      return canonical({ ...rest, name, ...(group === '' ? {} : { group }), describedAt: at })
    }),
  )

export const revoke = (roster: Roster, key: PartyKey, revokedAt: number): Roster =>
  sorted(
    roster.devices.map((one) =>
      one.key === key && one.revokedAt === undefined ? { ...one, revokedAt } : one,
    ),
  )

/**
 * The latest word on each device wins, on its enrolment and on its description apart: a rename that had not heard of a
 * revocation does not undo it. At the same instant the revocation wins. Commutative, associative, idempotent.
 */
export function mergeRosters(...rosters: readonly Roster[]): Roster {
  const members = new Map<PartyKey, Member>()
  for (const one of rosters.flatMap(({ devices }) => devices)) {
    const other = members.get(one.key)
    members.set(one.key, other ? joined(one, other) : canonical(one))
  }
  return sorted([...members.values()])
}

function joined(a: Member, b: Member): Member {
  const enrolled = orderOf(a, b, enrolmentOf, lastWord) >= 0 ? a : b
  const described = orderOf(a, b, descriptionOf, lastSaid) >= 0 ? a : b
  return canonical({
    ...enrolmentOf(enrolled),
    ...descriptionOf(described),
    describedAt: lastSaid(described),
  })
}

const enrolmentOf = ({ key, hardware, enrolledAt, revokedAt }: Member) => ({
  key,
  hardware,
  enrolledAt,
  ...(revokedAt === undefined ? {} : { revokedAt }),
})
const descriptionOf = ({ name, group }: Member) => ({ name, ...(group === undefined ? {} : { group }) })

/** One spelling: the fields in one order, `describedAt` only where it says more than `enrolledAt`. */
function canonical(one: Member): Member {
  const { key, hardware, enrolledAt, revokedAt, describedAt } = one
  return {
    key,
    ...descriptionOf(one),
    hardware,
    enrolledAt,
    ...(revokedAt === undefined ? {} : { revokedAt }),
    ...(describedAt === undefined || describedAt === enrolledAt ? {} : { describedAt }),
  }
}

const lastWord = (one: Member): number => Math.max(one.enrolledAt, one.revokedAt ?? 0)
const lastSaid = (one: Member): number => one.describedAt ?? one.enrolledAt
function orderOf(a: Member, b: Member, part: (one: Member) => object, at: (one: Member) => number): number {
  if (at(a) !== at(b)) return at(a) - at(b)
  if (part === enrolmentOf && (a.revokedAt === undefined) !== (b.revokedAt === undefined))
    return a.revokedAt === undefined ? -1 : 1
  const [x, y] = [JSON.stringify(part(a)), JSON.stringify(part(b))]
  return x < y ? -1 : x > y ? 1 : 0
}

/**
 * How it is written: each part under its name. Whoever reads puts all parts that there are together (`mergeRosters`), so
 * that a part of before may stay where it is. `undefined`: more than fits.
 */
export function partsOf(roster: Roster): ReadonlyMap<string, Roster> | undefined {
  if (roster.devices.length > MAX_MEMBERS) return undefined
  const fits = (part: Roster): boolean => utf8(JSON.stringify(part)).length <= MAX_PART_BYTES
  if (fits(roster)) return new Map([[WHOLE, roster]])
  const byByte = Map.groupBy(roster.devices, ({ key }) => key.slice(0, 2))
  const parts = new Map<string, Roster>()
  for (const [name, devices] of byByte) {
    const part: Roster = { v: 1, devices }
    if (!fits(part)) return undefined
    parts.set(name, part)
  }
  return parts
}

const keysOf = new WeakMap<Roster, ReadonlySet<PartyKey>>()
/** Whether the key was ever enrolled; quick, for whoever asks about each of thousands. */
export function isMember(roster: Roster, key: PartyKey): boolean {
  let keys = keysOf.get(roster)
  if (!keys) keysOf.set(roster, (keys = new Set(roster.devices.map((one) => one.key))))
  return keys.has(key)
}

export const isEnrolled = (roster: Roster, key: PartyKey): boolean =>
  roster.devices.some((one) => one.key === key && one.revokedAt === undefined)

export const sameRoster = (a: Roster, b: Roster): boolean => JSON.stringify(a) === JSON.stringify(b)

const sorted = (devices: Member[]): Roster => ({
  v: 1,
  devices: devices.sort(
    (a, b) => a.enrolledAt - b.enrolledAt || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0),
  ),
})
