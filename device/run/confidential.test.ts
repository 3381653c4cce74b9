import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { sha256Hex, type Bytes, type PartyKey, type Sha256Hex } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import type { Release } from '../../web/core/release/target.ts'
import { waitText } from '../../web/core/rollout/lifecycle-wait.ts'
import { keysFileOf, wrapEntries } from '../../web/edge/confidential/keys.ts'
import type { Verified } from '../../web/edge/release/mirror.ts'
import type { DeviceConfig } from '../config/config.ts'
import { artifactPath, installPath } from '../storage/downloads.ts'
import { createOpener } from './confidential.ts'

let dataDir: string
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'satpatch-confidential-'))
})
afterEach(() => rm(dataDir, { recursive: true, force: true }))

const secretOf = (byte: number) => new Uint8Array(32).fill(byte)
const [me, other] = [secretOf(21), secretOf(22)]
const key = new Uint8Array(32).fill(5) as Bytes
const plain = randomBytes(3_000_000)
const encrypted = createCipheriv('aes-256-ctr', key, new Uint8Array(16)).update(plain)
const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex') as Sha256Hex
const listFor = (...readers: PartyKey[]): Bytes =>
  keysFileOf({ sender: secretOf(9) }, wrapEntries({ key, readers, sender: secretOf(9) }))

function releaseWith(list: Bytes, sha256 = hash(plain)): Release {
  const keys = { path: 'pump/1/a.bin.keys', bytes: list.length, sha256: sha256Hex(list) }
  return {
    product: 'pump',
    version: '1',
    path: 'pump/1/a.bin',
    infoHash: 'ab'.repeat(20),
    bytes: encrypted.length,
    sha256: hash(encrypted),
    confidential: { cipher: 'AES-256-CTR', bytes: plain.length, sha256, keys },
  } as unknown as Release
}

/** A device whose mirrors answer by their host. */
function device(release: Release, mirrors: Readonly<Record<string, Uint8Array>>) {
  const asked: string[] = []
  const noted: string[] = []
  let signed = release
  const opener = createOpener({
    config: {
      dataDir,
      vendor: 'cd'.repeat(32),
      identity: { secret: me },
      relays: Object.keys(mirrors).map((host) => `http://${host}`),
      mirrors: [],
    } as unknown as DeviceConfig,
    ports: {
      fetch: (input) => {
        const { hostname, pathname } = new URL(String(input instanceof Request ? input.url : input))
        asked.push(`${hostname} ${pathname.split('/').at(-1)?.slice(0, 8)}`)
        return Promise.resolve(new Response((mirrors[hostname] ?? new Uint8Array()) as Bytes))
      },
    },
    verified: () => ({ releases: [signed], vendorBlock: {} }) as unknown as Verified,
    refused: { note: (attack, from) => void noted.push(`${attack} ${from}`) },
  })
  return { opener, asked, noted, sign: (next: Release) => (signed = next) }
}

test('finds its own entry and decrypts beside what it sells; asked again, also after a cut, it comes to the same', async () => {
  const list = listFor(publicKey(other), publicKey(me))
  const release = releaseWith(list)
  const { opener, asked } = device(release, { good: list })
  expect(await opener.whyNot(release)).toBeUndefined()
  await writeFile(artifactPath(dataDir, release), encrypted)
  // Left by a run that was killed in the middle of it.
  await writeFile(`${installPath(dataDir, release)}.tmp`, 'half')
  for (let again = 0; again < 2; again++) {
    expect(await opener.open(release)).toEqual({ tag: 'ok' })
    expect(plain.equals(await readFile(installPath(dataDir, release)))).toBe(true)
    expect(encrypted.equals(await readFile(artifactPath(dataDir, release)))).toBe(true)
    expect(existsSync(`${installPath(dataDir, release)}.tmp`)).toBe(false)
  }
  expect(asked).toHaveLength(1)
  // A new process needs no mirror any more.
  const offline = device(release, {})
  expect(await offline.opener.open(release)).toEqual({ tag: 'ok' })
})

test('a device that is not in the list waits, asks for a list once, and goes on when the vendor wraps again', async () => {
  const list = listFor(publicKey(other))
  const release = releaseWith(list)
  const answers: Record<string, Uint8Array> = { good: list }
  const { opener, asked, noted, sign } = device(release, answers)
  const wait = await opener.whyNot(release)
  expect(wait).toEqual({ why: 'not-a-reader' })
  expect(wait && waitText(wait)).toMatch(/enrolled after its keys were wrapped, or revoked/)
  await opener.whyNot(release)
  expect(asked).toHaveLength(1)
  const next = listFor(publicKey(other), publicKey(me))
  answers['good'] = next
  sign(releaseWith(next))
  expect(await opener.whyNot(release)).toBeUndefined()
  expect(noted).toEqual([])
})

test('mirrors that show another list, or an endless one, are passed over and named', async () => {
  const list = listFor(publicKey(me))
  const release = releaseWith(list)
  const another = listFor(publicKey(other))
  const lying = { other: another, endless: new Uint8Array(list.length + 1), good: list }
  const { opener, noted } = device(release, lying)
  expect(await opener.whyNot(release)).toBeUndefined()
  expect(noted).toEqual(['mix-and-match http://other', 'endless-data http://endless'])
  await rm(join(dataDir, 'downloads'), { recursive: true })
  const { other: _, good: __, ...silent } = lying
  expect(await device(release, silent).opener.whyNot(release)).toMatchObject({ why: 'mirror' })
})

test('what does not decrypt to the signed file is refused and does not stay', async () => {
  const list = listFor(publicKey(me))
  const release = releaseWith(list, 'ef'.repeat(32) as Sha256Hex)
  const { opener } = device(release, { good: list })
  await opener.whyNot(release)
  await writeFile(artifactPath(dataDir, release), encrypted)
  expect(await opener.open(release)).toMatchObject({ tag: 'refused' })
  expect(existsSync(installPath(dataDir, release))).toBe(false)
})

test('of a release that is open to all nothing is asked', async () => {
  const { confidential: _, ...open } = releaseWith(listFor(publicKey(me)))
  await mkdir(join(dataDir, 'downloads'), { recursive: true })
  const { opener, asked } = device(open as Release, {})
  expect(await opener.whyNot(open as Release)).toBeUndefined()
  expect(await opener.open(open as Release)).toEqual({ tag: 'ok' })
  expect(asked).toEqual([])
})
