import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Sha256Hex } from '../bytes.ts'
import { msat } from '../money/msat.ts'
import { choose, whyText, type DeviceFacts } from './choose.ts'
import type { Release } from './target.ts'
import { testEntry } from './test-repository.ts'
import { compareVersions } from './version.ts'

const release = (version: string, more: Partial<Release> = {}): Release => {
  const { path, bytes, sha256, custom } = testEntry(version, more)
  return { ...custom, path, bytes, sha256: sha256 as Sha256Hex, targetsVersion: 1, ...more }
}
const device = (more: Partial<DeviceFacts> = {}): DeviceFacts => ({
  hardware: 'rpi4',
  installed: { pump: '1.0' },
  failed: new Set(),
  ...more,
})

test('takes the newest that fits, and says of each other why not', () => {
  const wrong = release('9', { hardware: ['esp32'] })
  const all = [release('0.9'), release('1.1'), release('2.0'), release('3.0', { upgradesFrom: '2.0' }), wrong]
  const choice = choose(all, device())
  expect(choice).toMatchObject({ tag: 'take', release: { version: '2.0' } })
  expect(choice.refused.map(({ why }) => why.tag).sort()).toEqual([
    'not-newer',
    'other-hardware',
    'superseded',
    'upgrades-from',
  ])
  for (const refused of choice.refused) expect(whyText(refused)).toMatch(/[a-z]/)
})

test('a fresh device takes any; one that failed there before takes it not again', () => {
  const only = release('3.0', { upgradesFrom: '2.0' })
  expect(choose([only], device({ installed: {} })).tag).toBe('take')
  const failed = choose([only], device({ installed: {}, failed: new Set([only.path]) }))
  expect(failed).toMatchObject({ tag: 'nothing', refused: [{ why: { tag: 'failed-before' } }] })
})

test('what the vendor signed as another format than a plain file is taken by who can handle it, a delta by nobody', () => {
  const image = release('2.0', { installer: 'rauc' })
  const slots = choose([image], device())
  expect(slots.refused.map(whyText)).toEqual([
    'pump 2.0 is for the installer "rauc", and this device has no install command',
  ])
  expect(choose([image], device({ handsOver: true })).tag).toBe('take')
  const delta = release('2.0', { deltaFrom: 'a'.repeat(64) as Sha256Hex })
  for (const handsOver of [false, true])
    expect(choose([delta], device({ handsOver })).refused).toMatchObject([{ why: { tag: 'other-format' } }])
})

test('room and products are heeded, and the lower of the two price caps holds', () => {
  expect(choose([release('2.0')], device({ roomBytes: 999 }))).toMatchObject({
    refused: [{ why: { tag: 'no-room' } }],
  })
  expect(choose([release('2.0')], device({ roomBytes: 1000 })).tag).toBe('take')
  expect(choose([release('2.0')], device({ products: new Set(['other']) })).tag).toBe('nothing')
  expect(choose([release('2.0')], device({ priceCapMsat: msat(7) }))).toMatchObject({ priceCapMsat: 7 })
  expect(choose([release('2.0')], device({ priceCapMsat: msat(5000) }))).toMatchObject({ priceCapMsat: 1000 })
})

test('never anything older or equal, for other hardware, and the order of the list does not matter', () => {
  const anyRelease = fc
    .record({
      version: fc.constantFrom('0.9', '1.0', '1.1', '1.1-rc1', '2.0'),
      product: fc.constantFrom('pump', 'valve'),
      hardware: fc.constantFrom(['rpi4'], ['esp32'], ['rpi4', 'esp32']),
      releasedAt: fc.nat(3),
    })
    .map(({ version, hardware, ...more }) => release(version, { ...more, hardware: [...hardware] }))
  const distinct = fc.uniqueArray(anyRelease, { selector: (one) => one.path, maxLength: 6 })
  fc.assert(
    fc.property(distinct, fc.nat(), (releases, turn) => {
      const choice = choose(releases, device())
      const rotated = [...releases.slice(turn % 6), ...releases.slice(0, turn % 6)]
      const again = choose(rotated, device())
      expect(again.tag === 'take' && again.release.path).toBe(choice.tag === 'take' && choice.release.path)
      expect(choice.refused.length + (choice.tag === 'take' ? 1 : 0)).toBe(releases.length)
      if (choice.tag === 'nothing') return
      expect(choice.release.hardware).toContain('rpi4')
      if (choice.release.product === 'pump')
        expect(compareVersions(choice.release.version, '1.0')).toBeGreaterThan(0)
    }),
  )
})
