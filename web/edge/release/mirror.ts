/**
 * Brings a vendor's metadata up to date from any of several mirrors, in the order of the TUF client workflow
 * (section 5). What is trusted is decided in `core/release/client.ts`; this file fetches and keeps.
 */
import type { Bytes, InfoHash, Sha256Hex, VendorId } from '../../core/bytes.ts'
import { fromUtf8, sha256Hex, utf8 } from '../../core/bytes.ts'
import { readTargets } from '../../core/release/announce.ts'
import * as client from '../../core/release/client.ts'
import type { Release, VendorBlock } from '../../core/release/target.ts'
import { expiryMs, LIMITS, type Refusal, type RoleName, type Verdict } from '../../core/release/tuf.ts'
import { fetchBounded } from './http.ts'
import type { TextStore } from './store.ts'

export type Verified = Readonly<{
  vendor: VendorId
  current: client.Current
  targetsVersion: number
  /** Unix ms until which the targets hold. */
  targetsExpireAt: number
  releases: readonly Release[]
  vendorBlock: VendorBlock
  skipped: readonly Readonly<{ path: string; why: string }>[]
}>

export type RefreshFailure =
  /** A mirror answered, and what it showed does not verify. `refusal.tag` names the attack. */
  | Readonly<{ tag: 'refused'; mirror: string; refusal: Refusal }>
  /** No mirror gave an answer that could be used. */
  | Readonly<{ tag: 'unreachable'; tried: readonly Readonly<{ mirror: string; text: string }>[] }>
  /** The disk or the browser's storage failed: nothing new is trusted. */
  | Readonly<{ tag: 'not-kept'; text: string }>
export type RefreshResult = Readonly<{ tag: 'ok'; verified: Verified }> | RefreshFailure

export type RefreshOptions = Readonly<{
  /** Base URLs, tried in order. */
  mirrors: readonly string[]
  vendor: VendorId
  store: TextStore
  nowMs: number
  fetch: typeof fetch
  /** Newest targets version that the vendor is known to have announced. */
  floor?: number
  signal?: AbortSignal
  timeoutMs?: number
  /** Hears of every mirror that lied, also when a later one told the truth. */
  onRefused?: (mirror: string, refusal: Refusal) => void
}>

export const metadataUrl = (mirror: string, vendor: VendorId, file: string): string =>
  `${mirror.replace(/\/+$/, '')}/v/${vendor}/metadata/${file}`

/** The artifact on a static host, as `satpatch export` lays it out: by its hash, since any name may be signed. */
export const artifactUrl = (mirror: string, vendor: VendorId, sha256: Sha256Hex): string =>
  `${mirror.replace(/\/+$/, '')}/v/${vendor}/artifacts/${sha256}`

/** What one mirror did wrong. */
type Trouble =
  { tag: 'network'; text: string } | { tag: 'refused'; refusal: Refusal } | { tag: 'store'; text: string }
class MirrorTrouble extends Error {
  readonly trouble: Trouble
  constructor(trouble: Trouble) {
    super(trouble.tag)
    this.trouble = trouble
  }
}

/** Never throws. A mirror that fails or lies is passed over for the next; a lie is reported before a silence. */
export async function refresh(options: RefreshOptions): Promise<RefreshResult> {
  const tried: { mirror: string; text: string }[] = []
  let refused: RefreshFailure | undefined
  for (const mirror of options.mirrors) {
    try {
      return { tag: 'ok', verified: await refreshFrom(mirror, options) }
    } catch (error) {
      if (!(error instanceof MirrorTrouble)) throw error
      const { trouble } = error
      if (trouble.tag === 'store') return { tag: 'not-kept', text: trouble.text }
      if (trouble.tag === 'refused') {
        options.onRefused?.(mirror, trouble.refusal)
        refused ??= { tag: 'refused', mirror, refusal: trouble.refusal }
      } else tried.push({ mirror, text: trouble.text })
    }
  }
  return refused ?? { tag: 'unreachable', tried }
}

async function refreshFrom(mirror: string, options: RefreshOptions): Promise<Verified> {
  const { vendor, store, nowMs } = options
  const get = (file: string, maxBytes: number, role: RoleName) =>
    getFile(mirror, file, maxBytes, role, options)
  let trusted = await loadKept(vendor, store)
  if (!trusted) {
    const first = await get('1.root.json', LIMITS.rootBytes, 'root')
    if (!first) throw network('it does not have this vendor')
    trusted = must(client.pin(vendor, first))
    await keep(store, 'root.json', first)
  }
  for (let i = 0; i < LIMITS.rootRotations; i++) {
    const next = await get(`${trusted.root.signed.version + 1}.root.json`, LIMITS.rootBytes, 'root')
    if (!next) break
    trusted = must(client.nextRoot(trusted, next))
    await keep(store, 'root.json', next)
  }
  trusted = must(client.rootsDone(trusted, nowMs))
  const timestamp = await get('timestamp.json', LIMITS.timestampBytes, 'timestamp')
  if (!timestamp) throw network('it has no timestamp for this vendor')
  trusted = must(client.nextTimestamp(trusted, timestamp, nowMs))
  if (trusted.timestamp?.bytes === timestamp) await keep(store, 'timestamp.json', timestamp)
  // Two rounds at most: a snapshot, then targets.
  for (let wanted = client.want(trusted); wanted.tag === 'fetch'; wanted = client.want(trusted)) {
    const { role, version, maxBytes } = wanted
    const consistent = trusted.root.signed.consistent_snapshot === true
    const bytes = await get(consistent ? `${version}.${role}.json` : `${role}.json`, maxBytes, role)
    if (!bytes) throw network(`it lacks ${version}.${role}.json`)
    trusted = must((role === 'snapshot' ? client.nextSnapshot : client.nextTargets)(trusted, bytes, nowMs))
    await keep(store, `${role}.json`, bytes)
  }
  return read(must(client.finish(trusted, nowMs, options.floor)))
}

/**
 * What an earlier refresh left, without any network: for starting offline and for what to show meanwhile.
 * `undefined` when there is nothing, or nothing that is still in date.
 */
export async function lastVerified(
  vendor: VendorId,
  store: TextStore,
  nowMs: number,
): Promise<Verified | undefined> {
  const trusted = await loadKept(vendor, store)
  const current = trusted && client.finish(trusted, nowMs)
  return current?.tag === 'ok' ? read(current.value) : undefined
}

function read(current: client.Current): Verified {
  const { signed } = current.targets
  const { vendor: vendorBlock, releases, skipped } = readTargets(signed)
  if (!vendorBlock) {
    const text = 'The targets do not say whose they are (no `satpatch` block).'
    throw new MirrorTrouble({ tag: 'refused', refusal: { tag: 'malformed', role: 'targets', text } })
  }
  const { vendor } = current
  const targetsExpireAt = expiryMs(signed)
  return { vendor, current, targetsVersion: signed.version, targetsExpireAt, releases, vendorBlock, skipped }
}

async function loadKept(vendor: VendorId, store: TextStore): Promise<client.Trusted | undefined> {
  const get = async (role: RoleName) => {
    const text = await store.get(`${role}.json`)
    return text === undefined ? undefined : utf8(text)
  }
  try {
    const root = await get('root')
    if (!root) return undefined
    const [timestamp, snapshot, targets] = [
      await get('timestamp'),
      await get('snapshot'),
      await get('targets'),
    ]
    const kept = client.restore(vendor, {
      root,
      ...(timestamp ? { timestamp } : {}),
      ...(snapshot ? { snapshot } : {}),
      ...(targets ? { targets } : {}),
    })
    return kept.tag === 'ok' ? kept.value : undefined
  } catch (cause) {
    throw notKept(cause)
  }
}

async function keep(store: TextStore, name: string, bytes: Uint8Array): Promise<void> {
  try {
    await store.put(name, fromUtf8(bytes))
  } catch (cause) {
    throw notKept(cause)
  }
}

function notKept(cause: unknown): MirrorTrouble {
  const why = cause instanceof Error ? cause.message : 'unknown reason'
  return new MirrorTrouble({ tag: 'store', text: `The release metadata could not be stored: ${why}` })
}

const network = (text: string): MirrorTrouble => new MirrorTrouble({ tag: 'network', text })

function must<T>(verdict: Verdict<T>): T {
  if (verdict.tag === 'ok') return verdict.value
  throw new MirrorTrouble({ tag: 'refused', refusal: verdict.refusal })
}

/** `undefined`: the mirror does not have it (403 and 404, as the specification reads them). */
async function getFile(
  mirror: string,
  file: string,
  maxBytes: number,
  role: RoleName,
  options: RefreshOptions,
): Promise<Bytes | undefined> {
  const { signal, timeoutMs } = options
  const result = await fetchBounded(options.fetch, metadataUrl(mirror, options.vendor, file), {
    maxBytes,
    ...(signal ? { signal } : {}),
    ...(timeoutMs ? { timeoutMs } : {}),
  })
  if (result.tag === 'failed') throw network(result.text)
  if (result.tag === 'too-long') {
    const text = `${file} is longer than ${maxBytes} bytes.`
    throw new MirrorTrouble({ tag: 'refused', refusal: { tag: 'endless-data', role, text } })
  }
  if (result.status === 404 || result.status === 403) return undefined
  if (result.status !== 200) throw network(`it answered ${result.status} for ${file}`)
  return result.bytes
}

/** The failure in words for a person: what happened, what happens next. */
export function failureText(failure: RefreshFailure): string {
  switch (failure.tag) {
    case 'refused':
      return `${failure.refusal.text} The mirror ${failure.mirror} is not believed (${failure.refusal.tag}); what was verified before still holds.`
    case 'unreachable':
      return failure.tried.length === 0
        ? 'No mirror is configured.'
        : `No mirror could be used: ${failure.tried.map(({ mirror, text }) => `${mirror}: ${text}`).join('; ')}.`
    case 'not-kept':
      return failure.text
    default:
      return failure satisfies never
  }
}

export const MAX_TORRENT_BYTES = 16 * 1024 * 1024
export const MAX_BLOB_BYTES = 8 * 1024 * 1024

export type Fetched = Readonly<{ tag: 'ok'; bytes: Bytes }> | Readonly<{ tag: 'failed'; text: string }>

async function fromAny(
  mirrors: readonly string[],
  path: string,
  maxBytes: number,
  fetcher: typeof fetch,
  right: (bytes: Bytes) => boolean,
): Promise<Fetched> {
  const troubles: string[] = []
  for (const mirror of mirrors) {
    const result = await fetchBounded(fetcher, `${mirror.replace(/\/+$/, '')}${path}`, { maxBytes })
    if (result.tag === 'ok' && result.status === 200 && right(result.bytes))
      return { tag: 'ok', bytes: result.bytes }
    const why =
      result.tag === 'failed'
        ? result.text
        : result.tag === 'too-long'
          ? `longer than ${maxBytes} bytes`
          : result.status === 200
            ? 'other bytes than asked for'
            : `status ${result.status}`
    troubles.push(`${mirror}: ${why}`)
  }
  return { tag: 'failed', text: troubles.join('; ') || 'no mirror is configured' }
}

/** The .torrent of a release; `core/swarm/metainfo.ts` proves it against the signed release. Never throws. */
export const fetchTorrent = (
  mirrors: readonly string[],
  vendor: VendorId,
  infoHash: InfoHash,
  fetcher: typeof fetch,
): Promise<Fetched> =>
  fromAny(mirrors, `/v/${vendor}/torrents/${infoHash}.torrent`, MAX_TORRENT_BYTES, fetcher, () => true)

/** A blob, checked against its name. Never throws. */
export const fetchBlob = (
  mirrors: readonly string[],
  vendor: VendorId,
  sha256: Sha256Hex,
  fetcher: typeof fetch,
): Promise<Fetched> =>
  fromAny(
    mirrors,
    `/v/${vendor}/blobs/${sha256}`,
    MAX_BLOB_BYTES,
    fetcher,
    (bytes) => sha256Hex(bytes) === sha256,
  )
