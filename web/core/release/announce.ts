/** Releases as verified targets name them, and RELEASE events, which say "look at the mirror" (ARCHITECTURE.md "Nostr events"). */
import * as v from 'valibot'
import type { PartyKey, Sha256Hex, VendorId } from '../bytes.ts'
import { parseSha256Hex } from '../bytes.ts'
import type { EventTemplate, NostrEvent } from '../nostr/event.ts'
import { tagValue, verifyEvent } from '../nostr/event.ts'
import { RELEASE } from '../nostr/kinds.ts'
import { checkFileName } from './file-name.ts'
import {
  MAX_KEYS_BYTES,
  targetCustomSchema,
  vendorBlockSchema,
  type Release,
  type VendorBlock,
} from './target.ts'
import type { TargetFile, TargetsSigned } from './tuf.ts'

export const targetPath = (product: string, version: string, fileName: string): string =>
  `${product}/${version}/${fileName}`

/** A target that is no release of ours, and why. */
export type Skipped = Readonly<{
  path: string
  why: string
  /** What it would have done to a reader that believes it: a name that leads elsewhere, a place that its path does not say. */
  attack?: 'unsafe-name' | 'wrong-place'
}>

export type ReadTargets = Readonly<{
  vendor: VendorBlock | undefined
  /** Newest signing first, then by path. */
  releases: readonly Release[]
  skipped: readonly Skipped[]
}>

/** From targets that `client.ts` has verified. A target that says something odd is left out, not trusted in part. */
export function readTargets(targets: TargetsSigned): ReadTargets {
  const vendor = v.safeParse(vendorBlockSchema, targets.satpatch)
  const { releases, skipped } = readReleases(Object.entries(targets.targets), targets.version)
  return { vendor: vendor.success ? vendor.output : undefined, releases, skipped }
}

/**
 * Of the files that one role signs. `targetsVersion` is the top-level targets', whoever signs the releases: the floor
 * that announcements raise. Lists of wrapped keys belong to their releases and are not said to be skipped.
 */
export function readReleases(
  files: Iterable<readonly [path: string, file: TargetFile]>,
  targetsVersion: number,
): Pick<ReadTargets, 'releases' | 'skipped'> {
  const byPath = new Map(files)
  const releases: Release[] = []
  const others: Skipped[] = []
  for (const [path, file] of byPath) {
    const read = readRelease(path, file, targetsVersion, byPath)
    if (read.tag === 'release') releases.push(read.release)
    else others.push({ path, ...read.said })
  }
  const keys = new Set(releases.map(({ confidential }) => confidential?.keys.path))
  return { releases: releases.sort(newestFirst), skipped: others.filter(({ path }) => !keys.has(path)) }
}

/** Newest signing first, then by path. */
export const newestFirst = (a: Release, b: Release): number =>
  b.releasedAt - a.releasedAt || (a.path < b.path ? -1 : 1)

type Other = Readonly<{ tag: 'other'; said: Omit<Skipped, 'path'> }>
const other = (why: string, attack?: Skipped['attack']): Other => ({
  tag: 'other',
  said: { why, ...(attack && { attack }) },
})

function readRelease(
  path: string,
  file: TargetFile,
  targetsVersion: number,
  beside: ReadonlyMap<string, TargetFile>,
): Readonly<{ tag: 'release'; release: Release }> | Other {
  const custom = v.safeParse(targetCustomSchema, file.custom)
  const sha256 = parseSha256Hex(file.hashes['sha256'] ?? '')
  if (!custom.success) return other('its custom data is not a release')
  if (!sha256) return other('it has no SHA-256')
  if (file.length < 1) return other('it is empty')
  const { encrypted, ...said } = custom.output
  if (checkFileName(said.fileName).tag === 'refused') return other('its file name is unsafe', 'unsafe-name')
  if (path !== targetPath(said.product, said.version, said.fileName))
    return other('its path is not product/version/file name', 'wrong-place')
  const release = { ...said, path, bytes: file.length, sha256, targetsVersion }
  if (!encrypted) return { tag: 'release', release }
  const keys = beside.get(encrypted.keys)
  const keysHash = parseSha256Hex(keys?.hashes['sha256'] ?? '')
  if (!keys || !keysHash) return other('it is encrypted, and the list of its keys is missing')
  if (keys.length > MAX_KEYS_BYTES) return other('it is encrypted, and the list of its keys is too long')
  if (encrypted.bytes !== file.length) return other('the cipher would not change its length')
  const target = { path: encrypted.keys, bytes: keys.length, sha256: keysHash }
  return { tag: 'release', release: { ...release, confidential: { ...encrypted, keys: target } } }
}

export type ReleaseStatus = 'live' | 'withdrawn'

export function releaseEvent(
  options: Readonly<{
    vendor: VendorId
    release: Pick<Release, 'product' | 'version' | 'sha256'>
    status: ReleaseStatus
    targetsVersion: number
    createdAtS: number
  }>,
): EventTemplate {
  const { vendor, release, status, targetsVersion, createdAtS } = options
  return {
    kind: RELEASE,
    created_at: createdAtS,
    tags: [
      ['d', `${release.product}@${release.version}`],
      ['i', vendor],
      ['targets', String(targetsVersion)],
      ['x', release.sha256],
      ['status', status],
    ],
    content: '',
  }
}

/** A RELEASE event that parsed. It counts only when `author` is the key that the vendor's verified targets name. */
export type Announcement = Readonly<{
  author: PartyKey
  vendor: VendorId
  product: string
  version: string
  sha256: Sha256Hex
  targetsVersion: number
  status: ReleaseStatus
  createdAtS: number
}>

/** Highest targets version believed from an announcement: a vendor's slip must not freeze its devices for ever. */
const MAX_TARGETS_VERSION = 1_000_000_000

/** Shape only: the caller (or the pool) has verified id and signature. */
export function readAnnouncement(event: NostrEvent): Announcement | undefined {
  if (event.kind !== RELEASE) return undefined
  const vendor = parseSha256Hex(tagValue(event, 'i') ?? '')
  const sha256 = parseSha256Hex(tagValue(event, 'x') ?? '')
  const named = /^([^@]{1,64})@([^@]{1,64})$/.exec(tagValue(event, 'd') ?? '')
  const targets = tagValue(event, 'targets') ?? ''
  const status = tagValue(event, 'status')
  if (!vendor || !sha256 || !named || !/^[1-9][0-9]{0,9}$/.test(targets)) return undefined
  if (status !== 'live' && status !== 'withdrawn') return undefined
  const targetsVersion = Number(targets)
  if (targetsVersion > MAX_TARGETS_VERSION) return undefined
  return {
    author: event.pubkey,
    vendor: vendor as VendorId,
    product: named[1] ?? '',
    version: named[2] ?? '',
    sha256,
    targetsVersion,
    status,
    createdAtS: event.created_at,
  }
}

/** A floor as a peer showed it (JSON of a RELEASE event): the targets version, if this vendor's key signed it. */
export function floorFrom(eventJson: string, vendor: VendorId, vendorKey: PartyKey): number | undefined {
  if (eventJson.length > 4096) return undefined
  let event: NostrEvent
  try {
    event = JSON.parse(eventJson) as NostrEvent
    if (!Array.isArray(event.tags) || !event.tags.every((tag) => Array.isArray(tag))) return undefined
    if (event.pubkey !== vendorKey || !verifyEvent(event)) return undefined
  } catch {
    return undefined
  }
  const announcement = readAnnouncement(event)
  return announcement?.vendor === vendor ? announcement.targetsVersion : undefined
}
