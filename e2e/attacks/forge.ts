/** The attacker's workshop: metadata signed with keys of the attacker's own, or with those that were stolen. */
import fs from 'node:fs'
import path from 'node:path'
import { ed25519 } from '@noble/curves/ed25519.js'
import * as v from 'valibot'
import { fromHex, sha256Hex, utf8, type Bytes } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import {
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  ed25519Key,
  type TargetEntry,
} from '../../web/core/release/repository.ts'
import type { VendorBlock } from '../../web/core/release/target.ts'
import { signWith, testKey, type TestKey } from '../../web/core/release/test-repository.ts'
import type { VendorSecrets } from '../../web/edge/vendor/keys-file.ts'

export type Keys = Readonly<{ root: TestKey; targets: TestKey; snapshot: TestKey; timestamp: TestKey }>

const keyOf = (secret: Bytes): TestKey => ({ secret, public: ed25519Key(ed25519.getPublicKey(secret)) })

/** Keys that nobody was given. */
export const ownKeys: Keys = {
  root: testKey('mallory root'),
  targets: testKey('mallory targets'),
  snapshot: testKey('mallory snapshot'),
  timestamp: testKey('mallory timestamp'),
}

const relayKeysSchema = v.object({ tufSnapshot: v.string(), tufTimestamp: v.string() })

/** All keys of a vendor and its relay; each attack says which of them it stole. */
export function realKeys(secrets: VendorSecrets, relayDir: string): Keys {
  const text = fs.readFileSync(path.join(relayDir, 'keys.json'), 'utf8')
  const relay = v.parse(relayKeysSchema, JSON.parse(text))
  return {
    root: keyOf(secrets.root),
    targets: keyOf(secrets.targets),
    snapshot: keyOf(fromHex(relay.tufSnapshot)),
    timestamp: keyOf(fromHex(relay.tufTimestamp)),
  }
}

/** A release that the vendor never made. */
export function evilEntry(
  like: TargetEntry,
  version = '6.6.6',
  more: Partial<TargetEntry['custom']> = {},
): TargetEntry {
  const custom = { ...like.custom, version, fileName: 'evil.bin', priceCapMsat: msat(1_000_000), ...more }
  const file = `${custom.product}/${custom.version}/${custom.fileName}`
  return { path: file, bytes: like.bytes, sha256: sha256Hex(utf8('evil')), custom }
}

export type Versions = Readonly<{ targets: number; snapshot: number; timestamp: number }>

export type Forged = Readonly<{
  targets: Bytes
  snapshot: Bytes
  timestamp: Bytes
  files: Record<string, Bytes>
}>

/** A consistent set of targets, snapshot and timestamp, each signed with the key that `keys` has for it. */
export function forge(
  options: Readonly<{
    keys: Pick<Keys, 'targets' | 'snapshot' | 'timestamp'>
    versions: Versions
    entries: readonly TargetEntry[]
    vendor: VendorBlock
    nowMs: number
    /** A second key that signs the targets too. */
    also?: Readonly<{ targets?: TestKey }>
    /** Targets as they are instead of forged ones. */
    targets?: Bytes
    /** When they are said to have been made; they expire from there. */
    targetsMs?: number
    timestampMs?: number
  }>,
): Forged {
  const { keys, versions, entries, vendor, nowMs } = options
  const targets =
    options.targets ??
    signWith(
      buildTargets({
        version: versions.targets,
        nowMs: options.targetsMs ?? nowMs,
        targets: entries,
        vendor,
      }),
      keys.targets,
      ...(options.also?.targets === undefined ? [] : [options.also.targets]),
    )
  const snapshot = signWith(
    buildSnapshot({ version: versions.snapshot, nowMs, targetsVersion: versions.targets, targets }),
    keys.snapshot,
  )
  const timestamp = signWith(
    buildTimestamp({
      version: versions.timestamp,
      nowMs: options.timestampMs ?? nowMs,
      snapshotVersion: versions.snapshot,
      snapshot,
    }),
    keys.timestamp,
  )
  const files = {
    '/timestamp.json': timestamp,
    [`/${versions.snapshot}.snapshot.json`]: snapshot,
    [`/${versions.targets}.targets.json`]: targets,
  }
  return { targets, snapshot, timestamp, files }
}
