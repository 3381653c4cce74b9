/**
 * Room for what others say, shared out: anyone may write to the vendor, so keys outside the roster get a small
 * room of their own, where the oldest goes first, and never use up that of the fleet; nor does one device.
 */
import type { PartyKey } from '../../core/bytes.ts'

export interface Room<T> {
  has(id: string): boolean
  /** `false`: it is known already, or there is no room for more of this device, or of the fleet. */
  add(id: string, by: PartyKey, value: T): boolean
  values(): IterableIterator<T>
}

/** `isMember` is asked again before a stranger's word is dropped: it may have been enrolled since. */
export function createRoom<T>(
  limits: Readonly<{ members: number; each: number; strangers: number }>,
  isMember: (key: PartyKey) => boolean,
): Room<T> {
  const ofMembers = new Map<string, T>()
  const ofStrangers = new Map<string, Readonly<{ by: PartyKey; value: T }>>()
  const said = new Map<PartyKey, number>()
  const has = (id: string) => ofMembers.has(id) || ofStrangers.has(id)

  function keep(id: string, by: PartyKey, value: T): boolean {
    const before = said.get(by) ?? 0
    if (before >= limits.each || ofMembers.size >= limits.members) return false
    said.set(by, before + 1)
    ofMembers.set(id, value)
    return true
  }
  /** The oldest stranger's word goes; those of keys enrolled by now move to the fleet's room. */
  function makeRoom(): void {
    for (const [id, { by, value }] of ofStrangers) {
      ofStrangers.delete(id)
      if (!isMember(by) || !keep(id, by, value)) return
    }
  }

  return {
    has,
    add(id, by, value) {
      if (has(id)) return false
      if (isMember(by)) return keep(id, by, value)
      if (ofStrangers.size >= limits.strangers) makeRoom()
      ofStrangers.set(id, { by, value })
      return true
    },
    *values() {
      yield* ofMembers.values()
      for (const { value } of ofStrangers.values()) yield value
    },
  }
}
