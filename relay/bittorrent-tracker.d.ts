/** What we use of bittorrent-tracker's server (11.2); the package has no types. */
declare module 'bittorrent-tracker/server' {
  import type { EventEmitter } from 'node:events'
  export type TrackerPeer = Readonly<{ type: string; peerId: string; complete: boolean }>
  export class TrackerSwarm {
    constructor(infoHash: string, server: Server)
    /** By peer id, hex. */
    readonly peers: {
      readonly length: number
      readonly keys: string[]
      peek(id: string): TrackerPeer | undefined
    }
    /** Whom an announce of this peer is told of: its offers go to them, one each. */
    _getPeers(numwant: number, ownPeerId: string, isWebRTC: boolean): TrackerPeer[]
  }
  export default class Server extends EventEmitter {
    static readonly Swarm: typeof TrackerSwarm
    constructor(options: {
      http: false
      udp: false
      stats: false
      ws: { noServer: true; maxPayload: number }
      /** Milliseconds; WebSocket peers are told a fifth of it. */
      interval: number
      /** Of one swarm; the longest silent are forgotten. */
      peersCacheLength: number
      filter: (infoHash: string, params: unknown, done: (error: Error | null) => void) => void
    })
    createSwarm(infoHash: string, done: (error: Error | null, swarm?: TrackerSwarm) => void): void
    readonly torrents: Record<string, TrackerSwarm>
    onWebSocketConnection(socket: unknown): void
    close(done?: () => void): void
  }
}
