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
    walk.push(at.envelope, next)
  }
  return { tag: 'missing', text: `No role that may speak about it knows ${shown(path)}.` }
}

/** Roles that could not be heard, with the reason. */
export type Unheard = readonly Readonly<{ role: string; text: string }>[]
export type Listing =
  | Readonly<{ tag: 'listed'; paths: readonly string[]; unheard: Unheard }>
  | Readonly<{ tag: 'wanted'; wanted: WantedRole }>

/**
 * The paths that delegated roles name, the first of them up to a limit; who may speak about one is `search`'s to say.
 * Bins of succinct roles are left out: they are made for being searched, not listed.
 */
export function listPaths(current: Current, delegated: Delegated): Listing {
  const paths = new Set<string>()
  const unheard: { role: string; text: string }[] = []
  const walk = startWalk(current, delegated)
  for (let at = walk.next(); at; at = walk.next()) {
    if (at.tag === 'wanted') return at
    if (at.tag === 'missing') {
      unheard.push({ role: at.role, text: at.text })
      continue
    }
    const { targets, delegations } = at.envelope.signed
    if (at.envelope !== current.targets) for (const path of Object.keys(targets)) paths.add(path)
    walk.push(at.envelope, namedDelegates(delegations))
  }
  const most = LIMITS.listedPaths
  if (paths.size > most)
    unheard.push({ role: 'targets', text: `Of ${paths.size} delegated targets only ${most} are looked at.` })
  return { tag: 'listed', paths: [...paths].slice(0, most), unheard }
}

/**
 * Whether a refusal is the vendor's own doing, so that no other mirror could help: the very file that the snapshot
 * lists has expired, or was not signed again after its delegator had changed its keys.
 */
export const isVendors = ({ listed }: WantedRole, { tag }: Refusal): boolean =>
  tag === 'freeze' || (tag === 'arbitrary-software' && listed.hashes !== undefined)

type Visit =
  | Readonly<{ tag: 'visit'; name: string; envelope: Envelope<'targets'> }>
  | Readonly<{ tag: 'missing'; role: string; text: string }>
  | Readonly<{ tag: 'wanted'; wanted: WantedRole }>

/** Depth first; whoever is visited says with `push` whom to ask next. */
function startWalk(current: Current, delegated: Delegated) {
  const visited = new Set<string>()
  const stack: { name: string; from?: { delegator: Envelope<'targets'>; delegation: Delegation } }[] = [
    { name: 'targets' },
  ]
  return {
    /** Pre-order: those of `delegator` come before all that wait. */
    push(delegator: Envelope<'targets'>, delegations: readonly Delegation[]): void {
      for (const delegation of delegations.toReversed())
        stack.push({ name: delegation.name, from: { delegator, delegation } })
    },
    /** Nobody who waits is asked any more. */
    cut(): void {
      stack.length = 0
    },
    next(): Visit | undefined {
      for (let at = stack.pop(); at; at = stack.pop()) {
        const { name, from } = at
        if (visited.has(name)) continue
        if (visited.size >= LIMITS.visitedRoles) {
          stack.length = 0
          return { tag: 'missing', role: name, text: `More than ${LIMITS.visitedRoles} roles are not asked.` }
        }
        visited.add(name)
        if (!from) return { tag: 'visit', name, envelope: current.targets }
        const file = delegated.get(from.delegator)?.get(name)
        if (file?.tag === 'ok') return { tag: 'visit', name, envelope: file.envelope }
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
