/** What we use of bittorrent-tracker's server (11.2); the package has no types. */
declare module 'bittorrent-tracker/server' {
  import type { EventEmitter } from 'node:events'
  export type TrackerSwarm = { peers: { length: number } }
  export default class Server extends EventEmitter {
    constructor(options: {
      http: false
      udp: false
      stats: false
      ws: { noServer: true; maxPayload: number }
      /** Milliseconds; WebSocket peers are told a fifth of it. */
      interval: number
      filter: (infoHash: string, params: unknown, done: (error: Error | null) => void) => void
    })
    readonly torrents: Record<string, TrackerSwarm>
    onWebSocketConnection(socket: unknown): void
    close(done?: () => void): void
  }
}
