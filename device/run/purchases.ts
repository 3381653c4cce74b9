/** The purchases of this process by job, and the payments that stay open while a release is already installed. */
import type { Job } from '../../web/core/rollout/lifecycle.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { idOf } from './jobs.ts'
import { openPurchase, type Purchase, type PurchaseDeps } from './purchase.ts'
import { createWake } from './wake.ts'

/** How long a device resells a release that it has, unless the next one comes first. */
const RESELL_MS = 24 * 3_600_000

export interface Purchases {
  open(job: Job): Promise<Purchase>
  opened(job: Job): Purchase | undefined
  /** Begins to settle what is open, unless that is under way or too early. */
  settleSoon(job: Job): void
  close(): Promise<void>
}

export type PurchasesDeps = PurchaseDeps &
  Readonly<{
    wallet: () => Wallet | undefined
    signal: AbortSignal
    onSettled: (job: Job) => Promise<void>
  }>

export function createPurchases(deps: PurchasesDeps): Purchases {
  const { ports, signal, log } = deps
  const opening = new Map<string, { sealed: boolean; purchase: Promise<Purchase> }>()
  const opened = new Map<string, Purchase>()
  const settling = new Set<string>()
  /** Paid for and over, kept open for late payments and for reselling. */
  const idle = new Set<string>()
  const timers = new Set<ReturnType<typeof setTimeout>>()

  function open(job: Job, sealed: boolean): Promise<Purchase> {
    const id = idOf(job)
    const known = opening.get(id)
    if (known !== undefined) return known.purchase
    // The next release: what was sold of the last one is over.
    if (deps.config.trade.resell !== undefined)
      for (const old of idle)
        close(old).catch((error: unknown) => log.warn({ err: error }, 'a purchase could not be closed'))
    const purchase = openPurchase(deps, job.release, sealed).then(
      (ready) => {
        opened.set(id, ready)
        return ready
      },
      (error: unknown) => {
        opening.delete(id)
        throw error
      },
    )
    opening.set(id, { sealed, purchase })
    return purchase
  }

  async function close(id: string): Promise<void> {
    const known = opening.get(id)
    const purchase = await known?.purchase.catch(() => undefined)
    opening.delete(id)
    opened.delete(id)
    idle.delete(id)
    await purchase?.close()
  }

  async function settle(job: Job): Promise<void> {
    const id = idOf(job)
    const retry = createWake(signal)
    const { phase } = job
    const givenUp = phase.tag === 'done' && phase.verifiedAt === 0
    while (!signal.aborted) {
      try {
        // One that was given up must not go on buying: to a sealed one everything is there.
        if (givenUp && opening.get(id)?.sealed === false) await close(id)
        const purchase = await open(job, true)
        await purchase.settle(deps.wallet(), signal)
        if (signal.aborted) return
        await deps.onSettled(job)
        idle.add(id)
        const stayMs = deps.config.trade.resell === undefined ? ports.lateWatchMs : RESELL_MS
        const timer = setTimeout(() => {
          timers.delete(timer)
          close(id).catch((error: unknown) => log.warn({ err: error }, 'a purchase could not be closed'))
        }, stayMs)
        timers.add(timer)
        return
      } catch (error) {
        if (signal.aborted) return
        log.warn({ reason: error instanceof Error ? error.message : String(error) }, 'open payments wait')
        await retry.sleep(ports.retryMs)
      }
    }
  }

  return {
    open: (job) => open(job, false),
    opened: (job) => opened.get(idOf(job)),
    settleSoon(job) {
      const id = idOf(job)
      const early = ['announced', 'queued', 'buying', 'held'].includes(job.phase.tag)
      if (job.payments !== 'open' || early || settling.has(id)) return
      settling.add(id)
      void settle(job).finally(() => settling.delete(id))
    },
    async close() {
      for (const timer of timers) clearTimeout(timer)
      await Promise.all([...opening.keys()].map(close))
    },
  }
}
