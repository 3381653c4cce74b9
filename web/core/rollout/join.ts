/** Join codes and device codes: how a device and a vendor first recognise each other (ARCHITECTURE.md "Joining"). */
import { base32crockford, bech32 } from '@scure/base'
import { sha256 } from '@noble/hashes/sha2.js'
import { concat, fromHex, fromUtf8, parsePartyKey, toHex, utf8 } from '../bytes.ts'
import type { PartyKey, VendorId } from '../bytes.ts'
import { decode, encode } from '../exchange/bencode.ts'

/** What a join code carries. The secret proves that the vendor invited whoever shows it. */
export type JoinCode = Readonly<{
  vendor: VendorId
  /** The vendor's Nostr key. */
  nostr: PartyKey
  /** Base URL of the relay, without a trailing slash: `https://host:port`. */
  relay: string
  /** 16 bytes, 32 hex digits. */
  secret: string
}>

export type JoinCodeRefusal = {
  tag: 'refused'
  why: 'not-a-join-code' | 'damaged' | 'bad-relay'
  message: string
}
export type JoinCodeResult = { tag: 'ok'; code: JoinCode } | JoinCodeRefusal

const PREFIX = 'spjoin'
const MAX_CODE_CHARS = 1024
const MAX_RELAY_BYTES = 300
const SECRET_BYTES = 16

const refused = (why: JoinCodeRefusal['why'], message: string): JoinCodeRefusal => ({
  tag: 'refused',
  why,
  message,
})

/** The base URL in one spelling, or undefined when it is not plain http(s) without user, query or fragment. */
export function relayBaseUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined
  if (url.username || url.password || url.search || url.hash) return undefined
  return url.href.replace(/\/+$/, '')
}

/** @throws RangeError when a field is not what its type says: a caller's mistake, never outside input. */
export function encodeJoinCode(code: JoinCode): string {
  const relay = relayBaseUrl(code.relay)
  if (!relay || utf8(relay).length > MAX_RELAY_BYTES) throw new RangeError('not a relay address')
  if (!/^[0-9a-f]{32}$/.test(code.secret)) throw new RangeError('not a join secret')
  const value = { n: fromHex(code.nostr), r: relay, s: fromHex(code.secret), v: fromHex(code.vendor) }
  return bech32.encode(PREFIX, bech32.toWords(encode(value)), false)
}

/** Reads what a person typed or pasted; blanks around it are ignored. Never throws. */
export function decodeJoinCode(text: string): JoinCodeResult {
  const trimmed = text.trim()
  if (!/^spjoin1/i.test(trimmed) || trimmed.length > MAX_CODE_CHARS) {
    return refused(
      'not-a-join-code',
      'This is not a join code. A join code starts with "spjoin1"; copy it from the vendor’s page.',
    )
  }
  const damaged = () =>
    refused(
      'damaged',
      'The join code is incomplete or has a typo. Copy the whole line from the vendor’s page.',
    )
  let fields: unknown
  try {
    const { words } = bech32.decode(trimmed as `${string}1${string}`, false)
    fields = decode(bech32.fromWords(words))
  } catch {
    return damaged()
  }
  if (typeof fields !== 'object' || fields === null) return damaged()
  const { n, r, s, v } = fields as Record<string, unknown>
  if (!(
    n instanceof Uint8Array &&
    r instanceof Uint8Array &&
    s instanceof Uint8Array &&
    v instanceof Uint8Array
  ))
    return damaged()
  const nostr = parsePartyKey(toHex(n))
  if (!nostr || v.length !== 32 || s.length !== SECRET_BYTES || r.length > MAX_RELAY_BYTES) return damaged()
  let relay: string | undefined
  try {
    relay = relayBaseUrl(fromUtf8(r))
  } catch {
    return damaged()
  }
  if (!relay)
    return refused('bad-relay', 'The join code names no usable relay address. Ask the vendor for a new one.')
  return { tag: 'ok', code: { vendor: toHex(v) as VendorId, nostr, relay, secret: toHex(s) } }
}

/**
 * What a person compares on both screens: the first 40 bits of SHA-256("satpatch device code" || key)
 * in Crockford base32, `XXXX-XXXX`.
 */
export function deviceCode(key: PartyKey): string {
  const digest = sha256(concat(utf8('satpatch device code'), fromHex(key)))
  const code = base32crockford.encode(digest.slice(0, 5))
  return `${code.slice(0, 4)}-${code.slice(4, 8)}`
}
