/** LND's REST interface as requests and streams of JSON lines, over TLS that trusts one certificate. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import * as v from 'valibot'
import { NodeError } from '../node.ts'

export type LndAccess = Readonly<{
  /** `https://host:port`; `http:` only on this machine. */
  url: string
  macaroonHex: string
  /** PEM of the only certificate, or authority, that is trusted. Absent: those that the system trusts. */
  certificate?: string
}>

export type LndHttp = Readonly<{
  /** @throws NodeError */
  get(path: string): Promise<unknown>
  /** @throws NodeError */
  post(path: string, body: object): Promise<unknown>
  /**
   * Calls `onLine` with each `result` until the answer ends. `quiet`: LND says nothing, not even that it listens, before
   * something happens; `onAsked` is called when it has been asked. @throws NodeError
   */
  stream(
    how: { path: string; body?: object; quiet?: boolean; onAsked?: () => void; signal?: AbortSignal },
    onLine: (result: unknown) => void,
  ): Promise<void>
  close(): void
}>

const TIMEOUT_MS = 30_000
const MAX_ANSWER_BYTES = 1 << 20

/** gRPC's codes, as REST passes them on. */
export const GRPC = { notFound: 5, alreadyExists: 6, permissionDenied: 7, unauthenticated: 16 } as const

/** What LND says is wrong. */
export class LndWord extends NodeError {
  readonly grpc: number
  constructor(code: NodeError['code'], grpc: number, message: string) {
    super(code, message)
    this.grpc = grpc
  }
}

const errorSchema = v.object({ code: v.fallback(v.number(), 2), message: v.fallback(v.string(), '') })
const lineSchema = v.union([v.object({ result: v.unknown() }), v.object({ error: errorSchema })])

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host)

/** @throws NodeError `not-a-node` for an address that cannot be one */
export function createLndHttp(access: LndAccess): LndHttp {
  const base = URL.canParse(access.url) ? new URL(access.url) : undefined
  if (!base || !/^https?:$/.test(base.protocol))
    throw new NodeError('not-a-node', `"${access.url}" is no address: write https://host:8080.`)
  if (base.protocol === 'http:' && !isLoopback(base.hostname))
    throw new NodeError(
      'not-a-node',
      'The macaroon would travel in the clear: use https for another machine.',
    )
  const tls = base.protocol === 'https:'
  const agent = tls
    ? new HttpsAgent({ keepAlive: true, ...(access.certificate && { ca: access.certificate }) })
    : new HttpAgent({ keepAlive: true })
  const open = (how: {
    path: string
    body?: object | undefined
    signal?: AbortSignal | undefined
    quiet?: boolean | undefined
    onAsked?: (() => void) | undefined
  }): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const request = (tls ? httpsRequest : httpRequest)(new URL(how.path, base), {
        agent,
        method: how.body ? 'POST' : 'GET',
        headers: { 'Grpc-Metadata-macaroon': access.macaroonHex, 'content-type': 'application/json' },
        ...(how.signal && { signal: how.signal }),
      })
      const late = (): unknown => request.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`))
      const timer = how.quiet ? undefined : setTimeout(late, TIMEOUT_MS)
      request.setSocketKeepAlive(true, TIMEOUT_MS)
      if (how.onAsked) request.once('finish', how.onAsked)
      request.once('response', (response) => {
        clearTimeout(timer)
        resolve(response)
      })
      request.once('error', (error) => {
        clearTimeout(timer)
        reject(unreachable(error, access.url))
      })
      request.end(how.body && JSON.stringify(how.body))
    })

  const call = async (path: string, body?: object): Promise<unknown> => {
    const response = await open({ path, body })
    const text = await readAll(response, access.url)
    if (response.statusCode === 200) return parsed(text, access.url)
    throw lndWord(text, response.statusCode ?? 0)
  }

  return {
    get: (path) => call(path),
    post: (path, body) => call(path, body),
    async stream(how, onLine) {
      const response = await open(how)
      if (response.statusCode !== 200)
        throw lndWord(await readAll(response, access.url), response.statusCode ?? 0)
      for await (const line of linesOf(response, access.url)) {
        const read = v.safeParse(lineSchema, parsed(line, access.url))
        if (!read.success) throw notANode(access.url)
        if ('error' in read.output) throw lndWord(JSON.stringify(read.output.error), 200)
        onLine(read.output.result)
      }
    },
    close: () => agent.destroy(),
  }
}

async function* linesOf(response: IncomingMessage, url: string): AsyncGenerator<string> {
  let rest = ''
  response.setEncoding('utf8')
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      rest += chunk
      if (rest.length > MAX_ANSWER_BYTES) throw notANode(url)
      const lines = rest.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) if (line.trim()) yield line
    }
  } catch (error) {
    throw error instanceof NodeError ? error : unreachable(error, url)
  }
  if (rest.trim()) yield rest
}

async function readAll(response: IncomingMessage, url: string): Promise<string> {
  let text = ''
  response.setEncoding('utf8')
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      text += chunk
      if (text.length > MAX_ANSWER_BYTES) throw notANode(url)
    }
  } catch (error) {
    throw error instanceof NodeError ? error : unreachable(error, url)
  }
  return text
}

function parsed(text: string, url: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw notANode(url)
  }
}

const notANode = (url: string): NodeError =>
  new NodeError('not-a-node', `What answers at ${url} is not LND's REST interface. Check address and port.`)

/** An error answer in words. */
function lndWord(text: string, status: number): NodeError {
  // Streams wrap what went wrong, single answers do not.
  const either = v.union([v.object({ error: errorSchema }), errorSchema])
  const read = v.safeParse(v.pipe(v.string(), v.parseJson(), either), text)
  const word = read.success ? read.output : { code: 2, message: text.slice(0, 200) }
  const { code, message } = 'error' in word ? word.error : word
  const denied = code === GRPC.permissionDenied || code === GRPC.unauthenticated
  if (denied || /macaroon|verification failed|permission denied/i.test(message))
    return new LndWord(
      'wrong-macaroon',
      code,
      `LND does not take this macaroon (${message}). Give its admin.macaroon, or one baked with the permissions that README.md lists.`,
    )
  if (/wallet (is )?(locked|not created|not found)|wallet locked/i.test(message))
    return new LndWord('locked', code, "LND's wallet is locked. Unlock it: lncli unlock.")
  if (/in the process of starting|not yet ready|waiting to start|not synced/i.test(message))
    return new LndWord('starting', code, `LND is starting (${message}).`)
  return new LndWord('refused', code, message || `LND answered ${status}.`)
}

const CERTIFICATE = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
  'CERT_HAS_EXPIRED',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

function unreachable(cause: unknown, url: string): NodeError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const why = cause instanceof Error ? cause.message : String(cause)
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const text = `LND's certificate is not for the name in ${url} (${why}). Use a name that it has, or add one with tlsextradomain.`
    return new NodeError('wrong-certificate', text, { cause })
  }
  if (code === 'CERT_HAS_EXPIRED')
    return new NodeError(
      'wrong-certificate',
      "LND's certificate has expired: delete its tls.cert and tls.key and start LND again.",
      { cause },
    )
  if (CERTIFICATE.has(code)) {
    const text = `What answers at ${url} does not have the given certificate (${code}). Give the tls.cert of that very LND.`
    return new NodeError('wrong-certificate', text, { cause })
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL'))
    return new NodeError('not-a-node', `What answers at ${url} does not speak TLS. Check address and port.`, {
      cause,
    })
  return new NodeError('unreachable', `LND does not answer at ${url} (${code || why}). Is it running?`, {
    cause,
  })
}
