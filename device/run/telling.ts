/** The loop that tells the vendor how releases ended, until a relay has taken each word. */
import { due, isActive, type Job } from '../../web/core/rollout/lifecycle.ts'
import type { Logger } from '../log.ts'
import type { Jobs } from './jobs.ts'
import type { Ports } from './ports.ts'
import { removeDownload } from './purchase.ts'
import type { RecordKeeper } from './record.ts'
import { NotTold, type Teller } from './teller.ts'
import type { Wake } from './wake.ts'

export type TellingDeps = Readonly<{
  teller: Teller
  jobs: Jobs
  keeper: RecordKeeper
  ports: Ports
  dataDir: string
  wake: Wake
  signal: AbortSignal
  /** Whether a purchase that is open, or is to be resold, still uses its files. */
  keeps: (job: Job) => Promise<boolean>
  log: Logger
}>

const LONG_SLEEP_MS = 60_000
const MAX_DOUBLINGS = 6

export async function tellAll(deps: TellingDeps): Promise<void> {
  const { teller, jobs, keeper, ports, log, signal } = deps
  let failures = 0
  while (!signal.aborted) {
    let told = false
    let failed = false
    for (const job of keeper.get().jobs as Job[]) {
      if (isActive(job) || signal.aborted) continue
      try {
        const event = await teller.tell(job)
        if (event !== undefined) {
          await jobs.apply(job, event)
          if (event.tag === 'told') log.info({ path: job.release.path }, `${event.what} sent`)
          told = true
        } else if (due(job).tag === 'rest') {
          await teller.tellLate(job)
          if (!(await deps.keeps(job))) await removeDownload(deps.dataDir, job.release)
        }
      } catch (error) {
        if (signal.aborted) return
        failed = true
        const reason = error instanceof Error ? error.message : String(error)
        log[error instanceof NotTold ? 'info' : 'error']({ reason }, 'the vendor could not be told yet')
      }
    }
    if (told) continue
    failures = failed ? Math.min(failures + 1, MAX_DOUBLINGS) : 0
    await deps.wake.sleep(failures === 0 ? LONG_SLEEP_MS : ports.retryMs * 2 ** failures)
  }
}
