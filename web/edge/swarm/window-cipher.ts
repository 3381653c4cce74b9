/** Ciphers and hashes of whole windows, off the main thread where the platform can. */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import { windowKey } from '../../core/exchange/cipher.ts'
import { BLOCK, HASH, blocksIn } from '../../core/swarm/merkle.ts'

type NodeCrypto = { hash(algorithm: string, data: Uint8Array, encoding: 'buffer'): Uint8Array }

/** Node's own hash is five times as fast as WebCrypto on 16 KiB; tabs do not have it. */
const node: NodeCrypto | undefined = (
  globalThis as { process?: { getBuiltinModule?(name: string): NodeCrypto | undefined } }
).process?.getBuiltinModule?.('node:crypto')

/** AES-256-CTR with the window's key: the same call encrypts and decrypts. */
export async function cryptWindow(secret: Uint8Array, quoteId: Sha256Hex, bytes: Bytes): Promise<Bytes> {
  const raw = windowKey(secret, quoteId)
  const key = await crypto.subtle.importKey('raw', raw, 'AES-CTR', false, ['encrypt'])
  return new Uint8Array(
    await crypto.subtle.encrypt({ name: 'AES-CTR', counter: new Uint8Array(16), length: 64 }, key, bytes),
  )
}

export async function hashOf(algorithm: 'SHA-1' | 'SHA-256', bytes: Uint8Array): Promise<Uint8Array> {
  if (node !== undefined) return node.hash(algorithm === 'SHA-1' ? 'sha1' : 'sha256', bytes, 'buffer')
  return new Uint8Array(await crypto.subtle.digest(algorithm, bytes as Bytes))
}

/** SHA-256 of each 16 KiB block, the last as long as it is; 32 bytes an entry. */
export async function leafHashes(bytes: Uint8Array): Promise<Bytes> {
  const leaves = new Uint8Array(blocksIn(bytes.length) * HASH)
  const jobs: Promise<void>[] = []
  for (let block = 0; block * BLOCK < bytes.length; block++) {
    const slice = bytes.subarray(block * BLOCK, (block + 1) * BLOCK)
    if (node !== undefined) leaves.set(node.hash('sha256', slice, 'buffer'), block * HASH)
    else jobs.push(hashOf('SHA-256', slice).then((hash) => leaves.set(hash, block * HASH)))
  }
  await Promise.all(jobs)
  return leaves
}
