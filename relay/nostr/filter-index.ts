/**
 * Standing filters, found by an event without looking at all of them: each filter is filed under the values of
 * its most telling condition, an event looks under its own id, tags, author and kind.
 */
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { matches, tagNames, type Filter } from '../../web/edge/nostr/filter.ts'

type Entry<T> = Readonly<{ filter: Filter; subscriber: T }>

export interface FilterIndex<T> {
  add(filter: Filter, subscriber: T): () => void
  /** Subscribers with a filter that matches, each once. */
  lookUp(event: NostrEvent): Set<T>
  readonly size: number
}

/** Where a filter is filed. `#p` and `#e` tell parties and events apart; other tags are often shared by many. */
export function placesOf(filter: Filter): string[] {
  if (filter.ids) return filter.ids.map((id) => `id ${id}`)
  const names = tagNames(filter)
  const name = names.find((each) => each === 'p' || each === 'e') ?? names[0]
  if (name !== undefined) return (filter[`#${name}`] ?? []).map((value) => `#${name} ${value}`)
  if (filter.authors) return filter.authors.map((author) => `author ${author}`)
  if (filter.kinds) return filter.kinds.map((kind) => `kind ${kind}`)
  return ['any']
}

export function createFilterIndex<T>(): FilterIndex<T> {
  const places = new Map<string, Set<Entry<T>>>()
  let size = 0
  return {
    add(filter, subscriber) {
      const entry: Entry<T> = { filter, subscriber }
      const filed = [...new Set(placesOf(filter))]
      for (const place of filed) {
        const entries = places.get(place)
        if (entries) entries.add(entry)
        else places.set(place, new Set([entry]))
      }
      size++
      let removed = false
      return () => {
        if (removed) return
        removed = true
        size--
        for (const place of filed) {
          const entries = places.get(place)
          entries?.delete(entry)
          if (entries?.size === 0) places.delete(place)
        }
      }
    },
    lookUp(event) {
      const found = new Set<T>()
      const look = (place: string) => {
        for (const { filter, subscriber } of places.get(place) ?? []) {
          if (!found.has(subscriber) && matches(filter, event)) found.add(subscriber)
        }
      }
      look(`id ${event.id}`)
      look(`author ${event.pubkey}`)
      look(`kind ${event.kind}`)
      look('any')
      for (const [name, value] of event.tags) if (name?.length === 1) look(`#${name} ${value}`)
      return found
    },
    get size() {
      return size
    },
  }
}
