/** The Nostr relay without its sockets: takes events in, stores and hands them out. NIP-01, 09, 40, 70. */
import { verifyEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import { FRAUD_PROOF } from '../../web/core/nostr/kinds.ts'
import type { Filter } from '../../web/edge/nostr/filter.ts'
import { MAX_FRAME_BYTES, MAX_TAGS } from '../../web/edge/nostr/wire.ts'
import { lookAtAccusation } from './accusations.ts'
import { createFilterIndex } from './filter-index.ts'
import { classOf, expiryOf, type EventStore } from './store.ts'

/** Bounds against abuse; a test stands at several of them. */
export const nostrLimits = {
  frameBytes: MAX_FRAME_BYTES,
  tags: MAX_TAGS,
  /** A wallet client opens one subscription per request: far more than the usual 20 are needed. */
  subscriptionsPerConnection: 300,
  filtersPerSubscription: 20,
  storedEventsPerFilter: 500,
  connections: 12_000,
  connectionsPerAddress: 1000,
  /** Frames of one connection that wait for their turn; then its socket is not read. */
  waitingFrames: 64,
  /** Bytes that a slow reader may leave unsent; then the connection is ended. */
  unsentBytes: 8 * 1024 * 1024,
  /** Stored events stop here and wait for the reader. */
  pausedAtUnsentBytes: 512 * 1024,
  eventsPerSecond: 300,
  eventBurst: 2000,
  requestsPerSecond: 300,
  requestBurst: 2000,
  /** New stored bytes of one address: this at once, and as much again over a day. */
  storedBytesPerDay: 256 * 1024 * 1024,
  /** Proofs of fraud from one address: so many at once, and as many again over a day. */
  accusationsPerDay: 200,
  futureS: 900,
  pingIntervalMs: 30_000,
  sweepIntervalMs: 60_000,
} as const

export type Verdict = Readonly<{ accepted: boolean; reason: string }>
export type Listener = (event: NostrEvent) => void

/** What the wallet service uses instead of a socket. */
export interface InProcessNostr {
  /** Stores and fans out an event of our own making. */
  publish(event: NostrEvent): Verdict
  /** Live events only, ephemeral ones included. Gives the function that ends it. */
  subscribe(filters: readonly Filter[], listener: Listener): () => void
}

export interface NostrCore extends InProcessNostr {
  /** An event from outside. `authenticated`: keys that its connection has proven (NIP-42). */
  accept(
    event: NostrEvent,
    from: Readonly<{
      authenticated: ReadonlySet<string>
      mayStore: (bytes: number) => boolean
      /** Charges the client's address for one more proof of fraud. */
      mayAccuse?: () => boolean
    }>,
  ): Verdict
  readonly store: EventStore
  readonly subscriptions: number
}

export type NostrCoreDeps = Readonly<{
  store: EventStore
  nowMs: () => number
  verify?: (event: NostrEvent) => boolean
  onError: (error: unknown) => void
}>

const no = (reason: string): Verdict => ({ accepted: false, reason })
const YES: Verdict = { accepted: true, reason: '' }

export function createNostrCore(deps: NostrCoreDeps): NostrCore {
  const { store, onError } = deps
  const verify = deps.verify ?? verifyEvent
  const index = createFilterIndex<Listener>()

  function fanOut(event: NostrEvent): void {
    for (const listener of index.lookUp(event)) {
      try {
        listener(event)
      } catch (error) {
        onError(error)
      }
    }
  }

  function take(event: NostrEvent, mayStore: (bytes: number) => boolean): Verdict {
    const nowS = Math.floor(deps.nowMs() / 1000)
    const expiry = expiryOf(event)
    if (expiry !== undefined && expiry <= nowS) return no('invalid: this event has expired')
    if (classOf(event.kind) !== 'ephemeral') {
      if (!mayStore(event.content.length + 400))
        return no('rate-limited: too much stored from your address today')
      try {
        switch (store.add(event)) {
          case 'duplicate':
            return { accepted: true, reason: 'duplicate: already have this event' }
          case 'older':
            return no('duplicate: a newer event of this address is stored')
          case 'deleted':
            return no('blocked: its author has deleted this event')
          case 'stored':
        }
      } catch (error) {
        onError(error)
        return no('error: the event could not be stored; is the disk of the relay full? Send it again later')
      }
    }
    fanOut(event)
    return YES
  }

  return {
    store,
    get subscriptions() {
      return index.size
    },
    accept(event, { authenticated, mayStore, mayAccuse }) {
      const aheadS = event.created_at - Math.floor(deps.nowMs() / 1000)
      if (aheadS > nostrLimits.futureS)
        return no(`invalid: created_at is ${aheadS} s in the future, set your clock`)
      if (event.tags.some((tag) => tag[0] === '-') && !authenticated.has(event.pubkey)) {
        return no('auth-required: only its author may publish a protected event')
      }
      if (!verify(event)) return no('invalid: id or signature is wrong')
      if (event.kind === FRAUD_PROOF) {
        const verdict = lookAtAccusation(event, store, Math.floor(deps.nowMs() / 1000))
        if (verdict === 'told already')
          return { accepted: true, reason: 'duplicate: you have accused this key before' }
        if (verdict !== 'welcome') return no(verdict.refused)
        if (mayAccuse?.() === false)
          return no('rate-limited: too many proofs of fraud from your address today')
      }
      return take(event, mayStore)
    },
    publish: (event) => take(event, () => true),
    subscribe(filters, listener) {
      const own: Listener = (event) => listener(event) // two subscriptions may share a function
      const removals = filters.map((filter) => index.add(filter, own))
      return () => {
        for (const remove of removals) remove()
      }
    },
  }
}
