/**
 * Public keys of TUF metadata and what they verify (TUF specification 1.0.34, section 4.2): `ed25519`,
 * `ecdsa-sha2-nistp256` and `rsassa-pss-sha256`. All of it is synchronous, so that a verdict is a plain function
 * of bytes in tabs and in Node; WebCrypto would make each of them wait.
 */
import { canonicalize } from '@tufjs/canonical-json'
import { ed25519 } from '@noble/curves/ed25519.js'
import { p256 } from '@noble/curves/nist.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { base64 } from '@scure/base'
import { mgf1, PSS, type PublicKey as RsaKey } from 'micro-rsa-dsa-dh/rsa.js'
import * as v from 'valibot'
import type { Bytes, Sha256Hex } from '../bytes.ts'
import { equal, fromHex, sha256Hex, toHex, utf8 } from '../bytes.ts'

export const publicKeySchema = v.looseObject({
  keytype: v.string(),
  scheme: v.string(),
  keyval: v.looseObject({ public: v.string() }),
})
/** A key as it stands in root.json or in a delegation. */
export type PublicKeyObject = v.InferOutput<typeof publicKeySchema>

/** What RSA keys may be: smaller ones are broken, larger ones are work for nothing. */
const RSA_BITS = { least: 2048, most: 8192 } as const
const MAX_KEY_CHARS = 4096

/** The bytes that signatures cover: canonical JSON (OLPC) of `signed`. Absent optional fields stay absent. */
export const signedBytes = (signed: object): Bytes =>
  utf8(canonicalize(JSON.parse(JSON.stringify(signed)) as object))

/**
 * TUF key id: SHA-256 of the key object's canonical JSON. We write such ids and do not ask for them (TAP 12):
 * an id is only a name inside one signed file, keys are told apart by what they are (`material`).
 */
export const keyId = (key: PublicKeyObject): Sha256Hex => sha256Hex(signedBytes(key))

export const ed25519Key = (publicKey: Uint8Array): PublicKeyObject => ({
  keytype: 'ed25519',
  scheme: 'ed25519',
  keyval: { public: toHex(publicKey) },
})

export type VerifyingKey = Readonly<{
  /** Equal for two objects that hold the same key, however they spell it. */
  material: string
  /** False for anything that is not this key's signature of `message`; never throws. */
  verifies(signature: Uint8Array, message: Uint8Array): boolean
}>

/** `undefined`: a type or scheme that is not known here, or a key that is not one. It verifies nothing, and harms nothing. */
export function readKey(key: PublicKeyObject): VerifyingKey | undefined {
  const reader = Object.hasOwn(readers, `${key.keytype}/${key.scheme}`)
    ? readers[`${key.keytype}/${key.scheme}`]
    : undefined
  if (!reader || key.keyval.public.length > MAX_KEY_CHARS) return undefined
  try {
    return reader(key.keyval.public)
  } catch {
    return undefined
  }
}

/** Whether `signature` (hex) is `key`'s over `message`. Never throws. */
export function verifySignature(key: PublicKeyObject, signature: string, message: Uint8Array): boolean {
  const bytes = hexBytes(signature)
  return bytes !== undefined && (readKey(key)?.verifies(bytes, message) ?? false)
}

/** Either case; `undefined` for what is not hex. */
export const hexBytes = (text: string): Bytes | undefined =>
  /^([0-9a-f]{2})+$/i.test(text) ? fromHex(text.toLowerCase()) : undefined

type Reader = (text: string) => VerifyingKey | undefined

const readers: Readonly<Record<string, Reader>> = {
  'ed25519/ed25519': readEd25519,
  'ecdsa/ecdsa-sha2-nistp256': readP256,
  // As keytype in metadata from before specification 1.0.18.
  'ecdsa-sha2-nistp256/ecdsa-sha2-nistp256': readP256,
  'rsa/rsassa-pss-sha256': readRsa,
}

/** False where the library throws on bytes that no signature could be. */
const guarded =
  (verify: (signature: Uint8Array, message: Uint8Array) => boolean): VerifyingKey['verifies'] =>
  (signature, message) => {
    try {
      return verify(signature, message)
    } catch {
      return false
    }
  }

function readEd25519(text: string): VerifyingKey | undefined {
  const key = hexBytes(text)
  if (key?.length !== 32) return undefined
  return {
    material: `ed25519 ${toHex(key)}`,
    // RFC 8032, not ZIP 215: what other TUF clients refuse is refused here too.
    verifies: guarded((signature, message) => ed25519.verify(signature, message, key, { zip215: false })),
  }
}

/** PEM, or the uncompressed point in hex as older repositories have it. */
function readP256(text: string): VerifyingKey | undefined {
  const encoded = hexBytes(text) ?? pointOf(fromPem(text))
  if (!encoded) return undefined
  const point = p256.Point.fromBytes(encoded)
  point.assertValidity()
  const key = point.toBytes(false)
  return {
    material: `p256 ${toHex(key)}`,
    // Signers of other TUF tools do not normalise S.
    verifies: guarded((signature, message) =>
      p256.verify(signature, message, key, { format: 'der', lowS: false }),
    ),
  }
}

function readRsa(text: string): VerifyingKey | undefined {
  const key = rsaOf(fromPem(text))
  const bits = key?.n.toString(2).length ?? 0
  if (!key || bits < RSA_BITS.least || bits > RSA_BITS.most) return undefined
  // FIPS 186-5: an odd exponent above 2^16; the bound keeps a check cheap.
  if (key.e <= 65_536n || key.e >= 2n ** 32n || key.e % 2n === 0n) return undefined
  // Salts in use: as long as the hash, or as long as fits. The length is part of what is checked.
  const longest = Math.ceil((bits - 1) / 8) - sha256.outputLen - 2
  const mask = mgf1(sha256)
  const schemes = [sha256.outputLen, longest].map((salt) => PSS(sha256, mask, salt))
  return {
    material: `rsa ${key.n.toString(16)} ${key.e.toString(16)}`,
    verifies: (signature, message) =>
      schemes.some((scheme) => guarded((sig, text) => scheme.verify(key, text, sig))(signature, message)),
  }
}

const PEM = /^\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/

/** DER of a SubjectPublicKeyInfo (RFC 7468). @throws when it is not PEM */
function fromPem(text: string): Uint8Array {
  const body = PEM.exec(text)?.[1]
  if (body === undefined) throw new RangeError('not a PEM public key')
  return base64.decode(body.replaceAll(/\s+/g, ''))
}

const TAG = { integer: 0x02, bits: 0x03, sequence: 0x30 } as const
/** AlgorithmIdentifier contents: id-ecPublicKey with prime256v1 (RFC 5480), rsaEncryption with NULL (RFC 3279). */
const ALGORITHM = {
  p256: fromHex('06072a8648ce3d020106082a8648ce3d030107'),
  rsa: fromHex('06092a864886f70d0101010500'),
} as const

const pointOf = (spki: Uint8Array): Uint8Array => subjectKey(spki, ALGORITHM.p256)

function rsaOf(spki: Uint8Array): RsaKey {
  const { inside, rest } = element(subjectKey(spki, ALGORITHM.rsa), TAG.sequence)
  if (rest.length > 0) throw new RangeError('bytes after the key')
  const n = element(inside, TAG.integer)
  const e = element(n.rest, TAG.integer)
  if (e.rest.length > 0) throw new RangeError('bytes after the exponent')
  return { n: unsigned(n.inside), e: unsigned(e.inside) }
}

/** The key bits of a SubjectPublicKeyInfo of this algorithm (RFC 5280, 4.1). @throws on anything else */
function subjectKey(spki: Uint8Array, algorithm: Uint8Array): Uint8Array {
  const outer = element(spki, TAG.sequence)
  const name = element(outer.inside, TAG.sequence)
  const key = element(name.rest, TAG.bits)
  if (outer.rest.length > 0 || key.rest.length > 0 || !equal(name.inside, algorithm) || key.inside[0] !== 0) {
    throw new RangeError('another kind of key')
  }
  return key.inside.subarray(1)
}

/** One DER element (X.690): definite, shortest length. @throws on anything else */
function element(bytes: Uint8Array, tag: number): { inside: Uint8Array; rest: Uint8Array } {
  const first = bytes[1]
  if (bytes[0] !== tag || first === undefined) throw new RangeError('not the DER element expected')
  let at = 2
  let length = first
  if (first >= 0x80) {
    const digits = first - 0x80
    if (digits < 1 || digits > 2) throw new RangeError('a DER length out of range')
    length = 0
    for (; at < 2 + digits; at++) length = length * 256 + (bytes[at] ?? 0)
    if (length < 0x80 || (digits === 2 && length < 0x100))
      throw new RangeError('a DER length not the shortest')
  }
  if (at + length > bytes.length) throw new RangeError('DER that ends early')
  return { inside: bytes.subarray(at, at + length), rest: bytes.subarray(at + length) }
}

function unsigned(bytes: Uint8Array): bigint {
  const first = bytes[0]
  if (first === undefined || first >= 0x80) throw new RangeError('not a positive integer')
  return BigInt(`0x${toHex(bytes)}`)
}
