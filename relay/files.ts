/** Files that are whole or absent, whatever the moment of a power cut: written beside, synced, renamed. */
import { createHash, randomBytes } from 'node:crypto'
import { open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { codeOf } from './errors.ts'

const TEMPORARY = '.tmp-'
const isTemporary = (name: string): boolean => name.startsWith(TEMPORARY)

/** Durable under `path` when it resolves; a reader sees the old file or the new one. */
export async function writeAtomically(
  path: string,
  content: Uint8Array | string,
  options: Readonly<{ mode?: number }> = {},
): Promise<void> {
  const temporary = join(
    dirname(path),
    `${TEMPORARY}${basename(path).slice(0, 80)}-${randomBytes(6).toString('hex')}`,
  )
  try {
    const file = await open(temporary, 'wx', options.mode ?? 0o644)
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncDirectory(dirname(path))
}

/** Leftovers of a crash. */
export async function removeTemporaries(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (isTemporary(name)) await rm(join(directory, name), { recursive: true, force: true })
  }
}

/** Makes names in `path` durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

export async function readIfThere(path: string): Promise<Buffer<ArrayBuffer> | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Native: megabytes must not hold up everyone else. */
export const fastSha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
export const fastSha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')
