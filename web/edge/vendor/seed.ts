/** The vendor's own tab or process as a seeder: gives first copies to distributors, sells to everyone else. */
import { liveCell } from '../../core/live.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import type { StartSeed } from './api.ts'

export const startSeed: StartSeed = async (deps) => {
  const { vendor, keys, pool, release, meta, store, journal, wallet, policy, nowMs } = deps
  const status = vendor.status.get()
  if (status.tag !== 'ready') throw new RangeError('a vendor seeds once it is admitted')
  const session = await deps.swarm.join(meta, store, {
    vendor: status.vendor,
    floor: () => vendor.floor.get(),
  })
  const shop = deps.createShop({
    session,
    identity: keys.nostr,
    journal,
    policy,
    nowMs,
    ...(wallet ? { wallet } : {}),
    publishOffer: (json) => {
      // An offer that is not announced is still shown on each wire.
      void pool.publish(JSON.parse(json) as NostrEvent).catch(() => undefined)
    },
  })
  await shop.start()
  const fullCopies = liveCell(session.peers.get().fullCopies)
  const endPeers = session.peers.subscribe((peers) => {
    if (peers.fullCopies !== fullCopies.get()) fullCopies.set(peers.fullCopies)
  })
  return {
    path: release.path,
    session,
    shop,
    fullCopies,
    async stop() {
      endPeers()
      await shop.stop()
      await session.leave()
    },
  }
}
