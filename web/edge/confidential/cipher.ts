/**
 * The cipher of confidential artifacts: AES-256-CTR, counter 0 at byte 0, so that any piece can be read alone. What the
 * bytes are is proven by the Merkle root that is signed of the encrypted ones and the SHA-256 that is signed of the plain.
 */
import type { Bytes } from '../../core/bytes.ts'
import { cryptParts } from '../swarm/crypto-web.ts'

const AES_BLOCK = 16

/** Encrypts and decrypts: bytes at any `offset` of the artifact, in place. */
export type ArtifactCipher = (offset: number, bytes: Bytes) => Promise<Bytes>

export async function openCipher(key: Uint8Array): Promise<ArtifactCipher> {
  const aes = await crypto.subtle.importKey('raw', key as Bytes, 'AES-CTR', false, ['encrypt'])
  return async (offset, bytes) => {
    const skipped = offset % AES_BLOCK
    if (skipped === 0) {
      await cryptParts(aes, offset, bytes)
      return bytes
    }
    const aligned = new Uint8Array(skipped + bytes.length)
    aligned.set(bytes, skipped)
    await cryptParts(aes, offset - skipped, aligned)
    bytes.set(aligned.subarray(skipped))
    return bytes
  }
}
