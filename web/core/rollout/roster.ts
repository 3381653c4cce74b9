/** The vendor's list of enrolled devices and how two tabs' edits come together. Times are Unix ms. */
import type { PartyKey } from '../bytes.ts'
import type { Roster } from './messages.ts'

export type Member = Roster['devices'][number]

export const emptyRoster: Roster = { v: 1, devices: [] }
/** A relay takes messages of 64 KiB, which is some 40,000 bytes before encryption; a member takes up to 200. */
export const MAX_MEMBERS = 200
export const MAX_ROSTER_BYTES = 40_000

/** Adds a device, or enrols one again that was revoked. */
export function enrol(roster: Roster, member: Omit<Member, 'revokedAt'>): Roster {
  const { key, name, hardware, enrolledAt } = member
  return sorted([...roster.devices.filter((one) => one.key !== key), { key, name, hardware, enrolledAt }])
}

export const revoke = (roster: Roster, key: PartyKey, revokedAt: number): Roster =>
  sorted(
    roster.devices.map((one) =>
      one.key === key && one.revokedAt === undefined ? { ...one, revokedAt } : one,
    ),
  )

/** The latest word on each device wins; at the same instant the revocation. Commutative, associative, idempotent. */
export function mergeRosters(a: Roster, b: Roster): Roster {
  const members = new Map<PartyKey, Member>()
  for (const one of [...a.devices, ...b.devices]) {
    const other = members.get(one.key)
    if (!other || order(one, other) > 0) members.set(one.key, one)
  }
  return sorted([...members.values()])
}

const lastWord = (one: Member): number => Math.max(one.enrolledAt, one.revokedAt ?? 0)
function order(a: Member, b: Member): number {
  if (lastWord(a) !== lastWord(b)) return lastWord(a) - lastWord(b)
  if ((a.revokedAt === undefined) !== (b.revokedAt === undefined)) return a.revokedAt === undefined ? -1 : 1
  const [x, y] = [JSON.stringify(a), JSON.stringify(b)]
  return x < y ? -1 : x > y ? 1 : 0
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
