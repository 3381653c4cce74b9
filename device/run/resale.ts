/** Sells to other devices what this one has proven: while it buys, and then from where the file lies. Never gives. */
import { join } from 'node:path'
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../web/core/exchange/desk-policy.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import type { Job, Slot } from '../../web/core/rollout/lifecycle.ts'
import type { Verified } from '../../web/edge/release/mirror.ts'
import type { Journal, Metainfo, PieceStore, Session, Shop } from '../../web/edge/swarm/api.ts'
import type { RateLimit } from '../../web/edge/swarm/rate-limit.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import type { DeviceConfig } from '../config/config.ts'
import { asEventLog, type Logger } from '../log.ts'
import { openProvenStore } from '../storage/complete-store.ts'
import { artifactPath } from '../storage/downloads.ts'
import { idOf } from './jobs.ts'
import type { Ports } from './ports.ts'
import { encodeSold, soldKey, type Sold } from './sums.ts'

/** How long a device resells a release that it has, unless the next one comes first. */
const RESELL_MS = 24 * 3_600_000

/**
 * Until when a release that is over is resold, over restarts too; 0: not, or no more. The next one that is begun ends it.
 * `jobs`: all of the device, oldest first.
 */
export function resoldUntilMs(config: DeviceConfig, job: Job, jobs: readonly Job[]): number {
  const { phase } = job
  if (config.trade.resell === undefined || phase.tag !== 'done' || phase.verifiedAt === 0) return 0
  const at = jobs.findIndex((one) => idOf(one) === idOf(job))
  return jobs.slice(at + 1).some(({ payments }) => payments !== 'none') ? 0 : phase.finishedAt + RESELL_MS
}

export type ResaleDeps = Readonly<{
  config: DeviceConfig
  ports: Pick<Ports, 'createShop' | 'nowMs'>
  journal: Journal
  session: Session
  release: Release
  priceCap: Msat
  verified: () => Verified | undefined
  uploadLimit: RateLimit | undefined
  /** Names the run in which it is sold. */
  startedMs: number
  /** There is more to tell. */
  onSold: () => void
  log: Logger
}>

export interface Resale {
  /** What was sold in this run. */
  readonly sold: Live<Sold>
  start(wallet: Wallet): void
  stop(): Promise<void>
}

export function createResale(deps: ResaleDeps): Resale {
  const { config, ports, journal, session, release, startedMs, log } = deps
  const sold = liveCell<Sold>({ earned: 0 as Msat, pieces: 0, bytes: 0 })
  let shop: Shop | undefined

  /** For people only: a disk that fails here fails elsewhere, and is told there. */
  function note(): void {
    journal
      .put(soldKey(release, startedMs), encodeSold(sold.get()))
      .then(deps.onSold)
      .catch((error: unknown) => log.warn({ err: error }, 'a sum was not kept'))
  }

  return {
    sold,
    start(wallet) {
      const price = config.trade.resell
      if (price === undefined || shop !== undefined) return
      const vendor = deps.verified()?.vendorBlock
      const made = ports.createShop({
        session,
        identity: config.identity,
        journal,
        wallet,
        policy: {
          price: Math.min(price, deps.priceCap) as Msat,
          gifts: { to: 'nobody', copies: 0 },
          approved: vendor === undefined ? [] : [vendor.nostr],
          unpaidBytes: DEFAULT_UNPAID_BYTES,
          unprovenBytes: DEFAULT_UNPROVEN_BYTES,
        },
        ...(deps.uploadLimit === undefined ? {} : { upload: deps.uploadLimit }),
        nowMs: ports.nowMs,
        log: asEventLog(log),
      })
      shop = made
      made.subscribe((now) => {
        const before = sold.get()
        sold.set({ earned: now.earned, pieces: now.soldPieces, bytes: now.uploadedBytes })
        if (now.earned !== before.earned) note()
      })
      made.start().catch((error: unknown) => log.warn({ err: error }, 'reselling did not start'))
    },
    async stop() {
      await shop?.stop()
    },
  }
}

/**
 * The proven file after a restart, read only: what was bought where it still lies, as of confidential releases and under
 * an installer of the owner's, else what is installed. `undefined` where no file has every piece any more.
 */
export async function openInstalled(
  dataDir: string,
  release: Release,
  meta: Metainfo,
): Promise<PieceStore | undefined> {
  const paths = [artifactPath(dataDir, release)]
  // What is installed of a confidential release is plain, and never sold.
  if (!release.confidential) {
    const slots: readonly Slot[] = ['a', 'b']
    paths.push(...slots.map((slot) => join(dataDir, 'products', release.product, slot, release.fileName)))
  }
  for (const path of paths) {
    const store = await openProvenStore(path, meta).catch(() => undefined)
    if (store !== undefined) return store
  }
  return undefined
}
