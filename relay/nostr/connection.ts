/** One client's WebSocket at the Nostr relay: NIP-01 messages, NIP-42 authentication, limits and back-pressure. */
import { randomBytes } from 'node:crypto'
import type { Writable } from 'node:stream'
import * as v from 'valibot'
import type { WebSocket } from 'ws'
import { tagValue, verifyEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import { filterSchema, type Filter } from '../../web/edge/nostr/filter.ts'
import { parseEvent } from '../../web/edge/nostr/wire.ts'
import { createBucket } from '../http/rate.ts'
import { nostrLimits as limits, type NostrCore } from './relay.ts'

export type ConnectionDeps = Readonly<{
  core: NostrCore
  nowMs: () => number
  /** What the socket writes to. */
  stream: Writable
  /** Charges the client's address for new stored bytes. */
  mayStore: (bytes: number) => boolean
  mayAccuse?: () => boolean
  onError: (error: unknown) => void
}>

const CLIENT_AUTH = 22242
const AUTH_SKEW_S = 600
const subscriptionIdSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(64))
const filtersSchema = v.pipe(
  v.array(filterSchema),
  v.minLength(1),
  v.maxLength(limits.filtersPerSubscription),
)

/** Serves `socket` until it closes. */
export function serveConnection(socket: WebSocket, deps: ConnectionDeps): void {
  const { core, nowMs, stream } = deps
  const subscriptions = new Map<string, () => void>()
  const authenticated = new Set<string>()
  const challenge = randomBytes(16).toString('hex')
  const events = createBucket(limits.eventsPerSecond, limits.eventBurst, nowMs)
  const requests = createBucket(limits.requestsPerSecond, limits.requestBurst, nowMs)
  const waiting: string[] = []
  let working = false
  let open = true
  let corked = false

  /** What is said in one turn of the event loop is one write: a write costs more than a frame. */
  function cork(): void {
    if (corked) return
    corked = true
    stream.cork()
    setImmediate(() => {
      corked = false
      stream.uncork()
    })
  }
  function sendText(text: string): void {
    if (!open) return
    // A reader that does not read would otherwise fill our memory.
    if (socket.bufferedAmount + text.length > limits.unsentBytes) return socket.terminate()
    cork()
    socket.send(text)
  }
  const send = (message: readonly unknown[]) => sendText(JSON.stringify(message))
  const drained = (): Promise<void> =>
    new Promise((resolve) => {
      socket.ping(undefined, undefined, () => resolve()) // called when all before it is written, or failed
    })

  async function work(): Promise<void> {
    working = true
    for (let frame = waiting.shift(); frame !== undefined && open; frame = waiting.shift()) {
      if (waiting.length < limits.waitingFrames / 2 && socket.isPaused) socket.resume()
      try {
        await handle(frame)
      } catch (error) {
        deps.onError(error)
        send(['NOTICE', 'error: the relay could not handle your last message'])
      }
    }
    working = false
  }

  async function handle(frame: string): Promise<void> {
    let message: unknown
    try {
      message = JSON.parse(frame)
    } catch {
      return send(['NOTICE', 'invalid: not JSON'])
    }
    if (!Array.isArray(message)) return send(['NOTICE', 'invalid: not a JSON array'])
    const [type, ...rest] = message as unknown[]
    switch (type) {
      case 'EVENT':
        return takeEvent(rest[0])
      case 'REQ':
        return openSubscription(rest[0], rest.slice(1))
      case 'CLOSE':
        return closeSubscription(rest[0])
      case 'AUTH':
        return authenticate(rest[0])
      default:
        return send(['NOTICE', 'invalid: unknown message type'])
    }
  }

  function takeEvent(value: unknown): void {
    const event = parseEvent(value)
    if (!event) return send(['OK', idOf(value), false, 'invalid: not an event'])
    if (!events.take()) return send(['OK', event.id, false, 'rate-limited: slow down'])
    const { mayStore, mayAccuse } = deps
    const { accepted, reason } = core.accept(event, {
      authenticated,
      mayStore,
      ...(mayAccuse === undefined ? {} : { mayAccuse }),
    })
    send(['OK', event.id, accepted, reason])
  }

  async function openSubscription(idValue: unknown, filterValues: unknown[]): Promise<void> {
    if (!v.is(subscriptionIdSchema, idValue)) return send(['NOTICE', 'invalid: subscription id'])
    const id = idValue
    const refuse = (reason: string) => send(['CLOSED', id, reason])
    if (!requests.take()) return refuse('rate-limited: slow down')
    const parsed = v.safeParse(filtersSchema, filterValues)
    if (!parsed.success) return refuse('invalid: a filter is malformed, or there are too many')
    subscriptions.get(id)?.()
    subscriptions.delete(id)
    if (subscriptions.size >= limits.subscriptionsPerConnection) {
      return refuse(`rate-limited: more than ${limits.subscriptionsPerConnection} subscriptions`)
    }
    const prefix = `["EVENT",${JSON.stringify(id)},`
    const end = core.subscribe(parsed.output, (event) => sendText(`${prefix}${textOf(event)}]`))
    subscriptions.set(id, end)
    await sendStored(prefix, parsed.output)
    if (subscriptions.get(id) === end) send(['EOSE', id])
  }

  async function sendStored(prefix: string, filters: readonly Filter[]): Promise<void> {
    const nowS = Math.floor(nowMs() / 1000)
    const rows = new Set(
      filters.flatMap((filter) => core.store.find(filter, nowS, limits.storedEventsPerFilter)),
    )
    for (const row of rows) {
      if (!open) return
      const json = core.store.json(row)
      if (json !== undefined) sendText(`${prefix}${json}]`)
      if (socket.bufferedAmount > limits.pausedAtUnsentBytes) await drained()
    }
  }

  function closeSubscription(id: unknown): void {
    if (typeof id !== 'string') return
    subscriptions.get(id)?.()
    subscriptions.delete(id)
  }

  function authenticate(value: unknown): void {
    const event = parseEvent(value)
    if (!event) return send(['OK', idOf(value), false, 'invalid: not an event'])
    const right =
      event.kind === CLIENT_AUTH &&
      tagValue(event, 'challenge') === challenge &&
      Math.abs(event.created_at - nowMs() / 1000) <= AUTH_SKEW_S &&
      events.take() &&
      verifyEvent(event)
    if (right && authenticated.size < 16) authenticated.add(event.pubkey)
    send(['OK', event.id, right, right ? '' : 'invalid: wrong challenge, time or signature'])
  }

  socket.on('message', (data, isBinary) => {
    if (isBinary) return send(['NOTICE', 'invalid: text frames only'])
    waiting.push((data as Buffer).toString('utf8'))
    if (waiting.length >= limits.waitingFrames) socket.pause()
    if (!working) void work()
  })
  socket.on('error', () => socket.terminate())
  socket.on('close', () => {
    open = false
    waiting.length = 0
    for (const end of subscriptions.values()) end()
    subscriptions.clear()
  })

  let alive = true
  socket.on('pong', () => (alive = true))
  const pinger = setInterval(() => {
    if (!alive) return socket.terminate()
    alive = false
    socket.ping()
  }, limits.pingIntervalMs)
  socket.on('close', () => clearInterval(pinger))

  send(['AUTH', challenge])
}

/** One event goes to many subscribers as one text. */
const texts = new WeakMap<NostrEvent, string>()
function textOf(event: NostrEvent): string {
  let text = texts.get(event)
  if (text === undefined) texts.set(event, (text = JSON.stringify(event)))
  return text
}

/** The id that an answer names, for an event too broken to have one. */
function idOf(value: unknown): string {
  const id = typeof value === 'object' && value !== null && 'id' in value ? value.id : undefined
  return typeof id === 'string' && /^[0-9a-f]{64}$/.test(id) ? id : ''
}
