/** The purchases of this process by job, and the payments that stay open while a release is already installed. */
import type { Job } from '../../web/core/rollout/lifecycle.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { idOf } from './jobs.ts'
import { openPurchase, type Purchase, type PurchaseDeps, type PurchaseMode } from './purchase.ts'
import { resoldUntilMs } from './resale.ts'
import { createWake } from './wake.ts'

export interface Purchases {
  open(job: Job): Promise<Purchase>
  opened(job: Job): Purchase | undefined
  /**
   * Does beside everything else what a release still needs that was bought: settles what is open and, over restarts too,
   * waits for late payments and resells. Nothing happens where that is under way or too early.
   */
  tend(job: Job): void
  /** Whether its files are still needed. */
  keeps(job: Job): Promise<boolean>
  close(): Promise<void>
}

export type PurchasesDeps = PurchaseDeps &
  Readonly<{
    wallet: () => Wallet | undefined
    /** All of the device, oldest first. */
    jobs: () => readonly Job[]
    signal: AbortSignal
    onSettled: (job: Job) => Promise<void>
  }>

export function createPurchases(deps: PurchasesDeps): Purchases {
  const { ports, signal, log } = deps
  const opening = new Map<string, { mode: PurchaseMode; purchase: Promise<Purchase> }>()
  const opened = new Map<string, Purchase>()
  const tending = new Set<string>()
  /** Paid for and over, kept open for late payments and for reselling. */
  const idle = new Map<string, Job>()
  /** One each, however often it is retired. */
  const timers = new Map<string, ReturnType<typeof setTimeout>>()

  function open(job: Job, mode: PurchaseMode): Promise<Purchase> {
    const id = idOf(job)
    const known = opening.get(id)
    if (known !== undefined) return known.purchase
    // The next release: what was sold of the last one is over.
    if (deps.config.trade.resell !== undefined && mode === 'buy') for (const old of idle.values()) retire(old)
    const purchase = openPurchase(deps, job.release, mode).then(
      (ready) => {
        opened.set(id, ready)
        return ready
      },
      (error: unknown) => {
        opening.delete(id)
        throw error
      },
    )
    opening.set(id, { mode, purchase })
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

  /** Payments that were out when its pieces came another way, or debts whose invoices lapsed. */
  const awaitsMoney = async ({ release }: Job): Promise<boolean> =>
    (await deps.journal.keys(`buy/${release.infoHash}/`)).length > 0

  const resoldMs = (job: Job): number =>
    Math.max(0, resoldUntilMs(deps.config, job, deps.jobs()) - ports.nowMs())

  const keeps = async (job: Job): Promise<boolean> =>
    opening.has(idOf(job)) || resoldMs(job) > 0 || (await awaitsMoney(job))

  function retireLater(job: Job, ms: number): void {
    const id = idOf(job)
    clearTimeout(timers.get(id))
    const timer = setTimeout(() => {
      timers.delete(id)
      // It may have been settled before it was installed.
      const leftMs = resoldMs(deps.jobs().find((one) => idOf(one) === id) ?? job)
      if (leftMs > 0) retireLater(job, leftMs)
      else retire(job)
    }, ms)
    timers.set(id, timer)
  }

  /** No longer sold, and closed unless a payment may still settle. */
  function retire(job: Job): void {
    const over = async (): Promise<void> => {
      await opened.get(idOf(job))?.stopSelling()
      if (!(await awaitsMoney(job))) return close(idOf(job))
      if (!signal.aborted) retireLater(job, ports.lateWatchMs)
    }
    over().catch((error: unknown) => log.warn({ err: error }, 'a purchase could not be closed'))
  }

  async function settle(job: Job): Promise<void> {
    const id = idOf(job)
    const retry = createWake(signal)
    const { phase } = job
    const givenUp = phase.tag === 'done' && phase.verifiedAt === 0
    while (!signal.aborted) {
      try {
        // One that was given up must not go on buying: to a sealed one everything is there.
        if (givenUp && opening.get(id)?.mode === 'buy') await close(id)
        const purchase = await open(job, resoldMs(job) > 0 ? 'resell' : 'settle')
        await purchase.settle(deps.wallet(), signal)
        if (signal.aborted) return
        await deps.onSettled(job)
        idle.set(id, job)
        retireLater(job, Math.max(ports.lateWatchMs, resoldMs(job)))
        return
      } catch (error) {
        if (signal.aborted) return
        log.warn({ reason: error instanceof Error ? error.message : String(error) }, 'open payments wait')
        await retry.sleep(ports.retryMs)
      }
    }
  }

  return {
    open: (job) => open(job, 'buy'),
    opened: (job) => opened.get(idOf(job)),
    tend(job) {
      const id = idOf(job)
      const early = ['announced', 'queued', 'buying', 'held'].includes(job.phase.tag)
      if (early || job.payments === 'none' || tending.has(id)) return
      // Settled after a restart and before it was installed: now it can be sold from there.
      const sellsNow = opening.get(id)?.mode === 'settle' && resoldMs(job) > 0
      if (idle.has(id) && !sellsNow) return
      tending.add(id)
      const look = async (): Promise<void> => {
        if (idle.has(id)) await close(id)
        if (job.payments === 'open' || (await keeps(job))) await settle(job)
      }
      look()
        .catch((error: unknown) => log.warn({ err: error }, 'a past purchase could not be looked at'))
        .finally(() => tending.delete(id))
    },
    keeps,
    async close() {
      for (const timer of timers.values()) clearTimeout(timer)
      await Promise.all([...opening.keys()].map(close))
    },
  }
}
