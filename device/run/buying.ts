/** Buys the current release: may it begin, what does the download wait for, how much of the day's bytes is used. */
import type { Release } from '../../web/core/release/target.ts'
import { addBytes, bytesLeft, tomorrowS } from '../../web/core/rollout/lifecycle-device.ts'
import { DISK_RESERVE_BYTES, fundsWait, whyWait, type Wait } from '../../web/core/rollout/lifecycle-wait.ts'
import { isActive, step, type Event, type Job } from '../../web/core/rollout/lifecycle.ts'
import { deviceCode } from '../../web/core/rollout/join.ts'
import type { DownloadSnapshot, Journal } from '../../web/edge/swarm/api.ts'
import type { DeviceConfig } from '../config/config.ts'
import { proveFile } from '../install/installer.ts'
import type { Logger } from '../log.ts'
import { StorageError } from '../storage/errors.ts'
import type { Opener } from './confidential.ts'
import type { Funds } from './funds.ts'
import { addWritten, type Jobs } from './jobs.ts'
import { PurchaseError } from './metainfo.ts'
import { BUILT_AT_S, type Ports } from './ports.ts'
import { artifactPath, capOf, type Purchase } from './purchase.ts'
import { paidRecords } from './receipts.ts'
import type { RecordKeeper } from './record.ts'

export type BuyingDeps = Readonly<{
  config: DeviceConfig
  ports: Ports
  keeper: RecordKeeper
  jobs: Jobs
  funds: Funds
  journal: Journal
  accepted: () => boolean
  purchaseOf: (job: Job) => Promise<Purchase>
  opener: Opener
  onView: () => void
  log: Logger
  signal: AbortSignal
}>

export interface Buying {
  /** Both give how long to sleep before asking again. */
  admit(job: Job): Promise<number>
  buy(job: Job): Promise<number>
}

/** How often the bytes bought today are written down. */
const COUNT_EVERY_MS = 5000
/** How often what the download says becomes a state. */
const REFLECT_MS = 300

export function createBuying(deps: BuyingDeps): Buying {
  const { config, ports, keeper, jobs, funds, opener, log, signal } = deps

  async function notYet({ release }: Job, missingBytes: number): Promise<Wait | undefined> {
    const priceCap = capOf(config, release)
    const { bytesPerDay } = config
    const nowMs = ports.nowMs()
    return whyWait({
      accepted: deps.accepted(),
      deviceCode: deviceCode(config.identity.key),
      nowS: Math.max(0, Math.floor(nowMs / 1000)),
      floorS: Math.max(BUILT_AT_S, keeper.get().floorS),
      wallet: priceCap === 0 ? { tag: 'none' } : await funds.state(),
      missingBytes,
      plainBytes: release.confidential?.bytes ?? 0,
      freeBytes: await ports.freeBytes(config.dataDir),
      dataDir: config.dataDir.slice(0, 500),
      byteBudget:
        bytesPerDay === undefined
          ? undefined
          : {
              leftBytes: bytesLeft(keeper.get(), bytesPerDay, nowMs),
              limitBytes: bytesPerDay,
              untilS: tomorrowS(nowMs),
            },
      priceCap,
    })
  }

  async function waitFor(error: unknown, release: Release): Promise<Wait> {
    if (error instanceof StorageError && error.code === 'disk-full') {
      const freeBytes = await ports.freeBytes(config.dataDir).catch(() => 0)
      const needBytes = Math.min(release.bytes, DISK_RESERVE_BYTES)
      return { why: 'disk', needBytes, freeBytes, path: config.dataDir.slice(0, 500) }
    }
    const text = (error instanceof Error ? error.message : String(error)).slice(0, 500)
    return { why: error instanceof PurchaseError ? 'mirror' : 'trouble', text }
  }

  return {
    async admit(job) {
      if (job.phase.tag === 'queued' && job.phase.wait.why === 'withdrawn') return ports.retryMs
      const wait = (await notYet(job, job.release.bytes)) ?? (await opener.whyNot(job.release))
      if (wait === undefined) await jobs.apply(job, { tag: 'admitted', at: ports.nowMs() })
      else await jobs.apply(job, { tag: 'held', wait })
      return wait === undefined ? 0 : ports.retryMs
    },

    async buy(job) {
      const { release } = job
      try {
        const purchase = await deps.purchaseOf(job)
        await recount(job, purchase)
        const wait = await notYet(job, purchase.missingBytes())
        if (wait !== undefined) {
          await jobs.apply(job, { tag: 'held', wait })
          return ports.retryMs
        }
        if (!(await follow(job, purchase))) return 0
        const differs = await proveFile(release, artifactPath(config.dataDir, release))
        if (differs !== undefined) {
          const reason = `the pieces are the ones that the vendor signed, the file is not: ${differs}`
          await jobs.apply(job, { tag: 'refused', reason, at: ports.nowMs() })
          return 0
        }
        const opened = await opener.open(release)
        if (opened.tag === 'held') {
          await jobs.apply(job, opened)
          return ports.retryMs
        }
        const at = ports.nowMs()
        await jobs.apply(job, opened.tag === 'ok' ? { tag: 'proven', at } : { ...opened, at })
        return 0
      } catch (error) {
        if (signal.aborted) return 0
        log.debug({ err: error }, 'the purchase is interrupted')
        await jobs.apply(job, { tag: 'held', wait: await waitFor(error, release) })
        return ports.retryMs
      }
    },
  }

  /** A process that was killed could not write down its last bytes: what is there was written at least once. */
  async function recount(job: Job, purchase: Purchase): Promise<void> {
    const { path, bytes } = job.release
    const bought = (await paidRecords(deps.journal, job.release)).reduce((sum, { row }) => sum + row.bytes, 0)
    const least = bytes - purchase.missingBytes() + bought
    await keeper.update((record) => {
      const known = record.written[path] ?? 0
      return known >= least ? record : addWritten(record, path, least - known)
    })
  }

  /** True when everything is there; false when it has to wait, was given up, or the device stops. */
  async function follow(job: Job, purchase: Purchase): Promise<boolean> {
    const pause = new AbortController()
    let counted = purchase.missingBytes()
    /** What the download says, and since when: a passing word is not worth a state. */
    let said: { what: string; sinceMs: number } | undefined
    let held: Wait | undefined

    function eventOf({ state }: DownloadSnapshot): Event | undefined {
      const what = state.tag === 'waiting' ? state.why : state.tag
      if (said?.what !== what) said = { what, sinceMs: ports.nowMs() }
      const forMs = ports.nowMs() - said.sinceMs
      switch (state.tag) {
        case 'buying':
          return { tag: 'went-on' }
        case 'looking':
          return forMs < ports.lonelyMs ? undefined : { tag: 'held', wait: { why: 'sellers' } }
        case 'waiting':
          if (forMs < ports.lonelyMs / 4) return undefined
          if (state.why === 'funds') return { tag: 'held', wait: fundsWait(state.needMsat, funds.money()) }
          return { tag: 'held', wait: { why: state.why, text: state.text.slice(0, 500) } }
        case 'stopped':
        case 'complete':
          return undefined
        default:
          return state satisfies never
      }
    }

    async function reflect(): Promise<void> {
      const now = jobs.latest(job)
      if (now === undefined || !isActive(now)) return pause.abort()
      const shot = purchase.snapshot.get()
      const event = shot && eventOf(shot)
      if (event !== undefined && step(now, event) !== now) await jobs.apply(job, event)
      const { bytesPerDay } = config
      if (bytesPerDay === undefined) return
      const left = bytesLeft(keeper.get(), bytesPerDay, ports.nowMs())
      const missing = purchase.missingBytes()
      if (missing === 0 || counted - missing < left) return
      held = { why: 'byte-budget', limitBytes: bytesPerDay, untilS: tomorrowS(ports.nowMs()) }
      pause.abort()
    }

    async function count(): Promise<void> {
      const missing = purchase.missingBytes()
      const used = Math.max(0, counted - missing)
      const written = purchase.takeWritten()
      counted = missing
      if (used === 0 && written === 0) return
      await keeper.update((record) =>
        addWritten(addBytes(record, used, ports.nowMs()), job.release.path, written),
      )
    }

    let reflecting = Promise.resolve()
    const run = (work: () => Promise<void>): void => {
      reflecting = reflecting.then(work).catch((error: unknown) => {
        if (!signal.aborted) log.error({ err: error }, 'the state could not be followed')
      })
    }
    const timers = [
      setInterval(() => run(reflect), REFLECT_MS),
      setInterval(() => run(count), COUNT_EVERY_MS),
    ]
    const stopView = purchase.snapshot.subscribe(deps.onView)
    try {
      return (await purchase.buy(funds.wallet(), AbortSignal.any([signal, pause.signal]))) === 'complete'
    } finally {
      for (const timer of timers) clearInterval(timer)
      stopView()
      run(count)
      await reflecting
      if (held !== undefined) await jobs.apply(job, { tag: 'held', wait: held })
    }
  }
}
