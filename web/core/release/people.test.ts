import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { decodeCard, encodeCard } from './card.ts'
import { mayName, readDelegates, withDelegate, withoutDelegate } from './delegate.ts'
import {
  checkDraft,
  nextRootOf,
  readPeople,
  without,
  withNewKeys,
  withPerson,
  type RootDraft,
} from './people.ts'
import { testKey, testKeys } from './test-repository.ts'
import { buildRoot } from './repository.ts'

const NOW = Date.UTC(2026, 0, 1)
const key = (n: number) => testKey(`key ${n}`).public
const nostr = 'ab'.repeat(32) as PartyKey
const first = buildRoot({
  version: 1,
  nowMs: NOW,
  holder: 'Ada',
  keys: {
    root: [testKeys.root.public],
    targets: [testKeys.targets.public],
    snapshot: [testKeys.snapshot.public],
    timestamp: [testKeys.timestamp.public],
  },
})

test('what a draft says is what the next root says, and the relay’s roles stay', () => {
  const anyDraft = fc
    .uniqueArray(fc.record({ n: fc.nat(20), may: fc.constantFrom('root', 'targets', 'both') }), {
      selector: ({ n }) => n,
      minLength: 1,
      maxLength: 6,
    })
    .chain((list) => {
      const people = list.map(({ n, may }) => ({
        name: `person ${n}`,
        ...(may === 'targets' ? {} : { root: key(2 * n) }),
        ...(may === 'root' ? {} : { targets: key(2 * n + 1) }),
      }))
      const most = (role: 'root' | 'targets') => people.filter((one) => role in one).length
      return fc.record({
        people: fc.constant(people),
        thresholds: fc.record({ root: fc.nat(most('root') + 1), targets: fc.nat(most('targets') + 1) }),
      })
    })
  fc.assert(
    fc.property(anyDraft, (draft: RootDraft) => {
      const next = nextRootOf(first, draft, NOW)
      if (checkDraft(draft)) return
      const byName = (read: RootDraft) => read.people.toSorted((a, b) => (a.name < b.name ? -1 : 1))
      expect(byName(readPeople(next))).toEqual(byName(draft))
      expect(readPeople(next).thresholds).toEqual(draft.thresholds)
      expect(next.roles.snapshot).toEqual(first.roles.snapshot)
      expect(next.roles.timestamp).toEqual(first.roles.timestamp)
      for (const role of ['root', 'targets', 'snapshot', 'timestamp'] as const)
        for (const id of next.roles[role].keyids) expect(next.keys[id]).toBeDefined()
      expect(next.version).toBe(2)
    }),
  )
})

test('a draft that nobody could sign, or that asks for more than there are, is refused with its reason', () => {
  const draft = readPeople(first)
  const ann = { name: 'Ann', root: key(1), targets: key(2), nostr }
  expect(checkDraft(draft)).toBeUndefined()
  expect(checkDraft(withPerson(draft, ann))).toBeUndefined()
  expect(readPeople(nextRootOf(first, withPerson(draft, ann), NOW)).people[1]).toEqual(ann)
  expect(checkDraft(without(draft, 'Ada'))).toMatchObject({ why: 'nobody-left' })
  expect(checkDraft(withPerson(draft, { ...ann, name: 'Ada' }))).toMatchObject({ why: 'name-taken' })
  expect(checkDraft(withPerson(draft, { ...ann, root: testKeys.root.public }))).toMatchObject({
    why: 'key-taken',
  })
  expect(checkDraft(withPerson(draft, { name: 'Ann' }))).toMatchObject({ why: 'no-key' })
  expect(checkDraft(withPerson(draft, { ...ann, name: ' ' }))).toMatchObject({ why: 'name' })
  for (const root of [0, 2, 1.5])
    expect(checkDraft({ ...draft, thresholds: { root, targets: 1 } })).toMatchObject({ why: 'threshold' })
  // One key for both roles is one person's; a threshold falls with those who leave.
  expect(checkDraft(withPerson(draft, { name: 'CI', root: key(3), targets: key(3) }))).toBeUndefined()
  const two = { ...withPerson(draft, ann), thresholds: { root: 2, targets: 2 } }
  expect(without(two, 'Ann')).toEqual(draft)
  expect(withNewKeys(two, 'Ann', { root: key(8), targets: key(9) }).people[1]).toEqual({
    ...ann,
    root: key(8),
    targets: key(9),
  })
})

test('a first root without names is read in pairs', () => {
  const { satpatch: _names, ...plain } = first
  expect(readPeople(plain).people).toMatchObject([
    { root: testKeys.root.public, targets: testKeys.targets.public },
  ])
})

test('a card carries its keys, and one with a typo is none', () => {
  const card = { name: 'Ann Ünïcode', nostr, root: key(1), targets: key(2) }
  const text = encodeCard(card)
  expect(decodeCard(` ${text.toUpperCase()}\n`)).toEqual(card)
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.constantFrom(...'qpzry9x8'), (at, letter) => {
      const typo = text.slice(0, at) + letter + text.slice(at + 1)
      expect(decodeCard(typo)).toEqual(typo === text ? card : undefined)
    }),
  )
  fc.assert(fc.property(fc.string(), (any) => decodeCard(any) === undefined))
  for (const junk of ['', 'spkey1', text.slice(0, -1), `${text}q`]) expect(decodeCard(junk)).toBeUndefined()
})

test('a product is handed over to one key, over its own paths only, and taken back', () => {
  const pump = { product: 'pump', name: 'CI', key: key(1), nostr }
  const other = { product: 'valve', name: 'Ann', key: key(2), nostr }
  const both = withDelegate(withDelegate(undefined, pump), other)
  expect(readDelegates(both)).toEqual([pump, other])
  expect(mayName(both, 'product-pump', 'pump/1.0/a.bin')).toBe(true)
  for (const path of ['valve/1.0/a.bin', 'pump/a.bin', 'pump/1.0/x/a.bin', 'pump2/1.0/a.bin'])
    expect(mayName(both, 'product-pump', path), path).toBe(false)
  const moved = withDelegate(both, { ...pump, key: key(3) })
  expect(readDelegates(moved)).toEqual([other, { ...pump, key: key(3) }])
  expect(Object.keys(moved.keys)).toHaveLength(2)
  expect(readDelegates(withoutDelegate(both, 'pump'))).toEqual([other])
  expect(withoutDelegate(withoutDelegate(both, 'pump'), 'valve')).toBeUndefined()
})
