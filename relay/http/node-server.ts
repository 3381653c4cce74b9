/** Between Node's HTTP server and web-standard handlers. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { isIPv6 } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const serverLimits = {
  headerBytes: 16 * 1024,
  headersTimeoutMs: 15_000,
  requestTimeoutMs: 120_000,
  connections: 12_500,
  requestsPerSocket: 1000,
} as const

export type Tls = Readonly<{ cert: string; key: string }>

/** A client's address for limits; one IPv6 customer commands a whole /64. */
export function clientAddress(request: IncomingMessage, behindProxy: boolean): string {
  const remote = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')
  const forwarded = request.headers['x-forwarded-for']
  const local = remote === '::1' || remote.startsWith('127.')
  // Only the last hop is our proxy's own word; the rest is whatever the client sent.
  const last =
    behindProxy && local
      ? String(forwarded ?? '')
          .split(',')
          .at(-1)
          ?.trim()
      : undefined
  const address = last || remote
  return isIPv6(address) && address !== '::1' ? prefix64(address) : address
}

function prefix64(address: string): string {
  const [head = '', tail] = address.split('%')[0]!.split('::')
  const groups = head ? head.split(':') : []
  if (tail !== undefined) while (groups.length < 4) groups.push('0')
  return `${groups.slice(0, 4).join(':')}::/64`
}

export type Serve = (request: Request, address: string) => Promise<Response>

export function createNodeServer(
  serve: Serve,
  options: Readonly<{ tls?: Tls | undefined; behindProxy: boolean; onError: (error: unknown) => void }>,
): Server {
  const scheme = options.tls ? 'https' : 'http'
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    answer(incoming, outgoing).catch((error: unknown) => {
      // A client that went away in the middle is everyday life, not an error of ours.
      if (!incoming.destroyed && !outgoing.destroyed) options.onError(error)
      outgoing.destroy()
    })
  }
  async function answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const request = toRequest(incoming, scheme)
    if (!request) {
      outgoing.writeHead(400, { connection: 'close' }).end('Bad request')
      return
    }
    const response = await serve(request, clientAddress(incoming, options.behindProxy))
    await send(response, incoming, outgoing)
  }
  const settings = { maxHeaderSize: serverLimits.headerBytes }
  const server = options.tls
    ? createHttpsServer({ ...settings, ...options.tls }, listener)
    : createHttpServer(settings, listener)
  server.headersTimeout = serverLimits.headersTimeoutMs
  server.requestTimeout = serverLimits.requestTimeoutMs
  server.maxConnections = serverLimits.connections
  server.maxRequestsPerSocket = serverLimits.requestsPerSocket
  return server
}

function toRequest(incoming: IncomingMessage, scheme: string): Request | undefined {
  const headers = new Headers()
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) headers.append(name, one)
  }
  const method = incoming.method ?? 'GET'
  const hasBody = method !== 'GET' && method !== 'HEAD' && method !== 'OPTIONS'
  const body = hasBody ? (Readable.toWeb(incoming) as ReadableStream<Uint8Array>) : null
  try {
    // The path is taken as it came: `URL` would otherwise resolve "//host/…" to another host.
    const path = (incoming.url ?? '/').replace(/^\/+/, '/')
    const url = new URL(`${scheme}://${incoming.headers.host ?? 'localhost'}${path}`)
    return new Request(url, { method, headers, body, ...(hasBody ? { duplex: 'half' } : {}) } as RequestInit)
  } catch {
    return undefined
  }
}

async function send(response: Response, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const headers = Object.fromEntries(response.headers)
  // A body that was not read to its end would be taken for the next request.
  if (!incoming.complete && incoming.method !== 'GET' && incoming.method !== 'HEAD')
    headers['connection'] = 'close'
  outgoing.writeHead(response.status, { 'x-content-type-options': 'nosniff', ...headers })
  if (!response.body || incoming.method === 'HEAD') {
    await response.body?.cancel()
    outgoing.end()
    return
  }
  await pipeline(Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]), outgoing)
}
