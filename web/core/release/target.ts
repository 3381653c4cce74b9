/** What Satpatch adds to TUF metadata: a target's `custom` and the vendor's block in targets.json (`signed.satpatch`). */
import * as v from 'valibot'
import type { InfoHash, PartyKey, Sha256Hex } from '../bytes.ts'
import { parseInfoHash, parsePartyKey, parseSha256Hex } from '../bytes.ts'
import type { Msat } from '../money/msat.ts'

const short = (max: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(max))
export const sha256HexSchema = v.custom<Sha256Hex>(
  (x) => typeof x === 'string' && parseSha256Hex(x) !== undefined,
)
export const infoHashSchema = v.custom<InfoHash>(
  (x) => typeof x === 'string' && parseInfoHash(x) !== undefined,
)
export const partyKeySchema = v.custom<PartyKey>(
  (x) => typeof x === 'string' && parsePartyKey(x) !== undefined,
)
export const msatSchema = v.custom<Msat>((x) => Number.isSafeInteger(x) && (x as number) >= 0)
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const path = v.pipe(v.string(), v.maxLength(512))

/** AES-256 in counter mode (NIST SP 800-38A 6.5) from counter 0 on: a key encrypts one artifact and never another. */
export const CIPHER = 'AES-256-CTR'
/** Longest list of wrapped keys: 50,000 devices and more. */
export const MAX_KEYS_BYTES = 8 * 1024 * 1024

/** What devices install, where they get it encrypted. */
const plainEntries = {
  cipher: v.literal(CIPHER),
  sha256: sha256HexSchema,
  bytes: v.pipe(count, v.minValue(1)),
}

/** No control characters: it goes into a command's environment. */
export const INSTALLER = /^\P{Cc}{1,200}$/u

/**
 * `custom` of one TUF target. The target's path is `product/version/fileName`; `length` and
 * `hashes.sha256` of the TUF entry are those of the bytes that travel: the artifact, or the encrypted artifact.
 */
export const targetCustomSchema = v.object({
  product: v.pipe(short(64), v.regex(/^[a-z0-9][a-z0-9._-]*$/)),
  version: v.pipe(short(64), v.regex(/^[0-9][0-9A-Za-z.+~-]*$/)),
  /** Shown and used on disk: one path segment, checked by `fileName.ts`. */
  fileName: short(200),
  /** Hardware ids that may install it; a device installs only what lists its own. */
  hardware: v.pipe(v.array(short(64)), v.minLength(1), v.maxLength(64)),
  /** Lowest installed version that may take this update directly. */
  upgradesFrom: v.optional(short(64)),
  notes: v.optional(v.pipe(v.string(), v.maxLength(20_000))),
  pieceLength: v.pipe(count, v.minValue(16_384)),
  /** BEP 52 `pieces root` of the artifact: SHA-256 Merkle root over 16 KiB blocks. The "release root". */
  piecesRoot: sha256HexSchema,
  infoHash: infoHashSchema,
  magnet: short(4096),
  /** Highest price a device may pay, msat per MiB. */
  priceCapMsat: msatSchema,
  /** What an install command must understand, such as `rauc`: directory slots do not take it. Opaque to us. */
  installer: v.optional(v.pipe(short(200), v.regex(INSTALLER))),
  /** SHA-256 of the artifact that these bytes are a delta from: left alone by devices. */
  deltaFrom: v.optional(sha256HexSchema),
  /** Present when the artifact is encrypted. `keys`: path of the target that holds its key, wrapped for each device. */
  encrypted: v.optional(v.object({ ...plainEntries, keys: path })),
  /** Unix seconds of signing, for the floor of time. */
  releasedAt: count,
})
export type TargetCustom = v.InferOutput<typeof targetCustomSchema>

export const MAX_MIRRORS = 16
export const mirrorUrlSchema = v.pipe(short(300), v.regex(/^https?:\/\/[^\s?#]+$/))

/** `signed.satpatch` of targets.json. */
export const vendorBlockSchema = v.object({
  name: v.pipe(v.string(), v.maxLength(80)),
  /** Announces, and is whom devices report to. */
  nostr: partyKeySchema,
  /** Those before it, newest first: what they said is no attack and counts for nothing. */
  formerNostr: v.optional(v.pipe(v.array(partyKeySchema), v.maxLength(8))),
  relays: v.pipe(v.array(short(300)), v.maxLength(16)),
  trackers: v.pipe(v.array(short(300)), v.maxLength(16)),
  /** Base URLs of static hosts that carry what `satpatch export` writes. Nothing of them is trusted. */
  mirrors: v.optional(v.pipe(v.array(mirrorUrlSchema), v.maxLength(MAX_MIRRORS))),
  /** Approved distributors' keys. */
  distributors: v.pipe(v.array(partyKeySchema), v.maxLength(1000)),
})
export type VendorBlock = v.InferOutput<typeof vendorBlockSchema>

/** One verified release: the TUF target and its custom, as everything beyond `core/release` sees it. */
export const releaseSchema = v.object({
  ...v.omit(targetCustomSchema, ['encrypted']).entries,
  /** `encrypted` with the target that its `keys` names. */
  confidential: v.optional(
    v.object({ ...plainEntries, keys: v.object({ path, bytes: count, sha256: sha256HexSchema }) }),
  ),
  path,
  bytes: count,
  sha256: sha256HexSchema,
  targetsVersion: count,
})
export type Release = Readonly<v.InferOutput<typeof releaseSchema>>
export type Confidential = NonNullable<Release['confidential']>
/** The target that holds a confidential release's key, wrapped for each device. */
export type KeysTarget = Readonly<Confidential['keys']>

/** The name people read: `product version`. */
export const releaseName = (release: Pick<TargetCustom, 'product' | 'version'>): string =>
  `${release.product} ${release.version}`
