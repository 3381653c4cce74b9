/**
 * The page for the device's own screen, on this machine only. It is a view: it takes nothing in, and the device runs
 * the same without it. `/events` is a stream of server-sent events, each a whole `KioskView`.
 */
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import type { Live } from '../../web/core/live.ts'
import type { KioskView } from '../../web/core/rollout/kiosk.ts'
import { createRouter, HttpError, type Context } from '../../relay/http/http.ts'
import { createNodeServer } from '../../relay/http/node-server.ts'
import { hostName, requireSameOrigin } from '../../relay/http/origin.ts'
import { createStatic } from '../../relay/http/static.ts'
import type { KioskAddress } from '../config/kiosk-address.ts'
import type { Logger } from '../log.ts'

export interface Kiosk {
  readonly url: string
  stop(): Promise<void>
}

export type KioskOptions = Readonly<{
  address: KioskAddress
  /** Tells when there is something new to show, and shows it. */
  device: Pick<Live<unknown>, 'subscribe'> & { showing(): Promise<KioskView> }
  /** The built pages; `dist/web` of this project without it. */
  webDir?: string
  log: Logger
}>

const DEFAULT_WEB_DIR = fileURLToPath(new URL('../../dist/web', import.meta.url))
const MAX_STREAMS = 8
/** A screen is redrawn no more often. */
const SPACING_MS = 250
const LOOPBACK = new Set(['127.0.0.1', 'localhost', '::1'])
/** All that the page is made of; the other pages are not served here. */
const FILES = /^\/(assets\/[\w.-]+|theme\.js|icon\.svg)$/

const CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** @throws what listening throws: the port is taken, or not ours to take */
export async function startKiosk({ address, device, webDir, log }: KioskOptions): Promise<Kiosk> {
  const stopper = new AbortController()
  const files = createStatic(webDir ?? DEFAULT_WEB_DIR)
  let streams = 0

  function events(request: Request): Response {
    requireSameOrigin(request, undefined)
    if (streams >= MAX_STREAMS)
      throw new HttpError(503, 'busy', `${MAX_STREAMS} pages show this device already. Close one.`)
    streams++
    const body = eventStream(device, stopper.signal, () => streams--)
    return new Response(body, {
      headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' },
    })
  }

  async function page(request: Request, context: Context): Promise<Response> {
    const url = new URL(request.url)
    if (url.pathname === '/') url.pathname = '/kiosk.html'
    else if (!FILES.test(url.pathname))
      throw new HttpError(404, 'not-found', 'There is nothing at this address.')
    const response = await files(new Request(url, request), context)
    response.headers.set('content-security-policy', CSP)
    response.headers.set('cross-origin-resource-policy', 'same-origin')
    return response
  }

  const onError = (error: unknown): void => log.error({ err: error }, 'the page could not be served')
  const router = createRouter([{ method: 'GET', pattern: '/events', handler: events }], page, onError)
  const server = createNodeServer(
    (request, client) => {
      // A name that a stranger points at this machine (DNS rebinding) would read what is here.
      const name = hostName(request.headers.get('host') ?? '').toLowerCase()
      if (LOOPBACK.has(name)) return router(request, client)
      return Promise.resolve(new Response('This page is for the device’s own screen.', { status: 403 }))
    },
    { behindProxy: false, onError },
  )
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(address.port, address.host, () => resolve(void server.off('error', reject)))
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://${address.host === '::1' ? '[::1]' : address.host}:${port}`,
    async stop() {
      stopper.abort()
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

/** The newest view whenever the reader has taken the last one; nothing is queued for a slow one. */
function eventStream(
  device: KioskOptions['device'],
  signal: AbortSignal,
  onEnd: () => void,
): ReadableStream<Uint8Array> {
  let changed = Promise.withResolvers<void>()
  const unsubscribe = device.subscribe(() => changed.resolve())
  const ended = new AbortController()
  const end = (): void => {
    if (ended.signal.aborted) return
    ended.abort()
    unsubscribe()
    changed.resolve()
    onEnd()
  }
  const either = AbortSignal.any([signal, ended.signal])
  signal.addEventListener('abort', end, { once: true })
  const encoder = new TextEncoder()
  let last = ''
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        for (;;) {
          await changed.promise
          if (either.aborted) return
          changed = Promise.withResolvers()
          const text = JSON.stringify(
            await device.showing().catch((error: unknown) => {
              end() // a stream that fails is not cancelled
              throw error
            }),
          )
          if (either.aborted) return
          if (text !== last) {
            last = text
            controller.enqueue(encoder.encode(`data: ${text}\n\n`))
            await delay(SPACING_MS, undefined, { signal: either }).catch(() => undefined)
            return
          }
        }
      },
      cancel: end,
    },
    { highWaterMark: 1 },
  )
}
