/** A tracker and a Nostr relay that are entirely hostile, on one port: whatever is asked, they answer with harm. */
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'

export interface HostileSockets {
  readonly url: string
  /** Frames of the device that reached each. */
  readonly heard: { tracker: number; nostr: number }
  close(): Promise<void>
}

const LONG = 'x'.repeat(400_000)
const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)

/** What bittorrent-tracker's protocol could be bent into. */
function trackerFrames(asked: string): string[] {
  let hash = 'h'.repeat(20)
  try {
    hash = String((JSON.parse(asked) as { info_hash?: string }).info_hash ?? hash)
  } catch {
    // it is answered all the same
  }
  const announce = (more: object): string =>
    JSON.stringify({ action: 'announce', info_hash: hash, interval: 1, complete: 1, incomplete: 1, ...more })
  const offer = (sdp: unknown, id: unknown = 'o'.repeat(20)): string =>
    announce({ offer: { type: 'offer', sdp }, offer_id: id, peer_id: 'p'.repeat(20) })
  return [
    'not json',
    deep(5000),
    announce({ interval: -1e308, complete: 'many', peers: LONG }),
    announce({ 'warning message': LONG.slice(0, 5000) }),
    announce({ 'failure reason': 'go away\u0000\u202e' }),
    offer('v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n'),
    offer(42),
    offer(LONG, { toString: 'no' }),
    announce({ answer: { type: 'answer', sdp: 'v=0' }, offer_id: 'z'.repeat(20), peer_id: 'q'.repeat(20) }),
    announce({ action: '__proto__', constructor: { prototype: { polluted: true } } }),
  ]
}

function nostrFrames(asked: string): string[] {
  let id = 'sub'
  let kinds: unknown = [1]
  try {
    const [, sub, filter] = JSON.parse(asked) as [string, string, { kinds?: number[] }]
    id = sub
    kinds = filter.kinds?.[0]
  } catch {
    // it is answered all the same
  }
  const event = (more: object): string =>
    JSON.stringify([
      'EVENT',
      id,
      {
        id: 'a'.repeat(64),
        pubkey: 'b'.repeat(64),
        created_at: 1_800_000_000,
        kind: kinds,
        tags: [],
        content: '',
        sig: 'c'.repeat(128),
        ...more,
      },
    ])
  return [
    'EVENT',
    deep(5000),
    JSON.stringify(['EVENT', id]),
    event({}),
    event({ content: LONG }),
    event({ tags: Array.from({ length: 5000 }, () => ['i', 'x']) }),
    event({ created_at: 1e308, pubkey: 7 }),
    JSON.stringify(['OK', 'a'.repeat(64), true, '']),
    JSON.stringify(['OK', { id: 1 }, 'yes', LONG.slice(0, 2000)]),
    JSON.stringify(['AUTH', LONG.slice(0, 2000)]),
    JSON.stringify(['NOTICE', '\u001b[31mred\u202e']),
    JSON.stringify(['CLOSED', id, 'error: no']),
    JSON.stringify(['EOSE', { length: -1 }]),
  ]
}

export async function openHostileSockets(): Promise<HostileSockets> {
  const heard = { tracker: 0, nostr: 0 }
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  server.on('connection', (socket: WebSocket, request) => {
    const name = request.url?.startsWith('/tracker') === true ? 'tracker' : 'nostr'
    socket.on('error', () => socket.terminate())
    socket.on('message', (data) => {
      heard[name]++
      if (heard[name] > 500) return // harm enough; the test's own processor is needed elsewhere
      const asked = Buffer.isBuffer(data) ? data.toString('utf8') : ''
      for (const frame of name === 'tracker' ? trackerFrames(asked) : nostrFrames(asked)) socket.send(frame)
      socket.send(new Uint8Array(1000).fill(0xff))
    })
  })
  await new Promise<void>((done) => server.once('listening', () => done()))
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    heard,
    async close() {
      for (const socket of server.clients) socket.terminate()
      await new Promise<void>((done) => server.close(() => done()))
    },
  }
}
