/**
 * The vendor's keys in a browser. Root and targets are WebCrypto Ed25519 keys, readable only until a backup has
 * been saved; then they are imported anew so that no script can read them. The Nostr key, which WebCrypto does
 * not know, lies encrypted under a WebCrypto key that cannot be read out. All of it is in IndexedDB.
 */
import { get, set } from 'idb-keyval'
import * as v from 'valibot'
import type { Bytes, PartyKey } from '../../core/bytes.ts'
import { concat, fromHex, fromUtf8, toHex, utf8 } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { publicKey, type SecretKey } from '../../core/nostr/event.ts'
import { vendorRoles, type VendorRole } from '../../core/release/people.ts'
import { ed25519Key, keyId, type PublicKeyObject, type RootSigned } from '../../core/release/tuf.ts'
import {
  distinct,
  KeysError,
  namesKey,
  parseSecrets,
  serializeSecrets,
  settledNostr,
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
  /**
   * Makes new keys beside those in force, or gives those that wait already. A key that stays must be in the new backup
   * too: where the keys here are sealed it is read from `backup`. @throws KeysError `sealed` without one, `other-keys`
   */
  prepareNext(which?: Replaced, backup?: Readonly<{ text: string; passphrase: string }>): Promise<NextKeys>
  /**
   * Forgets keys that wait. `isNamed`: by the root in force, or by a change that waits for signatures: then they are kept,
   * since nobody else could sign. @throws KeysError `in-use`
   */
  dropNext(isNamed: (key: PublicKeyObject) => boolean): Promise<void>
  /** `root` is in force: new keys that it names take the place of the old, which are deleted. */
  settle(root: RootSigned): Promise<void>
  /**
   * Makes a Nostr key beside the one in force, or gives the one that waits already. Then `Vendor.changeNostr`, then
   * `settleNostr` with what the vendor's targets name (`SigningView.nostr`), then the engine is opened anew. A backup
   * made before has the old key; whoever restores it replaces the Nostr key once more.
   */
  prepareNextNostr(): Promise<PartyKey>
  /** The vendor's targets name `named`: a waiting key that it is takes the place of the old, which goes on reading. */
  settleNostr(named: PartyKey): Promise<void>
  /** The first Nostr key of these keys: names what a browser keeps beside them, whichever is in force. */
  readonly origin: PartyKey
}
/** One that is not replaced is the same as before. */
export type NextKeys = Readonly<{ root: PublicKeyObject; targets: PublicKeyObject }>
export type Replaced = 'both' | VendorRole

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
  /** Those to come and those before, as hex in JSON, encrypted alike. */
  nostrOthers?: Readonly<{ nonce: Bytes; cipher: Bytes }>
  origin?: PartyKey
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
  const { nonce: nostrNonce, cipher: nostrCipher } = await sealUnder(wrapping, secrets.nostr)
  const stored: StoredKeys = {
    v: 1,
    ...(await pairOf(secrets, !sealed)),
    ...(secrets.next ? { next: await pairOf(secrets.next, !sealed) } : {}),
    wrapping,
    nostrNonce,
    nostrCipher,
    nostrOthers: await sealOthers(wrapping, secrets),
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

type NostrSecrets = Pick<VendorSecrets, 'nostr' | 'nextNostr' | 'formerNostr'>

async function sealUnder(
  wrapping: CryptoKey,
  plain: Bytes,
): Promise<Readonly<{ nonce: Bytes; cipher: Bytes }>> {
  const nonce = crypto.getRandomValues(new Uint8Array(12))
  const cipher = await crypto.subtle.encrypt({ name: 'AES-GCM', iv: nonce }, wrapping, plain)
  return { nonce, cipher: new Uint8Array(cipher) }
}

async function openUnder(wrapping: CryptoKey, nonce: Bytes, cipher: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv: nonce }, wrapping, cipher))
}

const sealOthers = (wrapping: CryptoKey, { nextNostr, formerNostr = [] }: NostrSecrets) => {
  const others = { ...(nextNostr ? { next: toHex(nextNostr) } : {}), former: formerNostr.map(toHex) }
  return sealUnder(wrapping, utf8(JSON.stringify(others)))
}

const othersSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ next: v.optional(v.string()), former: v.array(v.string()) }),
)

async function readNostr(stored: StoredKeys): Promise<NostrSecrets> {
  const { wrapping, nostrOthers } = stored
  const nostr = await openUnder(wrapping, stored.nostrNonce, stored.nostrCipher)
  if (!nostrOthers) return { nostr }
  const text = fromUtf8(await openUnder(wrapping, nostrOthers.nonce, nostrOthers.cipher))
  const { next, former } = v.parse(othersSchema, text)
  return {
    nostr,
    ...(next === undefined ? {} : { nextNostr: fromHex(next) }),
    formerNostr: former.map(fromHex),
  }
}

const identityOf = (secret: SecretKey) => ({ key: publicKey(secret), secret })

async function fromStored(initial: StoredKeys, home: KeyHome): Promise<BrowserKeys> {
  let stored = initial
  let nostr: NostrSecrets = await readNostr(stored)
  const sealed = liveCell(stored.sealed)
  const next = liveCell(stored.next && publicsOf(stored.next))

  /** @throws KeysError `other-keys` rather than writing over what another tab has made meanwhile */
  async function keep(wanted: StoredKeys): Promise<void> {
    const now = (await home.get()) ?? stored
    const isOurs = isSameState(now, stored) && othersOf(now) === othersOf(stored)
    if (!isOurs && !isSameState(now, wanted)) {
      const message =
        'Another tab has changed the keys of this browser. Load this page anew; nothing was changed here.'
      throw new KeysError('other-keys', message)
    }
    // What another tab has done already is not done again.
    const changed = isOurs ? wanted : now
    if (isOurs) await home.put(changed)
    stored = changed
    sealed.set(changed.sealed)
    next.set(changed.next && publicsOf(changed.next))
  }
  async function keepNostr(next: NostrSecrets): Promise<void> {
    const { wrapping } = stored
    const own = await sealUnder(wrapping, next.nostr)
    await keep({
      ...stored,
      nostrNonce: own.nonce,
      nostrCipher: own.cipher,
      nostrKey: publicKey(next.nostr),
      nostrOthers: await sealOthers(wrapping, next),
      origin: stored.origin ?? stored.nostrKey,
    })
    nostr = next
  }
  /** The keys that a backup is of. */
  const newest = (): StoredPair => stored.next ?? stored
  const needReadable = (): void => {
    if (!stored.sealed) return
    const message =
      'The keys were sealed when their backup was saved and cannot be read out again. Use that backup.'
    throw new KeysError('sealed', message)
  }
  const readable = async (): Promise<VendorSecrets> => {
    needReadable()
    return { root: await readSeed(newest().root), targets: await readSeed(newest().targets), ...nostr }
  }

  /** The keys in force, readable: those here, or as a backup has them. */
  async function keptFrom(backup?: Readonly<{ text: string; passphrase: string }>): Promise<StoredPair> {
    if (!backup) {
      needReadable()
      return stored
    }
    const pair = await pairOf(await parseSecrets(backup.text, backup.passphrase), true)
    if (isSame(pair, stored)) return pair
    const message =
      'This is a backup of other keys than those in this browser. Choose the newest one; nothing was changed.'
    throw new KeysError('other-keys', message)
  }

  return {
    get rootKey() {
      return publicsOf(stored).root
    },
    get targetsKey() {
      return publicsOf(stored).targets
    },
    get signers() {
      return distinct([...signersOf(stored), ...(stored.next ? signersOf(stored.next) : [])])
    },
    get nostr() {
      return identityOf(nostr.nostr)
    },
    get nextNostr() {
      return nostr.nextNostr && identityOf(nostr.nextNostr)
    },
    get formerNostr() {
      return (nostr.formerNostr ?? []).map(identityOf)
    },
    get origin() {
      return stored.origin ?? stored.nostrKey
    },
    sealed,
    next,
    backup: async (passphrase) => serializeSecrets(await readable(), passphrase),
    async seal(text, passphrase) {
      if (stored.sealed) return
      const tried = await parseSecrets(text, passphrase)
      const pair = await pairOf(tried, false)
      const known = [tried.nostr, ...(tried.nextNostr ? [tried.nextNostr] : [])].map(publicKey)
      if (!isSame(pair, newest()) || !known.includes(stored.nostrKey)) {
        const message =
          'This is a backup of other keys than those in this browser. Choose the file that was saved just now.'
        throw new KeysError('other-keys', message)
      }
      // The keys as restored are those kept: what the backup holds is what signs here.
      await keep({ ...stored, ...(stored.next ? { next: pair } : pair), sealed: true })
    },
    async prepareNext(which = 'both', backup) {
      if (stored.next) return publicsOf(stored.next)
      const random = () => crypto.getRandomValues(new Uint8Array(32))
      const made = await pairOf({ root: random(), targets: random() }, true)
      const pair = which === 'both' ? made : onlyOne(made, which, await keptFrom(backup))
      await keep({ ...stored, next: pair, sealed: false })
      return publicsOf(pair)
    },
    async dropNext(isNamed) {
      if (!stored.next) return
      const fresh = publicsOf(stored.next)
      const now = publicsOf(stored)
      if (vendorRoles.some((role) => keyId(fresh[role]) !== keyId(now[role]) && isNamed(fresh[role]))) {
        const message =
          'A change that is in force or waits for signatures names these keys: they are kept until it is settled.'
        throw new KeysError('in-use', message)
      }
      const { next: _, ...rest } = stored
      await keep({ ...rest, sealed: isUnreadable(stored) })
    },
    async prepareNextNostr() {
      if (!nostr.nextNostr)
        await keepNostr({ ...nostr, nextNostr: crypto.getRandomValues(new Uint8Array(32)) })
      return publicKey(nostr.nextNostr ?? nostr.nostr)
    },
    async settleNostr(named) {
      const next = settledNostr(nostr, named)
      if (next !== nostr) await keepNostr(next)
    },
    async settle(root) {
      const { next: pair, ...rest } = stored
      if (!pair) return
      const [was, is] = [publicsOf(stored), publicsOf(pair)]
      // One that stays as it was says nothing.
      const isNamed = vendorRoles.some(
        (role) => keyId(is[role]) !== keyId(was[role]) && namesKey(root, is[role]),
      )
      if (!isNamed) return
      await keep({ ...rest, ...pair })
    },
  }
}

const othersOf = ({ nostrOthers }: StoredKeys): string => (nostrOthers ? toHex(nostrOthers.cipher) : '')
const isSameState = (a: StoredKeys, b: StoredKeys): boolean => {
  const sameNext = a.next && b.next ? isSame(a.next, b.next) : a.next === b.next
  return isSame(a, b) && sameNext && a.nostrKey === b.nostrKey && a.sealed === b.sealed
}
const isSame = (a: StoredPair, b: StoredPair): boolean =>
  a.rootPublic === b.rootPublic && a.targetsPublic === b.targetsPublic

/** The new key of one role beside the old of the other. */
const onlyOne = (made: StoredPair, role: VendorRole, kept: StoredPair): StoredPair => {
  const [from, to] = role === 'root' ? [made, kept] : [kept, made]
  return {
    root: from.root,
    rootPublic: from.rootPublic,
    targets: to.targets,
    targetsPublic: to.targetsPublic,
  }
}

const isUnreadable = (pair: StoredPair): boolean => !pair.root.extractable && !pair.targets.extractable
