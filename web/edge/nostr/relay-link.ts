/** One relay of the pool: connects, reconnects, asks again for what is subscribed and sends what waits. */
import { utf8 } from '../../core/bytes.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import type { Filter } from './filter.ts'
import { MAX_FRAME_BYTES, parseRelayMessage } from './wire.ts'

/** Bounds of everything that the pool keeps; all may be set for one pool. */
export const poolLimits = {
  subscriptions: 250,
  /** Publications waiting for one relay; one more fails at once with `queue-full`. */
  queuedPublications: 1000,
  /** Publications sent to one relay and not yet answered. */
  unansweredPublications: 64,
  /** An answer to a publication must come within this; then it is sent again (same id: harmless). */
  answerTimeoutMs: 15_000,
  attemptsPerPublication: 3,
  connectTimeoutMs: 10_000,
  /** Silence after which the relay is probed, and the time it has to answer. */
  idleProbeMs: 45_000,
  probeTimeoutMs: 15_000,
  firstRetryMs: 250,
  lastRetryMs: 15_000,
  frameChars: 512 * 1024,
  /** Event ids remembered per subscription, so that no event is delivered twice. */
  seenIds: 20_000,
  /** Events remembered as verified, so that several subscriptions pay for one verification. */
  verifiedEvents: 256,
  /** Asked for again after a reconnect, for subscriptions that had their history (clocks differ). */
  overlapS: 600,
} as const
export type PoolLimits = { readonly [name in keyof typeof poolLimits]: number }

export type PublishErrorCode = 'rejected' | 'queue-full' | 'timed-out' | 'closed' | 'too-large'

/** `sent` false: it never left, publishing again is safe. An event has one id: publishing it again is always harmless. */
export class PublishError extends Error {
  override readonly name = 'PublishError'
  readonly code: PublishErrorCode
  readonly sent: boolean
  constructor(code: PublishErrorCode, sent: boolean, message: string) {
    super(message)
    this.code = code
    this.sent = sent
  }
}

export type LinkDeps = Readonly<{
  url: string
  limits: PoolLimits
  random: () => number
  nowMs: () => number
  openSocket: (url: string) => WebSocket
  onStatus: (status: { connected: boolean; trouble?: string }) => void
}>

export type PublishListener = Readonly<{
  onSent: () => void
  onAccepted: () => void
  onRefused: (error: PublishError) => void
}>
type Publication = {
  readonly id: string
  readonly frame: string
  attempts: number
  timer?: ReturnType<typeof setTimeout> | undefined
  /** Two calls that publish the same event share its answer. */
  readonly listeners: PublishListener[]
}
type Subscription = {
  readonly filters: readonly Filter[]
  readonly startedS: number
  /** Had its stored events once: after a reconnect a filter's `limit` must not hide what came meanwhile. */
  hadHistory: boolean
  /** When the relay was last known to send all of it; from its next EOSE on it does again. */
  lostAtS: number | undefined
  refusals: number
  timer?: ReturnType<typeof setTimeout> | undefined
  readonly onEvent: (event: NostrEvent) => void
  readonly onEose: () => void
  /** The relay does not answer it, and is asked again later. */
  readonly onRefused: () => void
}

export interface RelayLink {
  readonly connected: boolean
  publish(event: NostrEvent, listener: PublishListener): () => void
  subscribe(
    id: string,
    filters: readonly Filter[],
    on: Pick<Subscription, 'onEvent' | 'onEose' | 'onRefused'>,
  ): void
  unsubscribe(id: string): void
  close(): void
}

/** A subscription nobody has: its EOSE shows that the relay is there. */
const PROBE = ['REQ', 'probe', { ids: ['0'.repeat(64)], limit: 1 }]

export function createRelayLink(deps: LinkDeps): RelayLink {
  const { url, limits } = deps
  const waiting: Publication[] = []
  const unanswered = new Map<string, Publication>()
  const subscriptions = new Map<string, Subscription>()
  let socket: WebSocket | undefined
  let connected = false
  let closed = false
  let unusable: string | undefined
  let failures = 0
  let retryTimer: ReturnType<typeof setTimeout> | undefined
  let watchTimer: ReturnType<typeof setTimeout> | undefined

  const send = (message: unknown[] | string) => {
    if (connected) socket?.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  function connect(): void {
    clearTimeout(retryTimer)
    retryTimer = undefined
    if (closed || socket) return
    let opening: WebSocket
    try {
      opening = deps.openSocket(url)
    } catch {
      // Not an address, or one that this page may not open (ws: from an https: page): no retry would help.
      unusable = `${url} cannot be connected to from here; check the address.`
      deps.onStatus({ connected: false, trouble: unusable })
      return
    }
    socket = opening
    watch(limits.connectTimeoutMs, lose)
    opening.onopen = () => {
      if (socket !== opening) return
      connected = true
      deps.onStatus({ connected: true })
      heard()
      for (const [id, subscription] of subscriptions) ask(id, subscription)
      flush()
    }
    opening.onmessage = (message: MessageEvent<unknown>) => {
      if (socket !== opening) return
      failures = 0 // not on open: a relay that accepts and hangs up at once is backed off from
      heard()
      if (typeof message.data === 'string' && message.data.length <= limits.frameChars) receive(message.data)
    }
    opening.onclose = () => socket === opening && lose()
    opening.onerror = () => socket === opening && lose()
  }

  function watch(afterMs: number, run: () => void): void {
    clearTimeout(watchTimer)
    watchTimer = setTimeout(run, afterMs)
  }

  /** The relay spoke: it has until the next silence before it is probed. */
  function heard(): void {
    watch(limits.idleProbeMs, () => {
      send(PROBE)
      watch(limits.probeTimeoutMs, lose)
    })
  }

  function lose(): void {
    const old = socket
    socket = undefined
    clearTimeout(watchTimer)
    if (old) {
      old.onopen = old.onmessage = old.onclose = null
      old.onerror = () => undefined
      old.close()
    }
    if (connected) for (const subscription of subscriptions.values()) missing(subscription)
    connected = false
    waiting.unshift(...unanswered.values())
    for (const publication of unanswered.values()) clearTimeout(publication.timer)
    unanswered.clear()
    for (const subscription of subscriptions.values()) clearTimeout(subscription.timer)
    if (closed) return
    deps.onStatus({ connected: false, trouble: `No connection to ${url}; trying again.` })
    const delayMs = Math.min(limits.lastRetryMs, limits.firstRetryMs * 2 ** Math.min(failures++, 20))
    retryTimer = setTimeout(connect, delayMs * (0.5 + deps.random() / 2))
  }

  function missing(subscription: Subscription): void {
    subscription.lostAtS ??= Math.floor(deps.nowMs() / 1000)
  }

  function filtersFor(subscription: Subscription): Filter[] {
    const { filters, hadHistory, lostAtS, startedS } = subscription
    if (!hadHistory || lostAtS === undefined) return [...filters]
    const sinceS = lostAtS - limits.overlapS
    return filters.flatMap((filter) => {
      if (filter.limit === undefined) return [filter]
      const { limit, ...rest } = filter
      const from = limit === 0 ? Math.max(sinceS, startedS) : sinceS
      const missed = { ...rest, since: Math.max(from, filter.since ?? 0) }
      // The filter itself stays: what is new may be dated before the loss (NIP-59).
      return [filter, missed]
    })
  }

  const ask = (id: string, subscription: Subscription) => send(['REQ', id, ...filtersFor(subscription)])

  function flush(): void {
    while (connected && unanswered.size < limits.unansweredPublications) {
      const publication = waiting.shift()
      if (!publication) return
      const same = unanswered.get(publication.id)
      if (same) {
        same.listeners.push(...publication.listeners)
        for (const listener of publication.listeners) listener.onSent()
        continue
      }
      unanswered.set(publication.id, publication)
      attempt(publication)
    }
  }

  function attempt(publication: Publication): void {
    publication.attempts++
    send(publication.frame)
    for (const listener of publication.listeners) listener.onSent()
    publication.timer = setTimeout(() => {
      if (publication.attempts < limits.attemptsPerPublication) return attempt(publication)
      const text = `${url} did not answer; send it again.`
      answered(publication.id, (listener) => listener.onRefused(new PublishError('timed-out', true, text)))
    }, limits.answerTimeoutMs)
  }

  function answered(id: string, tell: (listener: PublishListener) => void): void {
    const publication = unanswered.get(id)
    if (!publication) return
    clearTimeout(publication.timer)
    unanswered.delete(id)
    for (const listener of publication.listeners) tell(listener)
    flush()
  }

  function receive(frame: string): void {
    const message = parseRelayMessage(frame)
    if (!message) return
    switch (message.tag) {
      case 'event':
        return subscriptions.get(message.subscription)?.onEvent(message.event)
      case 'eose': {
        const subscription = subscriptions.get(message.subscription)
        if (!subscription) return message.subscription === 'probe' ? send(['CLOSE', 'probe']) : undefined
        subscription.hadHistory = true
        subscription.lostAtS = undefined
        subscription.refusals = 0
        return subscription.onEose()
      }
      case 'ok':
        return answered(message.id, (listener) => {
          // NIP-01: a duplicate is an event that the relay has.
          if (message.accepted || message.reason.startsWith('duplicate:')) return listener.onAccepted()
          const text = `${url} refused the message: ${message.reason || 'no reason given'}.`
          listener.onRefused(new PublishError('rejected', true, text))
        })
      case 'closed': {
        const subscription = subscriptions.get(message.subscription)
        if (!subscription) return
        const delayMs = Math.min(
          limits.lastRetryMs,
          limits.firstRetryMs * 2 ** Math.min(++subscription.refusals + 2, 20),
        )
        missing(subscription)
        clearTimeout(subscription.timer)
        subscription.timer = setTimeout(() => ask(message.subscription, subscription), delayMs)
        return subscription.onRefused()
      }
      case 'notice':
      case 'auth': // Nothing that we ask of a relay needs NIP-42; a relay that demands it answers CLOSED or OK false.
        return
      default:
        return message satisfies never
    }
  }

  // A tab that comes back online need not wait for the timer.
  const online = () => {
    if (retryTimer !== undefined) connect()
  }
  const page = globalThis as Partial<Pick<typeof globalThis, 'addEventListener' | 'removeEventListener'>>
  page.addEventListener?.('online', online)
  connect()

  return {
    get connected() {
      return connected
    },
    publish(event, listener) {
      const frame = JSON.stringify(['EVENT', event])
      const refuse = (code: 'too-large' | 'queue-full' | 'closed' | 'rejected', text: string) => {
        listener.onRefused(new PublishError(code, false, text))
        return () => undefined
      }
      if (closed) return refuse('closed', 'The connection to the relays has been closed.')
      if (unusable !== undefined) return refuse('rejected', unusable)
      if (frame.length > MAX_FRAME_BYTES || utf8(frame).length > MAX_FRAME_BYTES) {
        return refuse(
          'too-large',
          `The message is larger than the ${MAX_FRAME_BYTES} bytes that a relay takes.`,
        )
      }
      if (waiting.length >= limits.queuedPublications) {
        return refuse(
          'queue-full',
          `${waiting.length} messages wait for ${url} already; send it again later.`,
        )
      }
      const publication: Publication = { id: event.id, frame, attempts: 0, listeners: [listener] }
      waiting.push(publication)
      flush()
      return () => {
        const at = waiting.indexOf(publication)
        if (at >= 0) waiting.splice(at, 1)
      }
    },
    subscribe(id, filters, on) {
      const startedS = Math.floor(deps.nowMs() / 1000)
      const state = { hadHistory: false, lostAtS: undefined, refusals: 0 }
      const subscription: Subscription = { filters, startedS, ...state, ...on }
      subscriptions.set(id, subscription)
      ask(id, subscription)
    },
    unsubscribe(id) {
      clearTimeout(subscriptions.get(id)?.timer)
      subscriptions.delete(id)
      send(['CLOSE', id])
    },
    close() {
      closed = true
      page.removeEventListener?.('online', online)
      subscriptions.clear()
      const open = [...waiting, ...unanswered.values()]
      lose()
      clearTimeout(retryTimer)
      waiting.length = 0
      for (const publication of open) {
        const error = new PublishError(
          'closed',
          publication.attempts > 0,
          'The connection to the relays has been closed.',
        )
        for (const listener of publication.listeners) listener.onRefused(error)
      }
    },
  }
}
