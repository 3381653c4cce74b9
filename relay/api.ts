/** The relay's HTTP routes (ARCHITECTURE.md "HTTP"), without a socket. */
import * as v from 'valibot'
import { fromUtf8, parseInfoHash, parseSha256Hex, utf8, type PartyKey } from '../web/core/bytes.ts'
import { verifyHttpAuth } from '../web/edge/nostr/nip98.ts'
import type { RelayConfig } from '../web/edge/relay-config.ts'
import { roleNamePattern } from '../web/core/release/delegate.ts'
import { MAX_FILES } from '../web/core/release/proposal.ts'
import { LIMITS } from '../web/core/release/tuf.ts'
import { HttpError, json, readBody, readJson, type Context, type Handler, type Route } from './http/http.ts'
import { fastSha256 } from './files.ts'
import { isOwnHost, requireSameOrigin } from './http/origin.ts'
import { createAddressBuckets } from './http/rate.ts'
import { mirrorLimits, type Mirror, type Vendor } from './mirror/mirror.ts'
import { MAX_FRAME_BYTES } from '../web/edge/nostr/wire.ts'
import { nostrLimits } from './nostr/relay.ts'

const DAY_S = 86_400
/** Requests by one address, or one key: so many at once, and as many again over the period. */
export const apiLimits = {
  admissionAttempts: { burst: 20, periodS: 600 },
  metadataUploads: { burst: 120, periodS: 600 },
  torrentUploads: { burst: 120, periodS: 600 },
  blobUploadsPerKey: { burst: 60, periodS: DAY_S },
  blobUploadsPerAddress: { burst: 1000, periodS: DAY_S },
  // Any key may upload, so neither a key nor an address may fill a vendor's room (`blobBytesPerVendor`) in a day.
  blobBytesPerKey: { burst: 16 * 1024 * 1024, periodS: DAY_S },
  blobBytesPerAddress: { burst: 64 * 1024 * 1024, periodS: DAY_S },
  accountsPeriodS: DAY_S,
  accountBodyBytes: 4 * 1024,
  admissionBodyBytes: 2 * (LIMITS.rootBytes + LIMITS.targetsBytes),
  // JSON in JSON: each quote takes two bytes.
  proposalBodyBytes: 2 * (LIMITS.rootBytes + 2 * LIMITS.targetsBytes),
} as const

/** Opens a play-money account at the wallet service. */
export type OpenAccount = (options: { name?: string; grantMsat: number }) => Promise<{
  connection: string
  balanceMsat: number
}>

export type ApiDeps = Readonly<{
  version: string
  mirror: Mirror
  openAccount: OpenAccount
  config: Omit<RelayConfig, 'nostrUrl' | 'trackerUrl' | 'vendors'>
  publicUrl: string | undefined
  /** The address that this process listens on, for requests under a name that is not ours. */
  localUrl: () => string
  startedAtMs: number
  nowMs: () => number
  /** Further parts of the health answer. */
  parts: () => Readonly<Record<string, string>>
}>

const IMMUTABLE = 'public, max-age=31536000, immutable'
const admissionSchema = v.object({
  code: v.pipe(v.string(), v.maxLength(200)),
  root: v.string(),
  targets: v.string(),
})
const proposalSchema = v.object({
  files: v.pipe(
    v.record(v.pipe(v.string(), v.maxLength(64)), v.string()),
    v.check((files) => Object.keys(files).length <= MAX_FILES),
  ),
})
const accountSchema = v.object({ name: v.optional(v.pipe(v.string(), v.trim(), v.maxLength(80))) })

export function apiRoutes(deps: ApiDeps): Route[] {
  const { mirror, nowMs } = deps
  const limiter = ({ burst, periodS }: { burst: number; periodS: number }) => {
    const buckets = createAddressBuckets(burst / periodS, burst, nowMs)
    return (who: string, count = 1) => {
      if (buckets.take(who, count)) return
      throw new HttpError(
        429,
        'rate-limited',
        'That was too often for now. Wait a few minutes and try again.',
      )
    }
  }
  const limitAdmission = limiter(apiLimits.admissionAttempts)
  const limitMetadata = limiter(apiLimits.metadataUploads)
  const limitTorrents = limiter(apiLimits.torrentUploads)
  const limitBlobsByKey = limiter(apiLimits.blobUploadsPerKey)
  const limitBlobsByAddress = limiter(apiLimits.blobUploadsPerAddress)
  const limitBlobBytesByKey = limiter(apiLimits.blobBytesPerKey)
  const limitBlobBytesByAddress = limiter(apiLimits.blobBytesPerAddress)
  const { grantMsat, perAddress } = deps.config.openAccounts
  const accounts = createAddressBuckets(perAddress / apiLimits.accountsPeriodS, perAddress, nowMs)

  /** Absolute addresses under the name that the client used, so that they work where it is. */
  function base(request: Request): string {
    if (deps.publicUrl !== undefined) return deps.publicUrl
    const url = new URL(request.url)
    return isOwnHost(url.host, undefined) ? url.origin : deps.localUrl()
  }

  const webSocketBase = (request: Request): string => base(request).replace(/^http/, 'ws')

  const config: Handler = (request) => {
    const answer: RelayConfig = {
      ...deps.config,
      nostrUrl: `${webSocketBase(request)}/nostr`,
      trackerUrl: `${webSocketBase(request)}/tracker`,
      vendors: mirror.vendors().map(({ id, vendor }) => ({ id, name: vendor.name })),
    }
    return json(answer)
  }

  const health: Handler = () => {
    const parts = { ...deps.parts(), mirror: mirror.health() }
    const ok = Object.values(parts).every((part) => part === 'ok')
    const uptimeS = Math.floor((nowMs() - deps.startedAtMs) / 1000)
    return json({ ok, version: deps.version, uptimeS, parts }, ok ? 200 : 503)
  }

  const admit: Handler = async (request, { address }) => {
    requireSameOrigin(request, deps.publicUrl)
    limitAdmission(address)
    const body = v.safeParse(admissionSchema, await readJson(request, apiLimits.admissionBodyBytes))
    if (!body.success)
      throw new HttpError(400, 'malformed', 'Send {code, root, targets}: the code has not been used up.')
    const { code, root, targets } = body.output
    return json({ vendor: await mirror.admit(code, utf8(root), utf8(targets)) }, 201)
  }

  const openAccount: Handler = async (request, { address }) => {
    requireSameOrigin(request, deps.publicUrl)
    const body = v.safeParse(accountSchema, await readJson(request, apiLimits.accountBodyBytes))
    if (!body.success)
      throw new HttpError(400, 'malformed', 'Send {} or {"name": "…"} of at most 80 characters.')
    if (!accounts.take(address)) {
      const text = `From one address this relay opens ${perAddress} play-money accounts a day. Use one that you have, or wait.`
      throw new HttpError(429, 'accounts-limited', text)
    }
    const { name } = body.output
    const grant = { ...(name ? { name } : {}), grantMsat }
    const { connection, balanceMsat } = await deps.openAccount(grant)
    const here = new URL(connection)
    here.searchParams.set('relay', `${webSocketBase(request)}/nostr`)
    return json({ connection: here.href, money: deps.config.money, balanceMsat }, 201)
  }

  const vendorOf = ({ params }: Context): Vendor => {
    const vendor = mirror.vendor(params['vendor'] ?? '')
    if (!vendor)
      throw new HttpError(
        404,
        'vendor-unknown',
        'This relay does not serve that vendor. Check the relay and the vendor id.',
      )
    return vendor
  }

  const getMetadata: Handler = async (_request, context) => {
    const file = context.params['file'] ?? ''
    const bytes = await vendorOf(context).read(file)
    if (!bytes) throw notFound()
    return bytesResponse(bytes, 'application/json', file === 'timestamp.json' ? 'no-store' : IMMUTABLE)
  }

  const putMetadata: Handler = async (request, context) => {
    const vendor = vendorOf(context)
    const named = /^([1-9]\d{0,9})\.([^/]+)\.json$/.exec(context.params['file'] ?? '')
    const [number, role] = [named?.[1], named?.[2] ?? '']
    if (number === undefined || !(['root', 'targets'].includes(role) || roleNamePattern.test(role))) {
      const text = 'Only N.root.json, N.targets.json and the files of delegated roles can be uploaded.'
      throw new HttpError(400, 'malformed', text)
    }
    limitMetadata(context.address)
    const bytes = await readBody(request, role === 'root' ? LIMITS.rootBytes : LIMITS.targetsBytes)
    return json(await vendor.put(role, Number(number), bytes))
  }

  const postProposal: Handler = async (request, context) => {
    const vendor = vendorOf(context)
    limitMetadata(context.address)
    const body = v.safeParse(proposalSchema, await readJson(request, apiLimits.proposalBodyBytes))
    if (!body.success) throw new HttpError(400, 'malformed', 'Send {files: {root?, targets?, …}} as texts.')
    const files = Object.entries(body.output.files).map(([role, text]) => [role, utf8(text)] as const)
    const result = await vendor.submit(Object.fromEntries(files))
    if (result.tag === 'published') return json({ published: true, ...result.versions })
    return json({ published: false, id: result.id, needs: result.needs }, 202)
  }

  const getProposal: Handler = async (_request, context) => {
    const files = await vendorOf(context).proposal(context.params['id'] ?? '')
    if (!files) {
      const text = 'This proposal does not wait any more: it was published, or another change came first.'
      throw new HttpError(404, 'proposal-unknown', text)
    }
    const texts = Object.entries(files).map(([role, bytes]) => [role, fromUtf8(bytes)] as const)
    return json({ files: Object.fromEntries(texts) }, 200, { 'cache-control': 'no-store' })
  }

  /** @throws HttpError when the request is not signed by a Nostr key for this very body and path. */
  function signer(request: Request, body: Uint8Array): PartyKey {
    const { pathname } = new URL(request.url)
    const verdict = verifyHttpAuth(request.headers.get('authorization'), {
      // A proxy may have changed scheme and port; a name that is not ours would be another relay's.
      url: (text) =>
        URL.canParse(text) && new URL(text).pathname === pathname && isNamed(request, new URL(text)),
      method: request.method,
      bodySha256: fastSha256(body),
      nowMs: nowMs(),
    })
    if (verdict.tag === 'refused') throw new HttpError(401, verdict.code, verdict.message)
    return verdict.key
  }
  const isNamed = (request: Request, url: URL): boolean =>
    url.host === new URL(request.url).host || url.origin === deps.publicUrl

  const putTorrent: Handler = async (request, context) => {
    const vendor = vendorOf(context)
    const infoHash = parseInfoHash(/^(.*)\.torrent$/.exec(context.params['file'] ?? '')?.[1] ?? '')
    if (!infoHash)
      throw new HttpError(400, 'malformed', 'The name must be the info-hash in hex and ".torrent".')
    limitTorrents(context.address)
    const body = await readBody(request, mirrorLimits.torrentBytes)
    if (!vendor.mayUpload(signer(request, body))) {
      throw new HttpError(
        403,
        'not-the-vendor',
        "Only the vendor's own key, or that of somebody who signs releases for it, may upload its torrents. Nothing was stored.",
      )
    }
    await vendor.putTorrent(infoHash, body)
    return json({ infoHash }, 201)
  }

  const getTorrent: Handler = async (_request, context) => {
    const infoHash = parseInfoHash(/^(.*)\.torrent$/.exec(context.params['file'] ?? '')?.[1] ?? '')
    const bytes = infoHash && (await vendorOf(context).torrent(infoHash))
    if (!bytes) throw notFound()
    return bytesResponse(bytes, 'application/x-bittorrent', IMMUTABLE)
  }

  const putBlob: Handler = async (request, context) => {
    const vendor = vendorOf(context)
    const hash = parseSha256Hex(context.params['hash'] ?? '')
    if (!hash) throw new HttpError(400, 'malformed', 'The name must be the SHA-256 of the bytes in hex.')
    limitBlobsByAddress(context.address)
    const body = await readBody(request, mirrorLimits.blobBytes)
    const key = signer(request, body)
    // Who publishes brings the wrapped keys of each confidential release.
    if (!vendor.mayUpload(key)) {
      limitBlobsByKey(key)
      limitBlobBytesByKey(key, body.length)
      limitBlobBytesByAddress(context.address, body.length)
    }
    await vendor.putBlob(hash, body)
    return json({ sha256: hash }, 201)
  }

  const getBlob: Handler = async (_request, context) => {
    const hash = parseSha256Hex(context.params['hash'] ?? '')
    const bytes = hash && (await vendorOf(context).blob(hash))
    if (!bytes) throw notFound()
    return bytesResponse(bytes, 'application/octet-stream', IMMUTABLE)
  }

  const nostrInfo: Handler = () =>
    json(
      {
        name: 'Satpatch relay',
        description: 'Announcements, offers and reports of Satpatch fleets; NIP-47 wallet service.',
        pubkey: deps.config.relayKey,
        supported_nips: [1, 9, 11, 40, 42, 47, 70],
        software: 'satpatch',
        version: deps.version,
        limitation: {
          max_message_length: MAX_FRAME_BYTES,
          max_subscriptions: nostrLimits.subscriptionsPerConnection,
          max_limit: nostrLimits.storedEventsPerFilter,
          max_event_tags: nostrLimits.tags,
          created_at_upper_limit: nostrLimits.futureS,
          auth_required: false,
          payment_required: false,
        },
      },
      200,
      { 'content-type': 'application/nostr+json' },
    )

  const cors = true as const
  return [
    { method: 'GET', pattern: '/healthz', handler: health },
    { method: 'GET', pattern: '/api/config', handler: config, cors },
    { method: 'POST', pattern: '/api/vendors', handler: admit },
    { method: 'POST', pattern: '/api/accounts', handler: openAccount },
    { method: 'GET', pattern: '/v/:vendor/metadata/:file', handler: getMetadata, cors },
    { method: 'PUT', pattern: '/v/:vendor/metadata/:file', handler: putMetadata, cors },
    { method: 'POST', pattern: '/v/:vendor/proposals', handler: postProposal, cors },
    { method: 'GET', pattern: '/v/:vendor/proposals/:id', handler: getProposal, cors },
    { method: 'GET', pattern: '/v/:vendor/torrents/:file', handler: getTorrent, cors },
    { method: 'PUT', pattern: '/v/:vendor/torrents/:file', handler: putTorrent, cors },
    { method: 'GET', pattern: '/v/:vendor/blobs/:hash', handler: getBlob, cors },
    { method: 'PUT', pattern: '/v/:vendor/blobs/:hash', handler: putBlob, cors },
    { method: 'GET', pattern: '/nostr', handler: nostrInfo, cors },
  ]
}

const notFound = () => new HttpError(404, 'not-found', 'There is nothing at this address.')

/** Bytes of others, never to be run or shown as a page of ours. */
function bytesResponse(bytes: Uint8Array, type: string, cache: string): Response {
  const headers = {
    'content-type': type,
    'content-length': String(bytes.length),
    'cache-control': cache,
    'content-security-policy': "default-src 'none'; sandbox",
  }
  return new Response(bytes as Uint8Array<ArrayBuffer>, { headers })
}
