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
import { ed25519Key, type PublicKeyObject, type RootSigned } from '../../core/release/tuf.ts'
import {
  KeysError,
  namesKey,
  parseSecrets,
  serializeSecrets,
  signerOf,
  type NextSecrets,
  type VendorSecrets,
} from './keys-file.ts'
import type { Signer, VendorKeys } from './api.ts'

export { KeysError, needsPassphrase } from './keys-file.ts'

export interface BrowserKeys extends VendorKeys {
  /** False while keys here can still be read out, because no backup of them has been saved and tried. */
  readonly sealed: Live<boolean>
  /** Keys that wait to replace those in force; a card and a new root name them. */
  readonly next: Live<NextKeys | undefined>
  /** The encrypted backup's text, to be saved as a file: of the new keys, where there are some. @throws KeysError `sealed`, `weak-passphrase` */
  backup(passphrase: string): Promise<string>
  /** Tries to restore a saved backup; if it is of these keys they become unreadable here. @throws KeysError */
  seal(text: string, passphrase: string): Promise<void>
  /** Makes new keys beside those in force, or gives those that wait already. */
  prepareNext(): Promise<NextKeys>
  /** Forgets keys that wait, if nothing names them. */
  dropNext(): Promise<void>
  /** `root` is in force: new keys that it names take the place of the old, which are deleted. */
  settle(root: RootSigned): Promise<void>
}
export type NextKeys = Readonly<{ root: PublicKeyObject; targets: PublicKeyObject }>

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
  next?: StoredPair
}>
type StoredPair = Readonly<{
  root: CryptoKey
  targets: CryptoKey
  rootPublic: string
  targetsPublic: string
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
  const wrapping = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, [
    'encrypt',
    'decrypt',
  ])
  const nostrNonce = crypto.getRandomValues(new Uint8Array(12))
  const cipher = { name: 'AES-GCM', iv: nostrNonce }
  const stored: StoredKeys = {
    v: 1,
    ...(await pairOf(secrets, !sealed)),
    ...(secrets.next ? { next: await pairOf(secrets.next, !sealed) } : {}),
    wrapping,
    nostrNonce,
    nostrCipher: new Uint8Array(await crypto.subtle.encrypt(cipher, wrapping, secrets.nostr)),
    nostrKey: publicKey(secrets.nostr),
    sealed,
  }
  await home.put(stored)
  return fromStored(stored, home)
}

/** Seeds as WebCrypto keys. */
async function pairOf(seeds: NextSecrets, extractable: boolean): Promise<StoredPair> {
  return {
    root: await importSeed(seeds.root, extractable),
    targets: await importSeed(seeds.targets, extractable),
    rootPublic: signerOf(seeds.root).key.keyval.public,
    targetsPublic: signerOf(seeds.targets).key.keyval.public,
  }
}

const publicsOf = (pair: StoredPair): NextKeys => ({
  root: ed25519Key(fromHex(pair.rootPublic)),
  targets: ed25519Key(fromHex(pair.targetsPublic)),
})

const signersOf = (pair: StoredPair): Signer[] =>
  (['root', 'targets'] as const).map((role) => ({
    key: publicsOf(pair)[role],
    sign: async (bytes) => new Uint8Array(await crypto.subtle.sign('Ed25519', pair[role], bytes.slice())),
  }))

async function fromStored(initial: StoredKeys, home: KeyHome): Promise<BrowserKeys> {
  let stored = initial
  const cipher = { name: 'AES-GCM', iv: stored.nostrNonce }
  const plain = await crypto.subtle.decrypt(cipher, stored.wrapping, stored.nostrCipher)
  const nostr: SecretKey = new Uint8Array(plain)
  const sealed = liveCell(stored.sealed)
  const next = liveCell(stored.next && publicsOf(stored.next))

  async function keep(changed: StoredKeys): Promise<void> {
    await home.put(changed)
    stored = changed
    sealed.set(changed.sealed)
    next.set(changed.next && publicsOf(changed.next))
  }
  /** The keys that a backup is of. */
  const newest = (): StoredPair => stored.next ?? stored
  const readable = async (): Promise<VendorSecrets> => {
    if (stored.sealed) {
      const message =
        'The keys were sealed when their backup was saved and cannot be read out again. Use that backup.'
      throw new KeysError('sealed', message)
    }
    return { root: await readSeed(newest().root), targets: await readSeed(newest().targets), nostr }
  }

  return {
    get rootKey() {
      return publicsOf(stored).root
    },
    get targetsKey() {
      return publicsOf(stored).targets
    },
    get signers() {
      return [...signersOf(stored), ...(stored.next ? signersOf(stored.next) : [])]
    },
    nostr: { key: stored.nostrKey, secret: nostr },
    sealed,
    next,
    backup: async (passphrase) => serializeSecrets(await readable(), passphrase),
    async seal(text, passphrase) {
      if (stored.sealed) return
      const tried = await parseSecrets(text, passphrase)
      const { rootPublic, targetsPublic } = newest()
      const pair = await pairOf(tried, false)
      if (
        pair.rootPublic !== rootPublic ||
        pair.targetsPublic !== targetsPublic ||
        publicKey(tried.nostr) !== stored.nostrKey
      ) {
        const message =
          'This is a backup of other keys than those in this browser. Choose the file that was saved just now.'
        throw new KeysError('other-keys', message)
      }
      // The keys as restored are those kept: what the backup holds is what signs here.
      await keep({ ...stored, ...(stored.next ? { next: pair } : pair), sealed: true })
    },
    async prepareNext() {
      if (stored.next) return publicsOf(stored.next)
      const random = () => crypto.getRandomValues(new Uint8Array(32))
      const pair = await pairOf({ root: random(), targets: random() }, true)
      await keep({ ...stored, next: pair, sealed: false })
      return publicsOf(pair)
    },
    async dropNext() {
      if (!stored.next) return
      const { next: _, ...rest } = stored
      await keep({ ...rest, sealed: isUnreadable(stored) })
    },
    async settle(root) {
      const { next: pair, ...rest } = stored
      if (!pair || !Object.values(publicsOf(pair)).some((key) => namesKey(root, key))) return
      await keep({ ...rest, ...pair })
    },
  }
}

const isUnreadable = (pair: StoredPair): boolean => !pair.root.extractable && !pair.targets.extractable

/** Hex of the root key, for showing which vendor this browser is. */
export const rootFingerprint = (keys: VendorKeys): string =>
  toHex(fromHex(keys.rootKey.keyval.public)).slice(0, 16)
