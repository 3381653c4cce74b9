/** A key from a passphrase: PBKDF2-SHA-256 (RFC 8018), as the backup of vendor keys and the vault use it. */
import { utf8, type Bytes } from '../../core/bytes.ts'

/** OWASP's figure for PBKDF2-HMAC-SHA-256 (2023). */
export const PASSPHRASE_ITERATIONS = 600_000

/** AES-256-GCM; it cannot be read out. */
export async function keyFromPassphrase(
  passphrase: string,
  salt: Bytes,
  iterations: number,
): Promise<CryptoKey> {
  // NFKC, so that the same words typed on another keyboard are the same bytes.
  const words = utf8(passphrase.normalize('NFKC'))
  const base = await crypto.subtle.importKey('raw', words, 'PBKDF2', false, ['deriveKey'])
  const kdf = { name: 'PBKDF2', hash: 'SHA-256', salt, iterations }
  return crypto.subtle.deriveKey(kdf, base, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt'])
}
