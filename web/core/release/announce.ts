/** Releases as verified targets name them, and RELEASE events, which say "look at the mirror" (ARCHITECTURE.md "Nostr events"). */
import * as v from 'valibot'
import type { PartyKey, Sha256Hex, VendorId } from '../bytes.ts'
import { parseSha256Hex } from '../bytes.ts'
import type { EventTemplate, NostrEvent } from '../nostr/event.ts'
import { tagValue, verifyEvent } from '../nostr/event.ts'
import { RELEASE } from '../nostr/kinds.ts'
import { checkFileName } from './file-name.ts'
import { targetCustomSchema, vendorBlockSchema, type Release, type VendorBlock } from './target.ts'
import type { TargetsSigned } from './tuf.ts'

export const targetPath = (product: string, version: string, fileName: string): string =>
  `${product}/${version}/${fileName}`

export type ReadTargets = Readonly<{
  vendor: VendorBlock | undefined
  /** Newest signing first, then by path. */
  releases: readonly Release[]
  /** Targets that are not releases of ours, with the reason. */
  skipped: readonly Readonly<{ path: string; why: string }>[]
}>

/** From targets that `client.ts` has verified. A target that says something odd is left out, not trusted in part. */
export function readTargets(targets: TargetsSigned): ReadTargets {
  const releases: Release[] = []
  const skipped: { path: string; why: string }[] = []
  for (const [path, file] of Object.entries(targets.targets)) {
    const custom = v.safeParse(targetCustomSchema, file.custom)
    const sha256 = parseSha256Hex(file.hashes['sha256'] ?? '')
    if (!custom.success) skipped.push({ path, why: 'its custom data is not a release' })
    else if (!sha256) skipped.push({ path, why: 'it has no SHA-256' })
    else if (file.length < 1) skipped.push({ path, why: 'it is empty' })
    else if (checkFileName(custom.output.fileName).tag === 'refused')
      skipped.push({ path, why: 'its file name is unsafe' })
    else if (path !== targetPath(custom.output.product, custom.output.version, custom.output.fileName))
      skipped.push({ path, why: 'its path is not product/version/file name' })
    else
      releases.push({ ...custom.output, path, bytes: file.length, sha256, targetsVersion: targets.version })
  }
  releases.sort((a, b) => b.releasedAt - a.releasedAt || (a.path < b.path ? -1 : 1))
  const vendor = v.safeParse(vendorBlockSchema, targets.satpatch)
  return { vendor: vendor.success ? vendor.output : undefined, releases, skipped }
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
