/**
 * Brings the file over to the install step's side, where the network process is another user: a copy, because whoever
 * wrote the file may still have it open for writing. Only then is it proven.
 */
import { constants, fstat, read } from 'node:fs'
import { open, rm, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { plainOf } from '../../web/core/release/confidential.ts'
import type { Release } from '../../web/core/release/target.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { makeDirectory } from '../storage/durable.ts'

const incomingDir = (productsDir: string): string => join(productsDir, '.incoming')
/** One at a time: a step installs one release after the other. */
export const incomingFile = (productsDir: string): string => join(incomingDir(productsDir), 'artifact')
export const removeIncoming = (productsDir: string): Promise<void> =>
  rm(incomingDir(productsDir), { recursive: true, force: true })

export type Source = Readonly<{
  path: string
  /** An open descriptor that is read in place of `path`. */
  handed?: number
}>

const statOf = promisify(fstat)
const readFrom = promisify(read)
const CHUNK_BYTES = 1024 * 1024

/** What went wrong, in words; nothing is proven yet. */
export async function takeIn(
  productsDir: string,
  release: Release,
  source: Source,
): Promise<string | undefined> {
  const target = incomingFile(productsDir)
  // Neither a link nor a pipe that never ends.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const own = source.handed === undefined ? await open(source.path, flags).catch(asError) : undefined
  if (own instanceof Error) return storageError(own, source.path).message
  const fd = own?.fd ?? source.handed ?? -1
  try {
    const info = await statOf(fd)
    if (!info.isFile()) return 'what was bought is not a file'
    await removeIncoming(productsDir)
    await makeDirectory(incomingDir(productsDir))
    const into = await open(target, 'wx', 0o600)
    try {
      await copy(fd, into, plainOf(release).bytes + 1)
      await into.sync()
    } finally {
      await into.close()
    }
    return undefined
  } catch (error) {
    await removeIncoming(productsDir).catch(() => undefined)
    return storageError(error, errnoOf(error) === undefined ? source.path : target).message
  } finally {
    await own?.close()
  }
}

/** A byte more than signed is enough to be found out. */
async function copy(fd: number, into: FileHandle, maxBytes: number): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, maxBytes))
  for (let at = 0; at < maxBytes;) {
    const { bytesRead } = await readFrom(fd, buffer, 0, Math.min(buffer.length, maxBytes - at), at)
    if (bytesRead === 0) return
    await into.write(buffer, 0, bytesRead)
    at += bytesRead
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))
