import { expect, test } from 'vitest'
import { publicKey, signEvent, type SecretKey } from '../nostr/event.ts'
import type { VendorId } from '../bytes.ts'
import { floorFrom, readAnnouncement, readTargets, releaseEvent } from './announce.ts'
import { buildTargets } from './repository.ts'
import { testEntry, testVendor } from './test-repository.ts'

const secret = new Uint8Array(32).fill(7) as SecretKey
const vendor = 'ab'.repeat(32) as VendorId
const announce = (targetsVersion: number, by = secret) => {
  const release = { product: 'pump', version: '1.0', sha256: 'cd'.repeat(32) as never }
  const template = releaseEvent({
    vendor,
    release,
    status: 'live',
    targetsVersion,
    createdAtS: 1_700_000_000,
  })
  return signEvent(template, by, new Uint8Array(32))
}

test('an announcement says what was announced', () => {
  expect(readAnnouncement(announce(7))).toMatchObject({
    vendor,
    product: 'pump',
    version: '1.0',
    targetsVersion: 7,
    status: 'live',
    author: publicKey(secret),
  })
})

test('a floor counts only from the vendor’s key, about the vendor, unchanged', () => {
  const json = JSON.stringify(announce(7))
  expect(floorFrom(json, vendor, publicKey(secret))).toBe(7)
  expect(floorFrom(json.replace('"7"', '"8"'), vendor, publicKey(secret))).toBeUndefined()
  expect(floorFrom(json, 'ef'.repeat(32) as VendorId, publicKey(secret))).toBeUndefined()
  const mallory = new Uint8Array(32).fill(9) as SecretKey
  expect(floorFrom(JSON.stringify(announce(9, mallory)), vendor, publicKey(secret))).toBeUndefined()
  for (const junk of ['', 'null', '{}', '{"tags":[1]}', `"${'x'.repeat(5000)}"`]) {
    expect(floorFrom(junk, vendor, publicKey(secret))).toBeUndefined()
  }
})

test('a target with an unsafe name, another path, no bytes or no release data is left out, with the reason', () => {
  const good = testEntry('1.0')
  const bad = [
    testEntry('1.1', { fileName: '..' }),
    { ...testEntry('1.2'), path: 'pump/1.2/other.bin' },
    { ...testEntry('1.3'), bytes: 0 },
    { ...testEntry('1.4'), custom: { hello: 1 } as never },
    { ...testEntry('1.5'), sha256: 'zz' },
  ]
  const signed = buildTargets({ version: 1, nowMs: 0, targets: [good, ...bad], vendor: testVendor })
  const read = readTargets(signed)
  expect(read.releases.map((one) => one.version)).toEqual(['1.0'])
  expect(read.skipped).toHaveLength(bad.length)
  expect(read.skipped.flatMap(({ attack }) => attack ?? []).toSorted()).toEqual([
    'unsafe-name',
    'wrong-place',
  ])
  expect(read.vendor).toEqual(testVendor)
})
