/** Confidential artifacts on the vendor's side: a key of their own, and all that is signed about them. */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import { toHex } from '../../core/bytes.ts'
import { KEY_BYTES } from '../../core/release/confidential.ts'
import type { ByteSource, Metainfo } from '../swarm/api.ts'
import { hashArtifact } from '../swarm/hash-artifact.ts'
import { runningSha256 } from '../swarm/window-cipher.ts'
import { openCipher } from './cipher.ts'

/** Fresh for each artifact: in counter mode a key that is used twice hides nothing. */
export const newArtifactKey = (): Bytes => crypto.getRandomValues(new Uint8Array(KEY_BYTES))

/** The encrypted bytes of a plain source, or the plain ones of an encrypted source. */
export async function throughCipher(source: ByteSource, key: Uint8Array): Promise<ByteSource> {
  const cipher = await openCipher(key)
  return {
    length: source.length,
    read: async (offset, length) => cipher(offset, (await source.read(offset, length)).slice() as Bytes),
  }
}

export type HashedConfidential = Readonly<{
  meta: Metainfo
  /** Of the encrypted bytes. */
  sha256: Sha256Hex
  magnet: string
  confidential: ConfidentialArtifact
}>
/** What only the vendor has of an artifact: its key, and the SHA-256 of the plain bytes. */
export type ConfidentialArtifact = Readonly<{ key: Bytes; sha256: Sha256Hex }>

/** `hashArtifact` of the bytes that travel, and beside it the hash of those that are installed; one pass over the file. */
export async function hashConfidential(
  source: ByteSource,
  name: string,
  trackers: readonly string[],
  key: Bytes,
  onProgress?: (pieces: number, of: number) => void,
): Promise<HashedConfidential> {
  const [cipher, plain] = await Promise.all([openCipher(key), runningSha256()])
  const encrypting: ByteSource = {
    length: source.length,
    // Asked for once, piece after piece.
    async read(offset, length) {
      const bytes = (await source.read(offset, length)).slice() as Bytes
      plain.update(bytes)
      return cipher(offset, bytes)
    },
  }
  const hashed = await hashArtifact(encrypting, name, trackers, onProgress)
  return { ...hashed, confidential: { key, sha256: toHex(plain.digest()) as Sha256Hex } }
}
