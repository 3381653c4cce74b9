/**
 * Group commit: what arrives in one turn of the event loop is one database transaction with one fsync, and nobody hears
 * of anything before it is committed. Each piece of work is a savepoint of its own: one that throws undoes only itself.
 */
import type { Database } from './database.ts'

/** After the commit: the answers of the whole batch go first, since they are waited for; news is told a turn later. */
export type After = Readonly<{ answer?: () => void; tell?: () => void }>
/** Runs inside the transaction. */
export type Work = () => After

/** Pieces of work in one transaction: bounds how long the first waits for the last. */
export const MAX_BATCH = 64

export interface Batch {
  add(work: Work): void
  /** Commits what waits, and tells of it. */
  stop(): void
}

export function createBatch(options: {
  db: Database
  /** Runs its argument soon; `setImmediate`, so that all sockets have been read before. */
  schedule?: (run: () => void) => void
  onError: (error: unknown) => void
  onCommit: () => void
}): Batch {
  const { db, onError, onCommit } = options
  const schedule = options.schedule ?? ((run: () => void) => void setImmediate(run))
  const waiting: Work[] = []
  const untold: (() => void)[] = []
  let scheduled = false

  const commit = (works: readonly Work[]): After[] =>
    db.transaction(() =>
      works.flatMap((work) => {
        try {
          return [db.transaction(work)]
        } catch (error) {
          onError(error)
          return []
        }
      }),
    )
  const flush = (): void => {
    scheduled = false
    const works = waiting.splice(0, MAX_BATCH)
    if (waiting.length > 0) plan()
    if (works.length === 0) return
    try {
      const committed = commit(works)
      for (const { answer } of committed) if (answer) afterwards(answer)
      for (const { tell } of committed) if (tell) untold.push(tell)
      if (untold.length > 0) schedule(tellAll)
      onCommit()
    } catch (error) {
      // Nothing of it was committed, nobody was told: clients ask again or look up.
      onError(error)
    }
  }
  const tellAll = (): void => {
    for (const tell of untold.splice(0)) afterwards(tell)
  }
  const afterwards = (run: () => void): void => {
    try {
      run()
    } catch (error) {
      onError(error)
    }
  }
  const plan = (): void => {
    if (scheduled) return
    scheduled = true
    schedule(flush)
  }
  return {
    add(work) {
      waiting.push(work)
      plan()
    },
    stop() {
      while (waiting.length > 0) flush()
      tellAll()
    },
  }
}
