/** Subscription filters (NIP-01 "filters"): shape, limits and matching. Pure; used by the pool and by the relay. */
import * as v from 'valibot'
import type { NostrEvent } from '../../core/nostr/event.ts'

export type TagFilter = { readonly [name: `#${string}`]: readonly string[] | undefined }
export type Filter = Readonly<{
  ids?: readonly string[]
  authors?: readonly string[]
  kinds?: readonly number[]
  since?: number
  until?: number
  limit?: number
}> &
  TagFilter

/** Values in one list of a filter; more is refused. */
export const MAX_FILTER_VALUES = 1000

const hexes = v.pipe(v.array(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/))), v.maxLength(MAX_FILTER_VALUES))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const known = v.looseObject({
  ids: v.exactOptional(hexes),
  authors: v.exactOptional(hexes),
  kinds: v.exactOptional(v.pipe(v.array(count), v.maxLength(MAX_FILTER_VALUES))),
  since: v.exactOptional(count),
  until: v.exactOptional(count),
  limit: v.exactOptional(count),
})
const tagValues = v.pipe(v.array(v.pipe(v.string(), v.maxLength(1024))), v.maxLength(MAX_FILTER_VALUES))

/** A filter from outside; unknown fields are refused, since ignoring one would widen the filter. */
export const filterSchema = v.pipe(
  known,
  v.check((filter) =>
    Object.entries(filter).every(([name, value]) =>
      name.startsWith('#') ? /^#[a-zA-Z]$/.test(name) && v.is(tagValues, value) : name in known.entries,
    ),
  ),
  v.transform((filter) => filter as Filter),
)

/** Names of the filter's tag conditions, without `#`. */
export const tagNames = (filter: Filter): string[] =>
  Object.keys(filter)
    .filter((name) => name.startsWith('#'))
    .map((name) => name.slice(1))

export function matches(filter: Filter, event: NostrEvent): boolean {
  if (filter.since !== undefined && event.created_at < filter.since) return false
  if (filter.until !== undefined && event.created_at > filter.until) return false
  if (filter.kinds && !filter.kinds.includes(event.kind)) return false
  if (filter.authors && !filter.authors.includes(event.pubkey)) return false
  if (filter.ids && !filter.ids.includes(event.id)) return false
  for (const name of tagNames(filter)) {
    const wanted = filter[`#${name}`] ?? []
    if (!event.tags.some((tag) => tag[0] === name && tag[1] !== undefined && wanted.includes(tag[1])))
      return false
  }
  return true
}

export const matchesAny = (filters: readonly Filter[], event: NostrEvent): boolean =>
  filters.some((filter) => matches(filter, event))
