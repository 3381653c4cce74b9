/** The data directory: made private, proven writable, and held by one relay at a time. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { StartError } from './errors.ts'
import { writeAtomically } from './files.ts'

/** Gives the function that lets go. The lock is the operating system's: a killed relay leaves none behind. */
export async function holdDataDir(dataDir: string): Promise<() => void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    await writeAtomically(
      join(dataDir, 'README'),
      'Data of a Satpatch relay. Keep it private; back it up whole.\n',
    )
  } catch (cause) {
    const text = `The data directory ${dataDir} cannot be written. Choose another with --data, or mend its permissions.`
    throw new StartError('data-unwritable', text, { cause })
  }
  const lock = new DatabaseSync(join(dataDir, 'lock.sqlite'))
  try {
    lock.exec('PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (cause) {
    lock.close()
    const text = `Another relay is using the data directory ${dataDir}. Stop it, or choose another with --data.`
    throw new StartError('data-in-use', text, { cause })
  }
  return () => lock.close()
}
