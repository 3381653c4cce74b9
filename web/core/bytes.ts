/** Byte helpers shared by the core. Everything here is pure and allocation is explicit. */
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { sha256 } from '@noble/hashes/sha2.js'

declare const unit: unique symbol
/** 32 bytes as 64 lower-case hex digits, output of SHA-256. */
export type Sha256Hex = string & { readonly [unit]: 'sha256' }
/** 20 bytes as 40 lower-case hex digits: a BitTorrent v1 info-hash (BEP 3). */
export type InfoHash = string & { readonly [unit]: 'infohash' }
/** A secp256k1 x-only public key (BIP 340, NIP-01) as 64 lower-case hex digits: a party's name. */
export type PartyKey = string & { readonly [unit]: 'party' }
/** SHA-256 of the vendor's first root.json (its bytes as served): what a device pins. */
export type VendorId = Sha256Hex & { readonly __vendor?: never }

export type Bytes = Uint8Array<ArrayBuffer>

const HEX32 = /^[0-9a-f]{64}$/
export const isHex32 = (text: string): boolean => HEX32.test(text)

/** The short name of a key that has none: `seed-7f3a`. */
export const keyName = (key: string, role = 'key'): string => `${role}-${key.slice(0, 4)}`

export function parseSha256Hex(text: string): Sha256Hex | undefined {
  return HEX32.test(text) ? (text as Sha256Hex) : undefined
}
export function parsePartyKey(text: string): PartyKey | undefined {
  return HEX32.test(text) ? (text as PartyKey) : undefined
}
export function parseInfoHash(text: string): InfoHash | undefined {
  return /^[0-9a-f]{40}$/.test(text) ? (text as InfoHash) : undefined
}

export const toHex = (bytes: Uint8Array): string => bytesToHex(bytes)
/** @throws on odd length or a character that is not hex: only for text already checked. */
export const fromHex = (text: string): Bytes => hexToBytes(text) as Bytes
export const utf8 = (text: string): Bytes => utf8ToBytes(text) as Bytes
export const fromUtf8 = (bytes: Uint8Array): string => new TextDecoder('utf-8', { fatal: true }).decode(bytes)
export const sha256Hex = (bytes: Uint8Array): Sha256Hex => bytesToHex(sha256(bytes)) as Sha256Hex

export function concat(...parts: Uint8Array[]): Bytes {
  let length = 0
  for (const part of parts) length += part.length
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Not constant-time: for public values only. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
