/**
 * `connection_updated`: a connection's holder and all above it hear of what changed, within a second. One connection is
 * told at most twice a second, however much happens on it.
 */
import type { Connections } from './connections.ts'
import type { Managing } from './managing.ts'
import type { Outbox } from './outbox.ts'

const SOON_MS = 50
const EVERY_MS = 500

export interface News {
  /** Something about this connection is other than before: its limits, its spending, its account. */
  changed(client: string): void
  stop(): void
}

export function createNews(options: {
  connections: Connections
  managing: Managing
  outbox: Outbox
  now: () => number
  onError: (error: unknown) => void
}): News {
  const { connections, managing, outbox, now, onError } = options
  const dirty = new Set<string>()
  const told = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined

  const tell = (client: string): void => {
    const connection = connections.find(client)
    if (connection?.source === undefined) return
    const state = managing.state(connection, now())
    for (const hearer of connections.lineage(connection)) outbox.notify(hearer, 'connection_updated', state)
  }
  const flush = (): void => {
    timer = undefined
    const at = performance.now()
    for (const [client, when] of told) if (at - when >= EVERY_MS) told.delete(client)
    for (const client of dirty) {
      if (told.has(client)) continue
      dirty.delete(client)
      told.set(client, at)
      try {
        tell(client)
      } catch (error) {
        onError(error)
      }
    }
    if (dirty.size > 0) plan(EVERY_MS / 5)
  }
  const plan = (delayMs: number): void => {
    timer ??= setTimeout(flush, delayMs).unref()
  }
  return {
    changed(client) {
      dirty.add(client)
      plan(SOON_MS)
    },
    stop() {
      clearTimeout(timer)
      dirty.clear()
    },
  }
}
