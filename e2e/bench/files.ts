/** Files of random bytes that are the same for the same seed. */
import { createCipheriv, createHash } from 'node:crypto'
import { open } from 'node:fs/promises'

const CHUNK = 4 * 1024 * 1024

/** AES-256-CTR over zeros: nothing to compress, and as fast as the disk. */
export async function writeRandomFile(file: string, bytes: number, seed: string): Promise<void> {
  const key = createHash('sha256').update(seed).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  const zeros = Buffer.alloc(CHUNK)
  const handle = await open(file, 'w')
  try {
    for (let at = 0; at < bytes; at += CHUNK)
      await handle.write(cipher.update(zeros.subarray(0, Math.min(CHUNK, bytes - at))))
    await handle.sync()
  } finally {
    await handle.close()
  }
}
