/**
 * TUF 1.0 metadata: shapes, canonical bytes, keys and signatures (TUF specification 1.0.34, sections 4 and 6).
 * Parsing accepts what the specification allows; what verifies is decided here, what is trusted in `client.ts`.
 */
import { canonicalize } from '@tufjs/canonical-json'
import { ed25519 } from '@noble/curves/ed25519.js'
import * as v from 'valibot'
import type { Bytes, Sha256Hex } from '../bytes.ts'
import { fromHex, fromUtf8, sha256Hex, toHex, utf8 } from '../bytes.ts'

/** SPECIFICATION.md version that we write; we read any 1.x. */
export const SPEC_VERSION = '1.0.31'

/** Largest accepted file, before anything is parsed. */
export const LIMITS = {
  rootBytes: 512_000,
  timestampBytes: 16_384,
  snapshotBytes: 2_000_000,
  targetsBytes: 5_000_000,
  /** Roots taken in one refresh. */
  rootRotations: 256,
  /** Nesting of the JSON. */
  depth: 64,
  /** Roles that one targets file may name, and paths that each of them may have. */
  delegations: 4096,
  delegatedPaths: 4096,
  roleNameChars: 200,
  /** Delegated roles looked at for one target, or for the list of all. */
  visitedRoles: 128,
} as const

export type RoleName = 'root' | 'targets' | 'snapshot' | 'timestamp'
export const roleNames: readonly RoleName[] = ['root', 'targets', 'snapshot', 'timestamp']

const limitOf: Record<RoleName, number> = {
  root: LIMITS.rootBytes,
  targets: LIMITS.targetsBytes,
  snapshot: LIMITS.snapshotBytes,
  timestamp: LIMITS.timestampBytes,
}
export const maxBytes = (role: RoleName): number => limitOf[role]

const version = v.pipe(v.number(), v.safeInteger(), v.minValue(1))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const expires = v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/))
const specVersion = v.pipe(v.string(), v.regex(/^1\.\d+(\.\d+)?$/))
const hashes = v.pipe(
  v.record(v.string(), v.string()),
  v.check((all) => Object.keys(all).length > 0),
)

export const publicKeySchema = v.looseObject({
  keytype: v.string(),
  scheme: v.string(),
  keyval: v.looseObject({ public: v.string() }),
})
/** A key as it stands in root.json; its id is the SHA-256 of its canonical JSON. */
export type PublicKeyObject = v.InferOutput<typeof publicKeySchema>

const roleSchema = v.looseObject({
  keyids: v.pipe(
    v.array(v.string()),
    v.check((ids) => new Set(ids).size === ids.length),
  ),
  threshold: version,
})
export type Role = v.InferOutput<typeof roleSchema>

export const rootSchema = v.looseObject({
  _type: v.literal('root'),
  spec_version: specVersion,
  version,
  expires,
  consistent_snapshot: v.optional(v.boolean()),
  keys: v.record(v.string(), publicKeySchema),
  roles: v.looseObject({
    root: roleSchema,
    targets: roleSchema,
    snapshot: roleSchema,
    timestamp: roleSchema,
  }),
})
const metaFile = v.looseObject({ version, length: v.optional(count), hashes: v.optional(hashes) })
export type MetaFile = v.InferOutput<typeof metaFile>

export const timestampSchema = v.looseObject({
  _type: v.literal('timestamp'),
  spec_version: specVersion,
  version,
  expires,
  meta: v.looseObject({ 'snapshot.json': metaFile }),
})
export const snapshotSchema = v.looseObject({
  _type: v.literal('snapshot'),
  spec_version: specVersion,
  version,
  expires,
  meta: v.record(v.string(), metaFile),
})
const targetFile = v.looseObject({ length: count, hashes, custom: v.optional(v.unknown()) })
export type TargetFile = v.InferOutput<typeof targetFile>

const pathList = v.pipe(v.array(v.string()), v.maxLength(LIMITS.delegatedPaths))
const delegatedRoleSchema = v.pipe(
  v.looseObject({
    ...roleSchema.entries,
    name: v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.roleNameChars)),
    terminating: v.boolean(),
    /** Shell-like patterns of the target paths that it may sign; see `delegations.ts`. */
    paths: v.optional(pathList),
    /** Instead: how the SHA-256 (hex) of those paths begins. */
    path_hash_prefixes: v.optional(pathList),
  }),
  v.check((role) => (role.paths === undefined) !== (role.path_hash_prefixes === undefined)),
)
/** Whom a targets role lets sign for a part of the target paths (section 4.5). */
export type DelegatedRole = v.InferOutput<typeof delegatedRoleSchema>

const succinctRolesSchema = v.looseObject({
  ...roleSchema.entries,
  bit_length: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(32)),
  name_prefix: v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.roleNameChars - 9)),
})
/** Many bins that one key signs, by the first bits of a path's SHA-256 (TAP 15). */
export type SuccinctRoles = v.InferOutput<typeof succinctRolesSchema>

const delegationsSchema = v.pipe(
  v.looseObject({
    keys: v.record(v.string(), publicKeySchema),
    /** In the order of the search. */
    roles: v.optional(
      v.pipe(
        v.array(delegatedRoleSchema),
        v.maxLength(LIMITS.delegations),
        v.check((all) => new Set(all.map((role) => role.name)).size === all.length),
        v.check((all) => !all.some((role) => (roleNames as readonly string[]).includes(role.name))),
      ),
    ),
    succinct_roles: v.optional(succinctRolesSchema),
  }),
  v.check((all) => (all.roles === undefined) !== (all.succinct_roles === undefined)),
)
export type Delegations = v.InferOutput<typeof delegationsSchema>

export const targetsSchema = v.looseObject({
  _type: v.literal('targets'),
  spec_version: specVersion,
  version,
  expires,
  targets: v.record(v.string(), targetFile),
  delegations: v.optional(delegationsSchema),
  /** The vendor's own block, see `target.ts`. */
  satpatch: v.optional(v.unknown()),
})

export type RootSigned = v.InferOutput<typeof rootSchema>
export type TimestampSigned = v.InferOutput<typeof timestampSchema>
export type SnapshotSigned = v.InferOutput<typeof snapshotSchema>
export type TargetsSigned = v.InferOutput<typeof targetsSchema>
export type SignedOf = {
  root: RootSigned
  targets: TargetsSigned
  snapshot: SnapshotSigned
  timestamp: TimestampSigned
}

export type Signature = Readonly<{ keyid: string; sig: string }>

/** A file that parsed; `bytes` is what was read, `canonical` what its signatures cover. Not yet trusted. */
export type Envelope<R extends RoleName> = Readonly<{
  role: R
  signed: SignedOf[R]
  signatures: readonly Signature[]
  canonical: Bytes
  bytes: Uint8Array
}>

/** Why metadata is refused, by the attack that the check stops (TUF specification, section 1.5.2). */
export type Refusal = Readonly<{
  tag:
    | 'arbitrary-software' // not signed by enough of the keys that may
    | 'rollback' // older than what is already trusted
    | 'freeze' // expired, or older than the vendor has announced
    | 'mix-and-match' // not the file that the signed list names
    | 'endless-data' // longer than such a file may be
    | 'other-vendor' // not the pinned first root
    | 'malformed' // not TUF metadata
  role: RoleName
  text: string
}>
export type Verdict<T> = Readonly<{ tag: 'ok'; value: T }> | Readonly<{ tag: 'refused'; refusal: Refusal }>

export const ok = <T>(value: T): Verdict<T> => ({ tag: 'ok', value })
export const refuse = (tag: Refusal['tag'], role: RoleName, text: string): Verdict<never> => ({
  tag: 'refused',
  refusal: { tag, role, text },
})

const schemas = {
  root: rootSchema,
  targets: targetsSchema,
  snapshot: snapshotSchema,
  timestamp: timestampSchema,
} as const
const envelopeSchema = v.looseObject({
  signed: v.looseObject({ _type: v.string() }),
  signatures: v.pipe(
    v.array(v.looseObject({ keyid: v.string(), sig: v.string() })),
    v.maxLength(1024),
    v.check((all) => new Set(all.map((one) => one.keyid)).size === all.length),
  ),
})

/** Shape only; nothing is verified. Never throws, whatever the bytes are. */
export function parseEnvelope<R extends RoleName>(role: R, bytes: Uint8Array): Verdict<Envelope<R>> {
  if (bytes.length > maxBytes(role)) {
    return refuse(
      'endless-data',
      role,
      `${role} metadata of ${bytes.length} bytes is longer than ${maxBytes(role)}.`,
    )
  }
  const malformed = (detail: string) =>
    refuse('malformed', role, `The ${role} metadata cannot be read: ${detail}.`)
  let json: unknown
  try {
    json = JSON.parse(fromUtf8(bytes))
  } catch {
    return malformed('it is not JSON')
  }
  if (depthOver(json, LIMITS.depth)) return malformed('it is nested too deep')
  const envelope = v.safeParse(envelopeSchema, json)
  if (!envelope.success) return malformed(issueText(envelope.issues[0]))
  const { signed, signatures } = envelope.output
  if (signed._type !== role) return malformed(`it says that it is ${signed._type.slice(0, 40)} metadata`)
  const parsed = v.safeParse(schemas[role], signed)
  if (!parsed.success) return malformed(issueText(parsed.issues[0]))
  let canonical: Bytes
  try {
    canonical = utf8(canonicalize((json as { signed: unknown }).signed))
  } catch {
    return malformed('it has no canonical form')
  }
  return ok({
    role,
    signed: parsed.output as SignedOf[R],
    signatures: signatures.map(({ keyid, sig }) => ({ keyid, sig })),
    canonical,
    bytes,
  })
}

const issueText = (issue: v.BaseIssue<unknown>): string =>
  `${v.getDotPath(issue) ?? 'the file'}: ${issue.message}`.slice(0, 300)

/** Breadth first, so that the check itself needs no stack. */
function depthOver(value: unknown, limit: number): boolean {
  let layer: unknown[] = [value]
  for (let depth = 0; layer.length > 0; depth++) {
    if (depth > limit) return true
    layer = layer.flatMap((one) => (typeof one === 'object' && one !== null ? Object.values(one) : []))
  }
  return false
}

/** The bytes that signatures cover: canonical JSON (OLPC) of `signed`. Absent optional fields stay absent. */
export const signedBytes = (signed: object): Bytes =>
  utf8(canonicalize(JSON.parse(JSON.stringify(signed)) as object))

/** TUF key id: SHA-256 of the key object's canonical JSON. */
export const keyId = (key: PublicKeyObject): Sha256Hex => sha256Hex(signedBytes(key))

export const ed25519Key = (publicKey: Uint8Array): PublicKeyObject => ({
  keytype: 'ed25519',
  scheme: 'ed25519',
  keyval: { public: toHex(publicKey) },
})

/** A metadata file: the bytes to serve. `signatures` are over `signedBytes(signed)`. */
export const assemble = (signed: object, signatures: readonly Signature[]): Bytes =>
  utf8(JSON.stringify({ signatures, signed }))

type Verifier = (key: PublicKeyObject, signature: string, message: Uint8Array) => boolean

/** By `keytype/scheme`. An unknown scheme verifies nothing, and harms nothing while the others reach the threshold. */
const verifiers: Readonly<Record<string, Verifier>> = {
  'ed25519/ed25519': (key, signature, message) => {
    if (!/^[0-9a-f]{64}$/.test(key.keyval.public) || !/^[0-9a-f]{128}$/.test(signature)) return false
    // RFC 8032, not ZIP 215: what other TUF clients refuse is refused here too.
    return ed25519.verify(fromHex(signature), message, fromHex(key.keyval.public), { zip215: false })
  },
}

export function verifySignature(key: PublicKeyObject, signature: string, message: Uint8Array): boolean {
  try {
    return verifiers[`${key.keytype}/${key.scheme}`]?.(key, signature, message) ?? false
  } catch {
    return false
  }
}

/** Distinct keys of `delegator`'s role that signed `envelope` (section 5.3.4); one key under two ids counts once. */
export function verifyRole(delegator: RootSigned, envelope: Envelope<RoleName>): Verdict<undefined> {
  const role = delegator.roles[envelope.role]
  const counted = new Set<string>()
  for (const { keyid, sig } of envelope.signatures) {
    const key = Object.hasOwn(delegator.keys, keyid) ? delegator.keys[keyid] : undefined
    if (!key || !role.keyids.includes(keyid)) continue
    if (verifySignature(key, sig, envelope.canonical)) counted.add(key.keyval.public)
  }
  if (counted.size >= role.threshold) return ok(undefined)
  return refuse(
    'arbitrary-software',
    envelope.role,
    `The ${envelope.role} metadata has ${counted.size} of the ${role.threshold} signatures that it needs.`,
  )
}

/** Unix ms. */
export const expiryMs = (signed: Readonly<{ expires: string }>): number => Date.parse(signed.expires)

export function verifyFresh(envelope: Envelope<RoleName>, nowMs: number): Verdict<undefined> {
  // NaN (a date like February 31st) counts as expired.
  if (expiryMs(envelope.signed) > nowMs) return ok(undefined)
  return refuse(
    'freeze',
    envelope.role,
    `The ${envelope.role} metadata expired at ${envelope.signed.expires}.`,
  )
}

/** Length and hashes as a signed list states them (section 5.5.2, 5.6.2); SHA-512 alone is not understood. */
export function verifyListed(role: RoleName, listed: MetaFile, bytes: Uint8Array): Verdict<undefined> {
  if (listed.length !== undefined && listed.length !== bytes.length) {
    return refuse(
      'mix-and-match',
      role,
      `The ${role} metadata has ${bytes.length} bytes, not the ${listed.length} listed.`,
    )
  }
  if (!listed.hashes) return ok(undefined)
  const expected = listed.hashes['sha256']
  if (expected !== undefined && expected === sha256Hex(bytes)) return ok(undefined)
  return refuse(
    'mix-and-match',
    role,
    `The ${role} metadata is not the file that was listed: its SHA-256 differs.`,
  )
}
