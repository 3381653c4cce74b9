/**
 * A plain HTTP mirror of one artifact: bytes by range, proven by the caller like anybody's. It is never trusted and
 * costs nothing. What can go wrong has a name, and each wait a bound.
 */
import type { Bytes } from '../../core/bytes.ts'

export type MirrorTrouble =
  'unreachable' | 'not found' | 'status' | 'no ranges' | 'wrong length' | 'too slow' | 'redirects'

/** `text` is for people. */
export class MirrorError extends Error {
  override readonly name = 'MirrorError'
  readonly trouble: MirrorTrouble
  constructor(trouble: MirrorTrouble, text: string, options?: ErrorOptions) {
    super(text, options)
    this.trouble = trouble
  }
}

/** Nothing comes for so long: the request is given up. */
const SILENCE_MS = 15_000
const MAX_REDIRECTS = 5

export type MirrorRead = Readonly<{
  url: string
  /** The artifact's whole length. */
  length: number
  fetch: typeof fetch
  signal?: AbortSignal
  silenceMs?: number
}>

/** `bytes` from `offset`. A mirror without ranges is read from its start, what comes before thrown away. @throws MirrorError */
export async function readMirror(from: MirrorRead, offset: number, bytes: number): Promise<Bytes> {
  const watch = new AbortController()
  const silent = () => watch.abort(new MirrorError('too slow', `${from.url} sends nothing.`))
  let timer = setTimeout(silent, from.silenceMs ?? SILENCE_MS)
  const heard = () => {
    clearTimeout(timer)
    timer = setTimeout(silent, from.silenceMs ?? SILENCE_MS)
  }
  const signal = from.signal === undefined ? watch.signal : AbortSignal.any([watch.signal, from.signal])
  try {
    const response = await follow(from, offset, bytes, signal)
    heard()
    const skip = check(from, response, offset, bytes)
    return await collect(from, response, skip, bytes, heard)
  } catch (error) {
    if (error instanceof MirrorError) throw error
    if (watch.signal.reason instanceof MirrorError) throw watch.signal.reason
    const why = error instanceof Error ? error.message : String(error)
    throw new MirrorError('unreachable', `${from.url} cannot be reached (${why}).`, { cause: error })
  } finally {
    clearTimeout(timer)
    watch.abort()
  }
}

/** Redirects by hand: a chain has an end, and never leads away from HTTP. */
async function follow(
  from: MirrorRead,
  offset: number,
  bytes: number,
  signal: AbortSignal,
): Promise<Response> {
  let { url } = from
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const headers = { range: `bytes=${offset}-${offset + bytes - 1}` }
    const response = await from.fetch(url, { headers, signal, redirect: 'manual' })
    if (response.type === 'opaqueredirect') {
      // A page may not look at redirects: the browser follows them within its own bounds.
      return await from.fetch(url, { headers, signal })
    }
    const location = response.headers.get('location')
    if (response.status < 300 || response.status >= 400 || location === null) return response
    const next = new URL(location, url)
    if (next.protocol !== 'http:' && next.protocol !== 'https:')
      throw new MirrorError('redirects', `${from.url} leads to ${next.protocol}, which is no mirror.`)
    url = next.href
  }
  throw new MirrorError('redirects', `${from.url} redirects more than ${MAX_REDIRECTS} times.`)
}

/** How many bytes of the answer lie before the range. */
function check({ url, length }: MirrorRead, response: Response, offset: number, bytes: number): number {
  if (response.status === 404 || response.status === 410)
    throw new MirrorError('not found', `${url} does not have the artifact.`)
  const whole = (said: string | null | undefined): void => {
    if (said !== null && said !== undefined && said !== '*' && Number(said) !== length)
      throw new MirrorError('wrong length', `${url} has ${said} bytes, the release ${length}.`)
  }
  if (response.status === 206) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
    whole(range?.[3])
    if (range === null || Number(range[1]) !== offset || Number(range[2]) !== offset + bytes - 1)
      throw new MirrorError('no ranges', `${url} answers with another range than was asked for.`)
    return 0
  }
  if (response.status === 416) throw new MirrorError('wrong length', `${url} is shorter than the release.`)
  if (response.status !== 200) throw new MirrorError('status', `${url} answers ${response.status}.`)
  whole(
    response.headers.get('content-encoding') === null ? response.headers.get('content-length') : undefined,
  )
  return offset
}

async function collect(
  { url }: MirrorRead,
  response: Response,
  skip: number,
  bytes: number,
  heard: () => void,
): Promise<Bytes> {
  const out = new Uint8Array(bytes)
  let at = -skip
  const reader = response.body?.getReader()
  while (reader !== undefined && at < bytes) {
    const { done, value } = await reader.read()
    if (done) break
    heard()
    const from = Math.max(0, -at)
    if (from < value.length) out.set(value.subarray(from, from + bytes - Math.max(0, at)), Math.max(0, at))
    at += value.length
  }
  await reader?.cancel().catch(() => undefined)
  if (at < bytes) throw new MirrorError('wrong length', `${url} ends before the release does.`)
  return out
}
