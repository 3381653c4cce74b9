/** Group commit: callers that wait for the same fsync share it, so that a flash card sees few of them. */

/** `sync()` resolves after a run of `flush` that began after the call. One runs, one waits; never more. */
export function createSyncGroup(flush: () => Promise<void>): { sync(): Promise<void> } {
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined

  const start = (): Promise<void> => {
    const run = flush().finally(() => {
      if (running === run) running = undefined
    })
    running = run
    return run
  }

  return {
    sync() {
      if (running === undefined) return start()
      next ??= running
        .catch(() => undefined) // its callers hear of it; the next run stands for itself
        .then(() => {
          next = undefined
          return start()
        })
      return next
    },
  }
}
