/**
 * The secret in a join code. It authenticates itself: any tab that holds the vendor's keys recognises a code
 * that any other has made, and nothing has to be remembered. 6 random bytes, the day, 8 bytes of MAC.
 */
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import type { VendorId } from '../bytes.ts'
import { concat, equal, fromHex, toHex, utf8 } from '../bytes.ts'
import type { SecretKey } from '../nostr/event.ts'

export const JOIN_CODE_DAYS = 7
const DAY_MS = 86_400_000
const RANDOM_BYTES = 6

const mac = (head: Uint8Array, vendor: VendorId, secret: SecretKey): Uint8Array =>
  hmac(sha256, secret, concat(utf8('satpatch join secret'), fromHex(vendor), head)).slice(0, 8)

/** 32 hex digits; `random` is 6 fresh bytes. */
export function makeJoinSecret(
  vendor: VendorId,
  secret: SecretKey,
  nowMs: number,
  random: Uint8Array,
): string {
  const day = Math.floor(nowMs / DAY_MS)
  const head = concat(random.slice(0, RANDOM_BYTES), new Uint8Array([(day >> 8) & 255, day & 255]))
  return toHex(concat(head, mac(head, vendor, secret)))
}

/** Made by this vendor, and not longer ago than `JOIN_CODE_DAYS` when the device asked (Unix ms). */
export function checkJoinSecret(
  text: string,
  vendor: VendorId,
  secret: SecretKey,
  askedAtMs: number,
): boolean {
  if (!/^[0-9a-f]{32}$/.test(text)) return false
  const bytes = fromHex(text)
  const head = bytes.slice(0, 8)
  if (!equal(mac(head, vendor, secret), bytes.slice(8))) return false
  const day = ((head[6] ?? 0) << 8) | (head[7] ?? 0)
  const asked = Math.floor(askedAtMs / DAY_MS)
  // A day of grace either way: a device's clock may be off.
  return asked >= day - 1 && asked <= day + JOIN_CODE_DAYS
}
