/** Encrypts or decrypts an artifact into a file of its own, hashed on its way; what is sold stays encrypted. */
import { createDecipheriv, createHash } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncDirectory } from './durable.ts'
import { storageError } from './errors.ts'

const CHUNK_BYTES = 1024 * 1024

/**
 * AES-256-CTR from counter 0, as in `web/edge/confidential/cipher.ts`: the same call encrypts and decrypts. `to` is there
 * whole or not at all, and whatever stood there is replaced. Gives the SHA-256 of what was written. @throws StorageError
 */
export async function cryptFile(from: string, to: string, key: Uint8Array): Promise<string> {
  const tmp = `${to}.tmp`
  try {
    await rm(tmp, { force: true }) // of a run that was cut off
    const source = await open(from, 'r')
    try {
      const target = await open(tmp, 'wx', 0o600)
      try {
        const cipher = createDecipheriv('aes-256-ctr', key, new Uint8Array(16))
        const hash = createHash('sha256')
        const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
        for (let at = 0; ;) {
          const { bytesRead } = await source.read(buffer, 0, CHUNK_BYTES, at)
          if (bytesRead === 0) break
          const done = cipher.update(buffer.subarray(0, bytesRead))
          hash.update(done)
          await target.writeFile(done)
          at += bytesRead
        }
        await target.sync()
        await target.close()
        await rename(tmp, to)
        await syncDirectory(dirname(to))
        return hash.digest('hex')
      } finally {
        await target.close()
      }
    } finally {
      await source.close()
    }
  } catch (error) {
    await rm(tmp, { force: true }).catch(() => undefined)
    throw storageError(error, to)
  }
}
