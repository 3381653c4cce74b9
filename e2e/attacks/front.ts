/**
 * A hostile server that stands in front of an honest relay, as a mirror that was taken over or as whoever holds the
 * line: what the attacker does not answer itself goes through unchanged, HTTP and WebSockets alike.
 */
import http from 'node:http'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

/** Bytes to serve, `null` for "not found", or anything that a server can do. */
export type Answer =
  Uint8Array | string | null | ((request: http.IncomingMessage, response: http.ServerResponse) => void)

export interface Front {
  readonly url: string
  /** Paths that were asked for since the last `serve`. */
  readonly asked: readonly string[]
  /** Bytes that went to the other side since the last `serve`, of answers that the attacker made. */
  readonly sentBytes: () => number
  /** What is answered here, by the end of the path; everything else passes. Replaces what was served before. */
  serve(answers: Readonly<Record<string, Answer>>): void
  /** An honest line again, but for `standIn`. */
  clear(): void
  /** Answers that stay behind those of `serve`: an honest relay's own files after it got new keys. */
  standIn(answers: Readonly<Record<string, Answer>>): void
  /** Nothing passes, and what is open is cut, until `clear`. */
  cut(): void
  /** Sees every frame that passes, as raw bytes: the eavesdropper. */
  onBytes: ((direction: 'in' | 'out', bytes: Uint8Array) => void) | undefined
  close(): Promise<void>
}

export async function openFront(relayUrl: string): Promise<Front> {
  const relay = new URL(relayUrl)
  let answers: Readonly<Record<string, Answer>> = {}
  let lasting: Readonly<Record<string, Answer>> = {}
  let isCut = false
  let asked: string[] = []
  let sent = 0
  const sockets = new Set<Duplex>()

  const own = (path: string): Answer | undefined =>
    [...Object.entries(answers), ...Object.entries(lasting)].find(([end]) => path.endsWith(end))?.[1]

  function pass(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { method, url, headers } = request
    const onward = http.request({ host: relay.hostname, port: relay.port, method, path: url, headers })
    onward.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.on('data', (bytes: Uint8Array) => front.onBytes?.('in', bytes))
      answer.pipe(response)
    })
    onward.on('error', () => response.destroy())
    request.on('data', (bytes: Uint8Array) => front.onBytes?.('out', bytes))
    request.pipe(onward)
  }

  const server = http.createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://front').pathname
    asked.push(path)
    const answer = own(path)
    if (isCut) response.destroy()
    else if (answer === undefined) pass(request, response)
    else if (answer === null) response.writeHead(404).end()
    else if (typeof answer === 'function') {
      const { write } = response
      response.write = function counted(this: http.ServerResponse, ...args: Parameters<typeof write>) {
        sent += (args[0] as Uint8Array).length
        return write.apply(this, args)
      } as typeof write
      answer(request, response)
    } else {
      sent += answer.length
      response.end(answer)
    }
  })
  server.on('connection', keep)
  // The WebSocket's head and frames go through as they are.
  server.on('upgrade', (request: http.IncomingMessage, socket: Duplex, head: Uint8Array) => {
    if (isCut) return void socket.destroy()
    const onward = net.connect(Number(relay.port), relay.hostname, () => {
      const { rawHeaders: raw } = request
      const lines = raw.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${raw[i + 1] ?? ''}`] : []))
      onward.write(
        `${request.method ?? 'GET'} ${request.url ?? '/'} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`,
      )
      onward.write(head)
    })
    keep(onward)
    onward.on('data', (bytes: Uint8Array) => front.onBytes?.('in', bytes))
    socket.on('data', (bytes: Uint8Array) => front.onBytes?.('out', bytes))
    onward.pipe(socket).pipe(onward)
  })
  function keep(socket: Duplex): void {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => sockets.delete(socket))
  }
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo

  const front: Front = {
    url: `http://127.0.0.1:${port}`,
    get asked() {
      return asked
    },
    sentBytes: () => sent,
    serve(next) {
      answers = next
      asked = []
      sent = 0
    },
    standIn(next) {
      lasting = next
    },
    clear() {
      answers = {}
      isCut = false
    },
    cut() {
      isCut = true
      for (const socket of sockets) socket.destroy()
    },
    onBytes: undefined,
    async close() {
      front.cut()
      await new Promise<void>((done) => server.close(() => done()))
    },
  }
  return front
}
