/**
 * The swarm over WebRTC. webtorrent finds peers and speaks the wire protocol; which piece comes from whom is
 * ours: nothing is selected in webtorrent, nobody is unchoked, and pieces travel in the `satpatch` extension.
 */
import type { ChunkCallback, ChunkStore, Connection, Torrent, Tracker, Wire } from '#webtorrent'
import type { PartyKey } from '../../core/bytes.ts'
import type { Message } from '../../core/exchange/message.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { tuneIce } from '#ice'
import { loadSecp } from '#secp'
import type { Metainfo, PieceStore, Session, SessionVendor, Swarm, SwarmOptions } from './api.ts'
import { settleGlare } from './glare.ts'
import { Peer } from './peer.ts'

/** What a `Download` or a `Shop` hears of a session's peers. */
export type SessionPart = Readonly<{
  joined?(peer: Peer): void
  message?(peer: Peer, message: Message): void
  haves?(peer: Peer, pieces: readonly number[]): void
  /** An ordinary peer gives: it unchoked us. */
  gives?(peer: Peer): void
  gone?(peer: Peer): void
  /** A piece was stored here. */
  stored?(piece: number): void
}>

/** A session as the parts that trade on it see it. */
export interface TradingSession extends Session {
  attach(part: SessionPart): () => void
  /** Proven peers, oldest first. */
  proven(): readonly Peer[]
  /** Ordinary peers that are connected. */
  plain(): readonly Peer[]
  /** Stores a proven piece and tells every peer. */
  keep(piece: number, bytes: Uint8Array): Promise<void>
}

export const trading = (session: Session): TradingSession => session as TradingSession

const MAX_CONNECTIONS = 200
const RECONNECT_MS = 1_500
const MAX_RECONNECT_MS = 30_000
const REANNOUNCE_MS = 1_000
/** With so many wires nobody looks for more on its own. */
const ENOUGH_WIRES = 6
/** The same of wires to full copies, for who has none. */
const ENOUGH_FULL = 3
/** Haves come in bursts; the count is for people. */
const COUNT_MS = 100

type Log = (event: string, detail: Readonly<Record<string, unknown>>) => void

export async function createSwarm(
  options: SwarmOptions & { log?: Log; bindAddress?: string },
): Promise<Swarm> {
  await Promise.all([tuneIce(), loadSecp()])
  // webtorrent schedules with it when it is there, and browsers starve it in hidden tabs.
  Object.defineProperty(globalThis, 'requestIdleCallback', {
    value: undefined,
    configurable: true,
    writable: true,
  })
  const { default: WebTorrent } = await import('#webtorrent')
  const rtcConfig = {
    iceServers: [...options.iceServers],
    ...(options.bindAddress === undefined ? {} : { bindAddress: options.bindAddress }),
  }
  const client = new WebTorrent({
    dht: false,
    lsd: false,
    utp: false,
    utPex: false,
    natUpnp: false,
    natPmp: false,
    maxConns: MAX_CONNECTIONS,
    tracker: { rtcConfig },
  })
  const log: Log = options.log ?? (() => undefined)
  client.on('error', (error: Error) => log('swarm error', { message: error.message }))
  if (!client.listening) await new Promise<void>((done) => client.once('listening', done))
  // WebRTC only: the TCP port that webtorrent insists on opening is closed again.
  client._connPool?.tcpServer.close()
  const sessions = new Set<TradingSession>()
  return {
    async join(meta, store, vendor) {
      const session = await join(client, meta, store, vendor, options, log)
      sessions.add(session)
      return session
    },
    async close() {
      await Promise.all([...sessions].map((session) => session.leave()))
      await new Promise<void>((done) => client.destroy(() => done()))
    },
  }
}

async function join(
  client: { readonly peerId: string; add(torrent: Uint8Array, options: object): Torrent },
  meta: Metainfo,
  store: PieceStore,
  vendor: SessionVendor,
  options: SwarmOptions,
  log: Log,
): Promise<TradingSession> {
  const torrent = client.add(meta.torrent, {
    announce: [...options.trackers],
    store: closedStore,
    deselect: true,
    storeCacheSlots: 0,
    alwaysChokeSeeders: false,
    uploads: 0,
  })
  settleGlare(torrent, client.peerId)
  const peers = new Set<Peer>()
  const parts = new Set<SessionPart>()
  const cell = liveCell<{ connected: number; fullCopies: number; provenKeys: readonly PartyKey[] }>({
    connected: 0,
    fullCopies: 0,
    provenKeys: [],
  })
  const live: Live<Readonly<{ connected: number; fullCopies: number; provenKeys: readonly PartyKey[] }>> =
    cell
  let counting: ReturnType<typeof setTimeout> | undefined
  const count = () => {
    counting ??= setTimeout(recount, COUNT_MS)
  }
  const recount = () => {
    counting = undefined
    const all = [...peers]
    cell.set({
      connected: all.length,
      fullCopies: all.filter((peer) => peer.hasAll()).length,
      provenKeys: all.flatMap((peer) => (peer.key === undefined ? [] : [peer.key])),
    })
  }
  const each = (run: (part: SessionPart) => void) => {
    for (const part of [...parts]) run(part)
  }
  const connectionOf = (wire: Wire): Connection | undefined => {
    for (const peer of torrent._peers.values()) if (peer.wire === wire) return peer.conn ?? undefined
    return undefined
  }
  const reannounce = reannouncer(torrent, () => [...peers].filter((peer) => peer.hasAll()).length)
  torrent.on('wire', (wire: Wire) => {
    const peer = new Peer(wire, {
      identity: options.identity,
      role: options.role ?? 'device',
      root: meta.piecesRoot,
      pieces: meta.pieces,
      floor: vendor.floor,
      connectionOf,
      events: {
        proven(peer) {
          count()
          each((part) => part.joined?.(peer))
        },
        plain(peer) {
          count()
          peer.interested()
          if (!peer.choking) each((part) => part.gives?.(peer))
        },
        message: (peer, message) => each((part) => part.message?.(peer, message)),
        floor: (json) => vendor.onFloor?.(json),
        haves(peer, pieces) {
          count()
          if (peer.plain) peer.interested()
          if (peer.key !== undefined || peer.plain) each((part) => part.haves?.(peer, pieces))
        },
        unchoked(peer) {
          if (peer.plain) each((part) => part.gives?.(peer))
        },
        gone(peer) {
          peers.delete(peer)
          count()
          each((part) => part.gone?.(peer))
          reannounce.soon()
        },
        log,
      },
    })
    peers.add(peer)
    count()
  })
  torrent.on('warning', (error: Error) => log('tracker warning', { message: error.message }))
  await new Promise<void>((done, fail) => {
    torrent.once('ready', done)
    torrent.once('error', (error: Error) => fail(error))
  })
  torrent.on('error', (error: Error) => log('torrent error', { message: error.message }))
  for (const tracker of torrent.discovery?.tracker?._trackers ?? []) reconnectSoon(tracker)
  reannounce.watch()
  const has = (piece: number): boolean => (((store.have[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) === 1
  const announce = (piece: number) => {
    torrent._markVerified(piece)
    for (const peer of peers) peer.announce(piece)
    each((part) => part.stored?.(piece))
  }
  for (let piece = 0; piece < meta.pieces; piece++) if (has(piece)) announce(piece)
  torrent._checkDone()
  let left = false
  return {
    meta,
    store,
    peers: live,
    attach(part) {
      parts.add(part)
      return () => parts.delete(part)
    },
    proven: () => [...peers].filter((peer) => peer.key !== undefined),
    plain: () => [...peers].filter((peer) => peer.plain),
    async keep(piece, bytes) {
      if (!has(piece)) await store.write(piece, bytes)
      if (left) return
      announce(piece)
      torrent._checkDone()
    },
    async leave() {
      if (left) return
      left = true
      reannounce.stop()
      clearTimeout(counting)
      await new Promise<void>((done) => torrent.destroy({ destroyStore: false }, () => done()))
    },
  }
}

/** webtorrent never reads or writes our pieces: it would serve and verify them by SHA-1. */
function closedStore(this: unknown, chunkLength: number): ChunkStore {
  const closed = new Error('pieces are not served outside the exchange')
  const done = (end?: ChunkCallback) => queueMicrotask(() => end?.(null))
  return {
    chunkLength,
    get: (_index, options, end) =>
      queueMicrotask(() => (typeof options === 'function' ? options : end)?.(closed)),
    put: (_index, _bytes, end) => queueMicrotask(() => end?.(closed)),
    close: done,
    destroy: done,
  }
}

/** bittorrent-tracker waits up to five minutes before it tries a lost tracker again. */
function reconnectSoon(tracker: Tracker): void {
  let tries = 0
  tracker._startReconnectTimer = () => {
    tracker.reconnecting = true
    if (tracker.reconnectTimer !== null) clearTimeout(tracker.reconnectTimer)
    const waitMs = Math.min(MAX_RECONNECT_MS, RECONNECT_MS * 2 ** Math.min(tries++, 5))
    tracker.reconnectTimer = setTimeout(() => tracker._openSocket(), waitMs * (0.75 + Math.random() / 2))
  }
  tracker.on('connect', () => {
    tries = 0
  })
}

/**
 * Wires come with announces. One that was lost is asked for again at once; and while the tracker knows of more
 * peers than we have wires, or of more full copies while we are not one, again after a while drawn by chance.
 */
function reannouncer(
  torrent: Torrent,
  fullCopies: () => number,
): { soon(): void; watch(): void; stop(): void } {
  let timer: ReturnType<typeof setTimeout> | undefined
  let misses = 0
  const announceIn = (waitMs: number) => {
    timer ??= setTimeout(() => {
      timer = undefined
      if (!torrent.destroyed) torrent.discovery?.tracker?.update()
    }, waitMs)
  }
  const onUpdate = (data: { complete?: number; incomplete?: number }) => {
    const others = (data.complete ?? 0) + (data.incomplete ?? 0) - 1
    const wanted = torrent.done ? 0 : Math.min(data.complete ?? 0, ENOUGH_FULL)
    if (torrent.wires.length >= Math.min(others, ENOUGH_WIRES) && fullCopies() >= wanted) {
      misses = 0
      return
    }
    const waitMs = Math.min(MAX_RECONNECT_MS, REANNOUNCE_MS * 2 ** Math.min(misses++, 5))
    announceIn(waitMs * (1 + Math.random()))
  }
  return {
    soon: () => announceIn(REANNOUNCE_MS),
    watch: () => torrent.discovery?.tracker?.on('update', onUpdate),
    stop: () => clearTimeout(timer),
  }
}
