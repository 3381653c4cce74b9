/**
 * Brings a vendor's metadata up to date from any of several mirrors, each by the TUF client workflow (`updater.ts`),
 * and reads the releases out of it.
 */
import type { Bytes, InfoHash, Sha256Hex, VendorId } from '../../core/bytes.ts'
import { fromUtf8, sha256Hex, utf8 } from '../../core/bytes.ts'
import { newestFirst, readReleases, readTargets, type Skipped } from '../../core/release/announce.ts'
import * as client from '../../core/release/client.ts'
import { segmentOf } from '../../core/release/delegations.ts'
import type { Unheard } from '../../core/release/search.ts'
import type { KeysTarget, Release, VendorBlock } from '../../core/release/target.ts'
import { expiryMs, LIMITS, roleNames, type Refusal } from '../../core/release/tuf.ts'
import { fetchBounded } from './http.ts'
import type { TextStore } from './store.ts'
import {
  delegatedTargets,
  fetchFile,
  httpSource,
  keep,
  loadKept,
  must,
  network,
  updateTopLevel,
  UpdateTrouble,
  type DelegatedTargets,
  type MetadataStore,
} from './updater.ts'

export type Verified = Readonly<{
  vendor: VendorId
  current: client.Current
  targetsVersion: number
  /** Unix ms until which the targets hold. */
  targetsExpireAt: number
  /** Those of the vendor's delegates too. */
  releases: readonly Release[]
  /** Those that the vendor's own targets name. */
  ownReleases: readonly Release[]
  vendorBlock: VendorBlock
  /** Of the vendor's own targets. */
  skipped: readonly Skipped[]
  /** Delegated roles, or what they say, that could not be used. */
  unheard: Unheard
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
  /** From a stick: the expiry of timestamp and snapshot is waived (`updater.ts`). */
  offline?: boolean
  /** Hears of every mirror that lied, also when a later one told the truth. */
  onRefused?: (mirror: string, refusal: Refusal) => void
}>

export const metadataUrl = (mirror: string, vendor: VendorId, file: string): string =>
  `${mirror.replace(/\/+$/, '')}/v/${vendor}/metadata/${file}`

/** The artifact on a static host, as `satpatch export` lays it out: by its hash, since any name may be signed. */
export const artifactUrl = (mirror: string, vendor: VendorId, sha256: Sha256Hex): string =>
  `${mirror.replace(/\/+$/, '')}/v/${vendor}/artifacts/${sha256}`

/** Never throws. A mirror that fails or lies is passed over for the next; a lie is reported before a silence. */
export async function refresh(options: RefreshOptions): Promise<RefreshResult> {
  const tried: { mirror: string; text: string }[] = []
  let refused: RefreshFailure | undefined
  for (const mirror of options.mirrors) {
    try {
      return { tag: 'ok', verified: await refreshFrom(mirror, options) }
    } catch (error) {
      if (!(error instanceof UpdateTrouble)) throw error
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
  const { vendor, nowMs, floor } = options
  const store = metadataIn(options.store)
  const source = httpSource((file) => metadataUrl(mirror, vendor, file), options)
  let trusted = await loadKept(store)
  if (!trusted) {
    const first = await fetchFile(source, '1.root.json', LIMITS.rootBytes, 'root')
    if (!first) throw network('it does not have this vendor')
    trusted = must(client.pin(vendor, first))
    await keep(store, 'root', first)
  }
  const current = await updateTopLevel(trusted, {
    source,
    store,
    nowMs,
    ...(floor ? { floor } : {}),
    ...(options.offline === true ? { offline: true } : {}),
  })
  return read(vendor, current, delegatedTargets(current, { source, store, nowMs }))
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
  const kept = metadataIn(store)
  const trusted = await loadKept(kept)
  const current = trusted && client.finish(trusted, nowMs)
  if (current?.tag !== 'ok') return undefined
  return read(vendor, current.value, delegatedTargets(current.value, { store: kept, nowMs }))
}

async function read(
  vendor: VendorId,
  current: client.Current,
  delegated: DelegatedTargets,
): Promise<Verified> {
  const { signed } = current.targets
  const { vendor: vendorBlock, releases: ownReleases, skipped } = readTargets(signed)
  if (!vendorBlock) {
    const text = 'The targets do not say whose they are (no `satpatch` block).'
    throw new UpdateTrouble({ tag: 'refused', refusal: { tag: 'malformed', role: 'targets', text } })
  }
  const { targets, unheard } = await delegated.all()
  const releases = [...ownReleases]
  const silent = [...unheard]
  const byRole = Map.groupBy(targets, ({ role }) => role)
  byRole.delete('targets') // the vendor's own word goes before its delegates'
  for (const [role, theirs] of byRole) {
    const files = theirs.map(({ path, file }) => [path, file] as const)
    const said = readReleases(files, signed.version)
    releases.push(...said.releases)
    for (const { path, why, attack } of said.skipped)
      silent.push({ role, text: `${path.slice(0, 200)}: ${why}`, ...(attack && { attack }) })
  }
  return {
    vendor,
    current,
    targetsVersion: signed.version,
    targetsExpireAt: expiryMs(signed),
    releases: releases.sort(newestFirst),
    ownReleases,
    vendorBlock,
    skipped,
    unheard: silent,
  }
}

/** Top-level files under their names; delegates choose theirs, and so have a folder to themselves. */
export function metadataIn(store: TextStore): MetadataStore {
  const nameOf = (role: string): string =>
    (roleNames as readonly string[]).includes(role) ? `${role}.json` : `delegated/${segmentOf(role)}.json`
  return {
    async get(role) {
      const text = await store.get(nameOf(role))
      return text === undefined ? undefined : utf8(text)
    },
    put: (role, bytes) => store.put(nameOf(role), fromUtf8(bytes)),
  }
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
const MAX_BLOB_BYTES = 8 * 1024 * 1024

export type Fetched =
  | Readonly<{ tag: 'ok'; bytes: Bytes }>
  /** `lie`: the attack's name, where a mirror had an answer that is not the one asked for. */
  | Readonly<{ tag: 'failed'; text: string; lie?: 'endless-data' | 'mix-and-match' }>

async function fromAny(
  mirrors: readonly string[],
  path: string,
  maxBytes: number,
  fetcher: typeof fetch,
  right: (bytes: Bytes) => boolean,
): Promise<Fetched> {
  const troubles: string[] = []
  let lie: 'endless-data' | 'mix-and-match' | undefined
  for (const mirror of mirrors) {
    const result = await fetchBounded(fetcher, `${mirror.replace(/\/+$/, '')}${path}`, { maxBytes })
    if (result.tag === 'ok' && result.status === 200 && right(result.bytes))
      return { tag: 'ok', bytes: result.bytes }
    if (result.tag === 'too-long') lie = 'endless-data'
    else if (result.tag === 'ok' && result.status === 200) lie ??= 'mix-and-match'
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
  return { tag: 'failed', text: troubles.join('; ') || 'no mirror is configured', ...(lie && { lie }) }
}

/** The .torrent of a release; `core/swarm/metainfo.ts` proves it against the signed release. Never throws. */
export const fetchTorrent = (
  mirrors: readonly string[],
  vendor: VendorId,
  infoHash: InfoHash,
  fetcher: typeof fetch,
): Promise<Fetched> =>
  fromAny(mirrors, `/v/${vendor}/torrents/${infoHash}.torrent`, MAX_TORRENT_BYTES, fetcher, () => true)

/** The list of a release's wrapped keys, as long as is signed and no longer. Never throws. */
export const fetchKeys = (
  mirrors: readonly string[],
  vendor: VendorId,
  { bytes: length, sha256 }: KeysTarget,
  fetcher: typeof fetch,
): Promise<Fetched> =>
  fromAny(
    mirrors,
    `/v/${vendor}/blobs/${sha256}`,
    length,
    fetcher,
    (bytes) => bytes.length === length && sha256Hex(bytes) === sha256,
  )

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
