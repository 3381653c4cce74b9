/**
 * Watches what a release writes. A download that met a failing disk does not go on by itself: it rests, and is made
 * anew when the rest is over; each is longer than the last, until a piece is written.
 */
import type { Journal, PieceStore } from '../swarm/api.ts'

export const DISK_RETRY_MS = { first: 30_000, most: 600_000 } as const

export interface DiskRest {
  /** What is wrong and when it is tried again, while it rests. */
  readonly text: string | undefined
  /** The same journal; a write that fails begins a rest. */
  readonly journal: Journal
  /** The same store. */
  watch(store: PieceStore): PieceStore
  begin(error: unknown): void
  end(): void
}

export function createDiskRest(
  deps: Readonly<{
    journal: Journal
    wanted: () => boolean
    /** The rest is over. */
    again: () => void
    onBegin: (why: string) => void
  }>,
): DiskRest {
  let resting: { text: string; timer: ReturnType<typeof setTimeout> } | undefined
  let nextMs: number = DISK_RETRY_MS.first

  function begin(error: unknown): void {
    if (resting !== undefined || !deps.wanted()) return
    const why = error instanceof Error ? error.message : String(error)
    const seconds = nextMs / 1000
    const wait = seconds < 180 ? `${seconds} seconds` : `${seconds / 60} minutes`
    resting = {
      text: `${why.replace(/\.?$/, '.')} It is tried again in ${wait}.`,
      timer: setTimeout(deps.again, nextMs),
    }
    nextMs = Math.min(2 * nextMs, DISK_RETRY_MS.most)
    deps.onBegin(why)
  }

  const watched = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      begin(error)
      throw error
    }
  }
  const works = (): void => {
    nextMs = DISK_RETRY_MS.first
  }

  return {
    get text() {
      return resting?.text
    },
    journal: {
      put: (key, ...parts) => watched(deps.journal.put(key, ...parts)),
      get: (key) => deps.journal.get(key),
      delete: (key) => watched(deps.journal.delete(key)),
      keys: (prefix) => deps.journal.keys(prefix),
    },
    watch: (store) => ({
      get have() {
        return store.have
      },
      get bytesWritten() {
        return store.bytesWritten
      },
      read: (offset, length, into) => store.read(offset, length, into),
      write: (piece, bytes) => watched(store.write(piece, bytes).then(works)),
      close: () => store.close(),
      destroy: () => store.destroy(),
    }),
    begin,
    end() {
      clearTimeout(resting?.timer)
      resting = undefined
    },
  }
}
