/** HTTP in web-standard terms: handlers take a `Request` and give a `Response`, and are tested without a socket. */

/** What a handler cannot read off the request itself. */
export type Context = Readonly<{
  /** The client's address, for limits: an IPv4 address or an IPv6 /64. */
  address: string
  /** From the route's pattern: `/v/:vendor` gives `vendor`. */
  params: Readonly<Record<string, string>>
}>
export type Handler = (request: Request, context: Context) => Promise<Response> | Response
export type Method = 'GET' | 'PUT' | 'POST'
export type Route = Readonly<{
  method: Method
  pattern: string
  handler: Handler
  /** Pages of other origins may call it: its authority is in what is sent, not in who sends it. */
  cors?: true
}>

/** An answer other than 200, as `{"error":{code,message}}`. The message says what happened and what to do. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly status: number
  readonly code: string
  constructor(status: number, code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.status = status
    this.code = code
  }
}

export function json(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  const all = { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store', ...headers }
  return new Response(JSON.stringify(value), { status, headers: all })
}

const errorResponse = ({ status, code, message }: HttpError): Response =>
  json({ error: { code, message } }, status)

/** The whole body, at most `limit` bytes. */
export async function readBody(request: Request, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () =>
    new HttpError(413, 'too-large', `The request is larger than the ${limit} bytes allowed.`)
  if (Number(request.headers.get('content-length') ?? 0) > limit) throw tooLarge()
  const parts: Uint8Array[] = []
  let length = 0
  if (request.body) {
    for await (const part of request.body as ReadableStream<Uint8Array>) {
      length += part.length
      if (length > limit) throw tooLarge()
      parts.push(part)
    }
  }
  const body = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    body.set(part, at)
    at += part.length
  }
  return body
}

export async function readJson(request: Request, limit: number): Promise<unknown> {
  const type = request.headers.get('content-type') ?? ''
  // A form of another site cannot send this type without being asked first (CORS preflight).
  if (!type.startsWith('application/json')) {
    throw new HttpError(415, 'not-json', 'Send JSON, with content-type application/json.')
  }
  const body = await readBody(request, limit)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch (cause) {
    throw new HttpError(400, 'not-json', 'The request is not JSON.', { cause })
  }
}

const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-methods': 'GET, HEAD, PUT, POST, OPTIONS',
  'access-control-allow-headers': 'authorization, content-type, accept',
  'access-control-max-age': '86400',
}

function match(pattern: string, path: string): Record<string, string> | undefined {
  const want = pattern.split('/')
  const have = path.split('/')
  if (want.length !== have.length) return undefined
  const params: Record<string, string> = {}
  for (const [i, segment] of want.entries()) {
    const given = have[i]!
    if (segment.startsWith(':')) params[segment.slice(1)] = given
    else if (segment !== given) return undefined
  }
  return params
}

/**
 * One handler for all routes; `fallback` gets what none matches. HEAD is answered as GET by the server that
 * drops the body. A handler's `HttpError` becomes its answer, anything else a 500 that tells nothing.
 */
export function createRouter(
  routes: readonly Route[],
  fallback: Handler,
  onError: (error: unknown) => void,
): (request: Request, address: string) => Promise<Response> {
  async function route(request: Request, address: string): Promise<Response> {
    const { pathname } = new URL(request.url)
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const matching = routes.flatMap((each) => {
      const params = match(each.pattern, pathname)
      return params ? [{ ...each, params }] : []
    })
    if (matching.length === 0) return fallback(request, { address, params: {} })
    const cors = matching.some((each) => each.cors)
    if (method === 'OPTIONS') return new Response(null, { status: 204, headers: cors ? CORS : {} })
    const chosen = matching.find((each) => each.method === method)
    let response: Response
    try {
      if (!chosen) throw new HttpError(405, 'method-not-allowed', `${method} is not possible here.`)
      response = await chosen.handler(request, { address, params: chosen.params })
    } catch (error) {
      if (!(error instanceof HttpError)) onError(error)
      response = errorResponse(error instanceof HttpError ? error : unexpected())
    }
    if (cors) for (const [name, value] of Object.entries(CORS)) response.headers.set(name, value)
    return response
  }
  return async (request, address) => {
    try {
      return await route(request, address)
    } catch (error) {
      if (error instanceof HttpError) return errorResponse(error)
      onError(error)
      return errorResponse(unexpected())
    }
  }
}

const unexpected = () =>
  new HttpError(500, 'internal', 'The relay could not do this; its log says why. Try again later.')
