/**
 * Releases that only enrolled devices can read (ARCHITECTURE.md "Confidential releases"): the list of wrapped keys, and
 * what is installed in place of what travels.
 *
 * The list is bencoded: {e: entries, f: public key of its sender, v: 1}. The sender's key is made for this one list. An
 * entry has 147 bytes: a name (16) and a NIP-44 version 2 payload (131) with the artifact's key in hex. Both ends derive
 * the name from their NIP-44 conversation key, so that it tells nobody else whose entry it is. Entries are sorted by name.
 * One entry more, under a name of its own, gives the sender's secret to whoever made the list, and so for whom it is.
 */
import { base64 } from '@scure/base'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { concat, fromHex, isHex32, parsePartyKey, toHex, utf8, type Bytes, type PartyKey } from '../bytes.ts'
import { decode, encode } from '../exchange/bencode.ts'
import { MAX_KEYS_BYTES, type Release } from './target.ts'

/** AES-256. */
export const KEY_BYTES = 32
const NAME_BYTES = 16
/** Version, nonce, length and 64 padded characters, MAC. */
const PAYLOAD_BYTES = 1 + 32 + (2 + 64) + 32
const ENTRY_BYTES = NAME_BYTES + PAYLOAD_BYTES
/** Devices that one list has room for. */
export const MAX_READERS = Math.floor((MAX_KEYS_BYTES - 200) / ENTRY_BYTES)

/** Where the list of a release's keys goes, beside it. */
export const keysPathOf = (releasePath: string): string => `${releasePath}.keys`

/** What is installed: of a confidential release the decrypted artifact. Its name and all else stay. */
export const plainOf = (release: Release): Release =>
  release.confidential
    ? { ...release, bytes: release.confidential.bytes, sha256: release.confidential.sha256 }
    : release

/** An artifact's key as it is wrapped. */
export const keyText = (key: Uint8Array): string => toHex(key)
export const parseKeyText = (text: string): Bytes | undefined => (isHex32(text) ? fromHex(text) : undefined)

/** An entry's name for both ends of a NIP-44 conversation key. */
export const entryName = (conversationKey: Uint8Array): Bytes =>
  hmac(sha256, conversationKey, utf8('satpatch/keys-entry')).slice(0, NAME_BYTES) as Bytes

/** Of the entry that holds the sender's secret in place of an artifact's key. */
export const senderEntryName = (conversationKey: Uint8Array): Bytes =>
  hmac(sha256, conversationKey, utf8('satpatch/keys-sender')).slice(0, NAME_BYTES) as Bytes

/** `payload`: NIP-44 version 2 of a `keyText`. */
export type KeyEntry = Readonly<{ name: Uint8Array; payload: string }>

/** @throws RangeError for payloads of another length, and for more than MAX_READERS: a caller's mistake. */
export function buildKeysFile(sender: PartyKey, entries: readonly KeyEntry[]): Bytes {
  if (entries.length > MAX_READERS) throw new RangeError(`more than ${MAX_READERS} readers`)
  const rows = entries.map(({ name, payload }) => {
    const row = concat(name, base64.decode(payload))
    if (name.length !== NAME_BYTES || row.length !== ENTRY_BYTES) throw new RangeError('not an entry')
    return row
  })
  rows.sort(byName)
  return encode({ e: concat(...rows), f: fromHex(sender), v: 1 })
}

export type KeysFile = Readonly<{
  sender: PartyKey
  readers: number
  /** The payload under this name; `undefined`: it is not in the list. */
  find(name: Uint8Array): string | undefined
}>

/** `undefined`: not such a list. Never throws. */
export function readKeysFile(bytes: Uint8Array): KeysFile | undefined {
  if (bytes.length > MAX_KEYS_BYTES) return undefined
  let fields: Readonly<Record<string, unknown>>
  try {
    fields = decode(bytes) as Readonly<Record<string, unknown>>
  } catch {
    return undefined
  }
  const { e: entries, f, v } = fields
  if (v !== 1 || !(entries instanceof Uint8Array) || !(f instanceof Uint8Array)) return undefined
  const sender = parsePartyKey(toHex(f))
  if (!sender || entries.length % ENTRY_BYTES !== 0) return undefined
  const readers = entries.length / ENTRY_BYTES
  const row = (at: number): Uint8Array => entries.subarray(at * ENTRY_BYTES, (at + 1) * ENTRY_BYTES)
  for (let at = 1; at < readers; at++) if (byName(row(at - 1), row(at)) >= 0) return undefined
  return {
    sender,
    readers,
    find(name) {
      if (name.length !== NAME_BYTES) return undefined
      for (let [low, high] = [0, readers]; low < high;) {
        const middle = (low + high) >> 1
        const order = byName(row(middle), name)
        if (order === 0) return base64.encode(row(middle).subarray(NAME_BYTES))
        if (order < 0) low = middle + 1
        else high = middle
      }
      return undefined
    },
  }
}

function byName(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < NAME_BYTES; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
