/**
 * The vendor's keys for commands: a key file, or any command that signs (`--sign-with`), so that a root or targets key
 * may live in an HSM, a vault or on a card. The Nostr key, which announces and uploads, is always in the file.
 */
import { spawn } from 'node:child_process'
import { createPublicKey, webcrypto } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { base64 } from '@scure/base'
import { fromHex, type Bytes, type PartyKey } from '../../web/core/bytes.ts'
import { ed25519Key, readKey, type PublicKeyObject } from '../../web/core/release/keys.ts'
import type { RootSigned } from '../../web/core/release/tuf.ts'
import type { Signer, VendorKeys } from '../../web/edge/vendor/api.ts'
import {
  generateSecrets,
  KeysError,
  keysFromSecrets,
  parseSecrets,
  serializeSecrets,
  settled,
  settledNostr,
  type VendorSecrets,
} from '../../web/edge/vendor/keys-file.ts'
import type { Logger } from '../log.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { CliError, EXIT, usage, type Command, type Flags } from './command.ts'
import { isExposed, passphraseInput } from './secret-input.ts'

/** A person may have to touch a key, or find it first. */
const SIGN_TIMEOUT_MS = 5 * 60_000
const MAX_SIGNATURE_CHARS = 8192

export const keyFlags: Command['flags'] = {
  keys: { value: 'FILE', help: 'the key file (default .data/vendor/keys.json)' },
  'passphrase-file': { value: 'FILE', help: 'file with its passphrase (or SATPATCH_PASSPHRASE)' },
  'sign-with': {
    value: 'CMD',
    help: 'shell command that signs: bytes on stdin, signature in hex or base64 on stdout',
  },
  'sign-key': { value: 'KEY', help: 'its public key: a PEM file, or ed25519:HEX' },
}

export interface KeySource {
  readonly file: string
  readonly keys: VendorKeys
  readonly secrets: VendorSecrets
  /** Writes other secrets into the file, under the same passphrase. */
  save(secrets: VendorSecrets): Promise<void>
  /** New keys in the file that `root`, or `nostr`, names take the place of the old. */
  settle(named: Readonly<{ root: RootSigned; nostr: PartyKey }>): Promise<void>
}

const random = (length: number): Bytes => webcrypto.getRandomValues(new Uint8Array(length))

export const keysFileOf = (flags: Flags): string => resolve(flags.text('keys') ?? '.data/vendor/keys.json')

/** @throws CliError */
export async function openKeySource(flags: Flags, log: Logger, missing: string): Promise<KeySource> {
  const file = keysFileOf(flags)
  const passphrase = await passphraseInput(flags)
  const external = await externalSigner(flags)
  const found = await readSecrets(file, passphrase, log)
  if (found === undefined) throw new CliError(EXIT.failure, `There is no ${file}. ${missing}`)
  let secrets = found
  const keysOf = (from: VendorSecrets): VendorKeys =>
    external === undefined
      ? keysFromSecrets(from)
      : { ...keysFromSecrets(from), rootKey: external.key, targetsKey: external.key, signers: [external] }
  const save = async (next: VendorSecrets): Promise<void> => {
    await writeSecrets(file, next, passphrase)
    secrets = next
  }
  return {
    file,
    get keys() {
      return keysOf(secrets)
    },
    get secrets() {
      return secrets
    },
    save,
    async settle({ root, nostr }) {
      const next = settledNostr(settled(secrets, root), nostr)
      if (next !== secrets) await save(next)
    },
  }
}

/** Makes the key file. @throws CliError when there is one already */
export async function newKeyFile(flags: Flags, log: Logger): Promise<VendorSecrets> {
  const file = keysFileOf(flags)
  const passphrase = await passphraseInput(flags)
  try {
    await readFile(file)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw storageError(error, file)
    const secrets = generateSecrets(random)
    await writeSecrets(file, secrets, passphrase)
    log.warn(`new keys are in ${file}: keep a copy of it elsewhere (satpatch keys backup)`)
    return secrets
  }
  throw new CliError(EXIT.refused, `There is a ${file} already. Nothing was changed.`)
}

export const newSigningKeys = (): NonNullable<VendorSecrets['next']> => ({
  root: random(32),
  targets: random(32),
})

export const newNostrKey = (): Bytes => random(32)

async function readSecrets(
  file: string,
  passphrase: string | undefined,
  log: Logger,
): Promise<VendorSecrets | undefined> {
  try {
    const text = await readFile(file, 'utf8')
    if (await isExposed(file))
      log.warn(`others can read ${file}, which holds the vendor's keys: chmod 600 ${file}`)
    return await parseSecrets(text, passphrase)
  } catch (error) {
    if (error instanceof KeysError) throw keysRefused(file, error)
    if (errnoOf(error) === 'ENOENT') return undefined
    throw storageError(error, file)
  }
}

export function keysRefused(file: string, error: KeysError): CliError {
  const hint =
    error.code === 'needs-passphrase' ? ' Give it with --passphrase-file or SATPATCH_PASSPHRASE.' : ''
  return new CliError(EXIT.refused, `${file}: ${error.message}${hint}`)
}

export async function writeSecrets(
  file: string,
  secrets: VendorSecrets,
  passphrase: string | undefined,
): Promise<void> {
  try {
    const text = await serializeSecrets(secrets, passphrase)
    await makeDirectory(dirname(file))
    await writeDurably(file, text)
  } catch (error) {
    if (error instanceof KeysError) throw new CliError(EXIT.refused, error.message)
    throw error
  }
}

async function externalSigner(flags: Flags): Promise<Signer | undefined> {
  const [command, keyText] = [flags.text('sign-with'), flags.text('sign-key')]
  if (command === undefined && keyText === undefined) return undefined
  if (command === undefined || keyText === undefined)
    throw usage('--sign-with CMD and --sign-key KEY go together: the command signs, the key says for whom.')
  const key = await readKeyText(keyText)
  return { key, sign: (bytes) => signWith(command, key, bytes) }
}

/** A public key as a person gives it: `ed25519:HEX`, or a file in PEM. @throws CliError */
export async function readKeyText(text: string): Promise<PublicKeyObject> {
  const hex = /^ed25519:([0-9a-f]{64})$/i.exec(text.trim())?.[1]
  if (hex !== undefined) return ed25519Key(fromHex(hex.toLowerCase()))
  let pem: string
  try {
    pem = await readFile(text, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT')
      throw usage(`"${text.slice(0, 80)}" is neither ed25519:HEX nor a file with a public key in PEM.`)
    throw storageError(error, text)
  }
  const key = fromPem(pem)
  if (key === undefined || readKey(key) === undefined)
    throw new CliError(
      EXIT.refused,
      `${text} holds no public key that devices understand: Ed25519, ECDSA P-256, or RSA from 2048 bits, in PEM.`,
    )
  return key
}

function fromPem(pem: string): PublicKeyObject | undefined {
  try {
    const key = createPublicKey(pem)
    const spki = key.export({ type: 'spki', format: 'pem' }).toString()
    if (key.asymmetricKeyType === 'ed25519') {
      const { x = '' } = key.export({ format: 'jwk' })
      return ed25519Key(new Uint8Array(Buffer.from(x, 'base64url')))
    }
    if (key.asymmetricKeyType === 'ec')
      return { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: spki } }
    if (key.asymmetricKeyType === 'rsa')
      return { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: spki } }
    return undefined
  } catch {
    return undefined
  }
}

/** Runs the command once and checks what it gives: a wrong key is noticed here, not by devices. @throws CliError */
async function signWith(command: string, key: PublicKeyObject, bytes: Uint8Array): Promise<Bytes> {
  const child = spawn('/bin/sh', ['-c', command], {
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: SIGN_TIMEOUT_MS,
  })
  const failed = (why: string) =>
    new CliError(EXIT.failure, `The command of --sign-with ${why}. Nothing was published.`)
  const out: Buffer[] = []
  let length = 0
  child.stdout.on('data', (part: Buffer) => {
    length += part.length
    if (length <= MAX_SIGNATURE_CHARS) out.push(part)
  })
  // A command that reads nothing closes its input early; its exit code says more.
  child.stdin.on('error', () => undefined)
  child.stdin.end(bytes)
  const code = await new Promise<number | NodeJS.Signals | null>((done, fail) => {
    child.once('error', (cause) => fail(failed(`could not be started (${cause.message})`)))
    child.once('close', (status, signal) => done(status ?? signal))
  })
  if (code !== 0) throw failed(`ended with ${code ?? 'no code'}`)
  const signature =
    length > MAX_SIGNATURE_CHARS ? undefined : decoded(Buffer.concat(out).toString('utf8').trim())
  if (!signature) throw failed('wrote no signature in hex or base64')
  if (readKey(key)?.verifies(signature, bytes) !== true)
    throw failed('wrote a signature that the key of --sign-key did not make')
  return signature
}

function decoded(text: string): Bytes | undefined {
  const joined = text.replace(/\s+/g, '')
  if (/^(?:[0-9a-f]{2})+$/i.test(joined)) return fromHex(joined.toLowerCase())
  try {
    return joined === '' ? undefined : (base64.decode(joined) as Bytes)
  } catch {
    return undefined
  }
}
