/** Publishes accusations one after the other, each until a relay has taken it. */
import type { PartyKey } from '../../core/bytes.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import type { Pool } from '../nostr/pool.ts'

const TIMEOUT_MS = 20_000
/** The wait after a failure doubles so often. */
const MAX_DOUBLINGS = 6

export interface Teller {
  /** By the key that the event accuses: a later one replaces it. */
  tell(key: PartyKey, event: NostrEvent): void
  stop(): void
}

export function publishUntilTaken(
  deps: Readonly<{
    pool: Pool
    retryMs: number
    onTaken: (key: PartyKey) => void
    log: (event: string, detail: Readonly<Record<string, unknown>>) => void
  }>,
): Teller {
  const due = new Map<PartyKey, NostrEvent>()
  let busy = false
  let stopped = false
  let failures = 0
  let timer: ReturnType<typeof setTimeout> | undefined

  async function next(): Promise<void> {
    const [first] = due
    if (busy || stopped || timer !== undefined || first === undefined) return
    const [key, event] = first
    busy = true
    try {
      await deps.pool.publish(event, { timeoutMs: TIMEOUT_MS })
      failures = 0
      if (due.get(key) === event) due.delete(key)
      deps.onTaken(key)
    } catch (error) {
      deps.log('accusation not published yet', {
        key,
        error: error instanceof Error ? error.message : String(error),
      })
      // To the end of the queue: one that no relay takes must not keep the others.
      if (due.delete(key)) due.set(key, event)
      const waitMs = deps.retryMs * 2 ** Math.min(failures++, MAX_DOUBLINGS)
      if (!stopped)
        timer = setTimeout(() => {
          timer = undefined
          void next()
        }, waitMs)
    } finally {
      busy = false
    }
    void next()
  }

  return {
    tell(key, event) {
      due.set(key, event)
      void next()
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
