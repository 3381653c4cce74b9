/**
 * Who signs for a vendor: root.json's `root` and `targets` roles read as people, and the next root made from them
 * (TUF specification 1.0, sections 4.3 and 6.1). Pure: the next root is signed by whoever calls.
 */
import * as v from 'valibot'
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { expiresAt, LIFETIME_MS } from './repository.ts'
import { partyKeySchema } from './target.ts'
import { keyId, type PublicKeyObject, type RootSigned } from './tuf.ts'

/** A key for each of the two roles, or for one of them. */
export type Person = Readonly<{
  name: string
  root?: PublicKeyObject
  targets?: PublicKeyObject
  /** Their Nostr key, with which they upload the torrents of releases that they sign. */
  nostr?: PartyKey
}>
export type VendorRole = 'root' | 'targets'
export const vendorRoles: readonly VendorRole[] = ['root', 'targets']

/** What a vendor may change in its root; the relay's two roles stay as they are. */
export type RootDraft = Readonly<{
  people: readonly Person[]
  /** Signatures needed. */
  thresholds: Readonly<Record<VendorRole, number>>
}>

export type DraftRefusal = Readonly<{
  why: 'name' | 'name-taken' | 'no-key' | 'key-taken' | 'nobody-left' | 'threshold'
  text: string
}>

const MAX_PEOPLE = 64
export const MAX_NAME_CHARS = 80

/** `signed.satpatch` of root.json: names and Nostr keys by key id. Unknown to other TUF clients, which pass it over. */
const namesSchema = v.object({
  names: v.record(v.string(), v.string()),
  nostr: v.optional(v.record(v.string(), partyKeySchema), {}),
})
const saidIn = (root: RootSigned): v.InferOutput<typeof namesSchema> => {
  const parsed = v.safeParse(namesSchema, root['satpatch'])
  return parsed.success ? parsed.output : { names: {}, nostr: {} }
}
const of = <T>(all: Readonly<Record<string, T>>, id: string): T | undefined =>
  Object.hasOwn(all, id) ? all[id] : undefined

/** Name for a key that the root has no name for. */
const unnamed = (id: string): string => `key ${id.slice(0, 8)}`

/**
 * Two keys under one name are one person; a further key of the same name and role is a person of its own. Keys without
 * a name are taken in pairs, as first roots that know no names list them.
 */
export function readPeople(root: RootSigned): RootDraft {
  const { names, nostr } = saidIn(root)
  const people = new Map<string, { -readonly [K in keyof Person]: Person[K] }>()
  const nameOf = (id: string): string | undefined => {
    const name = of(names, id)?.slice(0, MAX_NAME_CHARS)
    return name === '' ? undefined : name
  }
  const nameless = root.roles.root.keyids.filter((id) => nameOf(id) === undefined)
  for (const role of vendorRoles) {
    let at = 0
    for (const id of root.roles[role].keyids) {
      const key = root.keys[id]
      if (!key) continue
      const name = nameOf(id) ?? unnamed(nameless[at++] ?? id)
      const known = people.get(name)
      if (known && known[role] === undefined) known[role] = key
      else {
        const own = known ? unnamed(id) : name
        people.set(own, { name: own, [role]: key })
      }
      const voice = of(nostr, id)
      const person = people.get(name)
      if (voice && person?.[role] === key) person.nostr = voice
    }
  }
  return {
    people: [...people.values()],
    thresholds: { root: root.roles.root.threshold, targets: root.roles.targets.threshold },
  }
}

export const holdersOf = (draft: RootDraft, role: VendorRole): readonly Person[] =>
  draft.people.filter((person) => person[role] !== undefined)

export const isPerson = (person: Person, ids: ReadonlySet<string>): boolean =>
  vendorRoles.some((role) => person[role] !== undefined && ids.has(keyId(person[role])))

/** The first thing wrong with a draft. */
export function checkDraft(draft: RootDraft): DraftRefusal | undefined {
  const names = new Set<string>()
  const keys = new Set<Sha256Hex>()
  if (draft.people.length > MAX_PEOPLE)
    return { why: 'name', text: `At most ${MAX_PEOPLE} people and machines can sign for one vendor.` }
  for (const person of draft.people) {
    const name = person.name.trim()
    if (name === '' || name.length > MAX_NAME_CHARS)
      return { why: 'name', text: `A name has 1 to ${MAX_NAME_CHARS} characters.` }
    if (names.has(name)) return { why: 'name-taken', text: `There is a ${name} already: take another name.` }
    names.add(name)
    // A machine may use one key for both.
    const own = [...new Set(vendorRoles.flatMap((role) => (person[role] ? [keyId(person[role])] : [])))]
    if (own.length === 0) return { why: 'no-key', text: `${name} has no key.` }
    for (const id of own) {
      if (keys.has(id)) return { why: 'key-taken', text: `The key of ${name} is in the list already.` }
      keys.add(id)
    }
  }
  for (const role of vendorRoles) {
    const holders = holdersOf(draft, role).length
    const what = role === 'root' ? 'key changes' : 'releases'
    if (holders === 0)
      return { why: 'nobody-left', text: `Then nobody could sign ${what}. Add somebody first.` }
    const threshold = draft.thresholds[role]
    if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > holders) {
      const text = `${holders === 1 ? 'One key signs' : `${holders} keys sign`} ${what}, so 1 to ${holders} signatures can be asked for, not ${threshold}.`
      return { why: 'threshold', text }
    }
  }
  return undefined
}

/** Takes somebody out; a threshold that could not be met any more falls with them. */
export function without(draft: RootDraft, name: string): RootDraft {
  const people = draft.people.filter((person) => person.name !== name)
  const left = { ...draft, people }
  const lowered = (role: VendorRole) =>
    Math.max(1, Math.min(draft.thresholds[role], holdersOf(left, role).length))
  return { people, thresholds: { root: lowered('root'), targets: lowered('targets') } }
}

export const withPerson = (draft: RootDraft, person: Person): RootDraft => ({
  ...draft,
  people: [...draft.people, person],
})

/** Exchanges the keys of one person for new ones in the roles that they have. */
export const withNewKeys = (
  draft: RootDraft,
  name: string,
  next: Readonly<Partial<Record<VendorRole, PublicKeyObject>>>,
): RootDraft => ({
  ...draft,
  people: draft.people.map((person) => {
    if (person.name !== name) return person
    const root = person.root && (next.root ?? person.root)
    const targets = person.targets && (next.targets ?? person.targets)
    const { nostr } = person
    return { name, ...(root ? { root } : {}), ...(targets ? { targets } : {}), ...(nostr ? { nostr } : {}) }
  }),
})

/** Version N+1. What the draft does not speak of stays: the relay's roles, fields of other tools. */
export function nextRootOf(root: RootSigned, draft: RootDraft, nowMs: number): RootSigned {
  const keys: Record<string, PublicKeyObject> = {}
  const names: Record<string, string> = {}
  const nostr: Record<string, PartyKey> = {}
  const ids = (role: VendorRole) =>
    holdersOf(draft, role).flatMap((person) => {
      const key = person[role]
      if (!key) return []
      const id = keyId(key)
      keys[id] = key
      if (person.name !== unnamed(id)) names[id] = person.name
      if (person.nostr) nostr[id] = person.nostr
      return [id]
    })
  for (const role of ['snapshot', 'timestamp'] as const)
    for (const id of root.roles[role].keyids) if (root.keys[id]) keys[id] = root.keys[id]
  const roles = {
    ...root.roles,
    root: { keyids: ids('root'), threshold: draft.thresholds.root },
    targets: { keyids: ids('targets'), threshold: draft.thresholds.targets },
  }
  return {
    ...root,
    version: root.version + 1,
    expires: expiresAt(nowMs + LIFETIME_MS.root),
    keys,
    roles,
    satpatch: Object.keys(nostr).length === 0 ? { names } : { names, nostr },
  }
}

/** Nostr keys of people who may sign releases. */
export const voicesOf = (root: RootSigned): readonly PartyKey[] =>
  holdersOf(readPeople(root), 'targets').flatMap(({ nostr }) => (nostr ? [nostr] : []))
