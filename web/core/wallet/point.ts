/** Which 32 bytes are keys of secp256k1 (BIP 340). Of those that others send, half are none. */
import { schnorr, secp256k1 } from '@noble/curves/secp256k1.js'

/** `key`: 64 hex digits, x-only. Nothing can be encrypted to what is no point. */
export function isPoint(key: string): boolean {
  try {
    schnorr.utils.lift_x(BigInt(`0x${key}`))
    return true
  } catch {
    return false
  }
}

export const isSecret = (secret: Uint8Array): boolean => secp256k1.utils.isValidSecretKey(secret)
