/** Subscriptions that miss nothing: a relay gives its newest few hundred events per filter, so older pages are asked for. */
import type { NostrEvent } from '../../core/nostr/event.ts'
import type { Filter } from '../nostr/filter.ts'
import type { Pool } from '../nostr/pool.ts'

/** A page with fewer new events than this was the last: no relay known gives less where it has more. */
const SHORT_PAGE = 100
const MAX_PAGES = 200

/** Like `pool.subscribe` with one filter; `onStored` once all stored pages are in. Gives the function that ends it. */
export function subscribeAll(
  pool: Pool,
  filter: Filter,
  onEvent: (event: NostrEvent) => void,
  onStored?: () => void,
): () => void {
  let closed = false
  let oldest = Number.MAX_SAFE_INTEGER
  let fresh = 0
  let endPage: (() => void) | undefined
  const seen = new Set<string>()
  const take = (event: NostrEvent) => {
    if (closed || seen.has(event.id)) return
    seen.add(event.id)
    fresh++
    oldest = Math.min(oldest, event.created_at)
    onEvent(event)
  }
  const nextPage = (page: number) => {
    endPage?.()
    endPage = undefined
    if (closed) return
    if (fresh < SHORT_PAGE || page > MAX_PAGES) return onStored?.()
    fresh = 0
    endPage = pool.subscribe([{ ...filter, until: oldest }], take, { onEose: () => nextPage(page + 1) })
  }
  const end = pool.subscribe([filter], take, { onEose: () => nextPage(1) })
  return () => {
    closed = true
    endPage?.()
    end()
  }
}
