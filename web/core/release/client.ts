/**
 * What a client trusts, step by step in the order of the TUF specification's client workflow (1.0, section 5):
 * root chain, timestamp, snapshot, targets. Bytes and time go in, a verdict comes out; fetching and keeping
 * are the caller's. A refusal leaves the state that was trusted before.
 */
import type { VendorId } from '../bytes.ts'
import { sha256Hex } from '../bytes.ts'
import { readRoot, verifyNextRoot } from './repository.ts'
import {
  LIMITS,
  ok,
  parseEnvelope,
  refuse,
  verifyFresh,
  verifyListed,
  verifyRole,
  type Envelope,
  type RootSigned,
  type Verdict,
} from './tuf.ts'

/** Older timestamp, snapshot and targets stay until newer ones replace them: they are the floor against rollback. */
export type Trusted = Readonly<{
  vendor: VendorId
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
  return root.tag === 'ok' ? ok({ vendor, root: root.value }) : root
}

/**
 * Takes up what an earlier run had trusted and kept. The root is trusted as kept; the others only while keys
 * of that root vouch for them, otherwise they are left out and fetched anew. Expiry does not matter yet.
 */
export function restore(
  vendor: VendorId,
  kept: Readonly<{ root: Uint8Array; timestamp?: Uint8Array; snapshot?: Uint8Array; targets?: Uint8Array }>,
): Verdict<Trusted> {
  const root = readRoot(kept.root)
  if (root.tag === 'refused') return root
  let trusted: Trusted = { vendor, root: root.value }
  const vouched = <R extends 'timestamp' | 'snapshot' | 'targets'>(
    role: R,
    bytes: Uint8Array | undefined,
  ) => {
    const parsed = bytes && parseEnvelope(role, bytes)
    if (parsed?.tag !== 'ok' || verifyRole(trusted.root.signed, parsed.value).tag !== 'ok') return undefined
    return parsed.value
  }
  const timestamp = vouched('timestamp', kept.timestamp)
  if (!timestamp) return ok(trusted)
  trusted = { ...trusted, timestamp }
  const snapshot = vouched('snapshot', kept.snapshot)
  if (!snapshot) return ok(trusted)
  trusted = { ...trusted, snapshot }
  const targets = vouched('targets', kept.targets)
  return ok(targets ? { ...trusted, targets } : trusted)
}

/** Section 5.3.4 to 5.3.8, for `N+1.root.json`; 5.3.11 too: rotated keys end a fast-forward attack. */
export function nextRoot(trusted: Trusted, bytes: Uint8Array): Verdict<Trusted> {
  const before = trusted.root.signed
  const verdict = verifyNextRoot(before, bytes)
  if (verdict.tag === 'refused') return verdict
  const after = verdict.value.signed
  const { vendor } = trusted
  if (rotated(before, after, 'timestamp') || rotated(before, after, 'snapshot')) {
    return ok({ vendor, root: verdict.value })
  }
  return ok({ ...trusted, root: verdict.value })
}

function rotated(before: RootSigned, after: RootSigned, role: 'timestamp' | 'snapshot'): boolean {
  const ids = (root: RootSigned) => [...root.roles[role].keyids].sort().join()
  return ids(before) !== ids(after)
}

/** Section 5.3.10, once the root chain has ended. */
export function rootsDone(trusted: Trusted, nowMs: number): Verdict<Trusted> {
  const fresh = verifyFresh(trusted.root, nowMs)
  return fresh.tag === 'ok' ? ok(trusted) : fresh
}

/** Section 5.4. The same version again keeps the one that is trusted. */
export function nextTimestamp(trusted: Trusted, bytes: Uint8Array, nowMs: number): Verdict<Trusted> {
  const parsed = parseEnvelope('timestamp', bytes)
  if (parsed.tag === 'refused') return parsed
  const signed = verifyRole(trusted.root.signed, parsed.value)
  if (signed.tag === 'refused') return signed
  let next = parsed.value
  // A kept timestamp that a newer root no longer vouches for is no floor (its keys were taken away).
  const old =
    trusted.timestamp && verifyRole(trusted.root.signed, trusted.timestamp).tag === 'ok'
      ? trusted.timestamp
      : undefined
  if (old) {
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
  const fresh = verifyFresh(next, nowMs)
  return fresh.tag === 'ok' ? ok({ ...trusted, timestamp: next }) : fresh
}

/** Section 5.5. */
export function nextSnapshot(trusted: Trusted, bytes: Uint8Array, nowMs: number): Verdict<Trusted> {
  if (!trusted.timestamp) return refuse('mix-and-match', 'snapshot', 'A snapshot came before its timestamp.')
  const listed = trusted.timestamp.signed.meta['snapshot.json']
  const inList = verifyListed('snapshot', listed, bytes)
  if (inList.tag === 'refused') return inList
  const parsed = parseEnvelope('snapshot', bytes)
  if (parsed.tag === 'refused') return parsed
  const next = parsed.value
  const signed = verifyRole(trusted.root.signed, next)
  if (signed.tag === 'refused') return signed
  if (next.signed.version !== listed.version) {
    const text = `Snapshot ${next.signed.version} is not the listed ${listed.version}.`
    return refuse('mix-and-match', 'snapshot', text)
  }
  const old = trusted.snapshot
  if (old && verifyRole(trusted.root.signed, old).tag === 'ok') {
    for (const [file, meta] of Object.entries(old.signed.meta)) {
      const now = Object.hasOwn(next.signed.meta, file) ? next.signed.meta[file] : undefined
      if (!now) return refuse('rollback', 'snapshot', `The snapshot no longer lists ${file.slice(0, 80)}.`)
      if (now.version < meta.version) {
        const text = `The snapshot lists ${file.slice(0, 80)} ${now.version}, older than ${meta.version}, already seen.`
        return refuse('rollback', 'snapshot', text)
      }
    }
  }
  const fresh = verifyFresh(next, nowMs)
  return fresh.tag === 'ok' ? ok({ ...trusted, snapshot: next }) : fresh
}

/** Section 5.6, top-level targets. */
export function nextTargets(trusted: Trusted, bytes: Uint8Array, nowMs: number): Verdict<Trusted> {
  const listed = trusted.snapshot && listedTargets(trusted.snapshot)
  if (!listed) return refuse('mix-and-match', 'targets', 'The snapshot lists no targets.json.')
  const inList = verifyListed('targets', listed, bytes)
  if (inList.tag === 'refused') return inList
  const parsed = parseEnvelope('targets', bytes)
  if (parsed.tag === 'refused') return parsed
  const next = parsed.value
  const signed = verifyRole(trusted.root.signed, next)
  if (signed.tag === 'refused') return signed
  if (next.signed.version !== listed.version) {
    return refuse(
      'mix-and-match',
      'targets',
      `Targets ${next.signed.version} are not the listed ${listed.version}.`,
    )
  }
  const fresh = verifyFresh(next, nowMs)
  return fresh.tag === 'ok' ? ok({ ...trusted, targets: next }) : fresh
}

const listedTargets = (snapshot: Envelope<'snapshot'>) =>
  Object.hasOwn(snapshot.signed.meta, 'targets.json') ? snapshot.signed.meta['targets.json'] : undefined

/** Which file to fetch next, and how long it may be. `done`: everything is as the timestamp says and in date. */
export type Want =
  | Readonly<{ tag: 'fetch'; role: 'snapshot' | 'targets'; version: number; maxBytes: number }>
  | Readonly<{ tag: 'done' }>

/**
 * After `nextTimestamp`: what is still missing. Kept files that are the listed ones are not fetched again
 * (their expiry is checked by `finish`).
 */
export function want(trusted: Trusted): Want {
  const { timestamp, snapshot, targets, root } = trusted
  if (!timestamp) throw new RangeError('want() is asked after nextTimestamp()')
  const listedSnapshot = timestamp.signed.meta['snapshot.json']
  const snapshotHolds =
    snapshot?.signed.version === listedSnapshot.version &&
    verifyListed('snapshot', listedSnapshot, snapshot.bytes).tag === 'ok' &&
    verifyRole(root.signed, snapshot).tag === 'ok'
  if (!snapshotHolds) {
    const maxBytes = Math.min(listedSnapshot.length ?? LIMITS.snapshotBytes, LIMITS.snapshotBytes)
    return { tag: 'fetch', role: 'snapshot', version: listedSnapshot.version, maxBytes }
  }
  const listed = listedTargets(snapshot)
  const targetsHold =
    listed &&
    targets?.signed.version === listed.version &&
    verifyListed('targets', listed, targets.bytes).tag === 'ok' &&
    verifyRole(root.signed, targets).tag === 'ok'
  if (targetsHold) return { tag: 'done' }
  const maxBytes = Math.min(listed?.length ?? LIMITS.targetsBytes, LIMITS.targetsBytes)
  return { tag: 'fetch', role: 'targets', version: listed?.version ?? 1, maxBytes }
}

export type Current = Trusted & Required<Pick<Trusted, 'timestamp' | 'snapshot' | 'targets'>>

/**
 * The last word: all four in date and consistent, and not older than `floor`, the newest targets version that
 * the vendor is known to have announced.
 */
export function finish(trusted: Trusted, nowMs: number, floor = 0): Verdict<Current> {
  const { timestamp, snapshot, targets } = trusted
  if (!timestamp || !snapshot || !targets || want(trusted).tag !== 'done') {
    return refuse('mix-and-match', 'targets', 'The metadata is not complete.')
  }
  for (const envelope of [trusted.root, timestamp, snapshot, targets]) {
    const fresh = verifyFresh(envelope, nowMs)
    if (fresh.tag === 'refused') return fresh
  }
  if (targets.signed.version < floor) {
    const text = `The mirror shows targets ${targets.signed.version}; the vendor has announced ${floor}. It is behind or holding back.`
    return refuse('freeze', 'targets', text)
  }
  return ok({ ...trusted, timestamp, snapshot, targets })
}
