import { expect, test } from 'vitest'
import type { PartyKey } from '../bytes.ts'
import { announcersOf, MAX_FORMER, withNostr } from './announcers.ts'
import { foreignDelegations, withDelegate } from './delegate.ts'
import { nextRootOf, readPeople, withPerson } from './people.ts'
import { buildRoot } from './repository.ts'
import { testKey, testKeys, testVendor } from './test-repository.ts'
import { keyId, type Delegations } from './tuf.ts'

const NOW = Date.UTC(2026, 0, 1)
const nostr = (byte: string): PartyKey => byte.repeat(32) as PartyKey
const first = buildRoot({
  version: 1,
  nowMs: NOW,
  keys: {
    root: [testKeys.root.public],
    targets: [testKeys.targets.public],
    snapshot: [testKeys.snapshot.public],
    timestamp: [testKeys.timestamp.public],
  },
})
const bob = { name: 'Bob', targets: testKey('bob').public, nostr: nostr('b0') }
const root = nextRootOf(first, withPerson(readPeople(first), bob), NOW)
const delegations = withDelegate(undefined, {
  product: 'valve',
  name: 'Builder',
  key: testKey('builder').public,
  nostr: nostr('cd'),
})

test('the vendor’s word is a floor, a signer’s a hint, a delegate’s for its product only, a former key’s nothing', () => {
  const block = withNostr({ ...testVendor, nostr: nostr('01') }, nostr('02'))
  const who = announcersOf(root, { delegations }, block)
  expect(who(nostr('02'), 'pump')).toBe('vendor')
  expect(who(nostr('b0'), 'pump')).toBe('signer')
  expect(who(nostr('cd'), 'valve')).toBe('signer')
  expect(who(nostr('cd'), 'pump')).toBe('nobody')
  expect(who(nostr('01'), 'pump')).toBe('former')
  expect(who(nostr('ee'), 'pump')).toBe('nobody')
})

test('keys that were replaced are remembered, the newest first, at most so many; one that returns is no former', () => {
  let block = { ...testVendor, nostr: nostr('00') }
  for (let i = 1; i <= 12; i++) block = withNostr(block, nostr(i.toString(16).padStart(2, '0')))
  expect(block.formerNostr).toHaveLength(MAX_FORMER)
  expect(block.formerNostr?.[0]).toBe(nostr('0b'))
  expect(withNostr(block, nostr('0b')).formerNostr).not.toContain(nostr('0b'))
  expect(withNostr(block, block.nostr)).toBe(block)
})

test('other tools’ delegations are told, hash bins among them', () => {
  const key = testKey('other').public
  const keyids = [keyId(key)]
  const roles = [{ name: 'team', keyids, threshold: 1, terminating: false, paths: ['a/*', 'b/*'] }]
  const own = withDelegate(
    { keys: { [keyids[0]!]: key }, roles },
    { product: 'x', name: 'X', key, nostr: nostr('01') },
  )
  expect(foreignDelegations(own)).toEqual([{ name: 'team', covers: 'a/*, b/*', signers: 1, threshold: 1 }])
  const bins: Delegations = {
    keys: { [keyids[0]!]: key },
    succinct_roles: { keyids, threshold: 1, bit_length: 4, name_prefix: 'bin' },
  }
  expect(foreignDelegations(bins)).toEqual([
    { name: 'bin-*', covers: 'all paths, in 16 bins by their hash', signers: 1, threshold: 1 },
  ])
  expect(foreignDelegations(undefined)).toEqual([])
})
