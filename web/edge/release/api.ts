/** The relay's HTTP API from the caller's side (ARCHITECTURE.md "HTTP, one port"). */
import * as v from 'valibot'
import type { Bytes, InfoHash, Sha256Hex, VendorId } from '../../core/bytes.ts'
import { fromUtf8, sha256Hex } from '../../core/bytes.ts'
import type { Money, Msat } from '../../core/money/msat.ts'
import { parseMoney } from '../../core/money/msat.ts'
import type { SecretKey } from '../../core/nostr/event.ts'
import { msatSchema, sha256HexSchema } from '../../core/release/target.ts'
import { httpAuth } from '../nostr/nip98.ts'
import { fetchBounded, type FetchOptions } from './http.ts'

const MAX_ANSWER_BYTES = 64 * 1024
/** Uploads of up to 16 MiB over a slow line. */
const UPLOAD_TIMEOUT_MS = 120_000

/** The message is the relay's own, or says that it did not answer. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  /** The relay's code; `unreachable` when there was no answer (the request may have arrived). */
  readonly code: string
  readonly status: number
  constructor(code: string, status: number, message: string) {
    super(message)
    this.code = code
    this.status = status
  }
}

const errorSchema = v.object({
  error: v.object({
    code: v.pipe(v.string(), v.maxLength(100)),
    message: v.pipe(v.string(), v.maxLength(2000)),
  }),
})

async function ask(
  fetcher: typeof fetch,
  url: string,
  options: Omit<FetchOptions, 'maxBytes'>,
): Promise<unknown> {
  const result = await fetchBounded(fetcher, url, { ...options, maxBytes: MAX_ANSWER_BYTES })
  const host = new URL(url).host
  if (result.tag === 'failed') {
    throw new ApiError('unreachable', 0, `The relay at ${host} does not answer (${result.text}). Try again.`)
  }
  if (result.tag === 'too-long') {
    throw new ApiError('bad-answer', 0, `What answers at ${host} is not a Satpatch relay. Check the address.`)
  }
  let json: unknown
  try {
    json = result.bytes.length === 0 ? undefined : JSON.parse(fromUtf8(result.bytes))
  } catch {
    json = undefined
  }
  if (result.status >= 200 && result.status < 300) return json
  const error = v.safeParse(errorSchema, json)
  if (error.success) throw new ApiError(error.output.error.code, result.status, error.output.error.message)
  throw new ApiError(
    'bad-answer',
    result.status,
    `The relay at ${host} answered with status ${result.status}.`,
  )
}

function parse<T>(schema: v.GenericSchema<unknown, T>, json: unknown, url: string): T {
  const parsed = v.safeParse(schema, json)
  if (parsed.success) return parsed.output
  throw new ApiError(
    'bad-answer',
    200,
    `The relay at ${new URL(url).host} answered in a way this version does not know.`,
  )
}

const trimmed = (base: string): string => base.replace(/\/+$/, '')
const jsonHeaders = { 'content-type': 'application/json' }

const admittedSchema = v.object({ vendor: sha256HexSchema })

/** `POST /api/vendors`. @throws ApiError */
export async function admitVendor(
  fetcher: typeof fetch,
  base: string,
  request: Readonly<{ code: string; root: string; targets: string }>,
): Promise<VendorId> {
  const url = `${trimmed(base)}/api/vendors`
  const json = await ask(fetcher, url, {
    method: 'POST',
    headers: jsonHeaders,
    body: JSON.stringify(request),
  })
  return parse(admittedSchema, json, url).vendor as VendorId
}

const accountSchema = v.object({
  connection: v.pipe(v.string(), v.startsWith('nostr+walletconnect://'), v.maxLength(2000)),
  money: v.custom<Money>((x) => typeof x === 'string' && parseMoney(x) !== undefined),
  balanceMsat: msatSchema,
})

/** A play-money account at the relay; `connection` is a secret. @throws ApiError */
export async function openPlayAccount(
  base: string,
  options: Readonly<{ name?: string; fetch?: typeof fetch }> = {},
): Promise<{ connection: string; money: Money; balanceMsat: Msat }> {
  const url = `${trimmed(base)}/api/accounts`
  const body = JSON.stringify(options.name ? { name: options.name } : {})
  const json = await ask(options.fetch ?? fetch, url, { method: 'POST', headers: jsonHeaders, body })
  return parse(accountSchema, json, url)
}

async function putSigned(
  fetcher: typeof fetch,
  url: string,
  bytes: Bytes,
  type: string,
  secret: SecretKey,
  nowMs: number,
): Promise<void> {
  const authorization = httpAuth(url, 'PUT', bytes, secret, nowMs)
  const headers = { 'content-type': type, authorization }
  await ask(fetcher, url, { method: 'PUT', headers, body: bytes, timeoutMs: UPLOAD_TIMEOUT_MS })
}

/** @throws ApiError */
export const putTorrent = (
  fetcher: typeof fetch,
  base: string,
  vendor: VendorId,
  infoHash: InfoHash,
  bytes: Bytes,
  secret: SecretKey,
  nowMs: number,
): Promise<void> =>
  putSigned(
    fetcher,
    `${trimmed(base)}/v/${vendor}/torrents/${infoHash}.torrent`,
    bytes,
    'application/x-bittorrent',
    secret,
    nowMs,
  )

/** Gives the blob's name. @throws ApiError */
export async function putBlob(
  fetcher: typeof fetch,
  base: string,
  vendor: VendorId,
  bytes: Bytes,
  secret: SecretKey,
  nowMs: number,
): Promise<Sha256Hex> {
  const name = sha256Hex(bytes)
  const url = `${trimmed(base)}/v/${vendor}/blobs/${name}`
  await putSigned(fetcher, url, bytes, 'application/octet-stream', secret, nowMs)
  return name
}
