/** Nostr events (NIP-01): canonical id, BIP 340 signature, verification. Randomness comes from the caller. */
import { sha256 } from '@noble/hashes/sha2.js'
import { fromHex, toHex, utf8, type PartyKey } from '../bytes.ts'
import { secp } from '../secp.ts'

export type Tag = string[]
export type EventTemplate = { kind: number; created_at: number; tags: Tag[]; content: string }
export type NostrEvent = EventTemplate & { id: string; pubkey: PartyKey; sig: string }
/** 32 secret bytes of a party's key. Never logged, never in an error. */
export type SecretKey = Uint8Array<ArrayBuffer>

const known = new WeakMap<SecretKey, PartyKey>()

/** Remembered per array: deriving it costs as much as a signature. Secrets are never changed in place. */
export function publicKey(secret: SecretKey): PartyKey {
  const cached = known.get(secret)
  if (cached !== undefined) return cached
  const key = toHex(secp.publicKey(secret)) as PartyKey
  known.set(secret, key)
  return key
}

export function eventId(event: EventTemplate & { pubkey: string }): string {
  const { pubkey, created_at, kind, tags, content } = event
  return toHex(sha256(utf8(JSON.stringify([0, pubkey, created_at, kind, tags, content]))))
}

/** `aux` is BIP 340 auxiliary randomness, 32 bytes from the caller. */
export function signEvent(template: EventTemplate, secret: SecretKey, aux: Uint8Array): NostrEvent {
  const { kind, created_at, tags, content } = template
  const unsigned = { kind, created_at, tags, content, pubkey: publicKey(secret) }
  const id = eventId(unsigned)
  return { ...unsigned, id, sig: toHex(secp.sign(fromHex(id), secret, aux)) }
}

/** Shape, id and signature; false for anything else. Time and meaning are the caller's. */
export function verifyEvent(event: NostrEvent): boolean {
  if (!/^[0-9a-f]{64}$/.test(event.pubkey) || !/^[0-9a-f]{128}$/.test(event.sig)) return false
  if (eventId(event) !== event.id) return false
  return secp.verify(fromHex(event.sig), fromHex(event.id), fromHex(event.pubkey))
}

export const tagValue = (event: { tags: Tag[] }, name: string): string | undefined =>
  event.tags.find((tag) => tag[0] === name)?.[1]
