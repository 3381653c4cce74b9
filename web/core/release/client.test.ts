/** TUF specification 1.0, client workflow; tuf-js is the oracle for what is accepted. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { BaseFetcher, Updater } from 'tuf-js'
import { DownloadHTTPError } from 'tuf-js/dist/error.js'
import { afterEach, describe, expect, test } from 'vitest'
import { fromUtf8, utf8, type Bytes, type VendorId } from '../bytes.ts'
import { readTargets } from './announce.ts'
import * as client from './client.ts'
import { assemble, buildRoot, buildSnapshot, buildTimestamp, keyId } from './repository.ts'
import { signWith, testEntry, testKey, testKeys, testRepository, type TestFiles } from './test-repository.ts'
import { attacksOf } from './test-attacks.ts'
import { LIMITS, parseEnvelope, signedBytes, type Verdict } from './tuf.ts'

const now = Date.now() // the oracle reads the real clock
const DAY = 86_400_000

/** The whole workflow over files in memory, as `edge/release/mirror.ts` does it over HTTP. */
function run(
  files: TestFiles,
  vendor: VendorId,
  from?: client.Trusted,
  nowMs = now,
  floor = 0,
): Verdict<client.Current> {
  const first: Verdict<client.Trusted> = from
    ? { tag: 'ok', value: from }
    : client.pin(vendor, files['1.root.json']!)
  if (first.tag === 'refused') return first
  let trusted = first.value
  const take = (verdict: Verdict<client.Trusted>) => {
    if (verdict.tag === 'ok') trusted = verdict.value
    return verdict
  }
  for (;;) {
    const next = files[`${trusted.root.signed.version + 1}.root.json`]
    if (!next) break
    const verdict = take(client.nextRoot(trusted, next))
    if (verdict.tag === 'refused') return verdict
  }
  for (const verdict of [
    take(client.rootsDone(trusted, nowMs)),
    take(client.nextTimestamp(trusted, files['timestamp.json']!, nowMs)),
  ]) {
    if (verdict.tag === 'refused') return verdict
  }
  for (let want = client.want(trusted); want.tag === 'fetch'; want = client.want(trusted)) {
    const bytes = files[`${want.version}.${want.role}.json`] ?? new Uint8Array(0)
    const step = want.role === 'snapshot' ? client.nextSnapshot : client.nextTargets
    const verdict = take(step(trusted, bytes, nowMs))
    if (verdict.tag === 'refused') return verdict
  }
  return client.finish(trusted, nowMs, floor)
}

const cleanUp: string[] = []
afterEach(() => {
  for (const dir of cleanUp.splice(0)) rmSync(dir, { recursive: true })
})

class FilesFetcher extends BaseFetcher {
  readonly files: TestFiles
  constructor(files: TestFiles) {
    super()
    this.files = files
  }
  override async fetch(url: string): Promise<ReadableStream<Bytes>> {
    const bytes = this.files[new URL(url).pathname.slice(1)]
    if (!bytes) throw new DownloadHTTPError('not found', 404)
    return new Blob([bytes]).stream()
  }
}

/** What tuf-js says of the same files. */
async function oracle(files: TestFiles): Promise<'ok' | 'refused'> {
  const dir = mkdtempSync(join(tmpdir(), 'satpatch-tuf-'))
  cleanUp.push(dir)
  writeFileSync(join(dir, 'root.json'), files['1.root.json']!)
  const updater = new Updater({
    metadataDir: dir,
    metadataBaseUrl: 'http://repository.test',
    fetcher: new FilesFetcher(files),
  })
  try {
    await updater.refresh()
    return 'ok'
  } catch {
    return 'refused'
  }
}

const refusal = (verdict: Verdict<unknown>) =>
  verdict.tag === 'refused' ? `${verdict.refusal.role}: ${verdict.refusal.tag}` : 'accepted'

test('a repository made here is accepted here and by tuf-js, with its releases', async () => {
  const { files, publish, vendor } = testRepository(now)
  publish([testEntry('1.0')])
  const verdict = run(files, vendor)
  if (verdict.tag === 'refused') throw new Error(verdict.refusal.text)
  expect(readTargets(verdict.value.targets.signed).releases).toMatchObject([
    { version: '1.0', targetsVersion: 1 },
  ])
  expect(await oracle(files)).toBe('ok')
})

test('a rotation of root keys is followed, when old and new keys sign it', async () => {
  const { files, publish, vendor, publics, rootOf } = testRepository(now)
  const next = testKey('root two')
  files['2.root.json'] = signWith(rootOf(2, { ...publics, root: [next.public] }), testKeys.root, next)
  publish([])
  expect(run(files, vendor).tag).toBe('ok')
  expect(await oracle(files)).toBe('ok')
})

describe('refused here and by tuf-js:', () => {
  test.each(Object.entries(attacksOf(now)))('%s', async (_, [expected, attack]) => {
    const repo = testRepository(now)
    repo.publish([testEntry('1.0')])
    attack(repo)
    expect(refusal(run(repo.files, repo.vendor))).toBe(expected)
    expect(await oracle(repo.files)).toBe('refused')
  })
})

function trustedAt(versions: number) {
  const repo = testRepository(now)
  for (let i = 1; i <= versions; i++) repo.publish([testEntry(`1.${i}`)])
  const verdict = run(repo.files, repo.vendor)
  if (verdict.tag === 'refused') throw new Error(verdict.refusal.text)
  return { repo, trusted: verdict.value }
}

test('an older timestamp, snapshot or targets after newer ones is a rollback', () => {
  const { repo, trusted } = trustedAt(3)
  const old = testRepository(now)
  old.publish([])
  expect(
    refusal(run({ ...repo.files, 'timestamp.json': old.files['timestamp.json']! }, repo.vendor, trusted)),
  ).toBe('timestamp: rollback')
  const stamp = (version: number, snapshotVersion: number, snapshot: Bytes) =>
    signWith(buildTimestamp({ version, nowMs: now, snapshotVersion, snapshot }), testKeys.timestamp)
  const backward = { ...repo.files, 'timestamp.json': stamp(4, 2, repo.files['2.snapshot.json']!) }
  expect(refusal(run(backward, repo.vendor, trusted))).toBe('timestamp: rollback')
  const snapshot = signWith(
    buildSnapshot({ version: 4, nowMs: now, targetsVersion: 2, targets: repo.files['2.targets.json']! }),
    testKeys.snapshot,
  )
  const older = { ...repo.files, '4.snapshot.json': snapshot, 'timestamp.json': stamp(4, 4, snapshot) }
  expect(refusal(run(older, repo.vendor, trusted))).toBe('snapshot: rollback')
})

test('the same state again is accepted and fetches nothing; time alone ends it', () => {
  const { repo, trusted } = trustedAt(2)
  const only = { 'timestamp.json': repo.files['timestamp.json']! }
  expect(run(only, repo.vendor, trusted).tag).toBe('ok')
  expect(refusal(run(only, repo.vendor, trusted, now + 2 * DAY))).toBe('timestamp: freeze')
})

test('fast forward: after the relay’s keys are rotated, lower versions are accepted again', () => {
  const { repo } = trustedAt(1)
  const snapshot = repo.files['1.snapshot.json']!
  const far = buildTimestamp({ version: 1_000_000, nowMs: now, snapshotVersion: 1, snapshot })
  const fast = run({ ...repo.files, 'timestamp.json': signWith(far, testKeys.timestamp) }, repo.vendor)
  if (fast.tag === 'refused') throw new Error(fast.refusal.text)
  expect(refusal(run(repo.files, repo.vendor, fast.value))).toBe('timestamp: rollback')
  const fresh = testKey('timestamp two')
  const root = repo.rootOf(2, { ...repo.publics, timestamp: [fresh.public] })
  const recovered = {
    ...repo.files,
    '2.root.json': signWith(root, testKeys.root),
    'timestamp.json': signWith(
      buildTimestamp({ version: 2, nowMs: now, snapshotVersion: 1, snapshot }),
      fresh,
    ),
  }
  expect(run(recovered, repo.vendor, fast.value).tag).toBe('ok')
})

test('targets below what the vendor has announced are a freeze', () => {
  const { repo } = trustedAt(2)
  expect(run(repo.files, repo.vendor, undefined, now, 2).tag).toBe('ok')
  expect(refusal(run(repo.files, repo.vendor, undefined, now, 3))).toBe('targets: freeze')
})

test('another vendor’s first root is not the pinned one', () => {
  const { repo } = trustedAt(1)
  expect(refusal(client.pin('00'.repeat(32) as VendorId, repo.files['1.root.json']!))).toBe(
    'root: other-vendor',
  )
})

test('a threshold of two needs two different keys, however often one of them signs', () => {
  const [a, b] = [testKey('a'), testKey('b')]
  const keys = { ...testRepository(now).publics, root: [a.public, b.public] }
  const root = buildRoot({ version: 1, nowMs: now, keys, thresholds: { root: 2 } })
  const one = signWith(root, a)
  const both = signWith(root, a, b)
  const { signatures } = JSON.parse(fromUtf8(one)) as { signatures: [{ keyid: string; sig: string }] }
  const twice = assemble(root, [signatures[0], { ...signatures[0], keyid: keyId(b.public) }])
  const judge = (bytes: Bytes) => client.restore({ root: bytes })
  expect(judge(both).tag).toBe('ok')
  expect(refusal(judge(one))).toBe('root: arbitrary-software')
  expect(refusal(judge(twice))).toBe('root: arbitrary-software')
  expect(refusal(judge(assemble(root, [signatures[0], signatures[0]])))).toBe('root: malformed')
  // The same key again under another id (one more field) is still one key.
  const alias = { ...a.public, note: 'again' }
  const sly = buildRoot({
    version: 1,
    nowMs: now,
    keys: { ...keys, root: [a.public, alias] },
    thresholds: { root: 2 },
  })
  const signature = (JSON.parse(fromUtf8(signWith(sly, a))) as { signatures: [{ sig: string }] })
    .signatures[0].sig
  const slyBytes = assemble(
    sly,
    [a.public, alias].map((key) => ({ keyid: keyId(key), sig: signature })),
  )
  expect(refusal(judge(slyBytes))).toBe('root: arbitrary-software')
})

test('length is limited before anything is parsed: at the limit it is read, one byte past it is not', () => {
  const pad = (length: number) => {
    const { repo } = { repo: testRepository(now) }
    const text = fromUtf8(repo.files['1.root.json']!)
    return utf8(text + ' '.repeat(length - text.length))
  }
  expect(parseEnvelope('root', pad(LIMITS.rootBytes)).tag).toBe('ok')
  expect(refusal(parseEnvelope('root', pad(LIMITS.rootBytes + 1)))).toBe('root: endless-data')
})

test('nothing that can be sent makes it throw', () => {
  const { repo, trusted } = trustedAt(1)
  const deep = utf8(`{"signed":${'['.repeat(100_000)}${']'.repeat(100_000)},"signatures":[]}`)
  const roots = [
    deep,
    utf8('{"signed":{"_type":"root","__proto__":1}}'),
    utf8('null'),
    utf8('[]'),
    new Uint8Array([0xff]),
  ]
  for (const bytes of roots) expect(client.nextRoot(trusted, bytes).tag).toBe('refused')
  const text = fromUtf8(repo.files['timestamp.json']!)
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.string({ maxLength: 3 }), fc.nat(5), (at, insert, drop) => {
      const changed = utf8(text.slice(0, at) + insert.toWellFormed() + text.slice(at + drop))
      const verdict = client.nextTimestamp({ root: trusted.root }, changed, now)
      // Whatever passes says what was signed.
      if (verdict.tag === 'ok') {
        expect(signedBytes(verdict.value.timestamp!.signed)).toEqual(trusted.timestamp.canonical)
      }
    }),
  )
})

test('what was kept is taken up again only while the root’s keys vouch for it', () => {
  const { trusted } = trustedAt(1)
  const kept = {
    root: trusted.root.bytes,
    timestamp: trusted.timestamp.bytes,
    snapshot: trusted.snapshot.bytes,
    targets: trusted.targets.bytes,
  }
  const again = client.restore(kept)
  expect(again).toMatchObject({ tag: 'ok', value: { targets: { signed: { version: 1 } } } })
  const forged = signWith(trusted.timestamp.signed, testKey('mallory'))
  const without = client.restore({ ...kept, timestamp: forged })
  expect(without.tag === 'ok' && without.value.timestamp).toBeUndefined()
})
