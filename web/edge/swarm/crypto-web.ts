/** Hashes and ciphers by WebCrypto, which every platform has. Measured in Chromium: five times as fast as SHA-256 in WASM. */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import { counterAt, windowKey } from '../../core/exchange/cipher.ts'
import { BLOCK, HASH, blocksIn } from '../../core/swarm/merkle.ts'
import { free } from './buffers.ts'

/** A SHA-256 of bytes that come in parts. */
export type RunningHash = Readonly<{ update(bytes: Uint8Array): void; digest(): Uint8Array }>

/** In the memory of what went in. */
export type CryptedWindow = Readonly<{ bytes: Bytes; leaves: Bytes }>
/** With the hashes of what went in. */
export type SealedWindow = CryptedWindow & Readonly<{ plain: Bytes }>

/** Hashes the blocks of a window, where that is worth it as they come: they are still in the processor's cache then. */
export type ArrivingHashes = Readonly<{
  /** Whole blocks, but for the window's last. */
  arrived(bytes: Uint8Array, at: number): void
  /** Once all of the window has. */
  leaves(window: Bytes): Promise<Bytes>
}>

/** Chromium ciphers parts of this size twice as fast as a MiB at once. */
const PART_BYTES = 4 * BLOCK
const TOGETHER = 64

/** AES-256-CTR with the window's key: the same call encrypts and decrypts. */
export async function cryptWith(secret: Uint8Array, quoteId: Sha256Hex, bytes: Bytes): Promise<Bytes> {
  const key = await importKey(secret, quoteId)
  return new Uint8Array(await crypt(key, 0, bytes))
}

/** Like `cryptWith`, in place. */
export async function cryptInPlace(secret: Uint8Array, quoteId: Sha256Hex, bytes: Bytes): Promise<void> {
  await cryptParts(await importKey(secret, quoteId), 0, bytes)
}

/** AES-CTR in place, of bytes that stand at `offset` (a multiple of 16) of what the key encrypts. */
export async function cryptParts(key: CryptoKey, offset: number, bytes: Bytes): Promise<void> {
  let next = 0
  const work = async (): Promise<void> => {
    while (next < bytes.length) {
      const at = next
      next += PART_BYTES
      const part = bytes.subarray(at, next)
      const done = new Uint8Array(await crypt(key, offset + at, part))
      part.set(done)
      free(done)
    }
  }
  await Promise.all(Array.from({ length: TOGETHER }, work))
}

const importKey = (secret: Uint8Array, quoteId: Sha256Hex): Promise<CryptoKey> =>
  crypto.subtle.importKey('raw', windowKey(secret, quoteId), 'AES-CTR', false, ['encrypt'])

const crypt = (key: CryptoKey, at: number, bytes: Bytes): Promise<ArrayBuffer> =>
  crypto.subtle.encrypt({ name: 'AES-CTR', counter: counterAt(at), length: 64 }, key, bytes)

export async function digestOf(algorithm: 'SHA-1' | 'SHA-256', bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest(algorithm, bytes as Bytes))
}

export async function leavesOf(bytes: Uint8Array): Promise<Bytes> {
  const leaves = new Uint8Array(blocksIn(bytes.length) * HASH)
  const jobs: Promise<void>[] = []
  for (let block = 0; block * BLOCK < bytes.length; block++) {
    const slice = bytes.subarray(block * BLOCK, (block + 1) * BLOCK)
    jobs.push(digestOf('SHA-256', slice).then((hash) => leaves.set(hash, block * HASH)))
  }
  await Promise.all(jobs)
  return leaves
}
