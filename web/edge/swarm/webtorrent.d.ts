/** The part of webtorrent 3 that Satpatch uses, its internals included (`@types/webtorrent` is stale). */
declare module '#webtorrent' {
  export interface Emitter {
    on(event: string, run: (...values: never[]) => void): this
    once(event: string, run: (...values: never[]) => void): this
    removeListener(event: string, run: (...values: never[]) => void): this
  }
  export interface WireExtension {
    onHandshake?(infoHash: string, peerId: string, extensions: object): void
    onExtendedHandshake?(handshake: { m?: Record<string, number> }): void
    onMessage?(frame: Uint8Array): void
  }
  export interface Wire extends Emitter {
    readonly peerId: string
    readonly destroyed: boolean
    readonly peerChoking: boolean
    readonly amInterested: boolean
    readonly peerPieces: { get(index: number): boolean }
    readonly _readableState?: { buffered: number }
    use(extension: new (wire: Wire) => WireExtension): void
    extended(name: string, payload: Uint8Array): void
    have(piece: number): void
    interested(): void
    unchoke(): void
    uninterested(): void
    request(
      piece: number,
      offset: number,
      length: number,
      done: (error: Error | null, block?: Uint8Array) => void,
    ): void
    destroy(): void
  }
  export interface Connection extends Emitter {
    readonly _pc?: {
      localDescription?: { sdp: string } | null
      remoteDescription?: { sdp: string } | null
      createDataChannel?: RTCPeerConnection['createDataChannel']
      readonly sctp?: { readonly maxMessageSize: number } | null
    } | null
    readonly _channel?: { bufferedAmount: number } | null
  }
  /** A connection that an offer or an answer has come for; `id`: its peer's, hex. */
  export interface Offered {
    readonly id: string
    readonly initiator: boolean
  }
  export interface KnownPeer {
    readonly wire: Wire | null
    readonly conn: (Connection & { readonly initiator?: boolean }) | null
    readonly _handshakeDone?: boolean
    destroy(): void
  }
  export interface Tracker extends Emitter {
    destroyed: boolean
    reconnecting: boolean
    reconnectTimer: ReturnType<typeof setTimeout> | null
    _openSocket(): void
    _startReconnectTimer(): void
  }
  export interface Torrent extends Emitter {
    readonly infoHash: string
    readonly destroyed: boolean
    readonly wires: Wire[]
    readonly _peers: Map<string, KnownPeer>
    /** A connection, or the address of a peer. */
    _addPeer(peer: Offered | string, type: string, source: string): object | null
    readonly discovery?: {
      tracker?: (Emitter & { _trackers: Tracker[]; update(options?: object): void }) | null
    } | null
    /** All pieces are here. */
    readonly done: boolean
    _markVerified(piece: number): void
    _checkDone(): void
    destroy(options: { destroyStore: boolean }, done: (error?: Error) => void): void
  }
  export type ChunkCallback = (error: Error | null, bytes?: Uint8Array) => void
  export interface ChunkStore {
    readonly chunkLength: number
    get(index: number, options: object | ChunkCallback | undefined, done?: ChunkCallback): void
    put(index: number, bytes: Uint8Array, done?: ChunkCallback): void
    close(done?: ChunkCallback): void
    destroy(done?: ChunkCallback): void
  }
  export default class WebTorrent implements Emitter {
    constructor(options: object)
    on(event: string, run: (...values: never[]) => void): this
    once(event: string, run: (...values: never[]) => void): this
    removeListener(event: string, run: (...values: never[]) => void): this
    readonly listening: boolean
    readonly peerId: string
    readonly _connPool?: { tcpServer: { close(): void } } | null
    add(torrent: Uint8Array, options: object): Torrent
    destroy(done: (error?: Error) => void): void
  }
}
declare module '@thaunknown/simple-peer/lite.js' {
  const Peer: {
    prototype: {
      destroyed: boolean
      _iceComplete: boolean
      _iceCompleteTimer: ReturnType<typeof setTimeout> | null
      _pc: { iceGatheringState: string } | null
      _onIceStateChange(): void
      signal(data: string | Readonly<{ type?: string; sdp?: string; candidate?: object }>): void
      emit(event: string, ...values: never[]): void
    }
  }
  export default Peer
}
declare module '#ice' {
  /** Makes webtorrent's WebRTC layer connect as fast as the platform allows. */
  export function tuneIce(): Promise<void>
}
