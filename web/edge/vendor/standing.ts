/** What is out: the vendor's verified metadata together with what its announcements say, and what pages see of it. */
import type { VendorId } from '../../core/bytes.ts'
import { liveCell, type Live, type LiveCell } from '../../core/live.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import { readAnnouncement, type Announcement } from '../../core/release/announce.ts'
import { foreignDelegations, readDelegates } from '../../core/release/delegate.ts'
import { readPeople } from '../../core/release/people.ts'
import type { Release } from '../../core/release/target.ts'
import type { KnownRelease } from '../../core/rollout/fleet.ts'
import type { Verified } from '../release/mirror.ts'
import type { SigningView, VendorDeps, VendorStatus } from './api.ts'
import { withdrawnRelease } from './signing.ts'

export interface Standing {
  readonly status: LiveCell<VendorStatus>
  /** Newest first; withdrawn ones too. */
  readonly releases: Live<readonly KnownRelease[]>
  readonly signing: Live<SigningView | undefined>
  /** The newest RELEASE event, JSON. */
  readonly floor: Live<string | undefined>
  verified(): Verified | undefined
  adopt(next: Verified): void
  /** A RELEASE event, from a relay or made here. */
  heard(event: NostrEvent): void
  /** The newest announcement of each release. */
  announced(): readonly Announcement[]
  announcedOf(release: Pick<Release, 'product' | 'version'>): Announcement | undefined
  /** The targets version that the newest announcement names. */
  floorVersion(): number
  /** To be called before the targets without it are adopted: it stays among the known ones. */
  withdrew(release: Release): void
  /** `base`, and what was ever out as far as this tab knows: a version never comes twice, withdrawn or not. */
  everOut(base: readonly Release[]): readonly Release[]
  close(): void
}

const nameOf = ({ product, version }: Pick<Release, 'product' | 'version'>) => `${product}@${version}`

/** `onNewer`: an announcement names targets that are newer than the verified ones. */
export function createStanding(
  deps: VendorDeps,
  vendor: () => VendorId | undefined,
  onNewer: (vendor: VendorId) => void,
): Standing {
  const status = liveCell<VendorStatus>({ tag: 'starting' })
  const releases = liveCell<readonly KnownRelease[]>([])
  const signing = liveCell<SigningView | undefined>(undefined)
  const floor = liveCell<string | undefined>(undefined)
  let verified: Verified | undefined
  let newest: Announcement | undefined
  let closed = false
  const announced = new Map<string, Announcement>()
  /** Releases withdrawn, by SHA-256; `undefined` while being fetched. */
  const withdrawn = new Map<string, KnownRelease | undefined>()

  function withdrew(release: Release): void {
    withdrawn.set(release.sha256, { release, status: 'withdrawn', publishedAt: release.releasedAt * 1000 })
  }

  function showReleases(): void {
    if (!verified) return
    const live = verified.releases.map((release): KnownRelease => {
      return { release, status: 'live', publishedAt: release.releasedAt * 1000 }
    })
    const paths = new Set(live.map((one) => one.release.path))
    const gone = [...withdrawn.values()].filter((one) => one !== undefined && !paths.has(one.release.path))
    releases.set([...live, ...(gone as KnownRelease[])].sort((a, b) => b.publishedAt - a.publishedAt))
    for (const announcement of announced.values()) {
      if (announcement.status === 'withdrawn') void lookUpWithdrawn(announcement, verified)
    }
  }

  async function lookUpWithdrawn({ sha256, targetsVersion }: Announcement, base: Verified): Promise<void> {
    if (withdrawn.has(sha256) || targetsVersion > base.targetsVersion) return
    withdrawn.set(sha256, undefined)
    const release = await withdrawnRelease(deps, base, sha256, targetsVersion)
    if (closed) return
    if (!release) return void withdrawn.delete(sha256)
    withdrew(release)
    showReleases()
  }

  return {
    status,
    releases,
    signing,
    floor,
    verified: () => verified,
    announced: () => [...announced.values()],
    announcedOf: (release) => announced.get(nameOf(release)),
    floorVersion: () => newest?.targetsVersion ?? 0,
    withdrew,
    everOut: (base) => [...base, ...releases.get().map((one) => one.release)],

    adopt(next) {
      verified = next
      status.set({
        tag: 'ready',
        vendor: next.vendor,
        name: next.vendorBlock.name,
        targetsVersion: next.targetsVersion,
        targetsExpireAt: next.targetsExpireAt,
        approved: next.vendorBlock.distributors,
        mirrors: next.vendorBlock.mirrors ?? [],
      })
      const { root, targets } = next.current
      signing.set({
        vendor: next.vendor,
        root: root.signed,
        draft: readPeople(root.signed),
        delegates: readDelegates(targets.signed.delegations),
        foreign: foreignDelegations(targets.signed.delegations),
        nostr: next.vendorBlock.nostr,
      })
      showReleases()
    },

    heard(event) {
      const announcement = readAnnouncement(event)
      if (!announcement || announcement.vendor !== vendor()) return
      const before = announced.get(nameOf(announcement))
      if (!before || before.createdAtS <= announcement.createdAtS)
        announced.set(nameOf(announcement), announcement)
      if (!newest || announcement.targetsVersion > newest.targetsVersion) {
        newest = announcement
        floor.set(JSON.stringify(event))
      }
      if (verified && announcement.targetsVersion > verified.targetsVersion) onNewer(announcement.vendor)
      else showReleases()
    },

    close() {
      closed = true
    },
  }
}
