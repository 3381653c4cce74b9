/** Releases that a delegate signed, found without any network: in a copy of a mirror, and as a device keeps them. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { PartyKey } from '../../web/core/bytes.ts'
import { withDelegate } from '../../web/core/release/delegate.ts'
import { buildTargets } from '../../web/core/release/repository.ts'
import {
  signWith,
  testEntry,
  testKey,
  testKeys,
  testRepository,
  testVendor,
} from '../../web/core/release/test-repository.ts'
import type { Flags } from './command.ts'
import { findSigned } from './signed-release.ts'

const NOW = Date.UTC(2026, 0, 1)
const builder = testKey('builder')
const { files, vendor } = testRepository(NOW)
const delegations = withDelegate(undefined, {
  product: 'valve',
  name: 'Builder',
  key: builder.public,
  nostr: 'cd'.repeat(32) as PartyKey,
})
const targets = signWith(
  buildTargets({ version: 1, nowMs: NOW, targets: [], vendor: testVendor, delegations }),
  testKeys.targets,
)
const valve = (version: string) => testEntry(version, { product: 'valve' })
const role = (version: number, entries: ReturnType<typeof valve>[], by = builder) =>
  signWith(buildTargets({ version, nowMs: NOW, targets: entries }), by)

let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-signed-'))
  const put = async (name: string, bytes: Uint8Array) => {
    await mkdir(join(dir, name, '..'), { recursive: true })
    await writeFile(join(dir, name), bytes)
  }
  for (const place of ['mirror', 'device/metadata', 'forged']) {
    const names =
      place === 'device/metadata' ? ['root.json', 'targets.json'] : ['1.root.json', '1.targets.json']
    await put(`${place}/${names[0]}`, files['1.root.json']!)
    await put(`${place}/${names[1]}`, targets)
  }
  await put('mirror/1.product-valve.json', role(1, [valve('1.0')]))
  await put('mirror/2.product-valve.json', role(2, [valve('2.0'), testEntry('6.6')]))
  await put('device/metadata/delegated/product-valve.json', role(2, [valve('2.0')]))
  await put('forged/1.product-valve.json', role(1, [valve('2.0')], testKey('mallory')))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

const find = (place: string, path: string) => {
  const at = join(dir, place)
  const flags = {
    has: (name) => name === 'release',
    text: (name) => (name === 'release' ? at : undefined),
    texts: () => [],
    count: () => undefined,
  } satisfies Flags
  return findSigned(flags, join(at, 'x'), { vendor, path })
}

test.each([
  ['mirror', '1.0'],
  ['mirror', '2.0'],
  ['device', '2.0'],
])('in %s: valve %s, by the key that it was handed to', async (place, version) => {
  const found = await find(place, valve(version).path)
  expect(found).toMatchObject({
    release: { version, product: 'valve' },
    signaturesChecked: true,
    vendorChecked: true,
  })
})

test('not what somebody else signed, and not another product that the delegate names', async () => {
  await expect(find('forged', valve('2.0').path)).rejects.toThrow('names no release')
  await expect(find('mirror', testEntry('6.6').path)).rejects.toThrow('names no release')
})
