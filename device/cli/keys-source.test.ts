/** `--sign-with`: a real program that is no part of ours signs, and its word is checked. */
import { spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyPairKeyObjectResult } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { utf8 } from '../../web/core/bytes.ts'
import { generateSecrets, serializeSecrets } from '../../web/edge/vendor/keys-file.ts'
import { readKey } from '../../web/core/release/keys.ts'
import { createLogTo } from '../log.ts'
import { Writable } from 'node:stream'
import { parseFlags } from './command.ts'
import { keysCommands } from './keys.ts'
import { openKeySource } from './keys-source.ts'

let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-sign-'))
  const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
  await writeFile(join(dir, 'keys.json'), await serializeSecrets(generateSecrets(random)), { mode: 0o600 })
})
afterAll(() => rm(dir, { recursive: true, force: true }))

const log = createLogTo('error', new Writable({ write: (_chunk, _encoding, done) => done() }))
const list = keysCommands.find(({ verb }) => verb === 'keys list')!
const source = (...args: string[]) =>
  openKeySource(parseFlags(list, ['--keys', join(dir, 'keys.json'), ...args]).flags, log, '')

const hasOpenssl = spawnSync('openssl', ['version']).status === 0

async function keyPair(name: string, keys: KeyPairKeyObjectResult): Promise<{ secret: string; pub: string }> {
  const [secret, pub] = [join(dir, `${name}.pem`), join(dir, `${name}.pub`)]
  await writeFile(secret, keys.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  await writeFile(pub, keys.publicKey.export({ type: 'spki', format: 'pem' }))
  return { secret, pub }
}
const edPair = (name: string) => keyPair(name, generateKeyPairSync('ed25519'))

/** A program of its own that signs what it reads, as a vault's client would. */
const signsWith = (secret: string, encoding: 'hex' | 'base64'): string =>
  `'${process.execPath}' -e "const f = require('fs'), c = require('crypto'); console.log(c.sign(null, f.readFileSync(0), f.readFileSync('${secret}')).toString('${encoding}'))"`

/** Signs with every command, by the public key beside it. */
async function allSign(commands: readonly (readonly [command: string, pub: string])[]): Promise<void> {
  const bytes = utf8('{"_type":"targets"}')
  for (const [command, pub] of commands) {
    const { keys } = await source('--sign-with', command, '--sign-key', pub)
    const [signer, ...others] = keys.signers
    expect(others).toEqual([])
    expect(readKey(signer!.key)?.verifies(await signer!.sign(bytes), bytes)).toBe(true)
  }
}

test('another program signs, in base64 or hex', async () => {
  const { secret, pub } = await edPair('ed')
  await allSign([
    [signsWith(secret, 'base64'), pub],
    [signsWith(secret, 'hex'), pub],
  ])
})

test.skipIf(!hasOpenssl)('openssl signs with Ed25519 and with ECDSA P-256', async () => {
  const ed = await edPair('openssl')
  const p256 = await keyPair('p256', generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  await allSign([
    [
      `f=$(mktemp) && cat > "$f" && openssl pkeyutl -sign -rawin -inkey '${ed.secret}' -in "$f" | base64; rm -f "$f"`,
      ed.pub,
    ],
    [`openssl dgst -sha256 -sign '${p256.secret}' | base64`, p256.pub],
  ])
})

test('another key’s signature, noise, silence and a failure are told, and nothing is signed', async () => {
  const [ed, other] = [await edPair('one'), await edPair('two')]
  const said = async (command: string) => {
    const { keys } = await source('--sign-with', command, '--sign-key', ed.pub)
    return keys.signers[0]!.sign(utf8('x')).then(
      () => 'signed',
      (error: unknown) => (error as Error).message,
    )
  }
  expect(await said(signsWith(other.secret, 'base64'))).toContain('did not make')
  expect(await said('echo not a signature!')).toContain('no signature in hex or base64')
  expect(await said('true')).toContain('no signature')
  expect(await said('head -c 100000 /dev/zero')).toContain('no signature')
  expect(await said('exit 7')).toContain('ended with 7')
  await expect(source('--sign-with', 'true')).rejects.toMatchObject({ code: 2 })
  await expect(source('--sign-with', 'true', '--sign-key', 'nonsense')).rejects.toMatchObject({ code: 2 })
  await expect(source('--sign-with', 'true', '--sign-key', join(dir, 'keys.json'))).rejects.toMatchObject({
    code: 3,
  })
})
