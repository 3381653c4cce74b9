/**
 * The writing side of TUF: what the vendor signs, and what a relay checks before it stores and re-signs
 * (TUF specification 1.0, sections 4 and 6). Pure: signatures are made by the caller over `signedBytes`.
 */
import * as v from 'valibot'
import type { VendorId } from '../bytes.ts'
import { sha256Hex } from '../bytes.ts'
import type { KeysTarget, TargetCustom, VendorBlock } from './target.ts'
import { vendorBlockSchema } from './target.ts'
import {
  keyId,
  ok,
  parseEnvelope,
  refuse,
  roleNames,
  SPEC_VERSION,
  verifyFresh,
  verifyRole,
  type Delegations,
  type Envelope,
  type MetaFile,
  type PublicKeyObject,
  type RoleName,
  type RootSigned,
  type SnapshotSigned,
  type TargetsSigned,
  type TimestampSigned,
  type Verdict,
} from './tuf.ts'

export { assemble, ed25519Key, keyId, signedBytes } from './tuf.ts'
export type { Envelope, PublicKeyObject, Refusal, Signature, Verdict } from './tuf.ts'

const DAY_MS = 86_400_000
/** How long each role's metadata holds. */
export const LIFETIME_MS: Readonly<Record<RoleName, number>> = {
  root: 3650 * DAY_MS,
  targets: 30 * DAY_MS,
  snapshot: 7 * DAY_MS,
  timestamp: DAY_MS,
}

/** `YYYY-MM-DDTHH:MM:SSZ`: the specification has no fractions. */
export const expiresAt = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`

/** The vendor id that devices pin. */
export const vendorId = (firstRoot: Uint8Array): VendorId => sha256Hex(firstRoot)

export function buildRoot(
  options: Readonly<{
    version: number
    nowMs: number
    keys: Readonly<Record<RoleName, readonly PublicKeyObject[]>>
    /** Signatures needed; 1 where absent. */
    thresholds?: Partial<Readonly<Record<RoleName, number>>>
    /** Who holds the root and targets keys, where it is one person; see `people.ts`. */
    holder?: string
  }>,
): RootSigned {
  const keys: Record<string, PublicKeyObject> = {}
  const role = (name: RoleName) => {
    const keyids = options.keys[name].map((key) => {
      const id = keyId(key)
      keys[id] = key
      return id
    })
    return { keyids, threshold: options.thresholds?.[name] ?? 1 }
  }
  const roles = {
    root: role('root'),
    targets: role('targets'),
    snapshot: role('snapshot'),
    timestamp: role('timestamp'),
  }
  return {
    _type: 'root',
    spec_version: SPEC_VERSION,
    version: options.version,
    expires: expiresAt(options.nowMs + LIFETIME_MS.root),
    consistent_snapshot: true,
    keys,
    roles,
    ...(options.holder === undefined ? {} : { satpatch: { names: namesFor(options.holder, roles) } }),
  }
}

const namesFor = (name: string, { root, targets }: RootSigned['roles']): Record<string, string> =>
  Object.fromEntries([...root.keyids, ...targets.keyids].map((id) => [id, name]))

/** One artifact as it goes into targets.json; `keys` beside it where it is confidential. */
export type TargetEntry = Readonly<{
  path: string
  bytes: number
  sha256: string
  custom: TargetCustom
  keys?: KeysTarget
}>

export function buildTargets(
  options: Readonly<{
    version: number
    nowMs: number
    targets: readonly TargetEntry[]
    /** Absent in a delegated role's file. */
    vendor?: VendorBlock
    delegations?: Delegations
  }>,
): TargetsSigned {
  const targets: TargetsSigned['targets'] = {}
  for (const { path, bytes, sha256, custom, keys } of options.targets) {
    targets[path] = { length: bytes, hashes: { sha256 }, custom }
    if (keys) targets[keys.path] = { length: keys.bytes, hashes: { sha256: keys.sha256 } }
  }
  return {
    _type: 'targets',
    spec_version: SPEC_VERSION,
    version: options.version,
    expires: expiresAt(options.nowMs + LIFETIME_MS.targets),
    targets,
    ...(options.delegations ? { delegations: options.delegations } : {}),
    ...(options.vendor ? { satpatch: options.vendor } : {}),
  }
}

const listed = (version: number, bytes: Uint8Array): MetaFile => ({
  version,
  length: bytes.length,
  hashes: { sha256: sha256Hex(bytes) },
})

/** `targets` are the bytes of `N.targets.json` as served, `delegated` those of `N.ROLE.json` by role. */
export function buildSnapshot(
  options: Readonly<{
    version: number
    nowMs: number
    targetsVersion: number
    targets: Uint8Array
    delegated?: Iterable<readonly [role: string, file: Readonly<{ version: number; bytes: Uint8Array }>]>
  }>,
): SnapshotSigned {
  const meta: SnapshotSigned['meta'] = { 'targets.json': listed(options.targetsVersion, options.targets) }
  for (const [role, { version, bytes }] of options.delegated ?? [])
    meta[`${role}.json`] = listed(version, bytes)
  return {
    _type: 'snapshot',
    spec_version: SPEC_VERSION,
    version: options.version,
    expires: expiresAt(options.nowMs + LIFETIME_MS.snapshot),
    meta,
  }
}

/** `snapshot` are the bytes of `N.snapshot.json` as served. */
export function buildTimestamp(
  options: Readonly<{ version: number; nowMs: number; snapshotVersion: number; snapshot: Uint8Array }>,
): TimestampSigned {
  return {
    _type: 'timestamp',
    spec_version: SPEC_VERSION,
    version: options.version,
    expires: expiresAt(options.nowMs + LIFETIME_MS.timestamp),
    meta: { 'snapshot.json': listed(options.snapshotVersion, options.snapshot) },
  }
}

/** A root already trusted, read back from storage. Shape and its own signatures are checked again, expiry is not. */
export function readRoot(bytes: Uint8Array): Verdict<Envelope<'root'>> {
  const parsed = parseEnvelope('root', bytes)
  if (parsed.tag === 'refused') return parsed
  const signed = verifyRole(parsed.value.signed, parsed.value)
  return signed.tag === 'ok' ? parsed : signed
}

/**
 * For admission: version 1, signed by itself, in date, naming this relay's keys alone for snapshot and
 * timestamp, and nobody's key in two of the vendor's and the relay's roles at once.
 */
export function verifyFirstRoot(
  bytes: Uint8Array,
  relay: Readonly<{ snapshot: PublicKeyObject; timestamp: PublicKeyObject }>,
  nowMs: number,
): Verdict<Envelope<'root'>> {
  const root = readRoot(bytes)
  if (root.tag === 'refused') return root
  const { signed } = root.value
  if (signed.version !== 1)
    return refuse('rollback', 'root', `The first root has version ${signed.version}, not 1.`)
  const fresh = verifyFresh(root.value, nowMs)
  if (fresh.tag === 'refused') return fresh
  const terms = relayTerms(signed, relay)
  return terms.tag === 'ok' ? root : terms
}

/** What a relay asks of every root that it serves: consistent snapshots, its own keys in its own two roles, and nowhere else. */
export function relayTerms(
  signed: RootSigned,
  relay: Readonly<{ snapshot: PublicKeyObject; timestamp: PublicKeyObject }>,
): Verdict<undefined> {
  if (signed.consistent_snapshot !== true) {
    return refuse(
      'malformed',
      'root',
      'The root does not ask for consistent snapshots, which this relay serves.',
    )
  }
  for (const name of ['snapshot', 'timestamp'] as const) {
    if (!rootNames(signed, name, relay[name]) || signed.roles[name].threshold !== 1) {
      return refuse(
        'malformed',
        'root',
        `The root does not name this relay's ${name} key, so the relay could not keep it fresh; reload the page and try again.`,
      )
    }
  }
  const relayIds = [keyId(relay.snapshot), keyId(relay.timestamp)] as string[]
  for (const name of ['root', 'targets'] as const) {
    if (signed.roles[name].keyids.some((id) => relayIds.includes(id))) {
      return refuse(
        'malformed',
        'root',
        `The root gives the relay's key the role ${name}, which is the vendor's alone.`,
      )
    }
  }
  return ok(undefined)
}

/** Whether `key` may sign for `role`. */
export const rootNames = (root: RootSigned, role: RoleName, key: PublicKeyObject): boolean => {
  const id = keyId(key)
  return root.roles[role].keyids.includes(id) && root.keys[id] !== undefined
}

/** Section 5.3: version N+1, signed by the current root's threshold and by its own. Expiry is the caller's matter. */
export function verifyNextRoot(current: RootSigned, bytes: Uint8Array): Verdict<Envelope<'root'>> {
  const parsed = parseEnvelope('root', bytes)
  if (parsed.tag === 'refused') return parsed
  const next = parsed.value
  const byCurrent = verifyRole(current, next)
  if (byCurrent.tag === 'refused') return byCurrent
  if (next.signed.version !== current.version + 1) {
    const text = `The next root must have version ${current.version + 1}; this one has ${next.signed.version}.`
    return refuse('rollback', 'root', text)
  }
  const byItself = verifyRole(next.signed, next)
  if (byItself.tag === 'refused') return byItself
  return parsed
}

export type VendorTargets = Readonly<{ envelope: Envelope<'targets'>; vendor: VendorBlock }>

/** What the relay checks before it signs for a `N.targets.json`: `currentVersion` is 0 at admission. */
export function verifyTargets(
  root: RootSigned,
  bytes: Uint8Array,
  currentVersion: number,
  nowMs: number,
): Verdict<VendorTargets> {
  const parsed = parseEnvelope('targets', bytes)
  if (parsed.tag === 'refused') return parsed
  const envelope = parsed.value
  const signed = verifyRole(root, envelope)
  if (signed.tag === 'refused') return signed
  if (envelope.signed.version !== currentVersion + 1) {
    const text = `The next targets must have version ${currentVersion + 1}; these have ${envelope.signed.version}.`
    return refuse('rollback', 'targets', text)
  }
  const fresh = verifyFresh(envelope, nowMs)
  if (fresh.tag === 'refused') return fresh
  const vendor = v.safeParse(vendorBlockSchema, envelope.signed.satpatch)
  if (!vendor.success) return refuse('malformed', 'targets', 'The targets lack a valid `satpatch` block.')
  return ok({ envelope, vendor: vendor.output })
}

export { roleNames }
