/** Uploads to the mirror as a vendor, a device and a stranger make them, over HTTP; read back by tuf-js. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { expect, test } from 'vitest'
import { Updater } from 'tuf-js'
import { fromUtf8, sha256Hex, toHex, utf8 } from '../../web/core/bytes.ts'
import { encode } from '../../web/core/exchange/bencode.ts'
import { publicKey, type SecretKey } from '../../web/core/nostr/event.ts'
import {
  assemble,
  buildRoot,
  buildTargets,
  ed25519Key,
  keyId,
  LIFETIME_MS,
  signedBytes,
} from '../../web/core/release/repository.ts'
import { parseEnvelope, type SignedOf } from '../../web/core/release/tuf.ts'
import { httpAuth } from '../../web/edge/nostr/nip98.ts'
import { fetchRelayConfig } from '../../web/edge/relay-config.ts'
import { apiLimits } from '../api.ts'
import { afterTest, directory, relay } from '../fixture.ts'
import type { RunningRelay } from '../relay.ts'
import { mirrorLimits } from './mirror.ts'

const nostrSecret: SecretKey = new Uint8Array(32).fill(5)
const stranger: SecretKey = new Uint8Array(32).fill(6)

function signer(byte: number) {
  const secret = new Uint8Array(32).fill(byte)
  const key = ed25519Key(ed25519.getPublicKey(secret))
  const sign = (signed: object) => ({
    keyid: keyId(key),
    sig: toHex(ed25519.sign(signedBytes(signed), secret)),
  })
  return { key, sign }
}
const [rootKey, targetsKey, otherKey] = [signer(1), signer(2), signer(3)]

const artifact = utf8('the bytes of an update')
const targetsFile = (version: number, by = targetsKey, nowMs = Date.now()) => {
  const signed = buildTargets({
    version,
    nowMs,
    targets:
      version === 1
        ? []
        : [{ path: 'a/1/a.bin', bytes: artifact.length, sha256: sha256Hex(artifact), custom: {} as never }],
    vendor: { name: 'Ada', nostr: publicKey(nostrSecret), relays: [], trackers: [], distributors: [] },
  })
  return assemble(signed, [by.sign(signed)])
}
async function rootFile(relayUrl: string, version = 1, nowMs = Date.now(), targetsBy = targetsKey) {
  const { tuf } = await fetchRelayConfig(relayUrl)
  const keys = {
    root: [rootKey.key],
    targets: [targetsBy.key],
    snapshot: [tuf.snapshot],
    timestamp: [tuf.timestamp],
  }
  const signed = buildRoot({ version, nowMs, keys })
  return assemble(signed, [rootKey.sign(signed)])
}
const codeIn = (link: string | undefined) => new URL(link ?? '').hash.replace('#admit=', '')
const post = (url: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  })
const put = (url: string, body: Uint8Array<ArrayBuffer>, secret?: SecretKey) =>
  fetch(url, {
    method: 'PUT',
    body,
    headers: secret ? { authorization: httpAuth(url, 'PUT', body, secret) } : {},
  })
const codeOf = async (response: Response) => [
  response.status,
  ((await response.json()) as { error?: { code: string } }).error?.code,
]

async function admitted(running: RunningRelay, nowMs = Date.now()) {
  const root = await rootFile(running.url, 1, nowMs)
  const targets = targetsFile(1, targetsKey, nowMs)
  const body = { code: codeIn(running.admissionLink), root: fromUtf8(root), targets: fromUtf8(targets) }
  const response = await post(`${running.url}/api/vendors`, body)
  expect(response.status).toBe(201)
  const { vendor } = (await response.json()) as { vendor: string }
  expect(vendor).toBe(sha256Hex(root))
  return { root, vendor, base: `${running.url}/v/${vendor}`, body }
}
const read = async <R extends 'timestamp' | 'snapshot'>(role: R, url: string): Promise<SignedOf[R]> => {
  const parsed = parseEnvelope(role, new Uint8Array(await (await fetch(url)).arrayBuffer()))
  if (parsed.tag === 'refused') throw new Error(parsed.refusal.text)
  return parsed.value.signed
}
/** Of timestamp, snapshot and targets, as a client would follow them. */
async function metadataVersions(base: string): Promise<unknown[]> {
  const timestamp = await read('timestamp', `${base}/metadata/timestamp.json`)
  const snapshotVersion = timestamp.meta['snapshot.json'].version
  const snapshot = await read('snapshot', `${base}/metadata/${snapshotVersion}.snapshot.json`)
  return [timestamp.version, snapshotVersion, snapshot.meta['targets.json']?.version]
}

test('a one-time code admits one vendor, and is spent only by success', async () => {
  const running = await relay()
  const root = fromUtf8(await rootFile(running.url))
  const targets = fromUtf8(targetsFile(1))
  const code = codeIn(running.admissionLink)
  const url = `${running.url}/api/vendors`
  expect(await codeOf(await post(url, { code: 'wrong', root, targets }))).toEqual([403, 'code-invalid'])
  const unsigned = fromUtf8(targetsFile(1, otherKey))
  expect(await codeOf(await post(url, { code, root, targets: unsigned }))).toEqual([
    422,
    'refused-arbitrary-software',
  ])
  const { vendor, body } = await admitted(running)
  // The answer may have been lost: the same admission again is no error.
  expect((await post(url, body)).status).toBe(201)
  const second = fromUtf8(await rootFile(running.url, 1, Date.now() - 60_000))
  expect(await codeOf(await post(url, { code, root: second, targets }))).toEqual([403, 'code-invalid'])
  expect((await fetchRelayConfig(running.url)).vendors).toEqual([{ id: vendor, name: 'Ada' }])

  const further = codeIn(await running.mintAdmissionLink())
  expect((await post(url, { code: further, root: second, targets })).status).toBe(201)
  expect((await fetchRelayConfig(running.url)).vendors).toHaveLength(2)
})

test('a code survives a restart, a vendor too, and then no link is printed', async () => {
  const dataDir = await directory()
  const first = await relay({ dataDir })
  await first.stop()
  const second = await relay({ dataDir })
  await admitted({ ...second, admissionLink: first.admissionLink! })
  expect(
    await codeOf(
      await post(`${second.url}/api/vendors`, { code: codeIn(second.admissionLink), root: '', targets: '' }),
    ),
  ).toEqual([
    403,
    'code-invalid', // the first vendor's admission ended all first links
  ])
  await second.stop()
  const third = await relay({ dataDir })
  expect(third.admissionLink).toBeUndefined()
  expect((await fetchRelayConfig(third.url)).vendors).toHaveLength(1)
})

test('takes the next targets and signs for them; refuses replays, gaps and other keys', async () => {
  const { base } = await admitted(await relay())
  const url = (n: number) => `${base}/metadata/${n}.targets.json`
  expect(await metadataVersions(base)).toEqual([1, 1, 1])
  const next = targetsFile(2)
  const answer = await put(url(2), next)
  expect([answer.status, await answer.json()]).toEqual([
    200,
    { targetsVersion: 2, snapshotVersion: 2, timestampVersion: 2 },
  ])
  expect((await put(url(2), next)).status).toBe(200) // sent again, nothing signed again
  expect(await metadataVersions(base)).toEqual([2, 2, 2])
  expect(await codeOf(await put(url(2), targetsFile(2, targetsKey, Date.now() + 5000)))).toEqual([
    409,
    'version-not-next',
  ])
  expect(await codeOf(await put(url(1), targetsFile(1)))).toEqual([409, 'version-not-next'])
  expect(await codeOf(await put(url(4), targetsFile(4)))).toEqual([409, 'version-not-next'])
  expect(await codeOf(await put(url(3), targetsFile(3, otherKey)))).toEqual([
    422,
    'refused-arbitrary-software',
  ])
  expect(await codeOf(await put(url(3), targetsFile(4)))).toEqual([422, 'refused-rollback'])
  const expired = targetsFile(3, targetsKey, Date.now() - LIFETIME_MS.targets - 1000)
  expect(await codeOf(await put(url(3), expired))).toEqual([422, 'refused-freeze'])
  expect(await codeOf(await put(url(3), utf8('{}')))).toEqual([422, 'refused-malformed'])
  expect(await codeOf(await put(`${base}/metadata/3.snapshot.json`, utf8('{}')))).toEqual([400, 'malformed'])
  expect(await metadataVersions(base)).toEqual([2, 2, 2])
})

test('of two uploads of one version at once, one wins', async () => {
  const { base } = await admitted(await relay())
  const both = [targetsFile(2), targetsFile(2, targetsKey, Date.now() + 5000)]
  const answers = await Promise.all(both.map((bytes) => put(`${base}/metadata/2.targets.json`, bytes)))
  expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409])
})

test('a new root is taken when the old one signed it and it keeps the relay’s keys', async () => {
  const running = await relay()
  const { base } = await admitted(running)
  const url = `${base}/metadata/2.root.json`
  const { tuf } = await fetchRelayConfig(running.url)
  const vendorOnly = { root: [rootKey.key], targets: [targetsKey.key] }
  const foreign = buildRoot({
    version: 2,
    nowMs: Date.now(),
    keys: { ...vendorOnly, snapshot: [otherKey.key], timestamp: [tuf.timestamp] },
  })
  expect(await codeOf(await put(url, assemble(foreign, [rootKey.sign(foreign)])))).toEqual([
    422,
    'refused-relay-key',
  ])
  const taken = buildRoot({
    version: 2,
    nowMs: Date.now(),
    keys: { ...vendorOnly, root: [otherKey.key], snapshot: [tuf.snapshot], timestamp: [tuf.timestamp] },
  })
  expect(await codeOf(await put(url, assemble(taken, [otherKey.sign(taken)])))).toEqual([
    422,
    'refused-arbitrary-software',
  ])
  // Alone it would leave devices with targets that nobody of it has signed.
  const rotated = await rootFile(running.url, 2, Date.now(), otherKey)
  expect(await codeOf(await put(url, rotated))).toEqual([422, 'refused-arbitrary-software'])
  const files = { root: fromUtf8(rotated), targets: fromUtf8(targetsFile(2, otherKey)) }
  expect((await post(`${base}/proposals`, { files })).status).toBe(200)
  // The answer was lost: the same again is the same.
  expect((await post(`${base}/proposals`, { files })).status).toBe(200)
  // From now on the new root's targets key counts.
  expect(await codeOf(await put(`${base}/metadata/3.targets.json`, targetsFile(3)))).toEqual([
    422,
    'refused-arbitrary-software',
  ])
  expect((await put(`${base}/metadata/3.targets.json`, targetsFile(3, otherKey))).status).toBe(200)
})

test('tuf-js, another implementation, accepts what the relay serves', async () => {
  const running = await relay()
  const { base, root } = await admitted(running)
  await put(`${base}/metadata/2.root.json`, await rootFile(running.url, 2))
  await put(`${base}/metadata/2.targets.json`, targetsFile(2))
  const metadataDir = await mkdtemp(join(await directory(), 'tuf-'))
  await writeFile(join(metadataDir, 'root.json'), root)
  const updater = new Updater({ metadataDir, metadataBaseUrl: `${base}/metadata` })
  await updater.refresh()
  expect(await updater.getTargetInfo('a/1/a.bin')).toMatchObject({ length: artifact.length })
  expect((await readdir(metadataDir)).toSorted()).toEqual([
    'root.json',
    'snapshot.json',
    'targets.json',
    'timestamp.json',
  ])
})

test('re-signs before expiry, at start too, with versions that only rise; files of a crash are left aside', async () => {
  const dataDir = await directory()
  let nowMs = Date.now()
  const now = () => nowMs
  const first = await relay({ dataDir, now })
  const { base, vendor } = await admitted(first)
  await first.stop()
  await writeFile(join(dataDir, 'mirror/vendors', vendor, 'metadata/2.targets.json'), 'half a file')
  await writeFile(join(dataDir, 'mirror/vendors', vendor, 'metadata/.tmp-x'), 'half a file')
  await mkdir(join(dataDir, 'mirror/vendors/.tmp-y'))
  nowMs += LIFETIME_MS.timestamp * 0.6
  const second = await relay({ dataDir, now, port: first.port })
  expect(await metadataVersions(base)).toEqual([2, 1, 1])
  await second.stop()
  nowMs += LIFETIME_MS.snapshot * 0.6
  await relay({ dataDir, now, port: first.port })
  expect(await metadataVersions(base)).toEqual([3, 2, 1])
  expect((await put(`${base}/metadata/2.targets.json`, targetsFile(2, targetsKey, nowMs))).status).toBe(200)
  expect(await readdir(join(dataDir, 'mirror/vendors'))).toEqual([vendor])
})

test('metadata may be kept by caches for ever, except the timestamp, and read by any page', async () => {
  const { base } = await admitted(await relay())
  const [timestamp, root, missing] = await Promise.all(
    ['timestamp', '1.root', '2.root'].map((name) => fetch(`${base}/metadata/${name}.json`)),
  )
  expect(timestamp!.headers.get('cache-control')).toBe('no-store')
  expect(root!.headers.get('cache-control')).toContain('immutable')
  expect([missing!.status, missing!.headers.get('cache-control')]).toEqual([404, 'no-store'])
  for (const response of [timestamp, root, missing]) {
    expect(response!.headers.get('access-control-allow-origin')).toBe('*')
  }
})

test('a torrent is taken from the vendor only, under its own info-hash', async () => {
  const { base } = await admitted(await relay())
  const info = { length: 1, name: 'a', 'piece length': 16384, pieces: new Uint8Array(20) }
  const torrent = encode({ announce: 'ws://x', info }) as Uint8Array<ArrayBuffer>
  const infoHash = toHex(sha1(encode(info)))
  const url = `${base}/torrents/${infoHash}.torrent`
  expect(await codeOf(await put(url, torrent))).toEqual([401, 'auth-missing'])
  expect(await codeOf(await put(url, torrent, stranger))).toEqual([403, 'not-the-vendor'])
  expect(await codeOf(await put(`${base}/torrents/${'0'.repeat(40)}.torrent`, torrent, nostrSecret))).toEqual(
    [422, 'wrong-info-hash'],
  )
  expect((await put(url, torrent, nostrSecret)).status).toBe(201)
  expect(new Uint8Array(await (await fetch(url)).arrayBuffer())).toEqual(new Uint8Array(torrent))
})

test('receipts are taken from any key, by their hash, up to the limit', async () => {
  const { base } = await admitted(await relay())
  const largest = new Uint8Array(mirrorLimits.blobBytes)
  const url = (bytes: Uint8Array) => `${base}/blobs/${sha256Hex(bytes)}`
  expect((await put(url(largest), largest, stranger)).status).toBe(201)
  expect((await fetch(url(largest))).headers.get('content-security-policy')).toContain('sandbox')
  const over = new Uint8Array(mirrorLimits.blobBytes + 1)
  expect(await codeOf(await put(url(over), over, stranger))).toEqual([413, 'too-large'])
  expect(await codeOf(await put(url(over), artifact, stranger))).toEqual([422, 'wrong-hash'])
  expect(await codeOf(await put(url(artifact), artifact))).toEqual([401, 'auth-missing'])
  // Signed for another body: the signature cannot be used again.
  const signed = httpAuth(url(artifact), 'PUT', largest, stranger)
  const response = await fetch(url(artifact), {
    method: 'PUT',
    body: artifact,
    headers: { authorization: signed },
  })
  expect(await codeOf(response)).toEqual([401, 'auth-invalid'])
})

test('what the disk did not take fills no quota', async () => {
  const dataDir = await directory()
  const { base, vendor } = await admitted(await relay({ dataDir }))
  const limits: { blobBytesPerVendor: number } = mirrorLimits
  const before = limits.blobBytesPerVendor
  afterTest(() => (limits.blobBytesPerVendor = before))
  limits.blobBytesPerVendor = artifact.length
  const blobs = join(dataDir, 'mirror', 'vendors', vendor, 'blobs')
  const url = `${base}/blobs/${sha256Hex(artifact)}`
  await rm(blobs, { recursive: true })
  expect((await put(url, artifact, stranger)).status).toBe(500)
  await mkdir(blobs)
  expect((await put(url, artifact, stranger)).status).toBe(201)
})

test('no key and no address can crowd out the receipts of a fleet', async () => {
  const { base } = await admitted(await relay())
  let sent = 0
  const upload = (secret: SecretKey, length: number) => {
    const bytes = new Uint8Array(length)
    bytes[0] = ++sent
    return put(`${base}/blobs/${sha256Hex(bytes)}`, bytes, secret)
  }
  const key = (byte: number): SecretKey => new Uint8Array(32).fill(byte)
  const largest = mirrorLimits.blobBytes
  const [perKey, perAddress] = [apiLimits.blobBytesPerKey, apiLimits.blobBytesPerAddress]
  for (let taken = 0; taken < perAddress.burst; taken += largest) {
    const who = key(10 + Math.floor(taken / perKey.burst))
    expect((await upload(who, largest)).status).toBe(201)
    if (taken + largest === perKey.burst)
      expect(await codeOf(await upload(who, largest))).toEqual([429, 'rate-limited'])
  }
  expect(await codeOf(await upload(key(99), largest))).toEqual([429, 'rate-limited'])
  expect(perAddress.burst * 50).toBeLessThan(mirrorLimits.blobBytesPerVendor)
})
