/**
 * What a client trusts, step by step in the order of the TUF specification's client workflow (1.0.34, section 5):
 * root chain, timestamp, snapshot, targets, delegated targets. Bytes and time go in, a verdict comes out; fetching and
 * keeping are the caller's. A refusal leaves the state that was trusted before, and names the attack that it stops.
 */
import type { VendorId } from '../bytes.ts'
import { sha256Hex } from '../bytes.ts'
import { readRoot, verifyNextRoot } from './repository.ts'
import {
  LIMITS,
  ok,
  parseEnvelope,
  refuse,
  shown,
  verifyFresh,
  verifyListed,
  verifyRole,
  type Envelope,
  type MetaFile,
  type RoleName,
  type Verdict,
} from './tuf.ts'

/** Older timestamp, snapshot and targets stay until newer ones replace them: they are the floor against rollback. */
export type Trusted = Readonly<{
  root: Envelope<'root'>
  timestamp?: Envelope<'timestamp'>
  snapshot?: Envelope<'snapshot'>
  targets?: Envelope<'targets'>
}>

/** Section 5.2 with a pin: `bytes` must be the very file that the vendor id names. Expiry does not matter yet. */
export function pin(vendor: VendorId, bytes: Uint8Array): Verdict<Trusted> {
  if (bytes.length > LIMITS.rootBytes) {
    return refuse('endless-data', 'root', `The first root has more than ${LIMITS.rootBytes} bytes.`)
  }
  if (sha256Hex(bytes) !== vendor) {
    return refuse(
      'other-vendor',
      'root',
      'The first root is not the one that was pinned: it belongs to another vendor.',
    )
  }
  const root = readRoot(bytes)
  return root.tag === 'ok' ? ok({ root: root.value }) : root
}

/**
 * Section 5.2: takes up what an earlier run had trusted and kept. The root is trusted as kept; the others only while
 * keys of that root vouch for them, otherwise they are left out and fetched anew. Expiry does not matter yet.
 */
export function restore(
  kept: Readonly<{ root: Uint8Array; timestamp?: Uint8Array; snapshot?: Uint8Array; targets?: Uint8Array }>,
): Verdict<Trusted> {
  const root = readRoot(kept.root)
  if (root.tag === 'refused') return root
  const read = <R extends 'timestamp' | 'snapshot' | 'targets'>(role: R, bytes: Uint8Array | undefined) => {
    const parsed = bytes && parseEnvelope(role, bytes)
    return parsed?.tag === 'ok' ? parsed.value : undefined
  }
  const timestamp = read('timestamp', kept.timestamp)
  const snapshot = read('snapshot', kept.snapshot)
  const targets = read('targets', kept.targets)
  return ok(
    vouched({
      root: root.value,
      ...(timestamp ? { timestamp } : {}),
      ...(snapshot ? { snapshot } : {}),
      ...(targets ? { targets } : {}),
    }),
  )
}

/**
 * What the root's keys no longer vouch for is no floor. Section 5.3.11, the way out of a *fast-forward attack*: where
 * keys were taken away, timestamp and snapshot fall together, since each names versions of the other's making.
 */
function vouched(trusted: Trusted): Trusted {
  const { root, timestamp, snapshot, targets } = trusted
  const holds = (envelope: Envelope<RoleName>) => verifyRole(root.signed, envelope).tag === 'ok'
  const rotated = [timestamp, snapshot].some((envelope) => {
    if (!envelope || holds(envelope)) return false
    const { keyids } = root.signed.roles[envelope.role]
    return envelope.signatures.some(({ keyid }) => !keyids.includes(keyid))
  })
  return {
    root,
    ...(timestamp && !rotated && holds(timestamp) ? { timestamp } : {}),
    ...(snapshot && !rotated && holds(snapshot) ? { snapshot } : {}),
    ...(targets && holds(targets) ? { targets } : {}),
  }
}

/** Section 5.3.4 to 5.3.8, for `N+1.root.json`. An intermediate root may have expired. */
export function nextRoot(trusted: Trusted, bytes: Uint8Array): Verdict<Trusted> {
  const verdict = verifyNextRoot(trusted.root.signed, bytes)
  return verdict.tag === 'ok' ? ok(vouched({ ...trusted, root: verdict.value })) : verdict
}

/** Section 5.3.10, once the root chain has ended: *freeze*, an old root served for ever. */
export function rootsDone(trusted: Trusted, nowMs: number): Verdict<Trusted> {
  const fresh = verifyFresh(trusted.root, nowMs)
  return fresh.tag === 'ok' ? ok(trusted) : fresh
}

/** Section 5.4. The same version again keeps the one that is trusted. */
export function nextTimestamp(trusted: Trusted, bytes: Uint8Array, nowMs: number): Verdict<Trusted> {
  const parsed = parseEnvelope('timestamp', bytes)
  if (parsed.tag === 'refused') return parsed
  // 5.4.2 arbitrary software
  const signed = verifyRole(trusted.root.signed, parsed.value)
  if (signed.tag === 'refused') return signed
  let next = parsed.value
  const old = trusted.timestamp
  if (old) {
    // 5.4.3 rollback; the old one counts though it may have expired
    const have = old.signed.version
    if (next.signed.version < have) {
      return refuse(
        'rollback',
        'timestamp',
        `Timestamp ${next.signed.version} is older than ${have}, already seen.`,
      )
    }
    if (next.signed.version === have) next = old
    const floor = old.signed.meta['snapshot.json'].version
    const listed = next.signed.meta['snapshot.json'].version
    if (listed < floor) {
      return refuse(
        'rollback',
        'timestamp',
        `The timestamp names snapshot ${listed}, older than ${floor}, already seen.`,
      )
    }
  }
  // 5.4.4 freeze
  const fresh = verifyFresh(next, nowMs)
  return fresh.tag === 'ok' ? ok({ ...trusted, timestamp: next }) : fresh
}

/** Section 5.5. */
export function nextSnapshot(trusted: Trusted, bytes: Uint8Array, nowMs: number): Verdict<Trusted> {
  if (!trusted.timestamp) return refuse('mix-and-match', 'snapshot', 'A snapshot came before its timestamp.')
  const listed = trusted.timestamp.signed.meta['snapshot.json']
  // 5.5.2 mix and match
  const inList = verifyListed('snapshot', listed, bytes)
  if (inList.tag === 'refused') return inList
  const parsed = parseEnvelope('snapshot', bytes)
  if (parsed.tag === 'refused') return parsed
  const next = parsed.value
  // 5.5.3 arbitrary software
  const signed = verifyRole(trusted.root.signed, next)
  if (signed.tag === 'refused') return signed
  // 5.5.4 mix and match
  if (next.signed.version !== listed.version) {
    const text = `Snapshot ${next.signed.version} is not the listed ${listed.version}.`
    return refuse('mix-and-match', 'snapshot', text)
  }
  // 5.5.5 rollback, of any targets file
  const rollback = rolledBack(trusted.snapshot, next)
  if (rollback) return refuse('rollback', 'snapshot', rollback)
  // 5.5.6 freeze
  const fresh = verifyFresh(next, nowMs)
  return fresh.tag === 'ok' ? ok({ ...trusted, snapshot: next }) : fresh
}

function rolledBack(old: Envelope<'snapshot'> | undefined, next: Envelope<'snapshot'>): string | undefined {
  for (const [file, meta] of Object.entries(old?.signed.meta ?? {})) {
    const now = listedIn(next, file)
    if (!now) return `The snapshot no longer lists ${shown(file)}.`
    if (now.version < meta.version)
      return `The snapshot lists ${shown(file)} ${now.version}, older than ${meta.version}, already seen.`
  }
  return undefined
}

/** Section 5.6, top-level targets. */
export function nextTargets(trusted: Trusted, bytes: Uint8Array, nowMs: number): Verdict<Trusted> {
  const listed = trusted.snapshot && listedIn(trusted.snapshot, 'targets.json')
  if (!listed) return refuse('mix-and-match', 'targets', 'The snapshot lists no targets.json.')
  const { root } = trusted
  const next = readListed('targets', listed, bytes, nowMs, (envelope) => verifyRole(root.signed, envelope))
  return next.tag === 'ok' ? ok({ ...trusted, targets: next.value }) : next
}

/** Section 5.6.2 to 5.6.5, for top-level and delegated targets alike; `signedBy` is 5.6.3. */
export function readListed(
  name: string,
  listed: MetaFile,
  bytes: Uint8Array,
  nowMs: number,
  signedBy: (envelope: Envelope<'targets'>) => Verdict<undefined>,
): Verdict<Envelope<'targets'>> {
  // 5.6.2 mix and match
  const inList = verifyListed('targets', listed, bytes, name)
  if (inList.tag === 'refused') return inList
  const parsed = parseEnvelope('targets', bytes)
  if (parsed.tag === 'refused') return parsed
  const next = parsed.value
  // 5.6.3 arbitrary software
  const signed = signedBy(next)
  if (signed.tag === 'refused') return signed
  // 5.6.4 mix and match
  if (next.signed.version !== listed.version) {
    const text = `The ${shown(name)} metadata has version ${next.signed.version}, not the listed ${listed.version}.`
    return refuse('mix-and-match', 'targets', text)
  }
  // 5.6.5 freeze
  const fresh = verifyFresh(next, nowMs, name)
  return fresh.tag === 'ok' ? ok(next) : fresh
}

export const listedIn = (snapshot: Envelope<'snapshot'>, file: string): MetaFile | undefined =>
  Object.hasOwn(snapshot.signed.meta, file) ? snapshot.signed.meta[file] : undefined

/** Which file to fetch next, and how long it may be. `done`: everything is as the timestamp says. */
export type Want =
  | Readonly<{ tag: 'fetch'; role: 'snapshot' | 'targets'; version: number; maxBytes: number }>
  | Readonly<{ tag: 'done' }>

/**
 * After `nextTimestamp`: what is still missing. Kept files that are the listed ones are not fetched again
 * (their expiry is checked by `finish`).
 */
export function want(trusted: Trusted): Want {
  const { timestamp, snapshot, targets } = trusted
  if (!timestamp) throw new RangeError('want() is asked after nextTimestamp()')
  const isListed = (
    envelope: Envelope<'snapshot' | 'targets'> | undefined,
    listed: MetaFile | undefined,
  ): boolean =>
    listed !== undefined &&
    envelope?.signed.version === listed.version &&
    verifyListed(envelope.role, listed, envelope.bytes).tag === 'ok'
  const listedSnapshot = timestamp.signed.meta['snapshot.json']
  if (!snapshot || !isListed(snapshot, listedSnapshot)) {
    const maxBytes = atMost(listedSnapshot, LIMITS.snapshotBytes)
    return { tag: 'fetch', role: 'snapshot', version: listedSnapshot.version, maxBytes }
  }
  const listed = listedIn(snapshot, 'targets.json')
  if (isListed(targets, listed)) return { tag: 'done' }
  const maxBytes = atMost(listed, LIMITS.targetsBytes)
  return { tag: 'fetch', role: 'targets', version: listed?.version ?? 1, maxBytes }
}

/** *Endless data*: no more is read than the list says, nor than such a file may have. */
export const atMost = (listed: MetaFile | undefined, limit: number): number =>
  Math.min(listed?.length ?? limit, limit)

export type Current = Required<Trusted>

/**
 * The last word on the top level: all four in date and consistent, and not older than `floor`, the newest targets
 * version that the vendor is known to have announced. `listsNowMs`: another time for timestamp and snapshot, which
 * nobody can renew on a stick.
 */
export function finish(trusted: Trusted, nowMs: number, floor = 0, listsNowMs = nowMs): Verdict<Current> {
  const { root, timestamp, snapshot, targets } = trusted
  if (!timestamp || !snapshot || !targets || want(trusted).tag !== 'done') {
    return refuse('mix-and-match', 'targets', 'The metadata is not complete.')
  }
  for (const envelope of [root, timestamp, snapshot, targets]) {
    const isList = envelope.role === 'timestamp' || envelope.role === 'snapshot'
    const fresh = verifyFresh(envelope, isList ? listsNowMs : nowMs)
    if (fresh.tag === 'refused') return fresh
  }
  if (targets.signed.version < floor) {
    const text = `The mirror shows targets ${targets.signed.version}; the vendor has announced ${floor}. It is behind or holding back.`
    return refuse('freeze', 'targets', text)
  }
  return ok({ root, timestamp, snapshot, targets })
}
