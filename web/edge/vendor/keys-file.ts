/**
 * The vendor's secret keys as text: the backup that a browser saves and the key file that a shell keeps are one
 * format. With a passphrase: PBKDF2-SHA-256, then AES-256-GCM. Reading and writing files is the caller's (0600).
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { base64 } from '@scure/base'
import * as v from 'valibot'
import type { Bytes, PartyKey } from '../../core/bytes.ts'
import { equal, fromHex, fromUtf8, toHex, utf8 } from '../../core/bytes.ts'
import { publicKey, type SecretKey } from '../../core/nostr/event.ts'
import { MAX_FORMER } from '../../core/release/announcers.ts'
import { rootNames } from '../../core/release/repository.ts'
import { ed25519Key, keyId, type PublicKeyObject, type RootSigned } from '../../core/release/tuf.ts'
import { keyFromPassphrase, PASSPHRASE_ITERATIONS } from '../vault/passphrase.ts'
import type { Signer, VendorKeys } from './api.ts'

/** Never logged, never in an error. Root and targets are Ed25519 seeds (RFC 8032); `next` replace them once published. */
export type VendorSecrets = Readonly<{
  root: Bytes
  targets: Bytes
  nostr: SecretKey
  next?: NextSecrets
  /** Replaces `nostr` once the vendor's targets name it. */
  nextNostr?: SecretKey
  /** Those before `nostr`, newest first: devices that have not looked since still write to them. */
  formerNostr?: readonly SecretKey[]
}>
export type NextSecrets = Readonly<{ root: Bytes; targets: Bytes }>

export type KeysErrorCode =
  | 'not-a-key-file'
  | 'newer-version'
  | 'needs-passphrase'
  | 'wrong-passphrase'
  | 'weak-passphrase'
  | 'sealed' // the keys cannot be read out any more
  | 'other-keys' // the backup, or what another tab has kept meanwhile, is of other keys than those here
  | 'in-use' // something names the keys that were to be forgotten
  | 'no-webcrypto'

/** The message is for a person and holds no secret. */
export class KeysError extends Error {
  override readonly name = 'KeysError'
  readonly code: KeysErrorCode
  constructor(code: KeysErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

const FORMAT = 'satpatch vendor keys'
const MAX_ITERATIONS = 10_000_000
const MAX_FILE_CHARS = 10_000
export const MIN_PASSPHRASE_CHARS = 8

const hex32 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))
const pairSchema = v.object({ root: hex32, targets: hex32 })
const secretsSchema = v.object({
  ...pairSchema.entries,
  nostr: hex32,
  next: v.optional(pairSchema),
  nextNostr: v.optional(hex32),
  formerNostr: v.optional(v.pipe(v.array(hex32), v.maxLength(MAX_FORMER))),
})
const fileSchema = v.variant('protection', [
  v.object({
    format: v.literal(FORMAT),
    v: v.literal(1),
    protection: v.literal('none'),
    keys: secretsSchema,
  }),
  v.object({
    format: v.literal(FORMAT),
    v: v.literal(1),
    protection: v.literal('passphrase'),
    kdf: v.object({
      name: v.literal('PBKDF2-SHA-256'),
      iterations: v.pipe(v.number(), v.safeInteger(), v.minValue(100_000), v.maxValue(MAX_ITERATIONS)),
      salt: v.pipe(v.string(), v.maxLength(100)),
    }),
    cipher: v.object({ name: v.literal('AES-256-GCM'), nonce: v.pipe(v.string(), v.maxLength(100)) }),
    data: v.pipe(v.string(), v.maxLength(4000)),
  }),
])

export const generateSecrets = (random: (bytes: number) => Bytes): VendorSecrets => ({
  root: random(32),
  targets: random(32),
  nostr: random(32),
})

/** The text to save. Without a passphrase whoever reads it is the vendor. @throws KeysError on a short passphrase */
export async function serializeSecrets(secrets: VendorSecrets, passphrase?: string): Promise<string> {
  const pair = ({ root, targets }: NextSecrets) => ({ root: toHex(root), targets: toHex(targets) })
  const next = secrets.next ? { next: pair(secrets.next) } : {}
  const { nextNostr, formerNostr = [] } = secrets
  const keys = {
    ...pair(secrets),
    nostr: toHex(secrets.nostr),
    ...next,
    ...(nextNostr ? { nextNostr: toHex(nextNostr) } : {}),
    ...(formerNostr.length > 0 ? { formerNostr: formerNostr.map(toHex) } : {}),
  }
  if (passphrase === undefined) {
    return `${JSON.stringify({ format: FORMAT, v: 1, protection: 'none', keys }, undefined, 2)}\n`
  }
  if (passphrase.length < MIN_PASSPHRASE_CHARS) {
    const message = `The passphrase needs at least ${MIN_PASSPHRASE_CHARS} characters. Four or five random words are good.`
    throw new KeysError('weak-passphrase', message)
  }
  const salt = crypto.getRandomValues(new Uint8Array(16))
  const nonce = crypto.getRandomValues(new Uint8Array(12))
  const key = await keyFromPassphrase(passphrase, salt, PASSPHRASE_ITERATIONS)
  const plain = utf8(JSON.stringify(keys))
  const data = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv: nonce }, key, plain))
  const file = {
    format: FORMAT,
    v: 1,
    protection: 'passphrase',
    kdf: { name: 'PBKDF2-SHA-256', iterations: PASSPHRASE_ITERATIONS, salt: base64.encode(salt) },
    cipher: { name: 'AES-256-GCM', nonce: base64.encode(nonce) },
    data: base64.encode(data),
  }
  return `${JSON.stringify(file, undefined, 2)}\n`
}

/** @throws KeysError */
export async function parseSecrets(text: string, passphrase?: string): Promise<VendorSecrets> {
  const file = readFile(text)
  if (file.protection === 'none') return fromStrings(file.keys)
  if (passphrase === undefined || passphrase === '') {
    throw new KeysError(
      'needs-passphrase',
      'This backup is encrypted. Enter the passphrase that it was saved with.',
    )
  }
  let plain: Uint8Array
  try {
    const key = await keyFromPassphrase(
      passphrase,
      base64.decode(file.kdf.salt) as Bytes,
      file.kdf.iterations,
    )
    const cipher = { name: 'AES-GCM', iv: base64.decode(file.cipher.nonce) as Bytes }
    plain = new Uint8Array(await crypto.subtle.decrypt(cipher, key, base64.decode(file.data) as Bytes))
  } catch (cause) {
    const message =
      'The passphrase does not fit this backup, or the file is damaged. Try again; nothing was changed.'
    throw new KeysError('wrong-passphrase', message, { cause })
  }
  return fromStrings(v.parse(secretsSchema, JSON.parse(fromUtf8(plain))))
}

/** Whether `text` is a key file that needs a passphrase. @throws KeysError when it is none at all */
export const needsPassphrase = (text: string): boolean => readFile(text).protection === 'passphrase'

function readFile(text: string): v.InferOutput<typeof fileSchema> {
  const notOne = () =>
    new KeysError(
      'not-a-key-file',
      'This is not a backup of vendor keys. Choose the file that the vendor page saved.',
    )
  if (text.length > MAX_FILE_CHARS) throw notOne()
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw notOne()
  }
  const version = v.safeParse(v.object({ format: v.literal(FORMAT), v: v.number() }), json)
  if (version.success && version.output.v > 1) {
    throw new KeysError(
      'newer-version',
      'This backup was made by a newer version of Satpatch. Update, then restore it.',
    )
  }
  const file = v.safeParse(fileSchema, json)
  if (!file.success) throw notOne()
  return file.output
}

function fromStrings(keys: v.InferOutput<typeof secretsSchema>): VendorSecrets {
  const pair = ({ root, targets }: v.InferOutput<typeof pairSchema>) => ({
    root: fromHex(root),
    targets: fromHex(targets),
  })
  return {
    ...pair(keys),
    nostr: fromHex(keys.nostr),
    ...(keys.next ? { next: pair(keys.next) } : {}),
    ...(keys.nextNostr ? { nextNostr: fromHex(keys.nextNostr) } : {}),
    ...(keys.formerNostr ? { formerNostr: keys.formerNostr.map(fromHex) } : {}),
  }
}

/** A key that signs in this process. */
export const signerOf = (seed: Bytes): Signer => ({
  key: ed25519Key(ed25519.getPublicKey(seed)),
  sign: (bytes) => Promise.resolve(ed25519.sign(bytes, seed) as Bytes),
})

/** Each key once: while one is replaced, the other is among the old and the new. TUF knows one signature a key. */
export const distinct = (signers: readonly Signer[]): readonly Signer[] => [
  ...new Map(signers.map((signer) => [keyId(signer.key), signer])).values(),
]

/** Keys that sign in this process: for Node, and for tests. */
export function keysFromSecrets(secrets: VendorSecrets): VendorKeys {
  const { root, targets, next } = secrets
  const [rootSigner, targetsSigner] = [signerOf(root), signerOf(targets)]
  return {
    rootKey: rootSigner.key,
    targetsKey: targetsSigner.key,
    signers: distinct([
      rootSigner,
      targetsSigner,
      ...(next ? [signerOf(next.root), signerOf(next.targets)] : []),
    ]),
    nostr: identityOf(secrets.nostr),
    ...(secrets.nextNostr ? { nextNostr: identityOf(secrets.nextNostr) } : {}),
    formerNostr: (secrets.formerNostr ?? []).map(identityOf),
  }
}

const identityOf = (secret: SecretKey) => ({ key: publicKey(secret), secret })

/** What is left once the vendor's targets name the Nostr key `named`: a new one takes the place of the old, which still reads. */
export function settledNostr<S extends Pick<VendorSecrets, 'nostr' | 'nextNostr' | 'formerNostr'>>(
  secrets: S,
  named: PartyKey,
): Omit<S, 'nextNostr'> | S {
  const { nextNostr, ...rest } = secrets
  if (!nextNostr || publicKey(nextNostr) !== named) return secrets
  const formerNostr = [secrets.nostr, ...(secrets.formerNostr ?? [])].slice(0, MAX_FORMER)
  return { ...rest, nostr: nextNostr, formerNostr }
}

/** What is left once `root` is in force: `next` keys that it names are the keys now. */
export function settled(secrets: VendorSecrets, root: RootSigned): VendorSecrets {
  const { next, ...rest } = secrets
  if (!next) return secrets
  // One that stays as it was says nothing.
  const isNamed = (['root', 'targets'] as const).some(
    (role) => !equal(next[role], secrets[role]) && namesKey(root, signerOf(next[role]).key),
  )
  return isNamed ? { ...rest, root: next.root, targets: next.targets } : secrets
}

/** Whether a root lets this key sign releases or key changes. */
export const namesKey = (root: RootSigned, key: PublicKeyObject): boolean =>
  rootNames(root, 'root', key) || rootNames(root, 'targets', key)
