/** The receipts' blob: AES-256-GCM, 12-byte nonce first, over the JSON of `receiptsBlobSchema` (ARCHITECTURE.md "Nostr events"). */
import { gcm } from '@noble/ciphers/aes.js'
import * as v from 'valibot'
import type { Bytes } from '../bytes.ts'
import { concat, fromUtf8, utf8 } from '../bytes.ts'
import { receiptsBlobSchema } from './messages.ts'

export type ReceiptsBlob = v.InferOutput<typeof receiptsBlobSchema>

const NONCE_BYTES = 12

/** `key` is 32 and `nonce` 12 fresh random bytes; the key goes into the report. */
export const sealBlob = (blob: ReceiptsBlob, key: Uint8Array, nonce: Uint8Array): Bytes =>
  concat(nonce, gcm(key, nonce).encrypt(utf8(JSON.stringify(blob))))

/** `undefined` for anything that this key did not seal or that does not parse. */
export function openBlob(bytes: Uint8Array, key: Uint8Array): ReceiptsBlob | undefined {
  if (bytes.length <= NONCE_BYTES) return undefined
  try {
    const plain = gcm(key, bytes.slice(0, NONCE_BYTES)).decrypt(bytes.slice(NONCE_BYTES))
    const parsed = v.safeParse(receiptsBlobSchema, JSON.parse(fromUtf8(plain)))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}
