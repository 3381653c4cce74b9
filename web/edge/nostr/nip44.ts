/** NIP-44 v2 encryption between two parties, with conversation keys kept (one costs 3 ms). */
import { decrypt, encrypt, getConversationKey } from '#nip44'
import type { PartyKey } from '../../core/bytes.ts'
import type { SecretKey } from '../../core/nostr/event.ts'

/** Conversation keys kept per secret; the oldest goes first. */
const MAX_KEPT = 1000
const kept = new WeakMap<SecretKey, Map<PartyKey, Uint8Array>>()

function conversationKey(secret: SecretKey, other: PartyKey): Uint8Array {
  let keys = kept.get(secret)
  if (!keys) kept.set(secret, (keys = new Map()))
  let key = keys.get(other)
  if (!key) {
    key = getConversationKey(secret, other)
    if (keys.size >= MAX_KEPT) for (const oldest of keys.keys()) if (keys.delete(oldest)) break
    keys.set(other, key)
  }
  return key
}

/** @throws when `text` is empty or longer than 65,535 bytes, or `other` is not a point. */
export function encryptTo(secret: SecretKey, other: PartyKey, text: string): string {
  return encrypt(text, conversationKey(secret, other))
}

/** @throws when the payload is not NIP-44 v2 from `other` to this party. */
export function decryptFrom(secret: SecretKey, other: PartyKey, payload: string): string {
  return decrypt(payload, conversationKey(secret, other))
}
