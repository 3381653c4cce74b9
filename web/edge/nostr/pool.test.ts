/** The pool against relays that misbehave. Against ours: relay/nostr/socket.test.ts. */
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { WebSocketServer, type WebSocket as ServerSocket } from 'ws'
import { signEvent, type EventTemplate, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import { createPool, type Pool, type PoolOptions } from './pool.ts'

const undo: (() => void)[] = []
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step()
})

const secret: SecretKey = new Uint8Array(32).fill(1)
const sign = (template: Partial<EventTemplate> = {}): NostrEvent =>
  signEvent(
    { kind: 1, created_at: 1_700_000_000, tags: [], content: '', ...template },
    secret,
    new Uint8Array(32),
  )

type Answer = (message: unknown[], say: (...message: unknown[]) => void, socket: ServerSocket) => void
/** A relay that does what `answer` says; `heard` are all frames, of all connections. */
async function fakeRelay(answer: Answer) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  const heard: unknown[][] = []
  let connections = 0
  server.on('connection', (socket) => {
    connections++
    socket.on('message', (data) => {
      const message = JSON.parse((data as Buffer).toString('utf8')) as unknown[]
      heard.push(message)
      answer(message, (...reply) => socket.send(JSON.stringify(reply)), socket)
    })
  })
  await new Promise((resolve) => server.on('listening', resolve))
  undo.push(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `ws://127.0.0.1:${port}`, heard, connections: () => connections }
}
function pool(urls: string[], limits: PoolOptions['limits'] = {}): Pool {
  const made = createPool(urls, { random: () => 0, limits: { firstRetryMs: 2, ...limits } })
  undo.push(() => made.close())
  return made
}
const told = (from: Pool, content = 'good'): Promise<string[]> =>
  new Promise((resolve) => {
    const contents: string[] = []
    from.subscribe([{ kinds: [1] }], (event) => {
      contents.push(event.content)
      if (event.content === content) resolve(contents)
    })
  })

test('only verified events that were asked for are delivered, each once', async () => {
  const event = sign({ content: 'once' })
  const relay = await fakeRelay(([type, id], say) => {
    if (type !== 'REQ') return
    say('EVENT', id, { ...event, content: 'forged, before the real one' })
    say('EVENT', id, event)
    say('EVENT', id, event)
    say('EVENT', id, { ...event, content: 'forged, known id' })
    say('EVENT', id, { ...event, sig: '0'.repeat(128) })
    say('EVENT', id, sign({ kind: 2, content: 'not asked for' }))
    say('EVENT', 'another', sign({ content: 'of no subscription' }))
    say('EVENT', id, { id: 'malformed' })
    say('EVENT', id, sign({ content: 'good' }))
  })
  expect(await told(pool([relay.url]))).toEqual(['once', 'good'])
})

test('two relays with the same event give it once', async () => {
  const both = await Promise.all(
    ['first', 'second'].map((name) =>
      fakeRelay(([type, id], say) => {
        if (type !== 'REQ') return
        say('EVENT', id, sign({ content: 'shared' }))
        say('EVENT', id, sign({ content: name }))
      }),
    ),
  )
  const contents: string[] = []
  await new Promise<void>((resolve) => {
    pool(both.map(({ url }) => url)).subscribe([{ kinds: [1] }], ({ content }) => {
      contents.push(content)
      if (contents.includes('first') && contents.includes('second')) resolve()
    })
  })
  expect(contents.toSorted()).toEqual(['first', 'second', 'shared'])
})

test('a publication that is never answered is sent again, a bounded number of times', async () => {
  const relay = await fakeRelay(() => undefined)
  const client = pool([relay.url], { answerTimeoutMs: 5, attemptsPerPublication: 3 })
  await expect(client.publish(sign())).rejects.toMatchObject({ code: 'timed-out', sent: true })
  await vi.waitFor(() => expect(relay.heard).toHaveLength(3)) // the last may still be on its way
})

test('an answer to a later sending counts', async () => {
  let sendings = 0
  const relay = await fakeRelay(([, event], say) => {
    if (++sendings > 1) say('OK', (event as NostrEvent).id, true, '')
  })
  await pool([relay.url], { answerTimeoutMs: 5, attemptsPerPublication: 1000 }).publish(sign())
  expect(sendings).toBeGreaterThan(1)
})

test('the same event published twice is sent once', async () => {
  const relay = await fakeRelay(([, event], say) => say('OK', (event as NostrEvent).id, true, ''))
  const client = pool([relay.url])
  const event = sign()
  await Promise.all([client.publish(event), client.publish(event)])
  await client.publish(sign({ content: 'after both' }))
  expect(relay.heard).toHaveLength(2)
})

test('a refusal by all is an error with the relay’s reason; a duplicate is none', async () => {
  const refusing = await fakeRelay(([, event], say) =>
    say('OK', (event as NostrEvent).id, false, 'blocked: go away'),
  )
  const having = await fakeRelay(([, event], say) =>
    say('OK', (event as NostrEvent).id, false, 'duplicate: have it'),
  )
  await expect(pool([refusing.url]).publish(sign())).rejects.toThrow('blocked: go away')
  await pool([refusing.url, having.url]).publish(sign())
})

test('a relay that falls silent is probed and left, and asked again', async () => {
  let connections = 0
  const relay = await fakeRelay(([type, id], say) => {
    if (type !== 'REQ' || id === 'probe') return
    if (++connections > 1) say('EVENT', id, sign({ content: 'good' }))
  })
  await told(pool([relay.url], { idleProbeMs: 5, probeTimeoutMs: 5 }))
  expect(relay.heard).toContainEqual(expect.arrayContaining(['REQ', 'probe']))
  expect(relay.connections()).toBeGreaterThan(1)
})

test('a subscription that the relay closes is asked for again', async () => {
  let asked = 0
  const relay = await fakeRelay(([type, id], say) => {
    if (type !== 'REQ') return
    if (++asked === 1) say('CLOSED', id, 'rate-limited: slow down')
    else say('EVENT', id, sign({ content: 'good' }))
  })
  await told(pool([relay.url]))
  expect(asked).toBe(2)
})

test('after a reconnect a limited subscription asks for what it missed, besides its newest', async () => {
  const filters: unknown[] = []
  const relay = await fakeRelay(([type, id, ...rest], say, socket) => {
    if (type !== 'REQ') return
    filters.push(rest)
    say('EOSE', id)
    if (filters.length === 1) socket.terminate()
    else say('EVENT', id, sign({ content: 'good' }))
  })
  const client = createPool([relay.url], {
    random: () => 0,
    nowMs: () => 1_000_000_000,
    limits: { firstRetryMs: 2, overlapS: 600 },
  })
  undo.push(() => client.close())
  await new Promise<void>((resolve) => {
    client.subscribe([{ kinds: [1], limit: 1 }, { kinds: [2] }, { kinds: [3], limit: 0 }], () => resolve())
  })
  expect(filters).toEqual([
    [{ kinds: [1], limit: 1 }, { kinds: [2] }, { kinds: [3], limit: 0 }],
    [
      ...[{ kinds: [1], limit: 1 }, { kinds: [1], since: 999_400 }, { kinds: [2] }],
      // Live ones too, however they are dated.
      ...[
        { kinds: [3], limit: 0 },
        { kinds: [3], since: 1_000_000 },
      ],
    ],
  ])
})

test('what came between the first loss and the first full answer is asked for, however often the line breaks', async () => {
  const filters: unknown[] = []
  let nowMs = 1_000_000_000
  const relay = await fakeRelay(([type, id, ...rest], say, socket) => {
    if (type !== 'REQ') return
    filters.push(rest)
    if (filters.length === 1) say('EOSE', id)
    else nowMs += 5_000_000
    if (filters.length < 3) socket.terminate()
    else say('EVENT', id, sign({ content: 'good' }))
  })
  const limits = { firstRetryMs: 2, overlapS: 600 }
  const client = createPool([relay.url], { random: () => 0, nowMs: () => nowMs, limits })
  undo.push(() => client.close())
  await new Promise<void>((resolve) => {
    client.subscribe([{ kinds: [1], limit: 1 }], () => resolve())
  })
  const missed = [
    { kinds: [1], limit: 1 },
    { kinds: [1], since: 999_400 },
  ]
  expect(filters.slice(1)).toEqual([missed, missed])
})

test('a refusal is no answer: what is stored has not come until the relay has sent it', async () => {
  let asked = 0
  const refusing = await fakeRelay(([type, id], say) => {
    if (type === 'REQ') say('CLOSED', id, 'rate-limited: slow down')
  })
  const busy = await fakeRelay(([type, id], say) => {
    if (type !== 'REQ') return
    if (++asked === 1) say('CLOSED', id, 'rate-limited: slow down')
    else say('EOSE', id)
  })
  for (const urls of [[busy.url], [busy.url, refusing.url]]) {
    asked = 0
    await new Promise<void>((resolve) => {
      pool(urls).subscribe([{ kinds: [1] }], () => undefined, { onEose: resolve })
    })
    expect(asked).toBe(2)
  }
})

test('retries wait longer each time, up to the bound', async () => {
  const delaysMs: number[] = []
  const original = globalThis.setTimeout
  undo.push(() => (globalThis.setTimeout = original))
  let sockets = 0
  const dead = (): WebSocket => {
    const socket = { close: () => undefined } as unknown as WebSocket
    if (++sockets < 12) queueMicrotask(() => socket.onerror?.(new Event('error')))
    return socket
  }
  // Only the delays matter here: each timer runs at once.
  globalThis.setTimeout = ((run: () => void, delayMs: number) => {
    if (delayMs !== 77_777) delaysMs.push(delayMs)
    return original(delayMs === 77_777 ? () => undefined : run, 0)
  }) as typeof setTimeout
  const failing = createPool(['ws://x'], {
    random: () => 1,
    openSocket: dead,
    limits: { firstRetryMs: 100, lastRetryMs: 1500, connectTimeoutMs: 77_777 },
  })
  undo.push(() => failing.close())
  while (sockets < 12) await new Promise((resolve) => setImmediate(resolve))
  expect(delaysMs.slice(0, 7)).toEqual([100, 200, 400, 800, 1500, 1500, 1500])
})

test('an address that cannot be opened is said at once and nothing waits for it', async () => {
  const client = pool(['not an address'])
  expect(client.status.get()[0]).toMatchObject({
    connected: false,
    trouble: expect.stringContaining('not an address'),
  })
  await expect(client.publish(sign())).rejects.toMatchObject({ code: 'rejected', sent: false })
})
