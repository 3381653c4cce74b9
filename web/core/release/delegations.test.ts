/** TUF specification 1.0.34, section 4.5: path patterns, hash prefixes and the order of delegations; TAP 15. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { binOf, delegatesFor, matches, segmentOf } from './delegations.ts'
import type { DelegatedRole } from './tuf.ts'

test.each([
  ['targets/*.tgz', ['targets/foo.tgz', 'targets/bar.tgz'], ['targets/foo.txt']],
  ['foo-version-?.tgz', ['foo-version-2.tgz', 'foo-version-a.tgz'], ['foo-version-alpha.tgz']],
  ['*.tgz', ['foo.tgz', 'bar.tgz'], ['targets/foo.tgz', '.tgz']],
  ['foo.tgz', ['foo.tgz'], ['xfoo.tgz', 'foo.tgz/', 'fooxtgz']],
  ['pump/*/*', ['pump/1.0/x', 'pump//'], ['pump/1.0', 'pump/1.0/x/y', 'valve/1.0/x', 'pump/.1/x']],
  ['*', ['', 'a', 'ü', '💧'], ['/', 'a/b', '.a']],
  ['?', ['a', '💧'], ['', 'ab']],
  ['[]x]', [']', 'x'], ['[', '']],
  ['[!]x]', ['a'], [']', 'x']],
  ['[a-c-]', ['a', 'c', '-'], ['d']],
  ['[a', ['[a'], ['a']],
  ['{a,b}', ['{a,b}'], ['a', 'b']],
])('%s covers what the specification says', (pattern, covered, others) => {
  for (const path of covered) expect([path, matches(pattern, path)]).toEqual([path, true])
  for (const path of others) expect([path, matches(pattern, path)]).toEqual([path, false])
})

const regular = new Map([
  ['*', '[^/]*'],
  ['?', '[^/]'],
  ['.', '\\.'],
])
const piece = fc.constantFrom('a', 'b', '*', '?', '/', 'ab', '.')
test('it agrees with the same pattern as a regular expression', () => {
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 8 }),
      fc.array(fc.constantFrom('a', 'b', '/', '.'), { maxLength: 8 }),
      (glob, letters) => {
        const source = glob.map((one) => regular.get(one) ?? one).join('')
        const path = letters.join('')
        const segments = path.split('/')
        const hidden = glob
          .join('')
          .split('/')
          .some((part, i) => segments[i]?.startsWith('.') && !part.startsWith('.'))
        expect(matches(glob.join(''), path)).toBe(!hidden && new RegExp(`^${source}$`).test(path))
      },
    ),
    { numRuns: 2000 },
  )
})

test('no pattern takes long', () => {
  const stars = '*a'.repeat(2000)
  expect(matches(stars, `${'a'.repeat(4000)}b`)).toBe(false)
})

const role = (name: string, more: Partial<DelegatedRole>): DelegatedRole => ({
  name,
  keyids: [],
  threshold: 1,
  terminating: false,
  ...more,
})
const namesFor = (roles: DelegatedRole[], path: string) =>
  delegatesFor({ keys: {}, roles }, path).map(({ name }) => name)

test('roles are asked in their order, up to a terminating one that covers the path', () => {
  const roles = [
    role('2', { paths: ['x*'] }),
    role('1', { paths: ['y'], terminating: true }),
    role('0', { paths: ['no', 'x'], terminating: true }),
    role('last', { paths: ['*'] }),
  ]
  expect(namesFor(roles, 'x')).toEqual(['2', '0'])
  expect(namesFor(roles, 'y')).toEqual(['1'])
  expect(namesFor(roles, 'z')).toEqual(['last'])
  expect(namesFor([role('none', {}), role('empty', { paths: [] })], 'x')).toEqual([])
  expect(delegatesFor(undefined, 'x')).toEqual([])
})

test('hash prefixes: SHA-256 of the path, in hex, from its beginning', () => {
  // sha256("x") = 2d711642…
  const covers = (prefix: string) =>
    namesFor([role('bin', { path_hash_prefixes: [prefix] })], 'x').length === 1
  expect(['', '2', '2d', '2D71', '2d711642'].map(covers)).toEqual([true, true, true, true, true])
  expect(['d', '3', '2d711642x'].map(covers)).toEqual([false, false, false])
})

test('succinct roles: every path has one bin, named by the first bits in hex of one width', () => {
  expect(binOf('x', 4, 'bin')).toBe('bin-2')
  expect(binOf('x', 5, 'bin')).toBe('bin-05')
  expect(binOf('x', 8, 'bin')).toBe('bin-2d')
  expect(binOf('x', 32, 'bin')).toBe('bin-2d711642')
  const [only, ...more] = delegatesFor(
    { keys: {}, succinct_roles: { keyids: [], threshold: 1, bit_length: 8, name_prefix: 'b' } },
    'x',
  )
  expect(more).toEqual([])
  expect(only).toMatchObject({ name: 'b-2d', terminating: true })
})

test('a name as part of a URL or file name has no way up and comes back', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (name) => {
      const segment = segmentOf(name)
      expect(segment).toMatch(/^[A-Za-z0-9._~%-]*$/)
      expect(decodeURIComponent(segment ?? '')).toBe(name)
    }),
  )
  expect(segmentOf('\ud800')).toBeUndefined()
})
