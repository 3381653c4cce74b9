/**
 * Delegated targets (TUF specification 1.0.34, section 5.6.7): who may speak about a target path, asked in the order
 * of the specification. Pure as `client.ts`: the search says which role's file it needs, the caller fetches it.
 */
import { atMost, listedIn, readListed, type Current } from './client.ts'
import type { Delegation } from './delegations.ts'
import { delegatesFor, namedDelegates } from './delegations.ts'
import {
  LIMITS,
  shown,
  verifySigned,
  type Envelope,
  type MetaFile,
  type Refusal,
  type TargetFile,
  type Verdict,
} from './tuf.ts'

/**
 * Delegated targets that verified, each under the very file that delegates to it: a role may have two delegators with
 * different keys, and what one vouches for the other need not.
 */
export type Delegated = ReadonlyMap<Envelope<'targets'>, ReadonlyMap<string, DelegatedFile>>
export type DelegatedFile =
  | Readonly<{ tag: 'ok'; envelope: Envelope<'targets'> }>
  /** It is as its vendor has it, and may not be used; what only it could say stays unsaid. */
  | Readonly<{ tag: 'unusable'; text: string }>
export const noDelegated: Delegated = new Map()

/** A delegated role whose file the search needs next. */
export type WantedRole = Readonly<{
  name: string
  delegator: Envelope<'targets'>
  delegation: Delegation
  listed: MetaFile
  maxBytes: number
}>

/** Section 5.6 for a delegated role: fetched or kept bytes, against its *current* delegator and snapshot. */
export function nextDelegated(
  wanted: WantedRole,
  bytes: Uint8Array,
  nowMs: number,
): Verdict<Envelope<'targets'>> {
  const { name, delegator, delegation, listed } = wanted
  const keys = delegator.signed.delegations?.keys ?? {}
  return readListed(name, listed, bytes, nowMs, (envelope) =>
    verifySigned(keys, delegation.role, envelope, name),
  )
}

export const withDelegated = (delegated: Delegated, wanted: WantedRole, file: DelegatedFile): Delegated =>
  new Map(delegated).set(wanted.delegator, new Map(delegated.get(wanted.delegator)).set(wanted.name, file))

export type Found =
  | Readonly<{ tag: 'found'; file: TargetFile; role: string }>
  | Readonly<{ tag: 'missing'; text: string }>
  /** Fetch this role and ask again. */
  | Readonly<{ tag: 'wanted'; wanted: WantedRole }>

/**
 * Section 5.6.7: pre-order depth-first search for who may speak about `path`. Each role is visited once (*cycles*),
 * and at most so many of them (*endless delegations*). A role that cannot be had ends the search: asking the next
 * one instead would let a mirror choose whom to believe.
 */
export function search(current: Current, delegated: Delegated, path: string): Found {
  const walk = startWalk(current, delegated)
  for (let at = walk.next(); at; at = walk.next()) {
    if (at.tag !== 'visit') return at
    const { targets, delegations } = at.envelope.signed
    const file = Object.hasOwn(targets, path) ? targets[path] : undefined
    if (file) return { tag: 'found', file, role: at.name }
    const next = delegatesFor(delegations, path)
    if (next.at(-1)?.terminating) walk.cut()
    walk.first(at, next)
  }
  return { tag: 'missing', text: `No role that may speak about it knows ${shown(path)}.` }
}

/** Roles that could not be heard, or said what is not theirs to say, with the reason. */
export type Unheard = readonly Readonly<{
  role: string
  text: string
  attack?: 'override' | 'unsafe-name' | 'wrong-place'
}>[]
/** What a role says about a path; whether it may is not judged. */
export type Said = Readonly<{ role: string; file: TargetFile }>
export type Listing =
  | Readonly<{ tag: 'listed'; said: ReadonlyMap<string, readonly Said[]>; unheard: Unheard }>
  | Readonly<{ tag: 'wanted'; wanted: WantedRole }>

/**
 * The paths that delegated roles name, up to a limit; who may speak about one is `search`'s to say. The limit is shared
 * between the vendor's own delegates, and those come before their delegates: whoever names more, or delegates to more,
 * crowds nobody out. Bins of succinct roles are left out: they are made for being searched, not listed.
 */
export function listPaths(current: Current, delegated: Delegated): Listing {
  const said = new Map<string, Said[]>()
  const byBranch = new Map<string, Set<string>>()
  const unheard: { role: string; text: string }[] = []
  const walk = startWalk(current, delegated)
  for (let at = walk.next(); at; at = walk.next()) {
    if (at.tag === 'wanted') return at
    if (at.tag === 'missing') {
      unheard.push({ role: at.role, text: at.text })
      continue
    }
    const { targets, delegations } = at.envelope.signed
    if (at.envelope !== current.targets) {
      const paths = byBranch.get(at.branch) ?? new Set()
      byBranch.set(at.branch, paths)
      for (const [path, file] of Object.entries(targets)) {
        paths.add(path)
        const before = said.get(path)
        if (before) before.push({ role: at.name, file })
        else said.set(path, [{ role: at.name, file }])
      }
    }
    walk.last(at, namedDelegates(delegations))
  }
  const chosen = shared(byBranch, LIMITS.listedPaths)
  for (const [role, paths] of byBranch) {
    const seen = [...paths].filter((path) => chosen.has(path)).length
    const text = `Of the ${paths.size} targets that it names only ${seen} are looked at.`
    if (seen < paths.size) unheard.push({ role, text })
  }
  return { tag: 'listed', said: new Map([...said].filter(([path]) => chosen.has(path))), unheard }
}

/** One of each in turn, until there are `most` or no more. */
function shared(lists: ReadonlyMap<string, ReadonlySet<string>>, most: number): ReadonlySet<string> {
  const chosen = new Set<string>()
  let turns = [...lists.values()].map((list) => list.values())
  while (turns.length > 0 && chosen.size < most) {
    turns = turns.filter((turn) => {
      const { done, value } = turn.next()
      if (done !== true && chosen.size < most) chosen.add(value)
      return done !== true
    })
  }
  return chosen
}

/**
 * Roles that say something else about a path than whoever may speak about it (*MFST.OVERRIDE*, RFC 9124): it counts for
 * nothing, and is named. `allowed`: the word that counts, `undefined` where nobody may speak.
 */
export function overreaching(
  listing: Extract<Listing, { tag: 'listed' }>,
  allowed: (path: string) => TargetFile | undefined,
): Unheard {
  const paths = new Map<string, string[]>()
  for (const [path, words] of listing.said) {
    const counts = allowed(path)
    for (const { role, file } of words)
      if (counts === undefined || !sameContent(counts, file))
        paths.set(role, [...(paths.get(role) ?? []), path])
  }
  return [...paths].map(([role, [first = '', ...more]]) => ({
    role,
    attack: 'override',
    text: `It says what is not its to say, about ${shown(first)}${more.length > 0 ? ` and ${more.length} more` : ''}: that counts for nothing.`,
  }))
}

const sameContent = (a: TargetFile, b: TargetFile): boolean =>
  a === b ||
  (a.length === b.length &&
    a.hashes['sha256'] === b.hashes['sha256'] &&
    JSON.stringify(a.custom) === JSON.stringify(b.custom))

/**
 * Whether a refusal is the vendor's own doing, so that no other mirror could help: the very file that the snapshot
 * lists has expired, or was not signed again after its delegator had changed its keys.
 */
export const isVendors = ({ listed }: WantedRole, { tag }: Refusal): boolean =>
  tag === 'freeze' || (tag === 'arbitrary-software' && listed.hashes !== undefined)

/** `branch`: which of the vendor's own delegates it is, or speaks for. */
type Visited = Readonly<{ tag: 'visit'; name: string; branch: string; envelope: Envelope<'targets'> }>
type Visit =
  | Visited
  | Readonly<{ tag: 'missing'; role: string; text: string }>
  | Readonly<{ tag: 'wanted'; wanted: WantedRole }>

type Waiting = Readonly<{
  name: string
  branch: string
  from?: Readonly<{ delegator: Envelope<'targets'>; delegation: Delegation }>
}>

/** Whoever is visited says with `first` or `last` whom to ask next. */
function startWalk(current: Current, delegated: Delegated) {
  const visited = new Set<string>()
  // The next one is at its end.
  const stack: Waiting[] = [{ name: 'targets', branch: 'targets' }]
  const backwards = (by: Visited, delegations: readonly Delegation[]): Waiting[] =>
    delegations.toReversed().map((delegation) => ({
      name: delegation.name,
      branch: by.envelope === current.targets ? delegation.name : by.branch,
      from: { delegator: by.envelope, delegation },
    }))
  return {
    /** Depth first: they come before all that wait. */
    first(by: Visited, delegations: readonly Delegation[]): void {
      stack.push(...backwards(by, delegations))
    },
    /** Breadth first: they come after all that wait. */
    last(by: Visited, delegations: readonly Delegation[]): void {
      stack.unshift(...backwards(by, delegations))
    },
    /** Nobody who waits is asked any more. */
    cut(): void {
      stack.length = 0
    },
    next(): Visit | undefined {
      for (let at = stack.pop(); at; at = stack.pop()) {
        const { name, branch, from } = at
        if (visited.has(name)) continue
        if (visited.size >= LIMITS.visitedRoles) {
          stack.length = 0
          return { tag: 'missing', role: name, text: `More than ${LIMITS.visitedRoles} roles are not asked.` }
        }
        visited.add(name)
        if (!from) return { tag: 'visit', name, branch, envelope: current.targets }
        const file = delegated.get(from.delegator)?.get(name)
        if (file?.tag === 'ok') return { tag: 'visit', name, branch, envelope: file.envelope }
        if (file) return { tag: 'missing', role: name, text: file.text }
        const listed = listedIn(current.snapshot, `${name}.json`)
        if (!listed)
          return { tag: 'missing', role: name, text: `The snapshot does not list the role ${shown(name)}.` }
        const maxBytes = atMost(listed, LIMITS.targetsBytes)
        return { tag: 'wanted', wanted: { name, ...from, listed, maxBytes } }
      }
      return undefined
    },
  }
}
