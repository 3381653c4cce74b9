/** webtorrent as it comes, on the arena's tracker: a stock client, or one that speaks raw frames of the extension. */
import WebTorrent, { type ChunkStore, type Torrent, type Wire, type WireExtension } from '#webtorrent'
import { EXTENSION } from '../../web/core/exchange/message.ts'
import type { Arena } from './arena.ts'

export type RawPeer = Readonly<{
  torrent: Torrent & { readonly received: number; readonly downloaded: number }
  /** To every wire that speaks the extension; kept until there is one. */
  send(frame: Uint8Array): void
}>

export async function rawPeer(
  arena: Pick<Arena, 'meta' | 'trackerOf' | 'onClose'>,
  options: {
    /** Bytes that it seeds, whatever their hashes; without them it starts empty. */
    content?: Uint8Array
    /** With it the peer speaks the extension, by hand. */
    onFrame?: (frame: Uint8Array, wire: Wire) => void
    onExtension?: (wire: Wire) => void
    onWire?: (wire: Wire) => void
    /** It offers to nobody: no two offers cross, and each that comes later meets it over one wire. */
    onlyAnswers?: boolean
  },
): Promise<RawPeer> {
  const client = new WebTorrent({
    dht: false,
    lsd: false,
    utp: false,
    utPex: false,
    natUpnp: false,
    natPmp: false,
    tracker: {
      rtcConfig: { iceServers: [] },
      ...(options.onlyAnswers === true && { getAnnounceOpts: () => ({ numwant: 0 }) }),
    },
  })
  client.on('error', () => undefined)
  const torrent = client.add(arena.meta.torrent, {
    announce: [arena.trackerOf('raw')],
    store: storeOf(options.content, arena.meta.pieceLength),
    storeCacheSlots: 0,
    skipVerify: options.content !== undefined,
  }) as RawPeer['torrent']
  arena.onClose(() => new Promise<void>((done) => client.destroy(() => done())))
  torrent.on('error', () => undefined)
  torrent.on('warning', () => undefined)
  const speaking: Wire[] = []
  const waiting: Uint8Array[] = []
  torrent.on('wire', (wire: Wire) => {
    wire.on('error', () => undefined)
    options.onWire?.(wire)
    if (options.onFrame === undefined) return
    class Extension implements WireExtension {
      onExtendedHandshake(handshake: { m?: Record<string, number> }): void {
        if (handshake.m?.[EXTENSION] === undefined) return
        speaking.push(wire)
        options.onExtension?.(wire)
        for (const frame of waiting.splice(0)) wire.extended(EXTENSION, frame)
      }
      onMessage(frame: Uint8Array): void {
        options.onFrame?.(frame.slice(), wire)
      }
    }
    Object.defineProperty(Extension.prototype, 'name', { value: EXTENSION })
    wire.use(Extension)
  })
  await new Promise<void>((done) => torrent.once('ready', done))
  return {
    torrent,
    send(frame) {
      if (speaking.length === 0) waiting.push(frame)
      for (const wire of speaking) if (!wire.destroyed) wire.extended(EXTENSION, frame)
    },
  }
}

function storeOf(content: Uint8Array | undefined, pieceLength: number) {
  const pieces = new Map<number, Uint8Array>()
  for (let at = 0; content !== undefined && at < content.length; at += pieceLength)
    pieces.set(at / pieceLength, content.slice(at, at + pieceLength))
  return function store(this: unknown, chunkLength: number): ChunkStore {
    const end = (done?: (error: Error | null) => void) => queueMicrotask(() => done?.(null))
    return {
      chunkLength,
      get(index, range, done) {
        const answer = typeof range === 'function' ? range : done
        const { offset = 0, length } = (typeof range === 'object' ? range : {}) as {
          offset?: number
          length?: number
        }
        const piece = pieces.get(index)
        queueMicrotask(() =>
          piece === undefined
            ? answer?.(new Error('not here'))
            : answer?.(null, piece.slice(offset, length === undefined ? undefined : offset + length)),
        )
      },
      put(index, bytes, done) {
        pieces.set(index, bytes.slice())
        queueMicrotask(() => done?.(null))
      },
      close: end,
      destroy: end,
    }
  }
}
