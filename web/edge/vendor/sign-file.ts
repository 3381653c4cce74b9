/** Signing metadata with the keys at hand. */
import { toHex, type Bytes } from '../../core/bytes.ts'
import { assemble, keyId, signedBytes, type Signature } from '../../core/release/repository.ts'
import type { Signer } from './api.ts'

/** The metadata file with a signature of every key here that is among `keyids`. */
export async function signFile(
  signers: readonly Signer[],
  signed: object,
  keyids: ReadonlySet<string>,
): Promise<Bytes> {
  return assemble(signed, await signaturesOf(signers, signedBytes(signed), keyids))
}

export async function signaturesOf(
  signers: readonly Signer[],
  canonical: Uint8Array,
  keyids: ReadonlySet<string>,
): Promise<Signature[]> {
  const out: Signature[] = []
  // One after the other: each may be a person's touch on a hardware key.
  for (const { key, sign } of signers) {
    const keyid = keyId(key)
    if (keyids.has(keyid)) out.push({ keyid, sig: toHex(await sign(canonical)) })
  }
  return out
}
