/** The Nostr relay as clients meet it: over real sockets, through the pool and raw. */
import { expect, test } from 'vitest'
import { WebSocket as PausableSocket } from 'ws'
import {
  publicKey,
  signEvent,
  type EventTemplate,
  type NostrEvent,
  type SecretKey,
} from '../../web/core/nostr/event.ts'
import type { Filter } from '../../web/edge/nostr/filter.ts'
import { createPool, PublishError, type Pool, type PoolOptions } from '../../web/edge/nostr/pool.ts'
import { parseRelayMessage, type RelayMessage } from '../../web/edge/nostr/wire.ts'
import { afterTest, directory, relay } from '../fixture.ts'
import { nostrLimits } from './relay.ts'

const alice: SecretKey = new Uint8Array(32).fill(1)
const bob: SecretKey = new Uint8Array(32).fill(2)
const nowS = () => Math.floor(Date.now() / 1000)
const sign = (template: Partial<EventTemplate>, secret = alice): NostrEvent =>
  signEvent({ kind: 1, created_at: nowS(), tags: [], content: '', ...template }, secret, new Uint8Array(32))
const nostrUrl = (running: { url: string }) => `${running.url.replace('http', 'ws')}/nostr`

function pool(url: string, options: PoolOptions = {}): Pool {
  const made = createPool([url], { random: () => 0, ...options })
  afterTest(() => made.close())
  return made
}
/** What a relay has stored for a filter. */
const stored = (from: Pool, ...filters: Filter[]): Promise<NostrEvent[]> =>
  new Promise((resolve) => {
    const events: NostrEvent[] = []
    const end = from.subscribe(filters, (event) => events.push(event), {
      onEose: () => {
        resolve(events)
        queueMicrotask(() => end())
      },
    })
  })
const once = (from: Pool, filter: Filter): { event: Promise<NostrEvent>; ready: Promise<void> } => {
  const ready = Promise.withResolvers<void>()
  const event = new Promise<NostrEvent>((resolve) => {
    from.subscribe([filter], resolve, { onEose: ready.resolve })
  })
  return { event, ready: ready.promise }
}

/** A client without manners. */
async function raw(url: string) {
  const socket = new WebSocket(url)
  afterTest(() => socket.close())
  const heard: RelayMessage[] = []
  const waiting: (() => void)[] = []
  socket.onmessage = ({ data }) => {
    const message = parseRelayMessage(String(data))
    if (message) heard.push(message)
    for (const wake of waiting.splice(0)) wake()
  }
  const closed = new Promise<number>((resolve) => (socket.onclose = ({ code }) => resolve(code)))
  async function next<T extends RelayMessage['tag']>(tag: T): Promise<Extract<RelayMessage, { tag: T }>> {
    for (;;) {
      const at = heard.findIndex((message) => message.tag === tag)
      if (at >= 0) return heard.splice(at, 1)[0] as Extract<RelayMessage, { tag: T }>
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
  }
  await next('auth')
  return { socket, closed, next, send: (message: unknown) => socket.send(JSON.stringify(message)) }
}

test('an event reaches another client live, and a later one from the store', async () => {
  const url = nostrUrl(await relay())
  const [sender, reader] = [pool(url), pool(url)]
  const live = once(reader, { kinds: [1], '#p': [publicKey(bob)] })
  await live.ready
  const event = sign({ tags: [['p', publicKey(bob)]] })
  await sender.publish(event)
  expect(await live.event).toEqual(event)
  expect(await stored(pool(url), { authors: [publicKey(alice)] })).toEqual([event])
})

test('finds stored events by each condition, newest first, up to the limit', async () => {
  const client = pool(nostrUrl(await relay()))
  const at = nowS() - 1000
  const events = [
    sign({
      created_at: at,
      tags: [
        ['i', 'one'],
        ['x', 'both'],
      ],
    }),
    sign({
      created_at: at + 1,
      kind: 7,
      tags: [
        ['i', 'two'],
        ['x', 'both'],
      ],
    }),
    sign({ created_at: at + 2, content: 'hi' }, bob),
  ]
  for (const event of events) await client.publish(event)
  const [first, second, third] = events.map(({ id }) => id)
  const ids = async (...filters: Filter[]) => (await stored(client, ...filters)).map(({ id }) => id)
  expect(await ids({ kinds: [1, 7] })).toEqual([third, second, first])
  expect(await ids({ kinds: [1, 7], limit: 2 })).toEqual([third, second])
  expect(await ids({ ids: [first!] })).toEqual([first])
  expect(await ids({ '#x': ['both'] })).toEqual([second, first])
  expect(await ids({ '#x': ['both'], '#i': ['one'] })).toEqual([first])
  expect(await ids({ kinds: [1], authors: [publicKey(alice)] })).toEqual([first])
  expect(await ids({ since: at + 1, until: at + 1 })).toEqual([second])
  expect(await ids({ '#i': ['one'] }, { kinds: [7] })).toHaveLength(2)
  expect(await ids({ '#i': [] })).toEqual([])
})

test('the newest of a replaceable and of an addressable event stays, per author and d', async () => {
  const client = pool(nostrUrl(await relay()))
  const at = nowS() - 100
  const old = sign({ kind: 31891, created_at: at, tags: [['d', 'a']] })
  const recent = sign({ kind: 31891, created_at: at + 1, tags: [['d', 'a']] })
  const other = sign({ kind: 31891, created_at: at, tags: [['d', 'b']] })
  const info = [
    sign({ kind: 13194, created_at: at, content: '1' }),
    sign({ kind: 13194, created_at: at + 1, content: '2' }),
  ]
  for (const event of [
    recent,
    old,
    other,
    ...info,
    sign({ kind: 31891, created_at: at, tags: [['d', 'a']] }, bob),
  ]) {
    await client.publish(event) // an older one counts as known: it is not worth an error
  }
  expect(await stored(client, { kinds: [31891], authors: [publicKey(alice)] })).toEqual([recent, other])
  expect(await stored(client, { kinds: [13194], authors: [publicKey(alice)] })).toEqual([info[1]])
  expect(await stored(client, { kinds: [31891] })).toHaveLength(3)
})

test('of two replaceable events with one time the lower id stays, in either order', async () => {
  const [a, b] = [pool(nostrUrl(await relay())), pool(nostrUrl(await relay()))]
  const pair = ['x', 'y'].map((content) => sign({ kind: 10002, created_at: nowS(), content }))
  const lower = pair.toSorted((left, right) => (left.id < right.id ? -1 : 1))[0]
  for (const event of pair) await a.publish(event)
  for (const event of pair.toReversed()) await b.publish(event)
  expect(await stored(a, { kinds: [10002] })).toEqual([lower])
  expect(await stored(b, { kinds: [10002] })).toEqual([lower])
})

test('an expired event is neither taken nor served (NIP-40)', async () => {
  let nowMs = Date.now()
  const client = pool(nostrUrl(await relay({ now: () => nowMs })))
  const event = sign({ tags: [['expiration', `${nowS() + 60}`]] })
  await client.publish(event)
  expect(await stored(client, { kinds: [1] })).toEqual([event])
  nowMs += 61_000
  expect(await stored(client, { kinds: [1] })).toEqual([])
  await expect(client.publish(sign({ tags: [['expiration', '1']] }))).rejects.toMatchObject({
    code: 'rejected',
  })
})

test('an author deletes its own events, nobody else does, and they do not come back (NIP-09)', async () => {
  const client = pool(nostrUrl(await relay()))
  const event = sign({})
  await client.publish(event)
  await client.publish(sign({ kind: 5, tags: [['e', event.id]] }, bob))
  expect(await stored(client, { kinds: [1] })).toEqual([event])
  await client.publish(sign({ kind: 5, tags: [['e', event.id]] }))
  expect(await stored(client, { kinds: [1] })).toEqual([])
  await expect(client.publish(event)).rejects.toMatchObject({ code: 'rejected' })

  const slot = sign({ kind: 31890, created_at: nowS() - 10, tags: [['d', 'h']] })
  await client.publish(slot)
  await client.publish(sign({ kind: 5, tags: [['a', `31890:${publicKey(alice)}:h`]] }))
  expect(await stored(client, { kinds: [31890] })).toEqual([])
})

test('ephemeral events are handed on and never stored', async () => {
  const url = nostrUrl(await relay())
  const [sender, reader] = [pool(url), pool(url)]
  const live = once(reader, { kinds: [23194] })
  await live.ready
  const event = sign({ kind: 23194 })
  await sender.publish(event)
  expect(await live.event).toEqual(event)
  expect(await stored(sender, { kinds: [23194] })).toEqual([])
})

test('refuses what is forged, from the future, or protected and not its author’s', async () => {
  const client = await raw(nostrUrl(await relay()))
  const answer = async (event: NostrEvent) => {
    client.send(['EVENT', event])
    return (await client.next('ok')).reason.split(':')[0]
  }
  const good = sign({})
  expect(await answer({ ...good, content: 'changed' })).toBe('invalid')
  expect(await answer({ ...good, sig: sign({ content: 'x' }).sig })).toBe('invalid')
  expect(await answer(sign({ created_at: nowS() + nostrLimits.futureS + 60 }))).toBe('invalid')
  expect(await answer(sign({ tags: [['-']] }))).toBe('auth-required')
  client.send(['EVENT', { id: 'x' }])
  expect(await client.next('ok')).toMatchObject({ accepted: false })
  client.send(['EVENT', good])
  expect(await client.next('ok')).toMatchObject({ accepted: true })
})

test('a client that proves its key (NIP-42) publishes protected events', async () => {
  const socket = new WebSocket(nostrUrl(await relay()))
  afterTest(() => socket.close())
  const say = (message: unknown) => socket.send(JSON.stringify(message))
  const hear = () =>
    new Promise<unknown[]>((done) => (socket.onmessage = ({ data }) => done(JSON.parse(String(data)))))
  const [, challenge] = await hear()
  say(['AUTH', sign({ kind: 22242, tags: [['challenge', 'another']] })])
  expect((await hear())[2]).toBe(false)
  say(['AUTH', sign({ kind: 22242, tags: [['challenge', String(challenge)]] })])
  expect((await hear())[2]).toBe(true)
  say(['EVENT', sign({ tags: [['-']] })])
  expect((await hear())[2]).toBe(true)
})

test('takes a message of 64 KiB and hangs up on a longer one', async () => {
  const url = nostrUrl(await relay())
  const fits = sign({ content: 'a'.repeat(nostrLimits.frameBytes - 400) })
  const room = nostrLimits.frameBytes - JSON.stringify(['EVENT', fits]).length
  const largest = sign({ content: fits.content + 'a'.repeat(room) })
  const client = await raw(url)
  client.send(['EVENT', largest])
  expect(await client.next('ok')).toMatchObject({ accepted: true })
  client.send(['EVENT', sign({ content: `${largest.content}a` })])
  expect(await client.closed).not.toBe(1000)
  await expect(pool(url).publish(sign({ content: `${largest.content}a` }))).rejects.toMatchObject({
    code: 'too-large',
    sent: false,
  })
})

test('serves its limit of subscriptions on one connection and refuses one more', async () => {
  const client = await raw(nostrUrl(await relay()))
  expect(nostrLimits.subscriptionsPerConnection).toBeGreaterThanOrEqual(256)
  for (let i = 0; i < nostrLimits.subscriptionsPerConnection; i++)
    client.send(['REQ', `s${i}`, { kinds: [1] }])
  for (let i = 0; i < nostrLimits.subscriptionsPerConnection; i++) await client.next('eose')
  client.send(['REQ', 'more', { kinds: [1] }])
  expect(await client.next('closed')).toMatchObject({ subscription: 'more' })
  client.send(['CLOSE', 's0'])
  client.send(['REQ', 'more', { kinds: [1] }])
  expect(await client.next('eose')).toMatchObject({ subscription: 'more' })
})

test('hangs up on a reader that does not read, and goes on serving the others', async () => {
  const url = nostrUrl(await relay())
  const slow = new PausableSocket(url)
  const ended = new Promise<void>((resolve) => slow.on('close', () => resolve()))
  slow.on('error', () => undefined)
  await new Promise((resolve) => slow.once('message', resolve))
  slow.send(JSON.stringify(['REQ', 'all', { kinds: [20_001] }]))
  await new Promise((resolve) => slow.once('message', resolve))
  slow.pause()
  const [sender, reader] = [pool(url), pool(url)]
  const live = once(reader, { kinds: [20_001], '#t': ['last'] })
  await live.ready
  const content = 'x'.repeat(nostrLimits.frameBytes - 1000)
  // Three times the limit, since the kernel's buffers take some megabytes too.
  const enough = Math.ceil((nostrLimits.unsentBytes * 3) / content.length)
  const sendings = Array.from({ length: enough }, (_, i) =>
    sender.publish(sign({ kind: 20_001, content, created_at: nowS() - i })),
  )
  await Promise.all(sendings)
  await sender.publish(sign({ kind: 20_001, tags: [['t', 'last']] }))
  await live.event
  slow.resume()
  await ended
})

test.each([
  ['an unknown condition', [{ search: 'x' }]],
  ['a short id', [{ ids: ['abc'] }]],
  ['no filter', []],
  ['too many filters', Array.from({ length: nostrLimits.filtersPerSubscription + 1 }, () => ({}))],
])('refuses a subscription with %s', async (_, filters) => {
  const client = await raw(nostrUrl(await relay()))
  client.send(['REQ', 'x', ...filters])
  expect((await client.next('closed')).reason).toMatch(/^invalid/)
})

test('stored events survive a restart, and the pool comes back by itself with all it had to say', async () => {
  const dataDir = await directory()
  const first = await relay({ dataDir })
  const client = pool(nostrUrl(first))
  const before = sign({ content: 'before' })
  await client.publish(before)
  const heard: string[] = []
  const caughtUp = Promise.withResolvers<void>()
  client.subscribe([{ kinds: [1], limit: 1 }], (event) => {
    heard.push(event.content)
    if (heard.includes('meanwhile') && heard.includes('queued')) caughtUp.resolve()
  })
  await stored(client, { kinds: [1] })
  const lost = new Promise<void>((resolve) => {
    client.status.subscribe(([status]) => status?.connected === false && resolve())
  })
  await first.stop()
  await lost
  const queued = client.publish(sign({ content: 'queued' }))
  const second = await relay({ dataDir, port: first.port })
  await pool(nostrUrl(second)).publish(sign({ content: 'meanwhile' }))
  await queued
  await caughtUp.promise
  expect(heard.toSorted()).toEqual(['before', 'meanwhile', 'queued'])
})

test('what waits is bounded, and ends with the pool', async () => {
  const client = pool('ws://127.0.0.1:1', { limits: { queuedPublications: 1 } })
  const first = client.publish(sign({}))
  await expect(client.publish(sign({}))).rejects.toMatchObject({ code: 'queue-full', sent: false })
  client.close()
  await expect(first).rejects.toBeInstanceOf(PublishError)
  await expect(first).rejects.toMatchObject({ code: 'closed', sent: false })
})

test('a publication with a deadline says whether it was sent', async () => {
  const client = pool('ws://127.0.0.1:1')
  await expect(client.publish(sign({}), { timeoutMs: 10 })).rejects.toMatchObject({
    code: 'timed-out',
    sent: false,
  })
})

test('one relay of several is enough', async () => {
  const running = await relay()
  const both = createPool([nostrUrl(running), 'ws://127.0.0.1:1'], { random: () => 0 })
  afterTest(() => both.close())
  const event = sign({})
  await both.publish(event)
  expect(await stored(both, { kinds: [1] })).toEqual([event])
  expect(both.status.get().map(({ connected }) => connected)).toEqual([true, false])
})
