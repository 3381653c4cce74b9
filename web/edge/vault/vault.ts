/**
 * Secrets at rest in a browser. Each entry is AES-256-GCM, under one of two keys. `browser`: a WebCrypto key that
 * cannot be read out; it stops whoever copies the disk's texts, not whoever opens this browser: for play money.
 * `lock`: a random key that lies wrapped under a passphrase (PBKDF2-SHA-256) or under the secret of a passkey
 * (WebAuthn `prf`, then HKDF), and is in memory only after one of them was given: for all else.
 */
import { base64 } from '@scure/base'
import * as v from 'valibot'
import { concat, fromUtf8, utf8, type Bytes } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { keyFromPassphrase, PASSPHRASE_ITERATIONS } from './passphrase.ts'
import type { Passkeys } from './passkey.ts'

export type LockBy = 'passphrase' | 'passkey'
export type VaultState =
  /** Nobody has chosen a passphrase or passkey yet. */
  { tag: 'unset' } | { tag: 'locked'; by: LockBy } | { tag: 'open'; by: LockBy }

export type Under = 'browser' | 'lock'
export const MIN_PASSPHRASE_CHARS = 8

export type VaultErrorCode = 'locked' | 'wrong-passphrase' | 'weak-passphrase' | 'passkey' | 'damaged'
/** The message is for a person and holds no secret. */
export class VaultError extends Error {
  override readonly name = 'VaultError'
  readonly code: VaultErrorCode
  constructor(code: VaultErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Where the vault lies: structured values by name, each put whole. Example: an IndexedDB store. */
export interface VaultHome {
  get(name: string): Promise<unknown>
  put(name: string, value: unknown): Promise<void>
  /** Puts it where there is nothing yet, in one step; gives what is there then, of whichever tab. */
  putFirst(name: string, value: unknown): Promise<unknown>
  delete(name: string): Promise<void>
  names(): Promise<readonly string[]>
}

/** How the lock is chosen or opened. */
export type Opening = Readonly<{ by: 'passphrase'; passphrase: string } | { by: 'passkey' }>

export interface Vault {
  readonly state: Live<VaultState>
  /** Sees a lock that another tab has chosen. */
  refresh(): Promise<void>
  /** Chooses the lock, once, and opens it. @throws VaultError `weak-passphrase`, `passkey` */
  choose(opening: Opening): Promise<void>
  /** @throws VaultError `wrong-passphrase`, `passkey` */
  unlock(opening: Opening): Promise<void>
  /** Forgets the key until it is given again. */
  lock(): void
  /** @throws VaultError `locked` when it goes under a lock that is not open */
  put(name: string, text: string, under: Under): Promise<void>
  /** @throws VaultError `locked`, `damaged` */
  get(name: string): Promise<string | undefined>
  delete(name: string): Promise<void>
  entries(): Promise<readonly Readonly<{ name: string; under: Under }>[]>
  /** For secrets that lie elsewhere: sealed under the lock while it is open, else under the browser's key. */
  readonly boxes: Readonly<{
    seal(secret: Bytes): Promise<Bytes>
    /** @throws VaultError `locked`, `damaged` */
    open(sealed: Bytes): Promise<Bytes>
  }>
}

const ENTRY = 'entry/'
const LOCK = 'lock'
const BROWSER_KEY = 'browser-key'
const NONCE_BYTES = 12
/** The first byte of a box says which key it is under. */
const BOX = 'box'
const BOX_UNDER = { browser: new Uint8Array([0]), lock: new Uint8Array([1]) } as const

const bytes = v.custom<Bytes>((x) => x instanceof Uint8Array)
const entrySchema = v.object({ under: v.picklist(['browser', 'lock']), box: bytes })
const lockSchema = v.variant('by', [
  v.object({ v: v.literal(1), by: v.literal('passphrase'), salt: bytes, iterations: v.number(), box: bytes }),
  v.object({ v: v.literal(1), by: v.literal('passkey'), salt: bytes, credential: v.string(), box: bytes }),
])
type Lock = v.InferOutput<typeof lockSchema>

/** Opens the vault that lies at `home`; nothing is unlocked by that. */
export async function openVault(home: VaultHome, passkeys: Passkeys): Promise<Vault> {
  let key: CryptoKey | undefined
  const keptLock = async (): Promise<Lock | undefined> => {
    const kept = v.safeParse(lockSchema, await home.get(LOCK))
    return kept.success ? kept.output : undefined
  }
  let lock = await keptLock()
  const state = liveCell<VaultState>(lock ? { tag: 'locked', by: lock.by } : { tag: 'unset' })

  async function browserKey(): Promise<CryptoKey> {
    const found = await home.get(BROWSER_KEY)
    if (found instanceof CryptoKey) return found
    const made = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, [
      'encrypt',
      'decrypt',
    ])
    const first = await home.putFirst(BROWSER_KEY, made)
    return first instanceof CryptoKey ? first : made
  }
  function keyFor(under: Under): Promise<CryptoKey> {
    if (under === 'browser') return browserKey()
    if (key) return Promise.resolve(key)
    throw new VaultError('locked', 'This wallet is locked. Unlock it first.')
  }
  async function use(data: Bytes, by: LockBy): Promise<void> {
    key = await crypto.subtle.importKey('raw', data, 'AES-GCM', false, ['encrypt', 'decrypt'])
    data.fill(0)
    state.set({ tag: 'open', by })
  }
  async function refresh(): Promise<void> {
    if (lock) return
    lock = await keptLock()
    if (lock) state.set({ tag: 'locked', by: lock.by })
  }
  const wrappingKey = async (of: Lock, opening: Opening): Promise<CryptoKey> => {
    if (of.by === 'passphrase') {
      const passphrase = opening.by === 'passphrase' ? opening.passphrase : ''
      return keyFromPassphrase(passphrase, of.salt, of.iterations)
    }
    return keyFromPasskey(await passkeys.secret(base64.decode(of.credential) as Bytes, of.salt))
  }

  return {
    state,
    refresh,
    async choose(opening) {
      if (lock) throw chosenAlready()
      const salt = random(32)
      const data = random(32)
      let made: Lock
      if (opening.by === 'passphrase') {
        if (opening.passphrase.length < MIN_PASSPHRASE_CHARS)
          throw new VaultError(
            'weak-passphrase',
            `The passphrase needs at least ${MIN_PASSPHRASE_CHARS} characters. Four or five random words are good.`,
          )
        const wrapping = await keyFromPassphrase(opening.passphrase, salt, PASSPHRASE_ITERATIONS)
        const box = await seal(wrapping, LOCK, data)
        made = { v: 1, by: 'passphrase', salt, iterations: PASSPHRASE_ITERATIONS, box }
      } else {
        const credential = await passkeys.create()
        const wrapping = await keyFromPasskey(await passkeys.secret(credential, salt))
        const box = await seal(wrapping, LOCK, data)
        made = { v: 1, by: 'passkey', salt, credential: base64.encode(credential), box }
      }
      // Another tab may have chosen meanwhile; what lies under its lock must stay readable.
      if ((await home.putFirst(LOCK, made)) !== made) {
        await refresh()
        throw chosenAlready()
      }
      lock = made
      await use(data, lock.by)
    },
    async unlock(opening) {
      if (!lock) throw new VaultError('locked', 'No lock has been chosen in this browser.')
      const wrapping = await wrappingKey(lock, opening)
      let data: Bytes
      try {
        data = await open(wrapping, LOCK, lock.box)
      } catch (cause) {
        if (lock.by === 'passphrase')
          throw new VaultError('wrong-passphrase', 'The passphrase does not fit.', { cause })
        throw new VaultError('passkey', 'This passkey does not fit. Choose the one it was locked with.', {
          cause,
        })
      }
      await use(data, lock.by)
    },
    lock() {
      key = undefined
      if (lock) state.set({ tag: 'locked', by: lock.by })
    },
    async put(name, text, under) {
      const box = await seal(await keyFor(under), name, utf8(text))
      await home.put(ENTRY + name, { under, box })
    },
    async get(name) {
      const entry = v.safeParse(entrySchema, await home.get(ENTRY + name))
      if (!entry.success) return undefined
      return fromUtf8(await unseal(await keyFor(entry.output.under), name, entry.output.box))
    },
    delete: (name) => home.delete(ENTRY + name),
    async entries() {
      const found: { name: string; under: Under }[] = []
      for (const name of await home.names()) {
        if (!name.startsWith(ENTRY)) continue
        const entry = v.safeParse(entrySchema, await home.get(name))
        if (entry.success) found.push({ name: name.slice(ENTRY.length), under: entry.output.under })
      }
      return found
    },
    boxes: {
      async seal(secret) {
        const under: Under = key ? 'lock' : 'browser'
        return concat(BOX_UNDER[under], await seal(await keyFor(under), BOX, secret))
      },
      async open(sealed) {
        const under = sealed[0] === BOX_UNDER.lock[0] ? 'lock' : 'browser'
        return unseal(await keyFor(under), BOX, sealed.slice(1))
      },
    },
  }
}

async function unseal(key: CryptoKey, name: string, box: Bytes): Promise<Bytes> {
  try {
    return await open(key, name, box)
  } catch (cause) {
    throw new VaultError('damaged', 'What this browser kept cannot be read any more. Connect it again.', {
      cause,
    })
  }
}

const chosenAlready = (): VaultError =>
  new VaultError('locked', 'A lock has been chosen in this browser already. Unlock it.')

const random = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length))

/** Nonce, then ciphertext and tag; the name is authenticated, so that entries cannot change places. */
async function seal(key: CryptoKey, name: string, plain: Bytes): Promise<Bytes> {
  const iv = random(NONCE_BYTES)
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: utf8(name) }, key, plain)
  return concat(iv, new Uint8Array(sealed))
}
async function open(key: CryptoKey, name: string, box: Bytes): Promise<Bytes> {
  const algorithm = { name: 'AES-GCM', iv: box.slice(0, NONCE_BYTES), additionalData: utf8(name) }
  return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, box.slice(NONCE_BYTES)))
}

async function keyFromPasskey(secret: Bytes): Promise<CryptoKey> {
  const base = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveKey'])
  const algorithm = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info: utf8('satpatch vault') }
  return crypto.subtle.deriveKey(algorithm, base, { name: 'AES-GCM', length: 256 }, false, [
    'encrypt',
    'decrypt',
  ])
}
