/** Subscriptions that miss nothing: a relay gives its newest few hundred events per filter, so older pages are asked for. */
import { verifyEvent, type NostrEvent } from '../../core/nostr/event.ts'
import type { Filter } from '../nostr/filter.ts'
import type { Pool } from '../nostr/pool.ts'

/** A page with fewer events than this was the last: no relay known gives less where it has more. */
const SHORT_PAGE = 100
const MAX_PAGES = 200
/** After a loss: what is new may be dated as far back as gift wraps are (NIP-59), and clocks differ. */
const CATCH_UP_S = 3 * 86_400

/** Like `pool.subscribe` with one filter; `onStored` once all stored pages are in. Gives the function that ends it. */
export function subscribeAll(
  pool: Pool,
  filter: Filter,
  onEvent: (event: NostrEvent) => void,
  onStored?: () => void,
): () => void {
  let closed = false
  let paging = true
  let isStored = false
  /** The line broke: what came since may be beyond the newest page that a relay gives by itself. */
  let missed = false
  let newest = 0
  let endPage: (() => void) | undefined
  const seen = new Set<string>()
  const take = (event: NostrEvent): boolean => {
    // Pages overlap: only what is new is worth a signature check.
    if (closed || seen.has(event.id) || !verifyEvent(event)) return false
    seen.add(event.id)
    newest = Math.max(newest, event.created_at)
    onEvent(event)
    return true
  }

  function readPage(page: number, bounds: Pick<Filter, 'since' | 'until'>): void {
    let [got, fresh] = [0, 0]
    let oldest = bounds.until ?? Number.MAX_SAFE_INTEGER
    const onPage = (event: NostrEvent) => {
      got++
      if (take(event)) fresh++
      if (seen.has(event.id)) oldest = Math.min(oldest, event.created_at)
    }
    const onEose = () => {
      endPage?.()
      endPage = undefined
      if (closed) return
      if (got < SHORT_PAGE || page >= MAX_PAGES) return pagesRead()
      // A second with more events than a page: the relay has no way to give the others.
      readPage(page + 1, { ...bounds, until: fresh === 0 && oldest === bounds.until ? oldest - 1 : oldest })
    }
    endPage = pool.subscribe([{ ...filter, ...bounds }], onPage, { onEose, unverified: true })
  }
  function pagesRead(): void {
    paging = false
    if (!isStored) onStored?.()
    isStored = true
    catchUp()
  }
  function catchUp(): void {
    if (closed || paging || !missed || !pool.status.get().some(({ connected }) => connected)) return
    missed = false
    paging = true
    readPage(1, { since: Math.max(0, newest - CATCH_UP_S) })
  }

  const end = pool.subscribe([{ ...filter, limit: 0 }], take, { unverified: true })
  readPage(1, {})
  let connected = new Set<string>()
  const unwatch = pool.status.subscribe((relays) => {
    const now = new Set(relays.filter((relay) => relay.connected).map(({ url }) => url))
    missed ||= [...connected].some((url) => !now.has(url))
    connected = now
    catchUp()
  })
  return () => {
    closed = true
    unwatch()
    endPage?.()
    end()
  }
}
