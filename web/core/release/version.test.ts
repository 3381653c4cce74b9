import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareVersions, isNewer, parseVersion } from './version.ts'

test('versions come in the order that people expect', () => {
  const ascending = [
    '0.9',
    '1.0~~a',
    '1.0~rc1',
    '1.0-alpha',
    '1.0-alpha.1',
    '1.0-alpha.beta',
    '1.0-beta.2',
    '1.0-beta.11',
    '1.0-rc.1',
    '1.0',
    '1.0.1',
    '1.2',
    '1.10',
    '1.10.0.1',
    '2',
    '2026.11',
    '2026.11.2',
    '9007199254740993.1',
  ]
  for (const [i, a] of ascending.entries()) {
    for (const [j, b] of ascending.entries()) {
      expect(Math.sign(compareVersions(a, b)), `${a} against ${b}`).toBe(Math.sign(i - j))
    }
  }
})

test('trailing zeros and build metadata make no other release', () => {
  expect(compareVersions('1', '1.0.0')).toBe(0)
  expect(compareVersions('1.0+build.7', '1.0.0+other')).toBe(0)
  expect(isNewer('1.0+2', '1.0+1')).toBe(false)
  expect(compareVersions('1.02', '1.2')).toBe(0)
})

const anyVersion = fc
  .tuple(
    fc.array(fc.constantFrom('0', '1', '2', '10', '01', 'a'), { minLength: 1, maxLength: 3 }),
    fc.option(fc.tuple(fc.constantFrom('-', '~'), fc.constantFrom('', '1', 'a', 'a.1', 'rc1', '1-2', '~')), {
      nil: undefined,
    }),
    fc.constantFrom('', '+1', '+x-y'),
  )
  .map(([core, pre, build]) => `1.${core.join('.')}${pre?.join('') ?? ''}${build}`)

test('the order is total: reflexive, antisymmetric, transitive', () => {
  fc.assert(
    fc.property(anyVersion, anyVersion, anyVersion, (a, b, c) => {
      expect(parseVersion(a)).toBe(a)
      expect(compareVersions(a, a)).toBe(0)
      expect(Math.sign(compareVersions(a, b)) + Math.sign(compareVersions(b, a))).toBe(0)
      if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0)
        expect(compareVersions(a, c)).toBeLessThanOrEqual(0)
    }),
    { numRuns: 2000 },
  )
})

test('what is no version is not parsed', () => {
  for (const text of ['', 'v1', '1 0', '1/2', '1'.repeat(65), '../1', '1\n'])
    expect(parseVersion(text)).toBeUndefined()
  expect(parseVersion('1'.repeat(64))).toBeDefined()
})
