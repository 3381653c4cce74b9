/** The metadata parser, before any key is looked at: it answers whatever it is given. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { concat, fromUtf8, utf8 } from '../bytes.ts'
import { testEntry, testRepository } from './test-repository.ts'
import { LIMITS, maxBytes, parseEnvelope, roleNames, signedBytes, type RoleName } from './tuf.ts'

const now = Date.UTC(2026, 5, 1)
const repository = testRepository(now)
repository.publish([testEntry('1.0'), testEntry('1.1')])
const files: Record<RoleName, string> = {
  root: fromUtf8(repository.files['1.root.json']!),
  timestamp: fromUtf8(repository.files['timestamp.json']!),
  snapshot: fromUtf8(repository.files['1.snapshot.json']!),
  targets: fromUtf8(repository.files['1.targets.json']!),
}
const anyRole = fc.constantFrom(...roleNames)

/** What is accepted says what its signatures cover, no more and no less. */
function judged(role: RoleName, bytes: Uint8Array): boolean {
  const verdict = parseEnvelope(role, bytes)
  if (verdict.tag === 'refused') {
    expect(verdict.refusal.role).toBe(role)
    expect(verdict.refusal.text.length).toBeLessThan(500)
    return false
  }
  const { signed } = JSON.parse(fromUtf8(bytes)) as { signed: object }
  expect(signedBytes(signed)).toEqual(verdict.value.canonical)
  return true
}

test('each role’s file is read as that role and as no other', () => {
  for (const as of roleNames) for (const of of roleNames) expect(judged(as, utf8(files[of]))).toBe(as === of)
})

test('any bytes get an answer', () => {
  fc.assert(
    fc.property(anyRole, fc.uint8Array({ maxLength: 300 }), (role, bytes) => void judged(role, bytes)),
  )
  fc.assert(fc.property(anyRole, fc.json(), (role, text) => void judged(role, utf8(text.toWellFormed()))))
})

test('metadata with a part exchanged for any JSON gets an answer', () => {
  fc.assert(
    fc.property(anyRole, fc.nat(400), fc.jsonValue({ maxDepth: 3 }), (role, at, value) => {
      const file = JSON.parse(files[role]) as object
      const places: (() => void)[] = []
      const walk = (node: unknown): void => {
        if (typeof node !== 'object' || node === null) return
        for (const name of Object.keys(node)) {
          places.push(
            () => Object.assign(node, { [name]: value }),
            () => Reflect.deleteProperty(node, name),
          )
          walk((node as Record<string, unknown>)[name])
        }
      }
      walk(file)
      places[at % places.length]?.()
      judged(role, utf8(JSON.stringify(file).toWellFormed()))
    }),
    { numRuns: 400 },
  )
})

test('text that was cut, doubled or changed gets an answer', () => {
  fc.assert(
    fc.property(anyRole, fc.nat(5000), fc.nat(40), fc.string({ maxLength: 4 }), (role, at, drop, insert) => {
      const text = files[role]
      const from = at % text.length
      judged(role, utf8(text.slice(0, from) + insert.toWellFormed() + text.slice(from + drop)))
    }),
    { numRuns: 400 },
  )
})

const signedWith = (role: RoleName, more: object): Uint8Array => {
  const { signed } = JSON.parse(files[role]) as { signed: object }
  return utf8(JSON.stringify({ signatures: [], signed: { ...signed, ...more } }))
}

test('bombs are refused in little time: depth, length, numbers, names, a million targets', () => {
  const deep = (n: number) => utf8(`{"signed":${'['.repeat(n)}${']'.repeat(n)},"signatures":[]}`)
  expect(judged('root', deep(100_000))).toBe(false)
  for (const role of roleNames) {
    const bytes = utf8(files[role])
    const padded = (length: number) => concat(bytes, utf8(' '.repeat(length - bytes.length)))
    expect(judged(role, padded(maxBytes(role)))).toBe(true)
    expect(parseEnvelope(role, padded(maxBytes(role) + 1))).toMatchObject({
      refusal: { tag: 'endless-data' },
    })
  }
  for (const version of [0, -1, 1.5, 2 ** 53, 1e308])
    expect(judged('snapshot', signedWith('snapshot', { version }))).toBe(false)
  expect(
    judged('timestamp', utf8(files.timestamp.replace('"version":1', `"version":1${'0'.repeat(5000)}`))),
  ).toBe(false)
  const targets = Object.fromEntries(Array.from({ length: 1_000_000 }, (_, i) => [i, 1]))
  expect(judged('targets', signedWith('targets', { targets }))).toBe(false)
  expect(judged('targets', signedWith('targets', { targets: { __proto__: 1, 'a/../b': 2 } }))).toBe(false)
})

const delegated = (role: object) =>
  signedWith('targets', {
    delegations: {
      keys: {},
      roles: [{ name: 'a', keyids: [], threshold: 1, terminating: false, paths: [], ...role }],
    },
  })
test.each([
  ['a plain one', {}, true],
  ['one without `terminating`, as the specification shows it', { terminating: undefined }, true],
  ['a threshold of none', { threshold: 0 }, false],
  ['a key id twice', { keyids: ['x', 'x'] }, false],
  ['both kinds of paths', { path_hash_prefixes: [] }, false],
  ['a top-level name', { name: 'root' }, false],
  ['the longest name', { name: 'x'.repeat(LIMITS.roleNameChars) }, true],
  ['one letter more', { name: 'x'.repeat(LIMITS.roleNameChars + 1) }, false],
  ['a lone surrogate', { name: '\ud800' }, false],
  ['as many paths as may be', { paths: Array<string>(LIMITS.delegatedPaths).fill('x') }, true],
  ['one path more', { paths: Array<string>(LIMITS.delegatedPaths + 1).fill('x') }, false],
])('a delegation with %s: %s', (_, role, good) => {
  expect(judged('targets', delegated(role))).toBe(good)
})
