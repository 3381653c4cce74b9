/**
 * Secrets and keys of a window. The seller's secret is an HMAC of a persisted key and the quote id: it
 * survives a crash and is never reused. AES-256-CTR with a key of its own per quote: one ciphertext, one plaintext.
 */
import { ctr } from '@noble/ciphers/aes.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { concat, fromHex, toHex, utf8, type Bytes, type Sha256Hex } from '../bytes.ts'
import { BLOCK } from '../swarm/merkle.ts'

/** The preimage that a quote's payment hash stands for. */
export function quoteSecret(sellerKey: Uint8Array, quoteId: Sha256Hex): Bytes {
  return hmac(sha256, sellerKey, concat(utf8('satpatch/secret'), fromHex(quoteId))) as Bytes
}

export const paymentHashOf = (secret: Uint8Array): Sha256Hex => toHex(sha256(secret)) as Sha256Hex

/** AES-256 key of the window: HKDF-SHA-256, salt = quote id, info = `satpatch/window`. */
export function windowKey(secret: Uint8Array, quoteId: Sha256Hex): Bytes {
  return hkdf(sha256, secret, fromHex(quoteId), utf8('satpatch/window'), 32) as Bytes
}

/** 128-bit big-endian counter of the AES block at `offset` of the window, which starts at 0. */
export function counterAt(offset: number): Bytes {
  const counter = new Uint8Array(16)
  new DataView(counter.buffer).setBigUint64(8, BigInt(offset / 16))
  return counter
}

/** Decrypts block `index` of a window: for proofs. Whole windows go through the edge's faster cipher. */
export function decryptBlock(key: Uint8Array, index: number, ciphertext: Uint8Array): Bytes {
  return ctr(key, counterAt(index * BLOCK)).decrypt(ciphertext) as Bytes
}
