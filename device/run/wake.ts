/** One thing to wait on for a loop that sleeps until something changed. */
import { MAX_TIMER_MS } from './timer.ts'

export interface Wake {
  /** Ends the present or the next sleep. */
  now(): void
  /** Until `now()`, or `maxMs`, or the end of the process. */
  sleep(maxMs: number): Promise<void>
}

export function createWake(signal: AbortSignal): Wake {
  let pending = false
  let end: (() => void) | undefined
  const now = (): void => {
    pending = true
    end?.()
  }
  signal.addEventListener('abort', now, { once: true })
  return {
    now,
    async sleep(maxMs) {
      if (!pending && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, Math.min(maxMs, MAX_TIMER_MS))
          end = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
      end = undefined
      pending = false
    },
  }
}
