/**
 * Metadata that is published together, and whose signatures still miss: the next root, the next targets, the next
 * file of a delegated role. The relay and everybody who is asked to sign judge it by the same rules, those of a TUF
 * client (specification 1.0, sections 5.3.4, 5.6.3 and 5.6.7); whoever adds the last signature publishes.
 */
import * as v from 'valibot'
import type { Bytes, Sha256Hex } from '../bytes.ts'
import { fromHex, sha256Hex, utf8 } from '../bytes.ts'
import { mayName, roleNamePattern } from './delegate.ts'
import { readKey } from './keys.ts'
import { vendorBlockSchema } from './target.ts'
import {
  assemble,
  ok,
  parseEnvelope,
  refuse,
  verifyFresh,
  type Delegations,
  type Envelope,
  type PublicKeyObject,
  type RootSigned,
  type Signature,
  type Verdict,
} from './tuf.ts'

/** What is in force. `delegated`: the newest file of each role that ever had one. */
export type Published = Readonly<{
  root: RootSigned
  targets: Envelope<'targets'>
  delegated: ReadonlyMap<string, Envelope<'targets'>>
}>

/** File bytes by role: `root`, `targets`, or the name of a delegated role. */
export type Files = Readonly<Record<string, Uint8Array>>

/** Signatures that one file needs by one list of keys; a root needs those of the root before it and its own. */
export type Need = Readonly<{
  role: string
  by: 'current root' | 'next root' | 'targets'
  threshold: number
  /** Who may sign, and who has: one id a key. */
  keyids: readonly string[]
  have: readonly string[]
}>

export type Proposal = Readonly<{
  /** SHA-256 over roles and signed bytes: the same whoever has signed. */
  id: Sha256Hex
  root?: Envelope<'root'>
  targets?: Envelope<'targets'>
  delegated: ReadonlyMap<string, Envelope<'targets'>>
  needs: readonly Need[]
  /** Signatures worth keeping, by role: those that `needs` counts, and on targets those that the root in force counts. */
  kept: ReadonlyMap<string, ReadonlySet<string>>
}>

export const MAX_FILES = 8
export const isComplete = (proposal: Proposal): boolean =>
  proposal.needs.every(({ have, threshold }) => have.length >= threshold)

type Keys = Readonly<Record<string, PublicKeyObject>>
type Signers = Readonly<{ keyids: readonly string[]; threshold: number }>

/** Distinct keys of `role` with a valid signature on `envelope`; one key under two ids counts once. */
function signedBy(keys: Keys, role: Signers, envelope: Envelope<'root' | 'targets'>): string[] {
  const seen = new Set<string>()
  return envelope.signatures.flatMap(({ keyid, sig }) => {
    const object = role.keyids.includes(keyid) && Object.hasOwn(keys, keyid) ? keys[keyid] : undefined
    const key = object && readKey(object)
    if (!key || seen.has(key.material) || !/^(?:[0-9a-f]{2}){1,2048}$/.test(sig)) return []
    if (!key.verifies(fromHex(sig), envelope.canonical)) return []
    seen.add(key.material)
    return [keyid]
  })
}

const need = (
  role: string,
  by: Need['by'],
  keys: Keys,
  signers: Signers,
  envelope: Envelope<'root' | 'targets'>,
): Need => ({
  role,
  by,
  threshold: signers.threshold,
  keyids: signers.keyids,
  have: signedBy(keys, signers, envelope),
})

/** Whether `targets` may stand under `root`: as many of its keys have signed as it asks for. */
export const standsUnder = (root: RootSigned, targets: Envelope<'targets'>): boolean =>
  signedBy(root.keys, root.roles.targets, targets).length >= root.roles.targets.threshold

const delegationTo = (delegations: Delegations | undefined, name: string) =>
  delegations?.roles?.find((role) => role.name === name)

/**
 * Reads `files` against what is in force. A refusal says what stands against them whoever signs; what only lacks
 * signatures is ok, and `needs` counts them. At least one valid signature is there, so that strangers propose nothing.
 */
export function assess(now: Published, files: Files, nowMs: number): Verdict<Proposal> {
  const roles = Object.keys(files).toSorted()
  if (roles.length === 0 || roles.length > MAX_FILES)
    return refuse('malformed', 'targets', `Between 1 and ${MAX_FILES} files are published together.`)
  const envelopes = new Map<string, Envelope<'root' | 'targets'>>()
  for (const role of roles) {
    if (role !== 'root' && role !== 'targets' && !roleNamePattern.test(role))
      return refuse(
        'malformed',
        'targets',
        'A delegated role is named with a-z, 0-9, dot, dash or underscore.',
      )
    const bytes = files[role] ?? new Uint8Array()
    const parsed = role === 'root' ? parseEnvelope('root', bytes) : parseEnvelope('targets', bytes)
    if (parsed.tag === 'refused') return parsed
    const fresh = verifyFresh(parsed.value, nowMs)
    if (fresh.tag === 'refused') return fresh
    envelopes.set(role, parsed.value)
  }
  const root = envelopes.get('root') as Envelope<'root'> | undefined
  const targets = envelopes.get('targets') as Envelope<'targets'> | undefined
  const delegated = new Map([...envelopes].filter(([role]) => role !== 'root' && role !== 'targets')) as Map<
    string,
    Envelope<'targets'>
  >
  const versions = checkVersions(now, root, targets, delegated)
  if (versions.tag === 'refused') return versions
  const after = { root: root?.signed ?? now.root, targets: targets ?? now.targets }
  const needs: Need[] = []
  if (root) {
    needs.push(need('root', 'current root', now.root.keys, now.root.roles.root, root))
    needs.push(need('root', 'next root', root.signed.keys, root.signed.roles.root, root))
  }
  if (targets) {
    const block = v.safeParse(vendorBlockSchema, targets.signed.satpatch)
    if (!block.success) return refuse('malformed', 'targets', 'The targets lack a valid `satpatch` block.')
    const by = root ? 'next root' : 'current root'
    needs.push(need('targets', by, after.root.keys, after.root.roles.targets, targets))
  } else if (root && !standsUnder(after.root, now.targets)) {
    const text =
      'Under this root the targets in force would have too few signatures: devices would refuse them. Send targets with it, signed by the new keys.'
    return refuse('arbitrary-software', 'targets', text)
  }
  const delegations = after.targets.signed.delegations
  for (const [role, envelope] of delegated) {
    const delegation = delegationTo(delegations, role)
    if (!delegations || !delegation)
      return refuse('arbitrary-software', 'targets', `The targets delegate nothing to ${role}.`)
    const stray = Object.keys(envelope.signed.targets).find((path) => !mayName(delegations, role, path))
    if (stray !== undefined)
      return refuse('arbitrary-software', 'targets', `${role} may not sign for ${stray.slice(0, 80)}.`)
    if (envelope.signed.delegations)
      return refuse('malformed', 'targets', `${role} may not delegate further at this relay.`)
    needs.push(need(role, 'targets', delegations.keys, delegation, envelope))
  }
  if (needs.every(({ have }) => have.length === 0))
    return refuse('arbitrary-software', 'targets', 'Nobody who may sign this has signed it.')
  const id = idOf(roles.map((role) => [role, envelopes.get(role)?.canonical ?? new Uint8Array()]))
  const kept = new Map(roles.map((role) => [role, new Set<string>()]))
  for (const { role, have } of needs) have.forEach((keyid) => kept.get(role)?.add(keyid))
  if (targets)
    signedBy(now.root.keys, now.root.roles.targets, targets).forEach((one) => kept.get('targets')?.add(one))
  return ok({ id, ...(root ? { root } : {}), ...(targets ? { targets } : {}), delegated, needs, kept })
}

const idOf = (parts: readonly (readonly [role: string, canonical: Uint8Array])[]): Sha256Hex =>
  sha256Hex(utf8(JSON.stringify(parts.map(([role, canonical]) => [role, sha256Hex(canonical)]))))

function checkVersions(
  now: Published,
  root: Envelope<'root'> | undefined,
  targets: Envelope<'targets'> | undefined,
  delegated: ReadonlyMap<string, Envelope<'targets'>>,
): Verdict<undefined> {
  const wrong = (what: string, expected: number, is: number) =>
    refuse(
      'rollback',
      what === 'root' ? 'root' : 'targets',
      `The next ${what} has version ${expected}; this one has ${is}.`,
    )
  if (root && root.signed.version !== now.root.version + 1)
    return wrong('root', now.root.version + 1, root.signed.version)
  const next = now.targets.signed.version + 1
  if (targets && targets.signed.version !== next) return wrong('targets', next, targets.signed.version)
  for (const [role, { signed }] of delegated) {
    const expected = (now.delegated.get(role)?.signed.version ?? 0) + 1
    if (signed.version !== expected) return wrong(role, expected, signed.version)
  }
  return ok(undefined)
}

/** The parts of a proposal by role. */
export const partsOf = (proposal: Proposal): readonly (readonly [string, Envelope<'root' | 'targets'>])[] => [
  ...(proposal.root ? [['root', proposal.root] as const] : []),
  ...(proposal.targets ? [['targets', proposal.targets] as const] : []),
  ...proposal.delegated,
]

/** The files again, with `added` signatures. Only those that count are kept, so that nobody can pad a file. */
export function filesWith(
  proposal: Proposal,
  added: ReadonlyMap<string, readonly Signature[]> = new Map(),
): Readonly<Record<string, Bytes>> {
  return Object.fromEntries(
    partsOf(proposal).map(([role, { signed, signatures }]) => {
      const counted = proposal.kept.get(role)
      const kept = signatures.filter(({ keyid }) => counted?.has(keyid))
      const fresh = (added.get(role) ?? []).filter(({ keyid }) => !counted?.has(keyid))
      return [role, assemble(signed, [...kept, ...fresh])]
    }),
  )
}

/** Which of `ids` may still sign which file. */
export const signableBy = (
  proposal: Proposal,
  ids: ReadonlySet<string>,
): ReadonlyMap<string, readonly string[]> => {
  const out = new Map<string, string[]>()
  for (const { role, keyids, have } of proposal.needs) {
    const mine = keyids.filter((id) => ids.has(id) && !have.includes(id))
    if (mine.length > 0) out.set(role, [...new Set([...(out.get(role) ?? []), ...mine])])
  }
  return out
}

/** Signatures that miss at least, over all files; one person may give several. */
export const missing = (proposal: Proposal): number =>
  Math.max(...proposal.needs.map(({ have, threshold }) => Math.max(0, threshold - have.length)))
