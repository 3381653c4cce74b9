/** Products that others sign, as devices see them: through mirrors, into the choice of what to install. */
import { expect, test } from 'vitest'
import { fromUtf8, sha256Hex, utf8, type Bytes } from '../../core/bytes.ts'
import { choose } from '../../core/release/choose.ts'
import {
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  type TargetEntry,
} from '../../core/release/repository.ts'
import {
  signWith,
  testEntry,
  testKey,
  testKeys,
  testRepository,
  testVendor,
  type TestFiles,
} from '../../core/release/test-repository.ts'
import { keyId } from '../../core/release/tuf.ts'
import { lastVerified, refresh } from './mirror.ts'
import { memoryStore } from './store.ts'

const now = Date.UTC(2026, 5, 1)
const DAY = 86_400_000
const build = testKey('build machine')
const valve = (version: string): TargetEntry =>
  testEntry(version, { product: 'valve', releasedAt: 1_800_000_000 })

type Options = Readonly<{
  own?: readonly TargetEntry[]
  delegated?: readonly TargetEntry[]
  signer?: typeof build
  madeAt?: number
  version?: number
}>

/** The vendor delegates `valve` to the build machine. */
function repositoryWith({ own = [], delegated = [], signer = build, madeAt = now, version = 1 }: Options) {
  const { files, vendor } = testRepository(now)
  const delegations = {
    keys: { [keyId(build.public)]: build.public },
    roles: [
      {
        name: 'product/valve',
        keyids: [keyId(build.public)],
        threshold: 1,
        terminating: true,
        paths: ['valve/*/*'],
      },
    ],
  }
  const targets = signWith(
    { ...buildTargets({ version, nowMs: now, targets: own, vendor: testVendor }), delegations },
    testKeys.targets,
  )
  const { satpatch: _, ...role } = buildTargets({
    version,
    nowMs: madeAt,
    targets: delegated,
    vendor: testVendor,
  })
  const roleFile = signWith(role, signer)
  const list = buildSnapshot({ version, nowMs: now, targetsVersion: version, targets })
  const meta = { version, length: roleFile.length, hashes: { sha256: sha256Hex(roleFile) } }
  const snapshot = signWith(
    { ...list, meta: { ...list.meta, 'product/valve.json': meta } },
    testKeys.snapshot,
  )
  const timestamp = signWith(
    buildTimestamp({ version, nowMs: now, snapshotVersion: version, snapshot }),
    testKeys.timestamp,
  )
  const all: TestFiles = {
    ...files,
    [`${version}.targets.json`]: targets,
    [`${version}.product%2Fvalve.json`]: roleFile,
    [`${version}.snapshot.json`]: snapshot,
    'timestamp.json': timestamp,
  }
  return { files: all, vendor }
}

/** Mirrors by host name, without a network. */
function fetchFrom(mirrors: Readonly<Record<string, TestFiles>>) {
  const asked: string[] = []
  const fetcher = (async (input: URL | string) => {
    const url = new URL(input)
    const file = url.pathname.split('/').at(-1) ?? ''
    asked.push(file)
    const bytes: Bytes | undefined = mirrors[url.hostname]?.[file]
    return new Response(bytes ?? null, { status: bytes ? 200 : 404 })
  }) as typeof fetch
  return { fetcher, asked }
}

const device = { hardware: 'rpi4', installed: { valve: '1.0' }, failed: new Set<string>() }

test('a device takes a release that a delegate signed', async () => {
  const { files, vendor } = repositoryWith({ own: [testEntry('2.0')], delegated: [valve('1.1')] })
  const { fetcher, asked } = fetchFrom({ one: files })
  const store = memoryStore()
  const options = { mirrors: ['http://one'], vendor, store, nowMs: now, fetch: fetcher }
  const result = await refresh(options)
  if (result.tag !== 'ok') throw new Error(JSON.stringify(result))
  const { releases, ownReleases, unheard } = result.verified
  expect(releases.map(({ product, version }) => `${product} ${version}`)).toEqual(['valve 1.1', 'pump 2.0'])
  expect(ownReleases.map(({ product }) => product)).toEqual(['pump'])
  expect(unheard).toEqual([])
  const only = { ...device, products: new Set(['valve']) }
  expect(choose(releases, only)).toMatchObject({ tag: 'take', release: { product: 'valve', version: '1.1' } })
  // Kept, used again, and there without a network.
  asked.length = 0
  expect(await refresh(options)).toMatchObject({ tag: 'ok', verified: { releases } })
  expect(asked).toEqual(['2.root.json', 'timestamp.json'])
  expect(await lastVerified(vendor, store, now)).toMatchObject({ releases })
})

test('a delegate speaks for its own product alone, and never over the vendor', async () => {
  const evil = testEntry('9.9')
  const over = { ...valve('1.0'), sha256: sha256Hex(utf8('other bytes')) }
  const { files, vendor } = repositoryWith({ own: [valve('1.0')], delegated: [evil, over] })
  const { fetcher } = fetchFrom({ one: files })
  const result = await refresh({
    mirrors: ['http://one'],
    vendor,
    store: memoryStore(),
    nowMs: now,
    fetch: fetcher,
  })
  if (result.tag !== 'ok') throw new Error(JSON.stringify(result))
  expect(result.verified.releases.map(({ product, sha256 }) => [product, sha256])).toEqual([
    ['valve', valve('1.0').sha256],
  ])
  // What it tried is named, and once: a role is one, whatever it says.
  expect(result.verified.unheard).toEqual([
    {
      role: 'product/valve',
      attack: 'override',
      text: expect.stringMatching(/about .* and 1 more: that counts/),
    },
  ])
})

test('a delegate that says what the vendor says too is no attacker', async () => {
  const { files, vendor } = repositoryWith({ own: [valve('1.0')], delegated: [valve('1.0'), valve('1.1')] })
  const { fetcher } = fetchFrom({ one: files })
  const options = { mirrors: ['http://one'], vendor, store: memoryStore(), nowMs: now, fetch: fetcher }
  expect(await refresh(options)).toMatchObject({ tag: 'ok', verified: { unheard: [] } })
})

test.each([
  ['has expired', { madeAt: now - 40 * DAY }, 'expired'],
  ['is signed by a key that was taken away', { signer: testKey('old machine') }, '0 of the 1 signatures'],
])('what a delegate signed and %s goes unheard; the vendor’s own word stands', async (_, options, text) => {
  const { files, vendor } = repositoryWith({ own: [testEntry('2.0')], delegated: [valve('1.1')], ...options })
  const { fetcher } = fetchFrom({ one: files })
  const result = await refresh({
    mirrors: ['http://one'],
    vendor,
    store: memoryStore(),
    nowMs: now,
    fetch: fetcher,
  })
  if (result.tag !== 'ok') throw new Error(JSON.stringify(result))
  expect(result.verified.releases.map(({ product }) => product)).toEqual(['pump'])
  expect(result.verified.unheard).toMatchObject([
    { role: 'product/valve', text: expect.stringContaining(text) },
  ])
})

test('a mirror that withholds or changes a delegate’s file is passed over for the next', async () => {
  const { files, vendor } = repositoryWith({ delegated: [valve('1.1')] })
  const { '1.product%2Fvalve.json': file, ...without } = files
  const changed = fromUtf8(file!).replace('"valve"', '"valwe"')
  const lying = { ...files, '1.product%2Fvalve.json': utf8(changed) }
  const { fetcher } = fetchFrom({ silent: without, lying, good: files })
  const options = { vendor, nowMs: now, fetch: fetcher }
  const mirrors = ['http://silent', 'http://lying', 'http://good']
  expect(await refresh({ ...options, mirrors, store: memoryStore() })).toMatchObject({
    tag: 'ok',
    verified: { releases: [{ product: 'valve' }] },
  })
  expect(await refresh({ ...options, mirrors: mirrors.slice(0, 2), store: memoryStore() })).toMatchObject({
    tag: 'refused',
    mirror: 'http://lying',
    refusal: { tag: 'mix-and-match' },
  })
})

test('a delegate’s file that goes back is a rollback of the snapshot', async () => {
  const store = memoryStore()
  const newer = repositoryWith({ delegated: [valve('1.2')], version: 2 })
  const older = repositoryWith({ delegated: [valve('1.1')], version: 1 })
  const { fetcher } = fetchFrom({ newer: newer.files, older: older.files })
  const options = { vendor: newer.vendor, nowMs: now, fetch: fetcher, store }
  expect((await refresh({ ...options, mirrors: ['http://newer'] })).tag).toBe('ok')
  expect(await refresh({ ...options, mirrors: ['http://older'] })).toMatchObject({
    refusal: { tag: 'rollback' },
  })
})
