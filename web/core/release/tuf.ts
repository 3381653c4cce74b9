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

export const targetsSchema = v.looseObject({
  _type: v.literal('targets'),
  spec_version: specVersion,
  version,
  expires,
  targets: v.record(v.string(), targetFile),
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
