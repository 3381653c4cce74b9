import { createCipheriv, createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { utf8, type Bytes, type PartyKey } from '../../core/bytes.ts'
import { publicKey, type SecretKey } from '../../core/nostr/event.ts'
import type { ByteSource } from '../swarm/api.ts'
import { hashArtifact } from '../swarm/hash-artifact.ts'
import { hashConfidential, newArtifactKey, throughCipher } from './artifact.ts'
import { openCipher } from './cipher.ts'
import { keysFileOf, partsOfJob, readersOf, unwrapKey, wrapEntries, wrapKeys } from './keys.ts'

const sourceOf = (bytes: Uint8Array): ByteSource => ({
  length: bytes.length,
  read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
})
const secretOf = (byte: number): SecretKey => new Uint8Array(32).fill(byte)

test('any range of an artifact is encrypted as in one go, as another AES has it, and comes back', async () => {
  const range = fc.tuple(fc.nat(5000), fc.nat(5000), fc.uint8Array({ minLength: 32, maxLength: 32 }))
  await fc.assert(
    fc.asyncProperty(range, async ([a, b, key]) => {
      const plain = Uint8Array.from({ length: 5000 }, (_, i) => i % 251)
      const whole = createCipheriv('aes-256-ctr', key, new Uint8Array(16)).update(plain)
      const [from, to] = [Math.min(a, b), Math.max(a, b)]
      const encrypted = await throughCipher(sourceOf(plain), key)
      const part = await encrypted.read(from, to - from)
      expect(Buffer.from(part).equals(whole.subarray(from, to))).toBe(true)
      const cipher = await openCipher(key)
      expect(await cipher(from, part.slice() as Bytes)).toEqual(plain.slice(from, to))
    }),
    { numRuns: 40 },
  )
})

test('what is signed is hashed of the encrypted bytes, and of the plain ones their SHA-256; the source is left alone', async () => {
  const plain = new Uint8Array(200_000).map((_, i) => (i * 7) & 255)
  const before = plain.slice()
  const key = newArtifactKey()
  const hashed = await hashConfidential(sourceOf(plain), 'a.bin', [], key)
  expect(plain).toEqual(before)
  const encrypted = createCipheriv('aes-256-ctr', key, new Uint8Array(16)).update(plain)
  const same = await hashArtifact(sourceOf(encrypted), 'a.bin', [])
  expect(hashed.meta.piecesRoot).toBe(same.meta.piecesRoot)
  expect(hashed.sha256).toBe(createHash('sha256').update(encrypted).digest('hex'))
  expect(hashed.confidential).toEqual({ key, sha256: createHash('sha256').update(plain).digest('hex') })
})

test('who made a list learns for whom it is; nobody else does, and to the readers it is a list like any other', async () => {
  const [keeper, one, two, later] = [10, 11, 12, 13].map(secretOf) as [
    SecretKey,
    SecretKey,
    SecretKey,
    SecretKey,
  ]
  const [vendor, ...devices] = [keeper, one, two, later].map((secret) => publicKey(secret))
  const key = newArtifactKey()
  const job = { key, readers: [...devices.slice(0, 2), vendor!], sender: secretOf(9), keeper: vendor! }
  const file = await wrapKeys(job)
  expect(await readersOf(file, keeper, devices)).toEqual(devices.slice(0, 2))
  for (const reader of [keeper, one, two]) expect(unwrapKey(file, reader)).toEqual({ tag: 'ok', key })
  for (const other of [one, later]) expect(await readersOf(file, other, devices)).toBeUndefined()
  const { keeper: _none, ...without } = job
  const silent = await wrapKeys(without)
  expect(await readersOf(silent, keeper, devices)).toBeUndefined()
  expect(await readersOf(utf8('no list'), keeper, devices)).toBeUndefined()
  // One entry more, and as long as any.
  expect(file.length - silent.length).toBe(147)
})

test('each reader opens its own entry; a device that is not in the list, a changed list and garbage open nothing', async () => {
  const readers = [11, 12, 13].map(secretOf)
  const key = newArtifactKey()
  const file = await wrapKeys({
    key,
    readers: readers.map((secret) => publicKey(secret)),
    sender: secretOf(9),
  })
  for (const reader of readers) expect(unwrapKey(file, reader)).toEqual({ tag: 'ok', key })
  expect(unwrapKey(file, secretOf(14))).toEqual({ tag: 'not-listed' })
  const text = Buffer.from(file).toString('latin1')
  for (const reader of readers)
    expect(text).not.toContain(Buffer.from(publicKey(reader), 'hex').toString('latin1'))
  for (const at of [200, file.length - 60]) {
    const changed = file.slice()
    changed[at] = (changed[at] ?? 0) ^ 1
    expect(readers.map((reader) => unwrapKey(changed, reader).tag)).toContain('malformed')
  }
  expect(unwrapKey(new Uint8Array(5), secretOf(11))).toEqual({ tag: 'malformed' })
  await expect(
    wrapKeys({ key, readers: ['ff'.repeat(32) as PartyKey], sender: secretOf(9) }),
  ).rejects.toThrow()
})

test.each([1, 2, 3, 7, 100])('wrapped in %i parts, each reader is in the list once and opens it', (count) => {
  const key = newArtifactKey()
  const secrets = Array.from({ length: 7 }, (_, n) => secretOf(20 + n))
  const keys = secrets.map((secret) => publicKey(secret))
  const job = { key, readers: [...keys, keys[0]!], sender: secretOf(9) }
  const parts = partsOfJob(job, count)
  expect(parts.length).toBeLessThanOrEqual(Math.min(count, 7))
  expect(parts.flatMap(({ readers }) => readers)).toEqual(keys)
  const list = keysFileOf(job, parts.reverse().flatMap(wrapEntries))
  for (const secret of secrets) expect(unwrapKey(list, secret)).toEqual({ tag: 'ok', key })
})
