/**
 * NIP-44 version 2 with Node's own hash (`#nip44`): a third of the time in JavaScript. What is beyond the standard's
 * 65,535 bytes is left to nostr-tools; `nip44.test.ts` holds both to the same answers.
 */
import { chacha20 } from '@noble/ciphers/chacha.js'
import * as nip44 from 'nostr-tools/nip44'

type Exchange = {
  setPrivateKey(key: Uint8Array): void
  computeSecret(other: Uint8Array): Uint8Array<ArrayBuffer>
}
type NodeCrypto = {
  hash(algorithm: string, data: Uint8Array, encoding: 'buffer'): Uint8Array<ArrayBuffer>
  createECDH(curve: string): Exchange
  randomBytes(size: number): Uint8Array<ArrayBuffer>
  timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean
}
type Coder = typeof Uint8Array & {
  from(text: string, encoding: 'base64' | 'hex'): Uint8Array<ArrayBuffer>
  concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> & { toString(encoding: 'base64'): string }
}

const scope = globalThis as unknown as {
  process: { getBuiltinModule(name: 'node:crypto'): NodeCrypto }
  Buffer: Coder
}
const crypto = scope.process.getBuiltinModule('node:crypto')
const { from: decode, concat } = { from: scope.Buffer.from.bind(scope.Buffer), concat: scope.Buffer.concat }

const VERSION = 2
const NONCE = 32
const MAC = 32
const HASH_BLOCK = 64
const SALT = new TextEncoder().encode('nip44-v2')
const MIN_PADDED = 32
const MAX_PLAIN = 65_535
/** Base64 characters of the shortest and the longest payload. */
const PAYLOAD_CHARS = [132, 87_472] as const

const sha256 = (...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> =>
  crypto.hash('sha256', concat(parts), 'buffer')

/** HMAC-SHA256 (RFC 2104) for keys of up to a block; by single hashes, since a Node `Hmac` costs more than it hashes. */
function hmacWith(key: Uint8Array): (...parts: readonly Uint8Array[]) => Uint8Array<ArrayBuffer> {
  const [inner, outer] = [new Uint8Array(HASH_BLOCK).fill(0x36), new Uint8Array(HASH_BLOCK).fill(0x5c)]
  key.forEach((byte, i) => {
    inner[i] = byte ^ 0x36
    outer[i] = byte ^ 0x5c
  })
  return (...parts) => sha256(outer, sha256(inner, ...parts))
}

/** `other`: x-only, hex. @throws when it is not a point */
export function getConversationKey(secret: Uint8Array, other: string): Uint8Array {
  const exchange = crypto.createECDH('secp256k1')
  exchange.setPrivateKey(secret)
  return hmacWith(SALT)(exchange.computeSecret(decode(`02${other}`, 'hex')))
}

/** HKDF-expand (RFC 5869) to the three keys of one message. */
function messageKeys(conversationKey: Uint8Array, nonce: Uint8Array) {
  const hmac = hmacWith(conversationKey)
  const blocks: Uint8Array[] = []
  for (let i = 1; i <= 3; i++) blocks.push(hmac(blocks.at(-1) ?? new Uint8Array(), nonce, Uint8Array.of(i)))
  const bytes = concat(blocks)
  return { key: bytes.subarray(0, 32), nonce: bytes.subarray(32, 44), mac: bytes.subarray(44, 76) }
}

export function paddedLength(length: number): number {
  if (length <= MIN_PADDED) return MIN_PADDED
  const nextPower = 2 ** (32 - Math.clz32(length - 1))
  const chunk = nextPower <= 256 ? MIN_PADDED : nextPower / 8
  return chunk * (Math.floor((length - 1) / chunk) + 1)
}

/** @throws for an empty text. `nonce` is 32 random bytes, given only to repeat a vector. */
export function encrypt(
  text: string,
  conversationKey: Uint8Array,
  nonce: Uint8Array = crypto.randomBytes(NONCE),
): string {
  const plain = new TextEncoder().encode(text)
  if (plain.length < 1 || plain.length > MAX_PLAIN) return nip44.encrypt(text, conversationKey, nonce)
  const padded = new Uint8Array(2 + paddedLength(plain.length))
  padded.set([plain.length >> 8, plain.length & 255])
  padded.set(plain, 2)
  const keys = messageKeys(conversationKey, nonce)
  const ciphertext = chacha20(keys.key, keys.nonce, padded)
  const mac = hmacWith(keys.mac)(nonce, ciphertext)
  return concat([Uint8Array.of(VERSION), nonce, ciphertext, mac]).toString('base64')
}

/** @throws for anything but a version 2 payload under this key */
export function decrypt(payload: string, conversationKey: Uint8Array): string {
  const [shortest, longest] = PAYLOAD_CHARS
  if (payload.length < shortest) throw new Error('invalid payload length')
  if (payload.length > longest) return nip44.decrypt(payload, conversationKey)
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(payload) || payload.length % 4 !== 0) throw new Error('invalid base64')
  const bytes = decode(payload, 'base64')
  if (bytes[0] !== VERSION) throw new Error(`unknown encryption version ${bytes[0]}`)
  const nonce = bytes.subarray(1, 1 + NONCE)
  const ciphertext = bytes.subarray(1 + NONCE, -MAC)
  const keys = messageKeys(conversationKey, nonce)
  if (!crypto.timingSafeEqual(hmacWith(keys.mac)(nonce, ciphertext), bytes.subarray(-MAC)))
    throw new Error('invalid MAC')
  const padded = chacha20(keys.key, keys.nonce, ciphertext)
  const length = ((padded[0] ?? 0) << 8) | (padded[1] ?? 0)
  if (length < 1 || padded.length !== 2 + paddedLength(length)) throw new Error('invalid padding')
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(padded.subarray(2, 2 + length))
}
