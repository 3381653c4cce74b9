/**
 * The vendor's own metadata: refreshed from the relay's mirror, changed by signing the next targets. Two tabs
 * may do so at once: the relay takes the first, the other builds anew on what the first has made.
 */
import { fromUtf8, utf8, type Sha256Hex, type VendorId } from '../../core/bytes.ts'
import { readTargets, releaseEvent } from '../../core/release/announce.ts'
import { buildRoot, buildTargets, keyId, vendorId, type TargetEntry } from '../../core/release/repository.ts'
import { readDelegates, roleOf } from '../../core/release/delegate.ts'
import type { Release, TargetCustom, VendorBlock } from '../../core/release/target.ts'
import * as client from '../../core/release/client.ts'
import {
  LIMITS,
  parseEnvelope,
  verifyRole,
  type Delegations,
  type RootSigned,
} from '../../core/release/tuf.ts'
import { signEvent, type NostrEvent } from '../../core/nostr/event.ts'
import { admitVendor, ApiError } from '../release/api.ts'
import { fetchBounded } from '../release/http.ts'
import { failureText, metadataUrl, refresh, type RefreshResult, type Verified } from '../release/mirror.ts'
import { memoryStore, prefixed } from '../release/store.ts'
import { fetchRelayConfig, RelayConfigError, type RelayConfig } from '../relay-config.ts'
import { VendorError, type VendorDeps } from './api.ts'
import { namesKey } from './keys-file.ts'
import { signFile } from './sign-file.ts'
import { submitFiles, type Submitted } from './submit.ts'

/** Tabs that publish at the same moment: each round one of them gets through. */
const MAX_ATTEMPTS = 4
/** Vendors of one relay whose roots are looked through for our keys. */
const MAX_VENDORS_SEARCHED = 200
/** Of those, the ones whose targets are read too. */
const MAX_TARGETS_SEARCHED = 20

export type TargetsDraft = Readonly<{
  entries: readonly TargetEntry[]
  block: VendorBlock
  delegations?: Delegations | undefined
}>

/**
 * The vendor that these keys sign for at this relay, found in its public roots, or in the products that it has handed
 * over; so a restored backup, or a colleague, needs no id.
 */
export async function findVendor(
  deps: Pick<VendorDeps, 'keys' | 'relayUrl' | 'fetch' | 'nowMs'>,
  config: Pick<RelayConfig, 'vendors'>,
): Promise<VendorId | undefined> {
  const ids = config.vendors.slice(-MAX_VENDORS_SEARCHED).map(({ id }) => id as VendorId)
  for (const id of ids) {
    const root = await newestRoot(deps, id)
    if (root && deps.keys.signers.some(({ key }) => namesKey(root, key))) return id
  }
  for (const id of ids.slice(-MAX_TARGETS_SEARCHED)) if (await isDelegateOf(deps, id)) return id
  return undefined
}

async function isDelegateOf(
  { keys, relayUrl, fetch, nowMs }: Pick<VendorDeps, 'keys' | 'relayUrl' | 'fetch' | 'nowMs'>,
  vendor: VendorId,
): Promise<boolean> {
  const seen = await refresh({ mirrors: [relayUrl], vendor, store: memoryStore(), nowMs: nowMs(), fetch })
  if (seen.tag !== 'ok') return false
  const mine = new Set(keys.signers.map(({ key }) => keyId(key)))
  return readDelegates(seen.verified.current.targets.signed.delegations).some(({ key }) =>
    mine.has(keyId(key)),
  )
}

/** The end of the chain that begins with the vendor id. */
async function newestRoot(
  deps: Pick<VendorDeps, 'relayUrl' | 'fetch'>,
  id: VendorId,
): Promise<RootSigned | undefined> {
  let trusted: client.Trusted | undefined
  for (let version = 1; version <= LIMITS.rootRotations; version++) {
    const url = metadataUrl(deps.relayUrl, id, `${version}.root.json`)
    const result = await fetchBounded(deps.fetch, url, { maxBytes: LIMITS.rootBytes })
    // Not "not admitted": whoever cannot see the roots does not know.
    if (result.tag === 'failed')
      throw new VendorError('unreachable', `The relay does not answer (${result.text}).`)
    if (result.tag !== 'ok' || result.status !== 200) break
    const next = trusted ? client.nextRoot(trusted, result.bytes) : client.pin(id, result.bytes)
    if (next.tag === 'refused') break
    trusted = next.value
  }
  return trusted?.root.signed
}

/** Makes and signs the first root and empty targets, and has the relay admit them. @throws VendorError */
export async function admit(deps: VendorDeps, code: string, name: string): Promise<VendorId> {
  const { keys, nowMs, store, relayUrl } = deps
  const config = await currentConfig(deps)
  const nostrUrl = config.nostrUrl
  // Kept, so that a second try after a lost answer admits the same vendor and not another.
  const draft = `admission/${keyId(keys.rootKey).slice(0, 16)}/${config.relayKey.slice(0, 16)}`
  let root = await store.get(draft)
  if (root === undefined) {
    const signed = buildRoot({
      version: 1,
      nowMs: nowMs(),
      holder: name.trim().slice(0, 80),
      keys: {
        root: [keys.rootKey],
        targets: [keys.targetsKey],
        snapshot: [config.tuf.snapshot],
        timestamp: [config.tuf.timestamp],
      },
    })
    root = fromUtf8(await signFile(keys.signers, signed, new Set(signed.roles.root.keyids)))
    await store.put(draft, root)
  }
  const vendor: VendorBlock = {
    name: name.trim().slice(0, 80),
    nostr: keys.nostr.key,
    relays: [nostrUrl],
    trackers: [config.trackerUrl],
    distributors: [],
  }
  const targets = await signFile(
    keys.signers,
    buildTargets({ version: 1, nowMs: nowMs(), targets: [], vendor }),
    new Set([keyId(keys.targetsKey)]),
  )
  const expected = vendorId(utf8(root))
  try {
    const admitted = await admitVendor(deps.fetch, relayUrl, {
      code: code.trim(),
      root,
      targets: fromUtf8(targets),
    })
    if (admitted !== expected)
      throw new VendorError('refused', 'The relay admitted another vendor than asked for. Do not use it.')
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    const now = await currentConfig(deps)
    if (!now.vendors.some(({ id }) => id === expected)) throw fromApi(error, 'bad-code')
  }
  await store.delete(draft)
  return expected
}

async function currentConfig(deps: VendorDeps): Promise<RelayConfig> {
  try {
    return await fetchRelayConfig(deps.relayUrl, deps.fetch)
  } catch (error) {
    if (error instanceof RelayConfigError)
      throw new VendorError('unreachable', error.message, { cause: error })
    throw error
  }
}

export function fromApi(error: ApiError, forbidden: 'refused' | 'bad-code' = 'refused'): VendorError {
  if (error.code === 'unreachable') return new VendorError('unreachable', error.message, { cause: error })
  if (error.status === 401 || error.status === 403 || error.status === 410) {
    return forbidden === 'bad-code'
      ? new VendorError('bad-code', error.message, { cause: error, field: 'code' })
      : new VendorError('refused', error.message, { cause: error })
  }
  return new VendorError('refused', error.message, { cause: error })
}

/** @throws VendorError for an `ApiError`, and whatever else came as it is. */
export function rethrow(error: unknown): never {
  throw error instanceof ApiError ? fromApi(error) : error
}

export const vendorStore = (deps: Pick<VendorDeps, 'store'>, vendor: VendorId) =>
  prefixed(deps.store, `tuf/${vendor}/`)

/**
 * Like any client's refresh, but for one thing: targets that have expired are still the base for the next, since
 * nobody else can sign them.
 */
export async function refreshOwn(
  deps: Pick<VendorDeps, 'relayUrl' | 'store' | 'fetch' | 'nowMs'>,
  vendor: VendorId,
  floor: number,
): Promise<RefreshResult> {
  const options = {
    mirrors: [deps.relayUrl],
    vendor,
    store: vendorStore(deps, vendor),
    fetch: deps.fetch,
    floor,
  }
  const result = await refresh({ ...options, nowMs: deps.nowMs() })
  const expired =
    result.tag === 'refused' && result.refusal.tag === 'freeze' && result.refusal.role === 'targets'
  if (!expired) return result
  const anyDate = await refresh({ ...options, nowMs: 0 })
  // Behind the floor is another kind of freeze, which stays one.
  return anyDate.tag === 'ok' ? anyDate : result
}

const draftOf = ({ ownReleases, vendorBlock }: Verified): TargetsDraft => ({
  entries: ownReleases.map(entryOf),
  block: vendorBlock,
})

/** A release as it stands in targets.json. */
export function entryOf(release: Release): TargetEntry {
  const { path, bytes, sha256, targetsVersion: _, confidential, ...custom } = release
  if (!confidential) return { path, bytes, sha256, custom: custom satisfies TargetCustom }
  const { keys, ...plain } = confidential
  return { path, bytes, sha256, custom: { ...custom, encrypted: { ...plain, keys: keys.path } }, keys }
}

/** The newest state to build on. @throws VendorError */
export async function baseOf(
  deps: Pick<VendorDeps, 'relayUrl' | 'store' | 'fetch' | 'nowMs'>,
  vendor: VendorId,
  floor: number,
): Promise<Verified> {
  const base = await refreshOwn(deps, vendor, floor)
  if (base.tag === 'ok') return base.verified
  const code = base.tag === 'unreachable' ? 'unreachable' : base.tag === 'refused' ? 'untrusted' : 'refused'
  throw new VendorError(code, `${failureText(base)} Nothing was published; try again.`)
}

function waitingError({ id, needs }: Extract<Submitted, { tag: 'waiting' }>): VendorError {
  const missing = Math.max(...needs.map(({ have, threshold }) => threshold - have.length))
  const more = missing === 1 ? 'one more signature' : `${missing} more signatures`
  const text = `You have signed it; it is out after ${more}. Send the link on the Keys page to who signs with you.`
  return new VendorError('needs-signatures', text, { proposal: id })
}

export type Changed = Readonly<{ verified: Verified; before: Verified }>

/** What is signed next: the vendor's own targets, or the file of a product that was handed over to a key here. */
type NextFile = Readonly<{ role: string; version: number; signed: object; keyids: readonly string[] }>

/** @throws VendorError `not-signer` */
function nextFile(
  deps: VendorDeps,
  before: Verified,
  change: (draft: TargetsDraft, base: Verified) => TargetsDraft,
  product: string | undefined,
): NextFile {
  const mine = new Set(deps.keys.signers.map(({ key }) => keyId(key)))
  const { root, targets, snapshot } = before.current
  const { keyids } = root.signed.roles.targets
  const nowMs = deps.nowMs()
  if (keyids.some((id) => mine.has(id as Sha256Hex))) {
    const { entries, block, delegations } = change(draftOf(before), before)
    const version = before.targetsVersion + 1
    const options = { version, nowMs, targets: entries, vendor: block }
    const signed = buildTargets(delegations ? { ...options, delegations } : options)
    return { role: 'targets', version, signed: withForeign(signed, before), keyids }
  }
  const delegate = readDelegates(targets.signed.delegations).find(
    (one) => mine.has(keyId(one.key)) && (product === undefined || one.product === product),
  )
  if (!delegate) {
    const what = product === undefined ? 'releases' : `releases of ${product}`
    throw new VendorError('not-signer', `No key here may sign ${what}. Ask who signs for this vendor.`)
  }
  const role = roleOf(delegate.product)
  const version = (snapshot.signed.meta[`${role}.json`]?.version ?? 0) + 1
  const own = new Set(before.ownReleases.map(({ path }) => path))
  const theirs = before.releases.filter((one) => one.product === delegate.product && !own.has(one.path))
  const { entries } = change({ entries: theirs.map(entryOf), block: before.vendorBlock }, before)
  return {
    role,
    version,
    signed: buildTargets({ version, nowMs, targets: entries }),
    keyids: [keyId(delegate.key)],
  }
}

const versionIn = ({ current, targetsVersion }: Verified, role: string): number =>
  role === 'targets' ? targetsVersion : (current.snapshot.signed.meta[`${role}.json`]?.version ?? 0)

/**
 * Signs and uploads the next targets, or those of a product handed over to a key here. `change` may be called again on
 * a newer base, and throws a `VendorError` when its change makes no sense there.
 */
export async function changeTargets(
  deps: VendorDeps,
  vendor: VendorId,
  floor: () => number,
  change: (draft: TargetsDraft, base: Verified) => TargetsDraft,
  product?: string,
): Promise<Changed> {
  for (let attempt = 1; ; attempt++) {
    const before = await baseOf(deps, vendor, floor())
    const { role, version, signed, keyids } = nextFile(deps, before, change, product)
    const bytes = await signFile(deps.keys.signers, signed, new Set(keyids))
    if (bytes.length > LIMITS.targetsBytes) {
      const text = `All releases together would take ${bytes.length} bytes of metadata; devices accept ${LIMITS.targetsBytes}. Withdraw old releases first. Nothing was published.`
      throw new VendorError('too-large', text)
    }
    try {
      const submitted = await submitFiles({ ...deps, vendor }, { [role]: bytes })
      if (submitted.tag === 'waiting') throw waitingError(submitted)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      // A lost answer may hide a success: the next refresh shows which.
      if (error.code === 'unreachable') {
        const now = await refreshOwn(deps, vendor, floor())
        if (now.tag === 'ok' && sameTargets(now.verified, bytes)) return { verified: now.verified, before }
        throw fromApi(error)
      }
      if (error.status !== 409) throw fromApi(error)
      if (attempt >= MAX_ATTEMPTS) {
        const text =
          'Another tab is publishing at the same time. Nothing of yours was published; try again in a moment.'
        throw new VendorError('conflict', text, { cause: error })
      }
      continue
    }
    const after = await refreshOwn(deps, vendor, floor())
    if (after.tag === 'ok' && versionIn(after.verified, role) >= version)
      return { verified: after.verified, before }
    const why = after.tag === 'ok' ? 'the mirror shows older metadata' : failureText(after)
    throw new VendorError(
      'untrusted',
      `The relay took the release, but ${why}. Reload the page to see what is out.`,
    )
  }
}

/** Targets that this version does not understand are kept as they are: they may be another tool's. */
function withForeign(signed: ReturnType<typeof buildTargets>, before: Verified): object {
  const old = before.current.targets.signed.targets
  const foreign = Object.fromEntries(before.skipped.map(({ path }) => [path, old[path]]))
  return { ...signed, targets: { ...foreign, ...signed.targets } }
}

const sameTargets = (verified: Verified, bytes: Uint8Array): boolean =>
  fromUtf8(verified.current.targets.bytes) === fromUtf8(bytes)

/** Versions looked back through for a withdrawn release; it is nearly always in the first. */
const MAX_LOOK_BACK = 20

/** A release that is no longer in the targets, from a version before it was withdrawn; still the vendor's word. */
export async function withdrawnRelease(
  deps: VendorDeps,
  verified: Verified,
  sha256: Sha256Hex,
  withdrawnIn: number,
): Promise<Release | undefined> {
  for (let version = withdrawnIn - 1; version >= Math.max(1, withdrawnIn - MAX_LOOK_BACK); version--) {
    const url = metadataUrl(deps.relayUrl, verified.vendor, `${version}.targets.json`)
    const result = await fetchBounded(deps.fetch, url, { maxBytes: LIMITS.targetsBytes })
    if (result.tag !== 'ok' || result.status !== 200) return undefined
    const old = parseEnvelope('targets', result.bytes)
    if (old.tag !== 'ok' || verifyRole(verified.current.root.signed, old.value).tag !== 'ok') return undefined
    const found = readTargets(old.value.signed).releases.find((release) => release.sha256 === sha256)
    if (found) return found
  }
  return undefined
}

/** A signed RELEASE event; newer than `after`, the one that it replaces. */
export function announce(
  deps: VendorDeps,
  options: Readonly<{
    vendor: VendorId
    release: Pick<Release, 'product' | 'version' | 'sha256'>
    status: 'live' | 'withdrawn'
    targetsVersion: number
    after: number
  }>,
): NostrEvent {
  const createdAtS = Math.max(Math.floor(deps.nowMs() / 1000), options.after + 1)
  return signEvent(releaseEvent({ ...options, createdAtS }), deps.keys.nostr.secret, deps.random(32))
}
