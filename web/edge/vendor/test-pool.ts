/** A relay as tests want it, behind the pool's interface: what it has, when it answers, when the line breaks. */
import { liveCell } from '../../core/live.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import { matchesAny, type Filter } from '../nostr/filter.ts'
import type { Pool, RelayStatus } from '../nostr/pool.ts'

type Subscription = { filters: readonly Filter[]; onEvent: (event: NostrEvent) => void; onEose?: () => void }

/** `page`: events that it gives to one filter, the newest. `take`: what becomes of a publication. */
export function testPool(
  options: Readonly<{ page?: number; take?: (event: NostrEvent) => Promise<void> }> = {},
) {
  const { page = 500, take = () => Promise.resolve() } = options
  const events: NostrEvent[] = []
  const subscriptions = new Set<Subscription>()
  const status = liveCell<readonly RelayStatus[]>([{ url: 'ws://test', connected: true }])
  const isConnected = () => status.get()[0]?.connected === true
  const newest = (filter: Filter) =>
    events
      .filter((event) => matchesAny([filter], event))
      .sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? -1 : 1))
      .slice(0, filter.limit ?? page)
  const answer = (subscription: Subscription) => {
    if (!subscriptions.has(subscription) || !isConnected()) return
    for (const event of new Set(subscription.filters.flatMap(newest))) subscription.onEvent(event)
    const { onEose } = subscription
    delete subscription.onEose
    onEose?.()
  }
  const pool: Pool = {
    status,
    async publish(event) {
      await take(event)
      hear(event)
    },
    subscribe(filters, onEvent, { onEose } = {}) {
      const subscription: Subscription = { filters, onEvent, ...(onEose && { onEose }) }
      subscriptions.add(subscription)
      queueMicrotask(() => answer(subscription))
      return () => void subscriptions.delete(subscription)
    },
    close: () => subscriptions.clear(),
  }
  function hear(...more: readonly NostrEvent[]): void {
    events.push(...more)
    if (!isConnected()) return
    for (const event of more)
      for (const { filters, onEvent } of [...subscriptions]) if (matchesAny(filters, event)) onEvent(event)
  }
  return {
    pool,
    subscriptions,
    /** The relay gets these. */
    hear,
    lose: () => status.set([{ url: 'ws://test', connected: false }]),
    connect: () => {
      status.set([{ url: 'ws://test', connected: true }])
      for (const subscription of [...subscriptions]) answer(subscription)
    },
  }
}

export const turns = async (count = 50): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve()
}
