/**
 * Hashes and ciphers of whole windows in Node (`#crypto`): its own hash is five times as fast as WebCrypto on 16 KiB, and
 * cipher and hash together take a third less of the processor on the spot than through WebCrypto's threads.
 */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import { counterAt, windowKey } from '../../core/exchange/cipher.ts'
import { BLOCK, HASH, blocksIn } from '../../core/swarm/merkle.ts'
import { free } from './buffers.ts'
import type { ArrivingHashes, CryptedWindow, RunningHash, SealedWindow } from './crypto-web.ts'

type NodeCrypto = {
  hash(algorithm: string, data: Uint8Array, encoding: 'buffer'): Uint8Array
  createHash(algorithm: string): RunningHash
  createCipheriv(algorithm: string, key: Uint8Array, iv: Uint8Array): { update(data: Uint8Array): Bytes }
}

const { hash, createHash, createCipheriv } = (
  globalThis as unknown as { process: { getBuiltinModule(name: 'node:crypto'): NodeCrypto } }
).process.getBuiltinModule('node:crypto')

export const hashOf = (algorithm: 'SHA-1' | 'SHA-256', bytes: Uint8Array): Promise<Uint8Array> =>
  Promise.resolve(hash(algorithm === 'SHA-1' ? 'sha1' : 'sha256', bytes, 'buffer'))

export const runningSha256 = (): Promise<RunningHash> => Promise.resolve(createHash('sha256'))

export function leafHashes(bytes: Uint8Array): Promise<Bytes> {
  const leaves = new Uint8Array(blocksIn(bytes.length) * HASH)
  hashBlocks(bytes, leaves, 0)
  return Promise.resolve(leaves)
}

/** The hash of each block of `bytes` into `leaves`, from the entry of block `first` on. */
function hashBlocks(bytes: Uint8Array, leaves: Uint8Array, first: number): void {
  for (let block = 0; block * BLOCK < bytes.length; block++) {
    const slice = bytes.subarray(block * BLOCK, (block + 1) * BLOCK)
    leaves.set(hash('sha256', slice, 'buffer'), (first + block) * HASH)
  }
}

export function arrivingHashes(length: number): ArrivingHashes {
  const leaves = new Uint8Array(blocksIn(length) * HASH)
  return {
    arrived: (bytes, at) => hashBlocks(bytes, leaves, at / BLOCK),
    leaves: () => Promise.resolve(leaves),
  }
}

/** @param bytes are given away: the result lies in their memory */
export const cryptHashed = (secret: Uint8Array, quoteId: Sha256Hex, bytes: Bytes): Promise<CryptedWindow> =>
  Promise.resolve({ bytes, leaves: crypt(secret, quoteId, bytes, () => undefined) })

/** Like `cryptHashed`, and hashes what goes in. */
export function sealHashed(secret: Uint8Array, quoteId: Sha256Hex, bytes: Bytes): Promise<SealedWindow> {
  const plain = new Uint8Array(blocksIn(bytes.length) * HASH)
  const leaves = crypt(secret, quoteId, bytes, (part, block) => hashBlocks(part, plain, block))
  return Promise.resolve({ bytes, plain, leaves })
}

/** What is done to a part next finds it in the processor's cache. */
const PART_BLOCKS = 8

function crypt(
  secret: Uint8Array,
  quoteId: Sha256Hex,
  bytes: Bytes,
  before: (part: Bytes, block: number) => void,
): Bytes {
  const cipher = createCipheriv('aes-256-ctr', windowKey(secret, quoteId), counterAt(0))
  const leaves = new Uint8Array(blocksIn(bytes.length) * HASH)
  for (let block = 0; block * BLOCK < bytes.length; block += PART_BLOCKS) {
    const part = bytes.subarray(block * BLOCK, (block + PART_BLOCKS) * BLOCK)
    before(part, block)
    const done = cipher.update(part)
    hashBlocks(done, leaves, block)
    part.set(done)
    free(done)
  }
  return leaves
}
