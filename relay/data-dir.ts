/** The data directory: made private, proven writable, and held by one relay at a time. */
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { codeOf, StartError } from './errors.ts'
import { writeAtomically } from './files.ts'

/** Gives the function that lets go. The lock is the operating system's: a killed relay leaves none behind. */
export async function holdDataDir(dataDir: string): Promise<() => void> {
  try {
    await makeDirectory(dataDir)
    await writeAtomically(
      join(dataDir, 'README'),
      'Data of a Satpatch relay. Keep it private; back it up whole.\n',
    )
  } catch (cause) {
    const text = `The data directory ${dataDir} cannot be written. Choose another with --data, or mend its permissions.`
    throw new StartError('data-unwritable', text, { cause })
  }
  try {
    return lockDataDir(dataDir)
  } catch (cause) {
    const text = `Another relay is using the data directory ${dataDir}. Stop it, or choose another with --data.`
    throw new StartError('data-in-use', text, { cause })
  }
}

/** Throws what SQLite says when another process holds the directory. */
export function lockDataDir(dataDir: string): () => void {
  const lock = new DatabaseSync(join(dataDir, 'lock.sqlite'))
  try {
    lock.exec('PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    throw error
  }
  return () => lock.close()
}

/** Node's own recursive `mkdir` never returns under /proc and the like, where a parent exists and takes no entries. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return
    const parent = dirname(path)
    if (codeOf(error) !== 'ENOENT' || parent === path) throw error
    await makeDirectory(parent)
    await mkdir(path, { mode: 0o700 })
  }
}
