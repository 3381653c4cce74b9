/** The platform's passkey as a key: WebAuthn Level 3, extension `prf`. It gives 32 bytes for a salt, always the same. */
import type { Bytes } from '../../core/bytes.ts'
import { VaultError } from './vault.ts'

export interface Passkeys {
  /** Whether this browser says that its passkeys can do it. */
  possible(): Promise<boolean>
  /** Makes one for this site; gives its credential id. @throws VaultError `passkey` */
  create(): Promise<Bytes>
  /** Asks the person. @throws VaultError `passkey` */
  secret(credential: Bytes, salt: Bytes): Promise<Bytes>
}

const TIMEOUT_MS = 120_000
/** COSE: ES256, EdDSA, RS256. Nothing is signed with it; the authenticator asks for a choice. */
const ALGORITHMS = [-7, -8, -257]

export const browserPasskeys: Passkeys = {
  async possible() {
    if (typeof PublicKeyCredential === 'undefined') return false
    const told = await PublicKeyCredential.getClientCapabilities?.().catch(() => undefined)
    return told?.['extension:prf'] === true
  },
  async create() {
    const made = await asked(
      navigator.credentials.create({
        publicKey: {
          rp: { name: 'Satpatch' },
          user: { id: random(16), name: 'wallets', displayName: 'Satpatch wallets in this browser' },
          challenge: random(32),
          pubKeyCredParams: ALGORITHMS.map((alg) => ({ type: 'public-key', alg })),
          authenticatorSelection: { residentKey: 'preferred', userVerification: 'required' },
          timeout: TIMEOUT_MS,
          extensions: { prf: {} },
        },
      }),
    )
    if (made.getClientExtensionResults().prf?.enabled !== true)
      throw new VaultError('passkey', 'This passkey cannot lock secrets (no PRF). Use a passphrase instead.')
    return new Uint8Array(made.rawId)
  },
  async secret(credential, salt) {
    const shown = await asked(
      navigator.credentials.get({
        publicKey: {
          challenge: random(32),
          allowCredentials: [{ type: 'public-key', id: credential }],
          userVerification: 'required',
          timeout: TIMEOUT_MS,
          extensions: { prf: { eval: { first: salt } } },
        },
      }),
    )
    const first = shown.getClientExtensionResults().prf?.results?.first
    if (first instanceof ArrayBuffer && first.byteLength === 32) return new Uint8Array(first)
    throw new VaultError('passkey', 'The passkey gave no key. Try again, or use another browser.')
  },
}

async function asked(asking: Promise<Credential | null>): Promise<PublicKeyCredential> {
  let given: Credential | null
  try {
    given = await asking
  } catch (cause) {
    throw new VaultError('passkey', 'The passkey was not given. Try again; nothing was changed.', { cause })
  }
  if (given instanceof PublicKeyCredential) return given
  throw new VaultError('passkey', 'The browser gave no passkey. Try again, or use a passphrase.')
}

const random = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length))
