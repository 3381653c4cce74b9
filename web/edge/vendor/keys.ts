/**
 * The vendor's keys in a browser. Root and targets are WebCrypto Ed25519 keys, readable only until a backup has
 * been saved; then they are imported anew so that no script can read them. The Nostr key, which WebCrypto does
 * not know, lies encrypted under a WebCrypto key that cannot be read out. All of it is in IndexedDB.
 */
import { get, set } from 'idb-keyval'
import type { Bytes, PartyKey } from '../../core/bytes.ts'
import { concat, fromHex, toHex } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { publicKey, type SecretKey } from '../../core/nostr/event.ts'
import { ed25519Key } from '../../core/release/tuf.ts'
import {
  keysFromSecrets,
  KeysError,
  parseSecrets,
  serializeSecrets,
  type VendorSecrets,
} from './keys-file.ts'
import type { VendorKeys } from './api.ts'

export { KeysError, needsPassphrase } from './keys-file.ts'

export interface BrowserKeys extends VendorKeys {
  /** True once a backup was confirmed; from then on the keys cannot be read out. */
  readonly sealed: Live<boolean>
  /** The encrypted backup's text, to be saved as a file. @throws KeysError `sealed`, `weak-passphrase` */
  backup(passphrase: string): Promise<string>
  /** The person has saved the backup: the keys become unreadable. */
  seal(): Promise<void>
}

/** What is kept; CryptoKeys survive structured cloning. */
export type StoredKeys = Readonly<{
  v: 1
  root: CryptoKey
  targets: CryptoKey
  rootPublic: string
  targetsPublic: string
  wrapping: CryptoKey
  nostrNonce: Bytes
  nostrCipher: Bytes
  nostrKey: PartyKey
  sealed: boolean
}>

export interface KeyHome {
  get(): Promise<StoredKeys | undefined>
  put(keys: StoredKeys): Promise<void>
}

const DB_KEY = 'satpatch/vendor-keys'
export const browserHome = (): KeyHome => ({
  get: () => get<StoredKeys>(DB_KEY),
  put: (keys) => set(DB_KEY, keys),
})

/** PKCS #8 of an Ed25519 key (RFC 8410): this prefix, then the 32-byte seed. */
const PKCS8_PREFIX = fromHex('302e020100300506032b657004220420')

const importSeed = (seed: Bytes, extractable: boolean): Promise<CryptoKey> =>
  crypto.subtle.importKey('pkcs8', concat(PKCS8_PREFIX, seed), 'Ed25519', extractable, ['sign'])

async function readSeed(key: CryptoKey): Promise<Bytes> {
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey('pkcs8', key))
  return pkcs8.slice(pkcs8.length - 32)
}

/** The keys made or restored here before, or `undefined` on a first visit. */
export async function openKeys(home: KeyHome = browserHome()): Promise<BrowserKeys | undefined> {
  const stored = await home.get()
  return stored && fromStored(stored, home)
}

/** New keys. Overwrites nothing: if there are keys already, those are given. */
export async function createKeys(home: KeyHome = browserHome()): Promise<BrowserKeys> {
  const existing = await openKeys(home)
  if (existing) return existing
  const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
  return storeSecrets({ root: random(32), targets: random(32), nostr: random(32) }, false, home)
}

/**
 * Replaces this browser's keys by those of a backup; they are sealed at once, since the backup exists.
 * `passphrase` may be left out for a key file without one. @throws KeysError
 */
export async function restoreKeys(
  text: string,
  passphrase?: string,
  home: KeyHome = browserHome(),
): Promise<BrowserKeys> {
  return storeSecrets(await parseSecrets(text, passphrase), true, home)
}

async function storeSecrets(secrets: VendorSecrets, sealed: boolean, home: KeyHome): Promise<BrowserKeys> {
  if (globalThis.crypto?.subtle === undefined) {
    const message =
      'This page was opened over plain HTTP, where browsers lock their keys away. Use https or localhost.'
    throw new KeysError('no-webcrypto', message)
  }
  const publics = keysFromSecrets(secrets)
  const wrapping = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, [
    'encrypt',
    'decrypt',
  ])
  const nostrNonce = crypto.getRandomValues(new Uint8Array(12))
  const cipher = { name: 'AES-GCM', iv: nostrNonce }
  const stored: StoredKeys = {
    v: 1,
    root: await importSeed(secrets.root, !sealed),
    targets: await importSeed(secrets.targets, !sealed),
    rootPublic: publics.rootKey.keyval.public,
    targetsPublic: publics.targetsKey.keyval.public,
    wrapping,
    nostrNonce,
    nostrCipher: new Uint8Array(await crypto.subtle.encrypt(cipher, wrapping, secrets.nostr)),
    nostrKey: publicKey(secrets.nostr),
    sealed,
  }
  await home.put(stored)
  return fromStored(stored, home)
}

async function fromStored(initial: StoredKeys, home: KeyHome): Promise<BrowserKeys> {
  let stored = initial
  const cipher = { name: 'AES-GCM', iv: stored.nostrNonce }
  const plain = await crypto.subtle.decrypt(cipher, stored.wrapping, stored.nostrCipher)
  const nostr: SecretKey = new Uint8Array(plain)
  const sealed = liveCell(stored.sealed)
  return {
    rootKey: ed25519Key(fromHex(stored.rootPublic)),
    targetsKey: ed25519Key(fromHex(stored.targetsPublic)),
    nostr: { key: stored.nostrKey, secret: nostr },
    sealed,
    async sign(role, bytes) {
      return new Uint8Array(await crypto.subtle.sign('Ed25519', stored[role], bytes.slice()))
    },
    async backup(passphrase) {
      if (stored.sealed) {
        const message =
          'The keys were sealed when their backup was saved and cannot be read out again. Use that backup.'
        throw new KeysError('sealed', message)
      }
      const secrets = { root: await readSeed(stored.root), targets: await readSeed(stored.targets), nostr }
      return serializeSecrets(secrets, passphrase)
    },
    async seal() {
      if (stored.sealed) return
      const [root, targets] = [await readSeed(stored.root), await readSeed(stored.targets)]
      const next: StoredKeys = {
        ...stored,
        root: await importSeed(root, false),
        targets: await importSeed(targets, false),
        sealed: true,
      }
      await home.put(next)
      stored = next
      sealed.set(true)
    },
  }
}

/** Hex of the root key, for showing which vendor this browser is. */
export const rootFingerprint = (keys: VendorKeys): string =>
  toHex(fromHex(keys.rootKey.keyval.public)).slice(0, 16)
