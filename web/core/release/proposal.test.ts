import { expect, test } from 'vitest'
import { changesOf } from './changes.ts'
import { nextRootOf, readPeople, withPerson } from './people.ts'
import { assess, filesWith, isComplete, signableBy, type Files, type Published } from './proposal.ts'
import { buildRoot, buildTargets, keyId, signedBytes } from './repository.ts'
import { signWith, testEntry, testKey, testKeys, testVendor, type TestKey } from './test-repository.ts'
import { parseEnvelope, type Verdict } from './tuf.ts'
import { ed25519 } from '@noble/curves/ed25519.js'
import { toHex } from '../bytes.ts'

const NOW = Date.UTC(2026, 0, 1)
const value = <T>(verdict: Verdict<T>): T => {
  if (verdict.tag === 'refused') throw new Error(verdict.refusal.text)
  return verdict.value
}
const tagOf = (files: Files, now = published): string => {
  const verdict = assess(now, files, NOW)
  return verdict.tag === 'ok' ? 'ok' : verdict.refusal.tag
}
const ann = { root: testKey('ann root'), targets: testKey('ann targets') }
const stranger = testKey('stranger')
const root = buildRoot({
  version: 1,
  nowMs: NOW,
  holder: 'Ada',
  keys: {
    root: [testKeys.root.public, ann.root.public],
    targets: [testKeys.targets.public, ann.targets.public],
    snapshot: [testKeys.snapshot.public],
    timestamp: [testKeys.timestamp.public],
  },
  thresholds: { root: 2, targets: 2 },
})
const targetsOf = (version: number, ...versions: string[]) =>
  buildTargets({ version, nowMs: NOW, targets: versions.map((one) => testEntry(one)), vendor: testVendor })
const published: Published = {
  root,
  targets: value(parseEnvelope('targets', signWith(targetsOf(1), testKeys.targets, ann.targets))),
  delegated: new Map(),
}
const signature = (signed: object, key: TestKey) => ({
  keyid: keyId(key.public),
  sig: toHex(ed25519.sign(signedBytes(signed), key.secret)),
})

test('signatures add up to the same proposal, whoever signs first, and strangers add nothing', () => {
  const signed = targetsOf(2, '1.0')
  const one = value(assess(published, { targets: signWith(signed, testKeys.targets) }, NOW))
  const other = value(assess(published, { targets: signWith(signed, ann.targets, stranger) }, NOW))
  expect(one.id).toBe(other.id)
  expect([isComplete(one), isComplete(other)]).toEqual([false, false])
  expect([...signableBy(one, new Set([keyId(ann.targets.public)]))]).toEqual([
    ['targets', [keyId(ann.targets.public)]],
  ])
  const added = new Map([['targets', [signature(signed, ann.targets)]]])
  const both = value(assess(published, filesWith(one, added), NOW))
  expect(both.id).toBe(one.id)
  expect(isComplete(both)).toBe(true)
  // The stranger's signature is not carried on.
  expect(
    value(parseEnvelope('targets', filesWith(other)['targets'] ?? new Uint8Array())).signatures,
  ).toHaveLength(1)
  expect(changesOf(published, both)).toMatchObject([
    { sort: 'adds', text: expect.stringContaining('pump 1.0') as string },
  ])
})

test('what nobody of them signed, has another version, or would leave targets unsigned, is refused', () => {
  expect(tagOf({ targets: signWith(targetsOf(2), stranger) })).toBe('arbitrary-software')
  for (const version of [1, 3])
    expect(tagOf({ targets: signWith(targetsOf(version), testKeys.targets) })).toBe('rollback')
  expect(tagOf({})).toBe('malformed')
  expect(tagOf({ '../x': signWith(targetsOf(2), testKeys.targets) })).toBe('malformed')
  expect(tagOf({ 'product-pump': signWith(targetsOf(1), ann.targets) })).toBe('arbitrary-software')
  const { satpatch: _block, ...bare } = targetsOf(2)
  expect(tagOf({ targets: signWith(bare, testKeys.targets) })).toBe('malformed')
  const late = buildTargets({ version: 2, nowMs: NOW - 40 * 86_400_000, targets: [], vendor: testVendor })
  expect(tagOf({ targets: signWith(late, testKeys.targets) })).toBe('freeze')

  const onlyBob = {
    people: [{ name: 'Bob', root: stranger.public, targets: stranger.public }],
    thresholds: { root: 1, targets: 1 },
  }
  const taken = nextRootOf(root, onlyBob, NOW)
  expect(tagOf({ root: signWith(taken, testKeys.root, ann.root, stranger) })).toBe('arbitrary-software')
  const together = {
    root: signWith(taken, testKeys.root, ann.root, stranger),
    targets: signWith(targetsOf(2), stranger),
  }
  expect(isComplete(value(assess(published, together, NOW)))).toBe(true)
})

test('a root needs the old threshold and its own; signatures of old targets keys travel with it', () => {
  const bob = { root: testKey('bob root'), targets: testKey('bob targets') }
  const draft = withPerson(readPeople(root), {
    name: 'Bob',
    root: bob.root.public,
    targets: bob.targets.public,
  })
  const next = nextRootOf(root, { ...draft, thresholds: { root: 3, targets: 2 } }, NOW)
  const targets = targetsOf(2)
  const files = {
    root: signWith(next, testKeys.root, ann.root),
    targets: signWith(targets, testKeys.targets, ann.targets, bob.targets),
  }
  const waiting = value(assess(published, files, NOW))
  expect(waiting.needs.map(({ role, by, have, threshold }) => [role, by, have.length, threshold])).toEqual([
    ['root', 'current root', 2, 2],
    ['root', 'next root', 2, 3],
    ['targets', 'next root', 3, 2],
  ])
  const added = new Map([['root', [signature(next, bob.root)]]])
  expect(isComplete(value(assess(published, filesWith(waiting, added), NOW)))).toBe(true)

  const swapped = {
    people: [{ name: 'Bob', root: bob.root.public, targets: bob.targets.public }],
    thresholds: { root: 1, targets: 1 },
  }
  const rotated = nextRootOf(root, swapped, NOW)
  const both = value(
    assess(
      published,
      {
        root: signWith(rotated, testKeys.root, ann.root, bob.root),
        targets: signWith(targets, testKeys.targets, ann.targets, bob.targets),
      },
      NOW,
    ),
  )
  const kept = value(parseEnvelope('targets', filesWith(both)['targets'] ?? new Uint8Array()))
  expect(kept.signatures).toHaveLength(3)
})
