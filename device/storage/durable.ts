/** Files that are there whole or not at all, after a power cut too: tmp, fsync, rename, fsync of the directory. */
import { randomBytes } from 'node:crypto'
import { open, mkdir, rename, rm, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { storageError } from './errors.ts'

/** Numbers of processes come again, in a container at every start: what one that was killed left must be in nobody's way. */
const run = randomBytes(4).toString('hex')
let serial = 0
/** A name beside `path` that no other writer uses. */
export const temporaryName = (path: string): string => `${path}.${run}-${++serial}.tmp`

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Puts `bytes` at `path` atomically and durably; `mode` defaults to 0600. */
export async function writeDurably(path: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
  const tmp = temporaryName(path)
  try {
    const handle = await open(tmp, 'wx', mode)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(tmp, path)
    await syncDirectory(dirname(path))
  } catch (error) {
    await rm(tmp, { force: true }).catch(() => undefined)
    throw storageError(error, path)
  }
}

/** Makes a directory of the owner's (0700), with its parents, or says in words why not. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw storageError(error, path)
  }
}

/** Writes all of the parts, one behind the other, from `position` on. */
export async function writeAll(
  handle: FileHandle,
  parts: readonly Uint8Array[],
  position: number,
): Promise<void> {
  let [rest, at] = [parts, position]
  while (rest.length > 0) {
    const { bytesWritten } = await handle.writev(rest, at)
    at += bytesWritten
    rest = without(rest, bytesWritten)
  }
}

function without(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes
  for (const [i, part] of parts.entries()) {
    if (left < part.length) return [part.subarray(left), ...parts.slice(i + 1)]
    left -= part.length
  }
  return []
}
