/**
 * The WebSocket tracker: bittorrent-tracker's server behind a guard. The guard parses every message, since a
 * malformed one (an `offers` with a hole) would throw inside the library and end the process, and bounds what a peer can hold.
 */
import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import Server, { type TrackerPeer } from 'bittorrent-tracker/server'
import * as v from 'valibot'
import type { WebSocket } from 'ws'

export const trackerLimits = {
  messageBytes: 512 * 1024,
  /** Peers are told to announce this often: it is how soon a lost wire comes back. */
  announceIntervalS: 25,
  swarms: 20_000,
  peersPerSwarm: 20_000,
  swarmsPerPeer: 200,
  offersPerAnnounce: 50,
  offerChars: 24_000,
  unsentBytes: 4 * 1024 * 1024,
  pingIntervalMs: 30_000,
  sweepIntervalMs: 60_000,
} as const

const binary20 = v.pipe(v.string(), v.length(20))
const description = v.object({
  type: v.picklist(['offer', 'answer']),
  sdp: v.pipe(v.string(), v.maxLength(trackerLimits.offerChars)),
})
const amount = v.optional(v.union([v.number(), v.null()]))
const announceSchema = v.object({
  action: v.literal('announce'),
  info_hash: binary20,
  peer_id: binary20,
  event: v.optional(v.picklist(['started', 'stopped', 'completed', 'update', 'paused', 'empty', ''])),
  left: amount,
  uploaded: amount,
  downloaded: amount,
  numwant: amount,
  offers: v.optional(
    v.pipe(
      v.array(v.object({ offer: description, offer_id: binary20 })),
      v.maxLength(trackerLimits.offersPerAnnounce),
    ),
  ),
  answer: v.optional(description),
  to_peer_id: v.optional(binary20),
  offer_id: v.optional(v.union([binary20, v.null()])),
})
const scrapeSchema = v.object({
  action: v.literal('scrape'),
  info_hash: v.union([binary20, v.pipe(v.array(binary20), v.minLength(1), v.maxLength(100))]),
})
const messageSchema = v.variant('action', [announceSchema, scrapeSchema])

/** Of so many peers all are looked at for each announce. */
const SMALL_SWARM = 500

export interface Tracker {
  /** Serves a peer until its socket closes. */
  serve(socket: WebSocket, request: IncomingMessage): void
  readonly swarms: number
  stop(): void
}

export function createTracker(onWarning: (error: unknown) => void): Tracker {
  const server = new Server({
    http: false,
    udp: false,
    stats: false,
    ws: { noServer: true, maxPayload: trackerLimits.messageBytes },
    interval: trackerLimits.announceIntervalS * 5 * 1000,
    peersCacheLength: trackerLimits.peersPerSwarm,
    filter: (infoHash, _params, done) => {
      const known = infoHash in server.torrents || Object.keys(server.torrents).length < trackerLimits.swarms
      done(known ? null : new Error('this tracker is full'))
    },
  })
  server.createSwarm = (infoHash, done) => {
    const swarm = (server.torrents[infoHash] ??= new MatchingSwarm(infoHash, server))
    done(null, swarm)
  }
  server.on('warning', onWarning)
  server.on('error', onWarning)
  // The library keeps empty swarms for ever.
  const sweeper = setInterval(() => {
    for (const [infoHash, swarm] of Object.entries(server.torrents)) {
      if (swarm.peers.length === 0) delete server.torrents[infoHash]
    }
  }, trackerLimits.sweepIntervalMs)
  sweeper.unref()
  const guards = new Set<() => void>()

  return {
    serve(socket, request) {
      const guarded = new GuardedSocket(socket, request)
      server.onWebSocketConnection(guarded)
      const end = () => socket.terminate()
      guards.add(end)
      socket.on('close', () => guards.delete(end))
    },
    get swarms() {
      return Object.keys(server.torrents).length
    },
    stop() {
      clearInterval(sweeper)
      for (const end of guards) end()
      server.close()
    },
  }
}

/**
 * Offers go where they are of use. By chance alone, as the library draws, the last of twenty devices met the only seller
 * after 50 s: all had met each other first.
 */
class MatchingSwarm extends Server.Swarm {
  #full: readonly string[] = []
  #lookedAtMs = 0

  override _getPeers(numwant: number, ownPeerId: string): TrackerPeer[] {
    const chosen = new Map<string, TrackerPeer>()
    const choose = (ids: readonly string[], most: number, full?: boolean): void => {
      for (const id of inRandomOrder(ids)) {
        if (chosen.size >= most) return
        const peer = this.peers.peek(id)
        if (peer?.type !== 'ws' || id === ownPeerId) continue
        if (full === undefined || peer.complete === full) chosen.set(id, peer)
      }
    }
    const everybody = this.peers.keys
    // Who has all of it has nothing to ask of others who have, and half of what others offer goes to such.
    if (this.peers.peek(ownPeerId)?.complete === true) choose(everybody, numwant, false)
    else choose(this.#fullCopies(everybody), Math.ceil(numwant / 2))
    choose(everybody, numwant)
    return [...chosen.values()]
  }

  /** Looked for at each announce in a small swarm, and once a second in a large one. */
  #fullCopies(everybody: readonly string[]): readonly string[] {
    const nowMs = performance.now()
    if (everybody.length <= SMALL_SWARM || nowMs - this.#lookedAtMs >= 1000) {
      this.#full = everybody.filter((id) => this.peers.peek(id)?.complete === true)
      this.#lookedAtMs = nowMs
    }
    return this.#full
  }
}

/** All of a small list; of a large one some, among them perhaps one twice. */
function* inRandomOrder(ids: readonly string[]): Generator<string> {
  if (ids.length > SMALL_SWARM) {
    for (let tries = 0; tries < SMALL_SWARM; tries++)
      yield ids[Math.floor(Math.random() * ids.length)] as string
    return
  }
  const left = [...ids]
  for (let end = left.length - 1; end >= 0; end--) {
    const at = Math.floor(Math.random() * (end + 1))
    yield left[at] as string
    left[at] = left[end] as string
  }
}

/** What the library takes for a WebSocket: it hears only messages that parse. */
class GuardedSocket extends EventEmitter {
  upgradeReq: unknown
  readonly #socket: WebSocket
  readonly #infoHashes = new Set<string>()

  constructor(socket: WebSocket, request: IncomingMessage) {
    super()
    this.#socket = socket
    const { remoteAddress = '0.0.0.0', remotePort = 0 } = request.socket
    this.upgradeReq = { headers: {}, connection: { remoteAddress, remotePort } }
    let alive = true
    const pinger = setInterval(() => {
      if (!alive) return socket.terminate()
      alive = false
      socket.ping()
    }, trackerLimits.pingIntervalMs)
    socket.on('pong', () => (alive = true))
    socket.on('message', (data, isBinary) => {
      if (!isBinary) this.#hear((data as Buffer).toString('utf8'))
    })
    socket.on('error', () => socket.terminate())
    socket.on('close', () => {
      clearInterval(pinger)
      this.emit('close')
    })
  }

  #hear(text: string): void {
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), messageSchema), text)
    if (!parsed.success) return this.send(JSON.stringify({ 'failure reason': 'malformed message' }))
    const message = parsed.output
    if (message.action === 'announce') {
      if (message.answer && message.to_peer_id === undefined) return
      this.#infoHashes.add(message.info_hash)
      if (this.#infoHashes.size > trackerLimits.swarmsPerPeer) {
        this.#infoHashes.delete(message.info_hash)
        return this.send(JSON.stringify({ action: 'announce', 'failure reason': 'too many torrents' }))
      }
      if (message.event === 'stopped') this.#infoHashes.delete(message.info_hash)
    }
    this.emit('message', JSON.stringify(message))
  }

  send(text: string, _sent?: (error?: Error) => void): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    if (this.#socket.bufferedAmount > trackerLimits.unsentBytes) return this.#socket.terminate()
    this.#socket.send(text, () => undefined) // a failed send ends in 'close'
  }
}
