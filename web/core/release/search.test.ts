/** Listing what delegated roles name: its limits are shared, so that no delegate can use them up. */
import { expect, test } from 'vitest'
import type { Current } from './client.ts'
import { listPaths, type Delegated, type DelegatedFile } from './search.ts'
import { buildTargets } from './repository.ts'
import { LIMITS, type Envelope } from './tuf.ts'

/** A targets file that names `paths` and delegates to `roles`; listing looks at no signature. */
function fileOf(paths: readonly string[], roles: readonly string[] = []): Envelope<'targets'> {
  const file = { length: 1, hashes: { sha256: '00' } }
  const delegations = {
    keys: {},
    roles: roles.map((name) => ({ name, keyids: [], threshold: 1, terminating: true, paths: ['*'] })),
  }
  const signed = {
    ...buildTargets({ version: 1, nowMs: 0, targets: [] }),
    targets: Object.fromEntries(paths.map((path) => [path, file])),
    delegations,
  }
  const bytes = new Uint8Array()
  return { role: 'targets', signed, signatures: [], canonical: bytes, bytes }
}

/** What is listed where everybody's file is there. */
function listed(top: Envelope<'targets'>, files: Readonly<Record<string, Envelope<'targets'>>>) {
  const there = new Map<string, DelegatedFile>(
    Object.entries(files).map(([name, envelope]) => [name, { tag: 'ok', envelope }]),
  )
  const delegated: Delegated = new Map([top, ...Object.values(files)].map((from) => [from, there]))
  const nothing = { signed: { meta: {} } }
  const listing = listPaths({ targets: top, snapshot: nothing } as unknown as Current, delegated)
  if (listing.tag !== 'listed') throw new Error('A role’s file is missing.')
  return { paths: [...listing.said.keys()], unheard: listing.unheard }
}
const pathsOf = (product: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${product}/${i}/x`)

test('a delegate that names more than all may crowds out nobody, and it is said whose targets are left out', () => {
  const valves = pathsOf('valve', 3)
  // It names the other's paths too, before the other is asked.
  const flood = fileOf([...pathsOf('pump', LIMITS.listedPaths + 100), ...valves])
  const { paths, unheard } = listed(fileOf([], ['product-pump', 'product-valve']), {
    'product-pump': flood,
    'product-valve': fileOf(valves),
  })
  expect(paths).toHaveLength(LIMITS.listedPaths)
  expect(paths).toEqual(expect.arrayContaining(valves))
  expect(unheard).toEqual([{ role: 'product-pump', text: expect.stringMatching(/^Of the 4199 targets/) }])
})

test('nor does one that delegates to more than all may: its delegates come last, and share its part', () => {
  const helpers = Array.from({ length: LIMITS.visitedRoles + 10 }, (_, i) => `helper-${i}`)
  const files = Object.fromEntries(
    helpers.map((name, i) => [name, fileOf(pathsOf(`pump-${i}`, Math.ceil(LIMITS.listedPaths / 100)))]),
  )
  const valves = pathsOf('valve', 1000)
  const { paths, unheard } = listed(fileOf([], ['product-pump', 'product-valve']), {
    ...files,
    'product-pump': fileOf([], helpers),
    'product-valve': fileOf(valves),
  })
  expect(paths).toEqual(expect.arrayContaining(valves))
  expect(unheard.map(({ role }) => role)).toEqual([`helper-${LIMITS.visitedRoles - 3}`, 'product-pump'])
})

test('what fits is all there', () => {
  const { paths, unheard } = listed(fileOf(['own/1/x'], ['a', 'b']), {
    a: fileOf(['a/1/x'], ['c']),
    b: fileOf(['b/1/x']),
    c: fileOf(['c/1/x']),
  })
  expect([paths, unheard]).toEqual([['a/1/x', 'b/1/x', 'c/1/x'], []])
})
