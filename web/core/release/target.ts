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

/**
 * `custom` of one TUF target. The target's path is `product/version/fileName`; `length` and
 * `hashes.sha256` of the TUF entry are the artifact's own.
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
  /** For another installer than directory slots; opaque to us. */
  installer: v.optional(short(200)),
  deltaFrom: v.optional(sha256HexSchema),
  /** Unix seconds of signing, for the floor of time. */
  releasedAt: count,
})
export type TargetCustom = v.InferOutput<typeof targetCustomSchema>

export const MAX_MIRRORS = 16
export const mirrorUrlSchema = v.pipe(short(300), v.regex(/^https?:\/\/[^\s?#]+$/))

/** `signed.satpatch` of targets.json. */
export const vendorBlockSchema = v.object({
  name: v.pipe(v.string(), v.maxLength(80)),
  nostr: partyKeySchema,
  relays: v.pipe(v.array(short(300)), v.maxLength(16)),
  trackers: v.pipe(v.array(short(300)), v.maxLength(16)),
  /** Base URLs of static hosts that carry what `satpatch export` writes. Nothing of them is trusted. */
  mirrors: v.optional(v.pipe(v.array(mirrorUrlSchema), v.maxLength(MAX_MIRRORS))),
  /** Approved distributors' keys. */
  distributors: v.pipe(v.array(partyKeySchema), v.maxLength(1000)),
})
export type VendorBlock = v.InferOutput<typeof vendorBlockSchema>

/** One verified release: the TUF target and its custom, as everything beyond `core/release` sees it. */
export type Release = Readonly<
  TargetCustom & { path: string; bytes: number; sha256: Sha256Hex; targetsVersion: number }
>

/** The name people read: `product version`. */
export const releaseName = (release: Pick<TargetCustom, 'product' | 'version'>): string =>
  `${release.product} ${release.version}`
