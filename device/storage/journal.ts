/** `Journal` of web/edge/swarm/api.ts on a file system: one file per record, whole or not there. */
import { open, readFile, readdir, rename, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bytes } from '../../web/core/bytes.ts'
import type { Journal } from '../../web/edge/swarm/api.ts'
import { makeDirectory, syncDirectory, writeAll } from './durable.ts'
import { errnoOf, storageError } from './errors.ts'
import { createSyncGroup } from './sync-group.ts'

export interface NodeJournal extends Journal {
  /** Bytes written to the medium by this process. */
  readonly bytesWritten: number
  /** Resolves when nothing is being written: whoever lets the directory go waits for it. */
  idle(): Promise<void>
}

/** A record's file name must fit 255 bytes with its suffix. */
const MAX_KEY_LENGTH = 200
const KEY = /^[a-z0-9/-]+$/
const SUFFIX = '.rec'

/** `/` never stands in a file name, and `_` never in a key: flat files, so that `a` and `a/b` can both be. */
const fileOf = (key: string): string => key.replaceAll('/', '_') + SUFFIX
const keyOf = (file: string): string => file.slice(0, -SUFFIX.length).replaceAll('_', '/')

function checked(key: string): string {
  if (!KEY.test(key) || key.length > MAX_KEY_LENGTH)
    throw new RangeError(`not a journal key: ${key.slice(0, 80)}`)
  return key
}

/** Opens (and makes) the journal in `directory`; leftovers of a cut write are swept away. */
export async function openJournal(directory: string): Promise<NodeJournal> {
  await makeDirectory(directory)
  for (const name of await readdir(directory)) {
    if (name.endsWith('.tmp')) await rm(join(directory, name), { force: true })
  }
  const directorySync = createSyncGroup(() => syncDirectory(directory))
  /** The last operation on each key that is being changed: changes of one key keep their order. */
  const tails = new Map<string, Promise<void>>()
  let serial = 0
  let bytesWritten = 0

  function inOrder(key: string, run: () => Promise<void>): Promise<void> {
    const before = tails.get(key) ?? Promise.resolve()
    const after = before.then(run, run)
    tails.set(key, after)
    const forget = (): void => {
      if (tails.get(key) === after) tails.delete(key)
    }
    after.then(forget, forget)
    return after
  }

  async function write(key: string, parts: readonly Uint8Array[]): Promise<void> {
    const path = join(directory, fileOf(key))
    const tmp = join(directory, `${++serial}.tmp`)
    try {
      const handle = await open(tmp, 'wx', 0o600)
      try {
        await writeAll(handle, parts, 0)
        await handle.datasync()
      } finally {
        await handle.close()
      }
      for (const part of parts) bytesWritten += part.length
      await rename(tmp, path)
      await directorySync.sync()
    } catch (error) {
      await rm(tmp, { force: true }).catch(() => undefined)
      throw storageError(error, path)
    }
  }

  return {
    ...readJournal(directory),
    get bytesWritten() {
      return bytesWritten
    },
    async idle() {
      while (tails.size > 0) await Promise.allSettled(tails.values())
    },
    async put(key, ...parts) {
      await inOrder(checked(key), () => write(key, parts))
    },
    async delete(key) {
      const path = join(directory, fileOf(checked(key)))
      await inOrder(key, async () => {
        try {
          await unlink(path)
          await directorySync.sync()
        } catch (error) {
          if (errnoOf(error) !== 'ENOENT') throw storageError(error, path)
        }
      })
    },
  }
}

/** Only looks: for `status`, while another process writes. */
export function readJournal(directory: string): Pick<Journal, 'get' | 'keys'> {
  return {
    async get(key) {
      const path = join(directory, fileOf(checked(key)))
      try {
        return new Uint8Array(await readFile(path)) as Bytes
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined
        throw storageError(error, path)
      }
    },
    async keys(prefix) {
      const names = await readdir(directory).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return []
        throw storageError(error, directory)
      })
      return names
        .filter((name) => name.endsWith(SUFFIX))
        .map(keyOf)
        .filter((key) => key.startsWith(prefix))
        .sort()
    },
  }
}
