/**
 * A plain HTTP mirror of one artifact: bytes by range, proven by the caller like anybody's. It is never trusted and
 * costs nothing. What can go wrong has a name, and each wait a bound.
 */
import type { Bytes } from '../../core/bytes.ts'

export type MirrorTrouble =
  | 'unreachable'
  | 'not found'
  | 'status'
  | 'no ranges'
  | 'whole only'
  | 'wrong length'
  /** Of a server that knows ranges: the whole of it has another length. */
  | 'other file'
  | 'too slow'
  | 'redirects'

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

/** `bytes` from `offset`. One that answers with the whole file is `whole only`: `readWhole` reads it. @throws MirrorError */
export function readMirror(from: MirrorRead, offset: number, bytes: number): Promise<Bytes> {
  const out = new Uint8Array(bytes)
  let at = 0
  const take = (chunk: Uint8Array): boolean => {
    out.set(chunk.subarray(0, bytes - at), at)
    at += Math.min(chunk.length, bytes - at)
    return at < bytes
  }
  return watched(from, { offset, bytes }, take, () => {
    if (at < bytes) throw endsEarly(from)
    return out
  })
}

/**
 * The whole artifact from its start, once, in pieces of `pieceLength`: for mirrors without ranges. `onPiece` is waited
 * for, and ends it by giving false. @throws MirrorError
 */
export async function readWhole(
  from: MirrorRead,
  pieceLength: number,
  onPiece: (piece: number, bytes: Bytes) => Promise<boolean>,
): Promise<void> {
  let done = 0
  let filled = 0
  let piece = new Uint8Array(Math.min(pieceLength, from.length))
  const take = async (chunk: Uint8Array): Promise<boolean> => {
    for (let at = 0; at < chunk.length && done < from.length;) {
      const part = chunk.subarray(at, at + piece.length - filled)
      piece.set(part, filled)
      at += part.length
      filled += part.length
      if (filled < piece.length) break
      const index = done / pieceLength
      done += piece.length
      if (!(await onPiece(index, piece))) return false
      piece = new Uint8Array(Math.min(pieceLength, from.length - done))
      filled = 0
    }
    return done < from.length
  }
  let ended = false
  const takeAll = async (chunk: Uint8Array): Promise<boolean> => {
    const goesOn = await take(chunk)
    ended = !goesOn
    return goesOn
  }
  return watched(from, { offset: 0, bytes: from.length, whole: true }, takeAll, () => {
    if (!ended) throw endsEarly(from)
  })
}

const endsEarly = ({ url }: MirrorRead): MirrorError =>
  new MirrorError('wrong length', `${url} ends before the release does.`)

type Asked = Readonly<{ offset: number; bytes: number; whole?: true }>

/** Hands on what comes until `take` has enough; every wait for the mirror has a bound. */
async function watched<T>(
  from: MirrorRead,
  asked: Asked,
  take: (chunk: Uint8Array) => boolean | Promise<boolean>,
  end: () => T,
): Promise<T> {
  const watch = new AbortController()
  const silent = () => watch.abort(new MirrorError('too slow', `${from.url} sends nothing.`))
  let timer: ReturnType<typeof setTimeout> | undefined
  const wait = async <V>(work: Promise<V>): Promise<V> => {
    timer = setTimeout(silent, from.silenceMs ?? SILENCE_MS)
    try {
      return await work
    } finally {
      clearTimeout(timer)
    }
  }
  const signal = from.signal === undefined ? watch.signal : AbortSignal.any([watch.signal, from.signal])
  try {
    const response = await wait(follow(from, asked, signal))
    check(from, response, asked)
    const reader = response.body?.getReader()
    while (reader !== undefined) {
      const { done, value } = await wait(reader.read())
      if (done || !(await take(value))) break
    }
    return end()
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
  { offset, bytes, whole }: Asked,
  signal: AbortSignal,
): Promise<Response> {
  let { url } = from
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const headers: Record<string, string> = whole ? {} : { range: `bytes=${offset}-${offset + bytes - 1}` }
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

/** @throws MirrorError where the answer is not what was asked for */
function check({ url, length }: MirrorRead, response: Response, { offset, bytes }: Asked): void {
  if (response.status === 404 || response.status === 410)
    throw new MirrorError('not found', `${url} does not have the artifact.`)
  const whole = (trouble: MirrorTrouble, said: string | null | undefined): void => {
    if (said !== null && said !== undefined && said !== '*' && Number(said) !== length)
      throw new MirrorError(trouble, `${url} has ${said} bytes, the release ${length}.`)
  }
  if (response.status === 206) {
    const range = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '')
    whole('other file', range?.[3])
    if (range === null || Number(range[1]) !== offset || Number(range[2]) !== offset + bytes - 1)
      throw new MirrorError('no ranges', `${url} answers with another range than was asked for.`)
    return
  }
  if (response.status === 416) throw new MirrorError('other file', `${url} is shorter than the release.`)
  if (response.status !== 200) throw new MirrorError('status', `${url} answers ${response.status}.`)
  whole(
    'wrong length',
    response.headers.get('content-encoding') === null ? response.headers.get('content-length') : undefined,
  )
  if (bytes < length) throw new MirrorError('whole only', `${url} gives the whole file only.`)
}
