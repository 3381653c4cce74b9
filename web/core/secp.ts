/**
 * secp256k1, in one place: BIP 340 signatures (keys of parties) and ECDSA with key recovery (BOLT 11). Pure JavaScript
 * unless an edge installs something faster (`web/edge/secp-node.ts`); both give the same answer to every input.
 */
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js'
import { concat, type Bytes } from './bytes.ts'

/** Digests are 32 bytes. Whatever does not fit (lengths, points off the curve) is false or undefined, never thrown. */
export type Secp = Readonly<{
  /** x-only. @throws for no secret key */
  publicKey(secret: Uint8Array): Bytes
  /** `aux`: 32 bytes of auxiliary randomness. @throws for no secret key */
  sign(digest: Uint8Array, secret: Uint8Array, aux: Uint8Array): Bytes
  verify(sig: Uint8Array, digest: Uint8Array, key: Uint8Array): boolean
  /** ECDSA, deterministic (RFC 6979), low s: 64 bytes, then the recovery id. @throws for no secret key */
  signRecoverable(digest: Uint8Array, secret: Uint8Array): Bytes
  /** Compressed key that made this signature: 64 bytes, then the recovery id. */
  recover(sig: Uint8Array, digest: Uint8Array): Bytes | undefined
}>

export const pureSecp: Secp = {
  publicKey: (secret) => schnorr.getPublicKey(secret) as Bytes,
  sign: (digest, secret, aux) => schnorr.sign(digest, secret, aux) as Bytes,
  verify(sig, digest, key) {
    try {
      return schnorr.verify(sig, digest, key)
    } catch {
      return false
    }
  },
  signRecoverable(digest, secret) {
    const sig = secp256k1.sign(digest, secret, { prehash: false, format: 'recovered' })
    return concat(sig.subarray(1), sig.subarray(0, 1))
  },
  recover(sig, digest) {
    const flag = sig[64] ?? 4
    if (flag > 3 || sig.length !== 65) return undefined
    try {
      const marked = concat(Uint8Array.of(flag), sig.subarray(0, 64))
      return secp256k1.recoverPublicKey(marked, digest, { prehash: false }) as Bytes
    } catch {
      return undefined
    }
  },
}

let installed: Secp = pureSecp

/** What the rest of the core calls: looked up at each call, so that it may be installed at any time. */
export const secp: Secp = {
  publicKey: (secret) => installed.publicKey(secret),
  sign: (digest, secret, aux) => installed.sign(digest, secret, aux),
  verify: (sig, digest, key) => installed.verify(sig, digest, key),
  signRecoverable: (digest, secret) => installed.signRecoverable(digest, secret),
  recover: (sig, digest) => installed.recover(sig, digest),
}

export function installSecp(faster: Secp): void {
  installed = faster
}
