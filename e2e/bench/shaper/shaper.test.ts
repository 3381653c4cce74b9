import Server from 'bittorrent-tracker/server'
import { WebSocket } from 'ws'
import nodeDataChannel, { type DataChannel, type PeerConnection } from 'node-datachannel'
import { afterEach, expect, test } from 'vitest'
import { createServer as createTcp, connect, type AddressInfo } from 'node:net'
import { udpAddress, withAddress } from './sdp.ts'
import { openForward } from './tcp.ts'
import { openTrackerProxy } from './tracker-proxy.ts'
import { Uplink, type UplinkOptions } from './uplink.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const run of closing.splice(0).reverse()) await run()
})

const Listening = Server as unknown as new (options: object) => {
  listen(port: number, host: string, done: () => void): void
  close(done: () => void): void
  http: AddressInfo & { address(): AddressInfo }
}

async function tracker(): Promise<string> {
  const server = new Listening({ udp: false, http: false, ws: true, stats: false })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  closing.push(() => new Promise<void>((done) => server.close(done)))
  return `ws://127.0.0.1:${server.http.address().port}`
}

function peer(name: string): { pc: PeerConnection; described: Promise<{ type: string; sdp: string }> } {
  const pc = new nodeDataChannel.PeerConnection(name, { iceServers: [] })
  closing.push(() => pc.close())
  const described = new Promise<{ type: string; sdp: string }>((done) =>
    pc.onGatheringStateChange((state) => {
      const local = pc.localDescription()
      if (state === 'complete' && local !== null) done({ type: String(local.type), sdp: local.sdp })
    }),
  )
  return { pc, described }
}

type Said = { offer?: { sdp: string }; answer?: { sdp: string }; offer_id?: string; peer_id?: string }

async function onTracker(
  url: string,
): Promise<{ say(what: object): void; heard(fits: (said: Said) => boolean): Promise<Said> }> {
  const socket = new WebSocket(url)
  const said: Said[] = []
  const waiting = new Set<() => void>()
  socket.on('message', (data: Buffer) => {
    said.push(JSON.parse(data.toString('utf8')) as Said)
    for (const look of waiting) look()
  })
  await new Promise((done) => socket.once('open', done))
  closing.push(() => socket.terminate())
  return {
    say: (what) => socket.send(JSON.stringify(what)),
    heard: (fits) =>
      new Promise((done) => {
        const look = (): void => {
          const found = said.find(fits)
          if (found === undefined) return
          waiting.delete(look)
          done(found)
        }
        waiting.add(look)
        look()
      }),
  }
}

/** A data channel between two peers that meet through the shaper. */
async function channelThrough(left: Uplink, right: Uplink): Promise<{ from: DataChannel; to: DataChannel }> {
  const proxy = await openTrackerProxy(await tracker(), [left, right])
  closing.push(() => proxy.close())
  const [a, b] = [peer('a'), peer('b')]
  const from = a.pc.createDataChannel('test')
  const info_hash = 'h'.repeat(20)
  const [atA, atB] = [await onTracker(proxy.urlOf(0)), await onTracker(proxy.urlOf(1))]
  const joined = { action: 'announce', info_hash, left: 1, numwant: 0 }
  atB.say({ ...joined, peer_id: 'b'.repeat(20), offers: [], event: 'started' })
  await atB.heard(() => true)
  const offer = await a.described
  const offers = [{ offer, offer_id: 'o'.repeat(20) }]
  atA.say({ ...joined, peer_id: 'a'.repeat(20), numwant: 1, offers, event: 'started' })
  const offered = await atB.heard((said) => said.offer !== undefined)
  const opened = new Promise<DataChannel>((done) => b.pc.onDataChannel(done))
  b.pc.setRemoteDescription(offered.offer?.sdp ?? '', 'offer' as never)
  const answer = await b.described
  atB.say({
    ...joined,
    peer_id: 'b'.repeat(20),
    to_peer_id: offered.peer_id,
    offer_id: offered.offer_id,
    answer,
  })
  const answered = await atA.heard((said) => said.answer !== undefined)
  a.pc.setRemoteDescription(answered.answer?.sdp ?? '', 'answer' as never)
  const to = await opened
  return { from, to }
}

/** Bytes a second that `bytes` arrive with, the first message not counted. */
async function rateOf(from: DataChannel, to: DataChannel, bytes: number): Promise<number> {
  const message = Buffer.alloc(16 * 1024)
  let [got, startMs] = [0, 0]
  const done = new Promise<number>((resolve) =>
    to.onMessage((data) => {
      if (startMs === 0) startMs = performance.now()
      else got += (data as Buffer).length
      if (got >= bytes) resolve(got / ((performance.now() - startMs) / 1000))
    }),
  )
  let left = bytes + 4 * message.length
  const send = (): void => {
    while (left > 0 && from.bufferedAmount() < 512 * 1024) {
      left -= message.length
      from.sendMessageBinary(message)
    }
  }
  from.setBufferedAmountLowThreshold(256 * 1024)
  from.onBufferedAmountLow(send)
  if (from.isOpen()) send()
  else from.onOpen(send)
  return done
}

test('a raw data channel runs at the rate of its sender’s uplink, each way', async () => {
  const [left, right] = [
    new Uplink({ name: 'a', bytesPerS: 2_000_000 }),
    new Uplink({ name: 'b', bytesPerS: 800_000 }),
  ]
  const { from, to } = await channelThrough(left, right)
  for (const [sender, receiver, uplink, set] of [
    [from, to, left, 2_000_000],
    [to, from, right, 800_000],
  ] as const) {
    const [bytesBefore, startMs] = [uplink.count.bytes, performance.now()]
    const goodput = await rateOf(sender, receiver, set)
    const carried = (uplink.count.bytes - bytesBefore) / ((performance.now() - startMs) / 1000)
    // A busy machine may send less, never more.
    expect(carried / set).toBeGreaterThan(0.5)
    expect(carried / set).toBeLessThan(1.05)
    // DTLS and SCTP headers, and what the full queue dropped, are the rest.
    expect(goodput / set).toBeGreaterThan(0.5)
    expect(goodput / set).toBeLessThan(1)
  }
}, 20_000)

test('TCP shares the uplink of the server that it comes from', async () => {
  const uplink = new Uplink({ name: 'vendor', bytesPerS: 1_000_000 })
  const server = createTcp((socket) => void socket.end(Buffer.alloc(250_000, 7)))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  closing.push(() => void server.close())
  const forward = await openForward((server.address() as AddressInfo).port, uplink)
  closing.push(() => void forward.server.close())
  const fetchAll = (): Promise<number> =>
    new Promise((done) => {
      let got = 0
      connect(forward.port, '127.0.0.1')
        .on('data', (data: Buffer) => void (got += data.length))
        .on('end', () => done(got))
    })
  const startMs = performance.now()
  expect(await Promise.all([fetchAll(), fetchAll()])).toEqual([250_000, 250_000])
  // Each with the uplink to itself would be done in half of it.
  expect((performance.now() - startMs) / 1000).toBeGreaterThan(0.48)
})

/** An uplink on a clock of its own; what goes through is noted with its time. */
function clocked(options: Partial<UplinkOptions>) {
  let nowMs = 0
  const timers: { atMs: number; run: () => void }[] = []
  const out: [number, number][] = []
  const uplink = new Uplink(
    { name: 'x', ...options },
    () => nowMs,
    (run, ms) => void timers.push({ atMs: nowMs + ms, run }),
  )
  const run = (untilMs: number): void => {
    for (;;) {
      timers.sort((a, b) => a.atMs - b.atMs)
      const next = timers[0]
      if (next === undefined || next.atMs > untilMs) break
      timers.shift()
      nowMs = next.atMs
      next.run()
    }
    nowMs = untilMs
  }
  return {
    uplink,
    out,
    run,
    send: (id: number, bytes: number) => uplink.packet(bytes, () => out.push([id, nowMs])),
  }
}

test('packets leave in order at the set rate, after the delay', () => {
  const { send, run, out } = clocked({ bytesPerS: 1000, delayMs: 7 })
  for (const id of [1, 2, 3]) send(id, 100)
  run(1000)
  send(4, 100)
  run(2000)
  expect(out).toEqual([
    [1, 107],
    [2, 207],
    [3, 307],
    [4, 1107],
  ])
})

test('a full queue drops what comes last, and takes more when it has drained', () => {
  const { send, run, out, uplink } = clocked({ bytesPerS: 1000, queueBytes: 250 })
  expect([1, 2, 3].map((id) => send(id, 100))).toEqual([true, true, false])
  run(100)
  expect(send(4, 100)).toBe(true)
  run(1000)
  expect(out.map(([id]) => id)).toEqual([1, 2, 4])
  expect(uplink.count).toEqual({ bytes: 300, packets: 3, dropped: 1 })
})

test('loss takes the share that it is set to', () => {
  const { send, uplink } = clocked({ loss: 0.2 })
  for (let id = 0; id < 10_000; id++) send(id, 1)
  expect(uplink.count.dropped / 10_000).toBeCloseTo(0.2, 1)
})

test('a description keeps everything but its candidates, which become one', () => {
  const sdp = [
    'v=0',
    'a=fingerprint:sha-256 AA',
    'a=candidate:1 1 TCP 1 10.0.0.9 9 typ host tcptype active',
    'a=candidate:2 1 UDP 2122317823 10.0.0.9 4000 typ host',
    'a=candidate:3 1 UDP 1 8.8.8.8 4001 typ srflx raddr 10.0.0.9 rport 4000',
    'a=end-of-candidates',
    '',
  ].join('\r\n')
  expect(udpAddress(sdp)).toEqual({ host: '10.0.0.9', port: 4000 })
  expect(withAddress(sdp, { host: '10.1.1.1', port: 5 }).split('\r\n')).toEqual([
    'v=0',
    'a=fingerprint:sha-256 AA',
    'a=candidate:1 1 UDP 2122317823 10.1.1.1 5 typ host',
    'a=end-of-candidates',
    '',
  ])
  expect(udpAddress('a=candidate:1 1 udp 1 abcd-1234.local 4000 typ host')).toBeUndefined()
})
