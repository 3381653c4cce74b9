/**
 * The Nostr client (NIP-01) for tabs and Node: several relays as one, each reconnecting by itself; subscriptions
 * survive a reconnect, publications wait for one. Only verified events that match the filters reach a caller.
 */
import { liveCell, type Live } from '../../core/live.ts'
import { verifyEvent, type NostrEvent } from '../../core/nostr/event.ts'
import { matchesAny, type Filter } from './filter.ts'
import { createRelayLink, poolLimits, PublishError, type PoolLimits, type RelayLink } from './relay-link.ts'

export { poolLimits, PublishError, type PoolLimits, type PublishErrorCode } from './relay-link.ts'

export type RelayStatus = Readonly<{ url: string; connected: boolean; trouble?: string }>

export type SubscribeOptions = Readonly<{
  /** Called once, when every relay that is connected has sent what it had stored, or refuses to; not before one has. */
  onEose?: () => void
  /** Events come unverified, and one from each relay: the caller checks those that it can afford to. */
  unverified?: true
}>

export interface Pool {
  readonly status: Live<readonly RelayStatus[]>
  /**
   * Resolves when at least one relay has said OK. While no relay is connected it waits (bounded queue), for
   * `timeoutMs` if given. @throws PublishError (as a rejection)
   */
  publish(event: NostrEvent, options?: Readonly<{ timeoutMs?: number }>): Promise<void>
  /** Delivers each matching event once, verified; or as `unverified` says. Gives the function that ends it. */
  subscribe(
    filters: readonly Filter[],
    onEvent: (event: NostrEvent) => void,
    options?: SubscribeOptions,
  ): () => void
  close(): void
}

export type PoolOptions = Readonly<{
  /** In [0, 1), for jitter. */
  random?: () => number
  verify?: (event: NostrEvent) => boolean
  nowMs?: () => number
  limits?: Partial<PoolLimits>
  /** For tests. */
  openSocket?: (url: string) => WebSocket
}>

/** Events already verified are told by their whole text: an id alone could be put on other content. */
function rememberingVerify(verify: (event: NostrEvent) => boolean, limit: number) {
  const known = new Map<string, string>()
  return (event: NostrEvent): boolean => {
    const { id, sig, pubkey, created_at, kind, tags, content } = event
    const text = JSON.stringify([sig, pubkey, created_at, kind, tags, content])
    if (known.get(id) === text) return true
    if (!verify(event)) return false
    if (known.size >= limit) for (const oldest of known.keys()) if (known.delete(oldest)) break
    known.set(id, text)
    return true
  }
}

export function createPool(urls: readonly string[], options: PoolOptions = {}): Pool {
  const limits: PoolLimits = { ...poolLimits, ...options.limits }
  const nowMs = options.nowMs ?? Date.now
  const verify = rememberingVerify(options.verify ?? verifyEvent, limits.verifiedEvents)
  const unique = [...new Set(urls)]
  const status = liveCell<readonly RelayStatus[]>(unique.map((url) => ({ url, connected: false })))
  let closed = false
  let lastSubscription = 0
  /** Open subscriptions; each is told when a relay goes, since it may be the one that its EOSE waits for. */
  const open = new Map<string, () => void>()

  const links: RelayLink[] = unique.map((url, index) =>
    createRelayLink({
      url,
      limits,
      random: options.random ?? Math.random,
      nowMs,
      openSocket: options.openSocket ?? ((at) => new WebSocket(at)),
      onStatus: (state) => {
        status.set(status.get().map((old, i) => (i === index ? { url, ...state } : old)))
        if (!state.connected) for (const relayLost of [...open.values()]) relayLost()
      },
    }),
  )

  return {
    status,

    async publish(event, { timeoutMs } = {}) {
      if (closed) throw new PublishError('closed', false, 'The connection to the relays has been closed.')
      if (links.length === 0) throw new PublishError('rejected', false, 'No relay is configured; name one.')
      let timer: ReturnType<typeof setTimeout> | undefined
      let sent = false
      const cancels: (() => void)[] = []
      try {
        await new Promise<void>((resolve, reject) => {
          const refusals: PublishError[] = []
          for (const link of links) {
            cancels.push(
              link.publish(event, {
                onSent: () => (sent = true),
                onAccepted: resolve,
                onRefused: (error) => {
                  refusals.push(error)
                  if (refusals.length === links.length) reject(refusals[0]!)
                },
              }),
            )
          }
          if (timeoutMs === undefined) return
          timer = setTimeout(() => {
            for (const cancel of cancels) cancel()
            const what = sent ? 'No relay has confirmed' : 'No relay could be reached for'
            reject(new PublishError('timed-out', sent, `${what} the message in time; send it again.`))
          }, timeoutMs)
        })
      } finally {
        clearTimeout(timer)
      }
    },

    subscribe(filters, onEvent, { onEose, unverified } = {}) {
      if (closed) return () => undefined
      if (open.size >= limits.subscriptions)
        throw new RangeError(`more than ${limits.subscriptions} subscriptions`)
      const id = `s${++lastSubscription}`
      const seen = new Set<string>()
      const waiting = new Set(links)
      let answers = 0
      let toldEose = false
      const tellEose = () => {
        if (toldEose || answers === 0 || !open.has(id) || [...waiting].some((link) => link.connected)) return
        toldEose = true
        onEose?.()
      }
      open.set(id, tellEose)
      const ended = (link: RelayLink) => {
        waiting.delete(link)
        tellEose()
      }
      for (const link of links) {
        link.subscribe(id, filters, {
          onEvent: (event) => {
            if (!open.has(id) || !matchesAny(filters, event)) return
            if (unverified) return onEvent(event) // an id that nobody checked says nothing about what was seen
            if (seen.has(event.id) || !verify(event)) return
            if (seen.size >= limits.seenIds) for (const oldest of seen) if (seen.delete(oldest)) break
            seen.add(event.id)
            onEvent(event)
          },
          onEose: () => {
            answers++
            ended(link)
          },
          onRefused: () => ended(link),
        })
      }
      return () => {
        if (!open.delete(id)) return
        for (const link of links) link.unsubscribe(id)
      }
    },

    close() {
      closed = true
      open.clear()
      for (const link of links) link.close()
    },
  }
}
