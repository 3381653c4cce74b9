import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PartyKey } from '../../web/core/bytes.ts'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { matches, type Filter } from '../../web/edge/nostr/filter.ts'
import { createFilterIndex, placesOf } from './filter-index.ts'

const hex = fc.constantFrom('a', 'b', 'c').map((digit) => digit.repeat(64))
const values = fc.array(hex, { maxLength: 2 })
const anyFilter: fc.Arbitrary<Filter> = fc.record(
  {
    ids: values,
    authors: values,
    kinds: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
    since: fc.integer({ min: 0, max: 3 }),
    until: fc.integer({ min: 0, max: 3 }),
    '#p': values,
    '#d': values,
  },
  { requiredKeys: [] },
)
const anyEvent: fc.Arbitrary<NostrEvent> = fc.record({
  id: hex,
  pubkey: hex.map((key) => key as PartyKey),
  kind: fc.integer({ min: 1, max: 3 }),
  created_at: fc.integer({ min: 0, max: 3 }),
  tags: fc.array(fc.tuple(fc.constantFrom('p', 'd', 'long'), hex), { maxLength: 3 }),
  content: fc.constant(''),
  sig: fc.constant(''),
})

test('finds exactly the subscribers whose filters match, also after some have left', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ filter: anyFilter, leaves: fc.boolean() }), { maxLength: 12 }),
      anyEvent,
      (subscribers, event) => {
        const index = createFilterIndex<number>()
        const removals = subscribers.map(({ filter }, i) => index.add(filter, i))
        subscribers.forEach(({ leaves }, i) => leaves && removals[i]!())
        const expected = subscribers.flatMap(({ filter, leaves }, i) =>
          !leaves && matches(filter, event) ? [i] : [],
        )
        expect([...index.lookUp(event)].toSorted((a, b) => a - b)).toEqual(expected)
        expect(index.size).toBe(subscribers.filter(({ leaves }) => !leaves).length)
      },
    ),
  )
})

test('a wallet’s thousand clients are told apart by their own key, not by the wallet’s', () => {
  const filter: Filter = { kinds: [23195], authors: ['a'.repeat(64)], '#p': ['b'.repeat(64)] }
  expect(placesOf(filter)).toEqual([`#p ${'b'.repeat(64)}`])
})
