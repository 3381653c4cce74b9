/** One process a data directory. The kernel drops the lock with the process, however it ends: no stale lock files. */
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { storageError } from '../storage/errors.ts'

export class LockedError extends Error {
  override readonly name = 'LockedError'
}

const SQLITE_BUSY = 5

/** Holds `directory` until the function that it gives is called. @throws LockedError, StorageError */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  // Loaded late: commands that hold no directory need no SQLite.
  const { lockDataDir } = await import('../../relay/data-dir.ts')
  try {
    const unlock = lockDataDir(directory)
    await chmod(join(directory, 'lock.sqlite'), 0o600)
    return async () => unlock()
  } catch (error) {
    if (!(error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY))
      throw storageError(error, directory)
    throw new LockedError(
      `Another process already runs with the data directory ${directory}. Stop it first.`,
      { cause: error },
    )
  }
}
