/**
 * TUF 1.0 metadata: shapes, canonical bytes, keys and signatures (TUF specification 1.0.34, sections 4 and 6).
 * Parsing accepts what the specification allows; what verifies is decided here, what is trusted in `client.ts`.
 */
import { canonicalize } from '@tufjs/canonical-json'
import { sha512 } from '@noble/hashes/sha2.js'
import * as v from 'valibot'
import type { Bytes } from '../bytes.ts'
import { fromUtf8, sha256Hex, toHex, utf8 } from '../bytes.ts'
import { segmentOf } from './delegations.ts'
import { hexBytes, publicKeySchema, readKey, type PublicKeyObject } from './keys.ts'

export {
  ed25519Key,
  keyId,
  publicKeySchema,
  signedBytes,
  verifySignature,
  type PublicKeyObject,
} from './keys.ts'

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
  /** Roles that one targets file may name, and patterns that each of them may have. */
  delegations: 16_384,
  delegatedPaths: 1024,
  /** Percent-encoded. */
  roleNameChars: 200,
  /** Delegated roles looked at for one target, or for the list of all. */
  visitedRoles: 128,
  /** Targets of delegated roles that are looked at where all are listed. */
  listedPaths: 4096,
  /** All delegated metadata that one look fetches. */
  delegatedBytes: 32_000_000,
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

/** A name becomes part of a URL and of a file's name. */
const roleName = v.pipe(
  v.string(),
  v.minLength(1),
  v.check((name) => (segmentOf(name)?.length ?? Infinity) <= LIMITS.roleNameChars),
  v.check((name) => !(roleNames as readonly string[]).includes(name)),
)
const pathList = v.pipe(v.array(v.string()), v.maxLength(LIMITS.delegatedPaths))
const delegatedRoleSchema = v.pipe(
  v.looseObject({
    ...roleSchema.entries,
    name: roleName,
    terminating: v.optional(v.boolean(), false),
    /** Shell-like patterns of the target paths that it may sign; see `delegations.ts`. */
    paths: v.optional(pathList),
    /** Instead: how the SHA-256 (hex) of those paths begins. */
    path_hash_prefixes: v.optional(pathList),
  }),
  v.check((role) => role.paths === undefined || role.path_hash_prefixes === undefined),
)
/** Whom a targets role lets sign for a part of the target paths (section 4.5). */
export type DelegatedRole = v.InferOutput<typeof delegatedRoleSchema>

/** Many bins that one key signs, by the first bits of a path's SHA-256 (TAP 15). */
const succinctRolesSchema = v.looseObject({
  ...roleSchema.entries,
  bit_length: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(32)),
  name_prefix: roleName,
})

const delegationsSchema = v.pipe(
  v.looseObject({
    keys: v.record(v.string(), publicKeySchema),
    /** In the order of the search. */
    roles: v.optional(
      v.pipe(
        v.array(delegatedRoleSchema),
        v.maxLength(LIMITS.delegations),
        v.check((all) => new Set(all.map((role) => role.name)).size === all.length),
      ),
    ),
    succinct_roles: v.optional(succinctRolesSchema),
  }),
  v.check((all) => all.roles === undefined || all.succinct_roles === undefined),
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
  // The decoder would drop it, and what is kept as text would not be what was signed for.
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return malformed('it begins with a mark')
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

/** A metadata file: the bytes to serve. `signatures` are over `signedBytes(signed)`. */
export const assemble = (signed: object, signatures: readonly Signature[]): Bytes =>
  utf8(JSON.stringify({ signatures, signed }))

/**
 * Signatures of distinct keys of `role` over `envelope` reach its threshold (section 5.3.4). A key counts once,
 * whatever ids it has and however it is written; a signature that does not verify neither counts nor harms.
 */
export function verifySigned(
  keys: Readonly<Record<string, PublicKeyObject>>,
  role: Role,
  envelope: Envelope<RoleName>,
  name: string = envelope.role,
): Verdict<undefined> {
  const counted = new Set<string>()
  for (const { keyid, sig } of envelope.signatures) {
    if (counted.size >= role.threshold) break
    const object = role.keyids.includes(keyid) && Object.hasOwn(keys, keyid) ? keys[keyid] : undefined
    const key = object && readKey(object)
    const signature = hexBytes(sig)
    if (!key || !signature || counted.has(key.material)) continue
    if (key.verifies(signature, envelope.canonical)) counted.add(key.material)
  }
  if (counted.size >= role.threshold) return ok(undefined)
  return refuse(
    'arbitrary-software',
    envelope.role,
    `The ${shown(name)} metadata has ${counted.size} of the ${role.threshold} signatures that it needs.`,
  )
}

/** The same for a top-level role, by the root that names its keys. */
export const verifyRole = (root: RootSigned, envelope: Envelope<RoleName>): Verdict<undefined> =>
  verifySigned(root.keys, root.roles[envelope.role], envelope)

/** Unix ms. */
export const expiryMs = (signed: Readonly<{ expires: string }>): number => Date.parse(signed.expires)

export function verifyFresh(
  envelope: Envelope<RoleName>,
  nowMs: number,
  name: string = envelope.role,
): Verdict<undefined> {
  // NaN (a date like February 31st) counts as expired.
  if (expiryMs(envelope.signed) > nowMs) return ok(undefined)
  return refuse('freeze', envelope.role, `The ${shown(name)} metadata expired at ${envelope.signed.expires}.`)
}

/** A role's name in a sentence: delegators may choose odd ones. */
export const shown = (name: string): string => JSON.stringify(name.slice(0, 80)).slice(1, -1)

/** Hash algorithms that a list may name; others are passed over, and one of these must be there. */
export const hashNames = ['sha256', 'sha512'] as const
export type HashName = (typeof hashNames)[number]

/** The hashes of a list that are understood, lower-case hex. Empty when there is none. */
export const knownHashes = (
  hashes: Readonly<Record<string, string>>,
): readonly Readonly<{ name: HashName; hex: string }>[] =>
  hashNames.flatMap((name) => {
    const hex = Object.hasOwn(hashes, name) ? hashes[name] : undefined
    return hex === undefined ? [] : [{ name, hex: hex.toLowerCase() }]
  })

const hashOf: Readonly<Record<HashName, (bytes: Uint8Array) => string>> = {
  sha256: sha256Hex,
  sha512: (bytes) => toHex(sha512(bytes)),
}

/** Length and hashes as a signed list states them (section 5.5.2, 5.6.2). Every known hash must be right. */
export function verifyListed(
  role: RoleName,
  listed: MetaFile,
  bytes: Uint8Array,
  name: string = role,
): Verdict<undefined> {
  const wrong = (text: string) => refuse('mix-and-match', role, `The ${shown(name)} metadata ${text}`)
  if (listed.length !== undefined && listed.length !== bytes.length) {
    return wrong(`has ${bytes.length} bytes, not the ${listed.length} listed.`)
  }
  if (!listed.hashes) return ok(undefined)
  const known = knownHashes(listed.hashes)
  if (known.length === 0) return wrong('is listed with no hash that this version knows.')
  const bad = known.find(({ name: hash, hex }) => hashOf[hash](bytes) !== hex)
  return bad ? wrong(`is not the file that was listed: its ${bad.name} differs.`) : ok(undefined)
}
