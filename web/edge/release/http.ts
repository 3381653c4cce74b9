/** Bounded requests: every answer has a largest size and a longest wait, whoever sends it. */
import type { Bytes } from '../../core/bytes.ts'
import { concat } from '../../core/bytes.ts'

export const FETCH_TIMEOUT_MS = 20_000

export type FetchResult =
  | Readonly<{ tag: 'ok'; status: number; bytes: Bytes }>
  | Readonly<{ tag: 'too-long'; maxBytes: number }>
  /** No answer, or one that was cut off. Whether the request arrived is unknown. */
  | Readonly<{ tag: 'failed'; text: string }>

export type FetchOptions = Readonly<{
  maxBytes: number
  timeoutMs?: number
  signal?: AbortSignal
  method?: 'GET' | 'PUT' | 'POST'
  body?: Bytes | string
  headers?: Readonly<Record<string, string>>
  /** Takes the body of a 200 as it comes; the result's `bytes` are then empty. */
  onBytes?: (bytes: Uint8Array) => Promise<void>
}>

/** Never throws. Any HTTP status is an `ok`: what it means is the caller's. */
export async function fetchBounded(
  fetcher: typeof fetch,
  url: string,
  options: FetchOptions,
): Promise<FetchResult> {
  const { maxBytes, timeoutMs = FETCH_TIMEOUT_MS, method = 'GET', body, headers } = options
  const timeout = AbortSignal.timeout(timeoutMs)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  try {
    const response = await fetcher(url, {
      method,
      signal,
      redirect: 'follow',
      credentials: 'omit',
      cache: 'no-store',
      ...(body === undefined ? {} : { body }),
      ...(headers ? { headers } : {}),
    })
    const take = response.status === 200 ? options.onBytes : undefined
    const bytes = await readBounded(response, maxBytes, take)
    return bytes ? { tag: 'ok', status: response.status, bytes } : { tag: 'too-long', maxBytes }
  } catch (error) {
    const seconds = Math.round(timeoutMs / 1000)
    return { tag: 'failed', text: timeout.aborted ? `no answer within ${seconds} s` : wordsOf(error) }
  }
}

async function readBounded(
  response: Response,
  maxBytes: number,
  take?: (bytes: Uint8Array) => Promise<void>,
): Promise<Bytes | undefined> {
  if (!response.body) return new Uint8Array(0)
  const reader = response.body.getReader()
  const parts: Uint8Array[] = []
  let length = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return concat(...parts)
    length += value.length
    if (length > maxBytes) {
      await reader.cancel().catch(() => undefined)
      return undefined
    }
    if (take) await take(value)
    else parts.push(value)
  }
}

/** Node hides the reason ("connect ECONNREFUSED …") in the cause. */
function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no answer'
  const cause = error.cause instanceof Error ? error.cause.message : ''
  return (cause || error.message || 'no answer').slice(0, 200)
}
