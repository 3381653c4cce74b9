import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { VendorId } from '../../core/bytes.ts'
import { sha256Hex, utf8 } from '../../core/bytes.ts'
import { testEntry, testRepository, type TestFiles } from '../../core/release/test-repository.ts'
import { LIMITS } from '../../core/release/tuf.ts'
import { failureText, fetchBlob, lastVerified, refresh } from './mirror.ts'
import { memoryStore } from './store.ts'

const now = Date.now()
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

type Answer = Uint8Array | number | 'hang' | 'endless'
async function mirror(answer: (file: string) => Answer): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    const file = (request.url ?? '').replace(/^\/v\/[0-9a-f]{64}\/(metadata\/)?/, '')
    asked.push(file)
    const what = answer(file)
    if (what === 'hang') return
    if (what === 'endless') {
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      }
      response.on('drain', more)
      return more()
    }
    response.writeHead(typeof what === 'number' ? what : 200).end(typeof what === 'number' ? '' : what)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}
const serving = (files: TestFiles) => mirror((file) => files[file] ?? 404)
const options = (mirrors: string[], vendor: VendorId, store = memoryStore()) => ({
  mirrors,
  vendor,
  store,
  nowMs: now,
  fetch,
})

test('fetches what changed and nothing twice, and starts again from what it kept', async () => {
  const repo = testRepository(now)
  repo.publish([testEntry('1.0')])
  const { url, asked } = await serving(repo.files)
  const store = memoryStore()
  const first = await refresh(options([url], repo.vendor, store))
  expect(first).toMatchObject({ tag: 'ok', verified: { targetsVersion: 1, vendorBlock: { name: 'Pumps' } } })
  expect(asked.splice(0)).toEqual([
    '1.root.json',
    '2.root.json',
    'timestamp.json',
    '1.snapshot.json',
    '1.targets.json',
  ])
  await refresh(options([url], repo.vendor, store))
  expect(asked.splice(0)).toEqual(['2.root.json', 'timestamp.json'])
  repo.publish([testEntry('1.0'), testEntry('1.1')])
  const third = await refresh(options([url], repo.vendor, store))
  expect(third.tag === 'ok' && third.verified.releases.map((one) => one.version)).toEqual(['1.0', '1.1'])
  expect(asked).toEqual(['2.root.json', 'timestamp.json', '2.snapshot.json', '2.targets.json'])
  expect(await lastVerified(repo.vendor, store, now)).toMatchObject({ targetsVersion: 2 })
  expect(await lastVerified(repo.vendor, store, now + 40 * 86_400_000)).toBeUndefined()
})

test('a mirror that is gone, hangs, fails or lies is passed over for the next', async () => {
  const repo = testRepository(now)
  repo.publish([])
  const good = await serving(repo.files)
  const liar = await serving({ ...repo.files, 'timestamp.json': utf8('{}') })
  const broken = await mirror(() => 500)
  const hanging = await mirror(() => 'hang')
  const mirrors = ['http://127.0.0.1:1', hanging.url, broken.url, liar.url, good.url]
  expect(await refresh({ ...options(mirrors, repo.vendor), timeoutMs: 300 })).toMatchObject({ tag: 'ok' })
  const without = await refresh({ ...options(mirrors.slice(0, 4), repo.vendor), timeoutMs: 300 })
  expect(without).toMatchObject({
    tag: 'refused',
    mirror: liar.url,
    refusal: { tag: 'malformed', role: 'timestamp' },
  })
  const silent = await refresh({ ...options(mirrors.slice(0, 3), repo.vendor), timeoutMs: 300 })
  expect(silent.tag).toBe('unreachable')
  expect(silent.tag !== 'ok' && failureText(silent)).toMatch(/no answer within.*answered 500/)
})

test('an endless answer is cut off at the limit', async () => {
  const { url } = await mirror(() => 'endless')
  const result = await refresh(options([url], 'ab'.repeat(32) as VendorId))
  expect(result).toMatchObject({
    tag: 'refused',
    refusal: { tag: 'endless-data', text: `1.root.json is longer than ${LIMITS.rootBytes} bytes.` },
  })
})

test('a refusal keeps what was trusted; a store that fails trusts nothing new', async () => {
  const repo = testRepository(now)
  repo.publish([testEntry('1.0')])
  const store = memoryStore()
  const { url } = await serving(repo.files)
  await refresh(options([url], repo.vendor, store))
  expect(await refresh({ ...options([url], repo.vendor, store), floor: 2 })).toMatchObject({
    refusal: { tag: 'freeze' },
  })
  expect(await lastVerified(repo.vendor, store, now)).toMatchObject({ targetsVersion: 1 })
  const full = { ...memoryStore(), put: () => Promise.reject(new Error('no space left')) }
  const failed = await refresh({ ...options([url], repo.vendor), store: full })
  expect(failed).toMatchObject({ tag: 'not-kept' })
})

test('a blob is the bytes that its name says, or none', async () => {
  const bytes = utf8('receipts')
  const { url } = await mirror((file) => (file.startsWith('blobs/') ? bytes : 404))
  const other = await mirror(() => utf8('other'))
  const vendor = 'ab'.repeat(32) as VendorId
  expect(await fetchBlob([other.url, url], vendor, sha256Hex(bytes), fetch)).toEqual({ tag: 'ok', bytes })
  expect(await fetchBlob([other.url], vendor, sha256Hex(bytes), fetch)).toMatchObject({ tag: 'failed' })
})
