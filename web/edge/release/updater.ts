/**
 * The TUF client workflow (specification 1.0.34, section 5) against one repository: fetches, asks `core/release` for
 * the verdict, and keeps what it trusts before it goes on. Nothing is asked for twice, or before it is needed.
 */
import type { Bytes } from '../../core/bytes.ts'
import * as client from '../../core/release/client.ts'
import { segmentOf } from '../../core/release/delegations.ts'
import * as search from '../../core/release/search.ts'
import { LIMITS, type Refusal, type RoleName, type TargetFile, type Verdict } from '../../core/release/tuf.ts'
import { fetchBounded } from './http.ts'

/** Trusted files by role's name, in their original bytes. A put is atomic and durable. */
export interface MetadataStore {
  get(role: string): Promise<Uint8Array | undefined>
  put(role: string, bytes: Bytes): Promise<void>
}

export type Fetched =
  | Readonly<{ tag: 'ok'; bytes: Bytes }>
  /** 403 or 404: the repository does not have it. */
  | Readonly<{ tag: 'absent' }>
  | Readonly<{ tag: 'too-long' }>
  | Readonly<{ tag: 'failed'; text: string }>
/** Metadata files by their name in the repository. Never throws. */
export type Source = (file: string, maxBytes: number) => Promise<Fetched>

export type Trouble =
  | Readonly<{ tag: 'network'; text: string }>
  | Readonly<{ tag: 'refused'; refusal: Refusal }>
  | Readonly<{ tag: 'store'; text: string }>
export class UpdateTrouble extends Error {
  override readonly name = 'UpdateTrouble'
  readonly trouble: Trouble
  constructor(trouble: Trouble) {
    super(trouble.tag === 'refused' ? trouble.refusal.text : trouble.text)
    this.trouble = trouble
  }
}

export type HttpOptions = Readonly<{ fetch: typeof fetch; signal?: AbortSignal; timeoutMs?: number }>

export const httpSource =
  (urlOf: (file: string) => string, { fetch, ...options }: HttpOptions): Source =>
  async (file, maxBytes) => {
    const result = await fetchBounded(fetch, urlOf(file), { maxBytes, ...options })
    if (result.tag !== 'ok') return result
    if (result.status === 404 || result.status === 403) return { tag: 'absent' }
    if (result.status !== 200) return { tag: 'failed', text: `it answered ${result.status} for ${file}` }
    return { tag: 'ok', bytes: result.bytes }
  }

export type UpdateOptions = Readonly<{
  source: Source
  store: MetadataStore
  /** Time is fixed for the whole update (section 5.1). */
  nowMs: number
  /** Newest targets version that the vendor is known to have announced. */
  floor?: number
  /** From a stick: the expiry of timestamp and snapshot is waived, since nobody can renew it there. All else stands. */
  offline?: boolean
}>

/** Sections 5.3 to 5.6.6, from `trusted` on. @throws UpdateTrouble */
export async function updateTopLevel(
  start: client.Trusted,
  { source, store, nowMs, floor, offline }: UpdateOptions,
): Promise<client.Current> {
  const listsNowMs = offline === true ? 0 : nowMs
  let trusted = start
  for (let i = 0; i < LIMITS.rootRotations; i++) {
    const file = `${trusted.root.signed.version + 1}.root.json`
    const next = await fetchFile(source, file, LIMITS.rootBytes, 'root')
    if (!next) break
    trusted = must(client.nextRoot(trusted, next))
    await keep(store, 'root', next)
  }
  trusted = must(client.rootsDone(trusted, nowMs))
  const timestamp = await fetchFile(source, 'timestamp.json', LIMITS.timestampBytes, 'timestamp')
  if (!timestamp) throw network('it has no timestamp for this vendor')
  trusted = must(client.nextTimestamp(trusted, timestamp, listsNowMs))
  if (trusted.timestamp?.bytes === timestamp) await keep(store, 'timestamp', timestamp)
  // Two rounds at most: a snapshot, then targets.
  for (let wanted = client.want(trusted); wanted.tag === 'fetch'; wanted = client.want(trusted)) {
    const { role, version, maxBytes } = wanted
    const file = fileName(trusted, role, version)
    const bytes = await fetchFile(source, file, maxBytes, role)
    if (!bytes) throw network(`it lacks ${file}`)
    trusted = must(
      role === 'snapshot'
        ? client.nextSnapshot(trusted, bytes, listsNowMs)
        : client.nextTargets(trusted, bytes, nowMs),
    )
    await keep(store, role, bytes)
  }
  return must(client.finish(trusted, nowMs, floor, listsNowMs))
}

/** Consistent snapshots have the version in the name (section 6.2). */
const fileName = ({ root }: client.Trusted, role: string, version: number): string =>
  `${root.signed.consistent_snapshot === true ? `${version}.` : ''}${segmentOf(role)}.json`

/** What an earlier update kept; `undefined` when there is no root, or one that is damaged. @throws UpdateTrouble */
export async function loadKept(store: MetadataStore): Promise<client.Trusted | undefined> {
  const get = (role: RoleName) => readKept(store, role)
  const root = await get('root')
  if (!root) return undefined
  const [timestamp, snapshot, targets] = [await get('timestamp'), await get('snapshot'), await get('targets')]
  const kept = client.restore({
    root,
    ...(timestamp ? { timestamp } : {}),
    ...(snapshot ? { snapshot } : {}),
    ...(targets ? { targets } : {}),
  })
  return kept.tag === 'ok' ? kept.value : undefined
}

export type TargetFound = Readonly<{ path: string; file: TargetFile; role: string }>

/** Delegated targets of one update, fetched as searches need them. */
export interface DelegatedTargets {
  /** Section 5.6.7. The text says why there is none. @throws UpdateTrouble */
  find(path: string): Promise<TargetFound | Readonly<{ tag: 'missing'; text: string }>>
  /** Every target that a delegated role may speak about and does, and the roles that could not be heard. @throws UpdateTrouble */
  all(): Promise<Readonly<{ targets: readonly TargetFound[]; unheard: search.Unheard }>>
}

/** Without a `source` only what was kept is looked at. */
export function delegatedTargets(
  current: client.Current,
  { source, store, nowMs }: Readonly<{ source?: Source; store: MetadataStore; nowMs: number }>,
): DelegatedTargets {
  let delegated = search.noDelegated
  let spareBytes: number = LIMITS.delegatedBytes

  async function load(wanted: search.WantedRole): Promise<void> {
    delegated = search.withDelegated(delegated, wanted, await fileOf(wanted))
  }

  async function fileOf(wanted: search.WantedRole): Promise<search.DelegatedFile> {
    const { name, listed } = wanted
    // It was vouched for once; whether its delegator of today still does is asked again.
    const kept = await readKept(store, name)
    const verdict = kept && search.nextDelegated(wanted, kept, nowMs)
    if (verdict?.tag === 'ok') return { tag: 'ok', envelope: verdict.value }
    if (!source) return { tag: 'unusable', text: `The metadata of ${name} is not here.` }
    if ((listed.length ?? 1) > spareBytes) {
      const text = `The metadata of ${name} is left out: all roles together have more than ${LIMITS.delegatedBytes} bytes.`
      return { tag: 'unusable', text }
    }
    const file = fileName(current, name, listed.version)
    const bytes = await fetchFile(source, file, Math.min(wanted.maxBytes, spareBytes), 'targets')
    if (!bytes) throw network(`it lacks ${file}`)
    spareBytes -= bytes.length
    const fetched = search.nextDelegated(wanted, bytes, nowMs)
    if (fetched.tag === 'refused') {
      if (!search.isVendors(wanted, fetched.refusal)) throw refused(fetched.refusal)
      return { tag: 'unusable', text: fetched.refusal.text }
    }
    await keep(store, name, bytes)
    return { tag: 'ok', envelope: fetched.value }
  }

  async function find(path: string): ReturnType<DelegatedTargets['find']> {
    for (;;) {
      const found = search.search(current, delegated, path)
      if (found.tag === 'found') return { path, file: found.file, role: found.role }
      if (found.tag === 'missing') return found
      await load(found.wanted)
    }
  }

  return {
    find,
    async all() {
      let listing = search.listPaths(current, delegated)
      for (; listing.tag === 'wanted'; listing = search.listPaths(current, delegated))
        await load(listing.wanted)
      const targets = new Map<string, TargetFound>()
      for (const path of listing.said.keys()) {
        const found = await find(path)
        if ('file' in found) targets.set(path, found)
      }
      const beyond = search.overreaching(listing, (path) => targets.get(path)?.file)
      return { targets: [...targets.values()], unheard: [...listing.unheard, ...beyond] }
    },
  }
}

async function readKept(store: MetadataStore, role: string): Promise<Uint8Array | undefined> {
  try {
    return await store.get(role)
  } catch (cause) {
    throw notKept(cause)
  }
}

export async function keep(store: MetadataStore, role: string, bytes: Bytes): Promise<void> {
  try {
    await store.put(role, bytes)
  } catch (cause) {
    throw notKept(cause)
  }
}

function notKept(cause: unknown): UpdateTrouble {
  const why = cause instanceof Error ? cause.message : 'unknown reason'
  return new UpdateTrouble({ tag: 'store', text: `The release metadata could not be stored: ${why}` })
}

export const network = (text: string): UpdateTrouble => new UpdateTrouble({ tag: 'network', text })
const refused = (refusal: Refusal): UpdateTrouble => new UpdateTrouble({ tag: 'refused', refusal })

/** @throws UpdateTrouble */
export function must<T>(verdict: Verdict<T>): T {
  if (verdict.tag === 'ok') return verdict.value
  throw refused(verdict.refusal)
}

/** `undefined`: the repository does not have it. @throws UpdateTrouble */
export async function fetchFile(
  source: Source,
  file: string,
  maxBytes: number,
  role: RoleName,
): Promise<Bytes | undefined> {
  const result = await source(file, maxBytes)
  switch (result.tag) {
    case 'ok':
      return result.bytes
    case 'absent':
      return undefined
    case 'failed':
      throw network(result.text)
    case 'too-long':
      throw refused({ tag: 'endless-data', role, text: `${file} is longer than ${maxBytes} bytes.` })
    default:
      return result satisfies never
  }
}
