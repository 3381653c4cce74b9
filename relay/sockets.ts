/** WebSocket upgrades: `/nostr` and `/tracker` on the one port, counted per address. */
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import { clientAddress } from './http/node-server.ts'
import { nostrLimits } from './nostr/relay.ts'
import { trackerLimits } from './tracker.ts'

export type SocketHandlers = Readonly<{
  nostr: (socket: WebSocket, address: string, raw: Duplex) => void
  tracker: (socket: WebSocket, request: IncomingMessage) => void
}>

/** Gives the function that ends all connections. */
export function serveSockets(server: Server, behindProxy: boolean, handlers: SocketHandlers): () => void {
  const settings = { noServer: true, perMessageDeflate: false, clientTracking: false } as const
  const nostr = new WebSocketServer({ ...settings, maxPayload: nostrLimits.frameBytes })
  const tracker = new WebSocketServer({ ...settings, maxPayload: trackerLimits.messageBytes })
  const perAddress = new Map<string, number>()
  const open = new Set<WebSocket>()

  function count(socket: WebSocket, address: string): void {
    open.add(socket)
    perAddress.set(address, (perAddress.get(address) ?? 0) + 1)
    socket.once('close', () => {
      open.delete(socket)
      const left = (perAddress.get(address) ?? 1) - 1
      if (left === 0) perAddress.delete(address)
      else perAddress.set(address, left)
    })
  }

  server.on('upgrade', (request: IncomingMessage, raw: Duplex, head: Buffer) => {
    raw.on('error', () => raw.destroy())
    const path = (request.url ?? '').split('?')[0]
    const address = clientAddress(request, behindProxy)
    if (path !== '/nostr' && path !== '/tracker') return refuse(raw, '404 Not Found')
    const full =
      open.size >= nostrLimits.connections ||
      (perAddress.get(address) ?? 0) >= nostrLimits.connectionsPerAddress
    if (full) return refuse(raw, '503 Service Unavailable')
    const upgrader = path === '/nostr' ? nostr : tracker
    upgrader.handleUpgrade(request, raw, head, (socket) => {
      count(socket, address)
      if (path === '/nostr') handlers.nostr(socket, address, raw)
      else handlers.tracker(socket, request)
    })
  })

  return () => {
    for (const socket of open) {
      socket.close(1001, 'the relay stops')
      // Whoever does not answer the farewell is not waited for.
      setTimeout(() => socket.terminate(), FAREWELL_MS).unref()
    }
    nostr.close()
    tracker.close()
  }
}

const FAREWELL_MS = 500

function refuse(raw: Duplex, status: string): void {
  raw.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
