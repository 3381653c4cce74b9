/** Telling devices that something is out or withdrawn: RELEASE events that follow the verified targets. */
import type { VendorId } from '../../core/bytes.ts'
import { announcersOf } from '../../core/release/announcers.ts'
import type { Release } from '../../core/release/target.ts'
import type { VendorDeps } from './api.ts'
import { announce } from './signing.ts'
import type { Standing } from './standing.ts'

const PUBLISH_TIMEOUT_MS = 20_000

export interface Announcing {
  tell(
    release: Pick<Release, 'product' | 'version' | 'sha256'>,
    status: 'live' | 'withdrawn',
    targetsVersion: number,
  ): Promise<void>
  /** The floor rises with the newest announcement. */
  tellNewest(): Promise<void>
  /** After a crash between signing and announcing: what the targets say is announced now. */
  announceMissing(): Promise<void>
}

export function createAnnouncing(deps: VendorDeps, standing: Standing, vendor: () => VendorId): Announcing {
  const { keys, pool } = deps

  async function tell(
    release: Pick<Release, 'product' | 'version' | 'sha256'>,
    status: 'live' | 'withdrawn',
    targetsVersion: number,
  ): Promise<void> {
    const after = standing.announcedOf(release)?.createdAtS ?? 0
    const verified = standing.verified()
    if (!verified) return
    const { root, targets } = verified.current
    const who = announcersOf(
      root.signed,
      targets.signed,
      verified.vendorBlock,
    )(keys.nostr.key, release.product)
    // A key that is not named is not heard: devices find what it signed when they next look.
    if (who !== 'vendor' && who !== 'signer') return
    const event = announce(deps, { vendor: vendor(), release, status, targetsVersion, after })
    standing.heard(event)
    try {
      await pool.publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS })
    } catch (error) {
      // The targets are signed and out: devices find them when they next look. The announcement waits for a relay.
      deps.log?.('release not announced yet', {
        product: release.product,
        version: release.version,
        text: String(error),
      })
      void pool.publish(event).catch(() => undefined)
    }
  }

  return {
    tell,

    async tellNewest() {
      const verified = standing.verified()
      const last = verified?.releases[0]
      if (verified && last) await tell(last, 'live', verified.targetsVersion)
    },

    async announceMissing() {
      const base = standing.verified()
      if (!base) return
      for (const release of base.releases) {
        const said = standing.announcedOf(release)
        if (said?.status !== 'live' || said.sha256 !== release.sha256)
          await tell(release, 'live', base.targetsVersion)
      }
      for (const said of standing.announced()) {
        const isOut = base.releases.some(
          (one) => one.product === said.product && one.version === said.version,
        )
        if (isOut || said.status === 'withdrawn' || said.targetsVersion > base.targetsVersion) continue
        await tell(said, 'withdrawn', base.targetsVersion)
      }
    },
  }
}
