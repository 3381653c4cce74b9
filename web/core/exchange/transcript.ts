/**
 * Proof of keys on a wire: each side signs both keys, both nonces, its own role, the release root and both
 * DTLS certificate fingerprints, so that nobody can relay another's proof. Specified in PROTOCOL.md.
 */
import { fromHex, toHex, type Bytes, type PartyKey, type Sha256Hex } from '../bytes.ts'
import type { SecretKey } from '../nostr/event.ts'
import { secp } from '../secp.ts'
import { encode } from './bencode.ts'
import type { Role } from './message.ts'
import { taggedHash } from './quote.ts'

export type Side = Readonly<{
  key: PartyKey
  nonce: Bytes
  role: Role
  /** SHA-256 fingerprint of the side's DTLS certificate, 32 bytes. */
  certificate: Bytes
  /** The RELEASE event that the side showed, or nothing. */
  floor?: string
}>

function digest(prover: Side, verifier: Side, root: Sha256Hex): Bytes {
  const side = (of: Side) => ({
    certificate: of.certificate,
    floor: of.floor ?? '',
    key: fromHex(of.key),
    nonce: of.nonce,
    role: of.role,
  })
  return taggedHash(
    'satpatch/wire',
    encode({ prover: side(prover), root: fromHex(root), v: 1, verifier: side(verifier) }),
  )
}

export function prove(mine: Side, theirs: Side, root: Sha256Hex, secret: SecretKey, aux: Uint8Array): Bytes {
  return secp.sign(digest(mine, theirs, root), secret, aux)
}

export function verifyProof(mine: Side, theirs: Side, root: Sha256Hex, sig: Uint8Array): boolean {
  // A proof that is our own echoed back would have our key as the prover's.
  if (theirs.key === mine.key || toHex(theirs.nonce) === toHex(mine.nonce)) return false
  return secp.verify(sig, digest(theirs, mine, root), fromHex(theirs.key))
}

/**
 * `a=fingerprint:sha-256 AB:CD:…` of a session description (RFC 8122), the same in all its media. `undefined` too where they
 * differ: which of them the transport checks is not ours to know.
 */
export function fingerprintOf(sdp: string): Bytes | undefined {
  const lines = sdp.matchAll(/^a=fingerprint:sha-256 ((?:[0-9a-f]{2}:){31}[0-9a-f]{2})\s*$/gim)
  const [only, ...others] = new Set(
    Array.from(lines, ([, hex = '']) => hex.replaceAll(':', '').toLowerCase()),
  )
  return only === undefined || others.length > 0 ? undefined : fromHex(only)
}
