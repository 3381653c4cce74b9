/** For tests: a TUF repository in memory, with keys at hand to sign honest and hostile files alike. */
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha256Hex, toHex, utf8, type Bytes, type PartyKey, type VendorId } from '../bytes.ts'
import { msat } from '../money/msat.ts'
import {
  assemble,
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  ed25519Key,
  keyId,
  signedBytes,
  vendorId,
  type PublicKeyObject,
  type TargetEntry,
} from './repository.ts'
import type { VendorBlock } from './target.ts'
import type { RoleName } from './tuf.ts'

export type TestKey = Readonly<{ secret: Bytes; public: PublicKeyObject }>
export function testKey(name: string): TestKey {
  const secret = new Uint8Array(32)
  secret.set(utf8(name).slice(0, 32))
  return { secret, public: ed25519Key(ed25519.getPublicKey(secret)) }
}

export const signWith = (signed: object, ...keys: TestKey[]): Bytes =>
  assemble(
    signed,
    keys.map((key) => ({
      keyid: keyId(key.public),
      sig: toHex(ed25519.sign(signedBytes(signed), key.secret)),
    })),
  )

export const testKeys: Readonly<Record<RoleName, TestKey>> = {
  root: testKey('root'),
  targets: testKey('targets'),
  snapshot: testKey('snapshot'),
  timestamp: testKey('timestamp'),
}
export const testVendor: VendorBlock = {
  name: 'Pumps',
  nostr: 'aa'.repeat(32) as PartyKey,
  relays: [],
  trackers: [],
  distributors: [],
}

export function testEntry(version: string, more: Partial<TargetEntry['custom']> = {}): TargetEntry {
  const custom = {
    product: 'pump',
    version,
    fileName: 'pump ü.bin',
    hardware: ['rpi4'],
    pieceLength: 262_144,
    piecesRoot: sha256Hex(utf8(`root ${version}`)),
    infoHash: 'ab'.repeat(20) as TargetEntry['custom']['infoHash'],
    magnet: 'magnet:?xt=urn:btih:x',
    priceCapMsat: msat(1000),
    releasedAt: 1_700_000_000,
    notes: 'quotes " and \\ and ünïcode',
    ...more,
  }
  const path = `${custom.product}/${custom.version}/${custom.fileName}`
  return { path, bytes: 1000, sha256: sha256Hex(utf8(version)), custom }
}

export type TestFiles = Record<string, Bytes>
/** A repository whose files are named as on a mirror; each call of `publish` makes the next versions. */
export function testRepository(nowMs: number, keys = testKeys) {
  const files: TestFiles = {}
  const rootOf = (version: number, roleKeys: Readonly<Record<RoleName, readonly PublicKeyObject[]>>) =>
    buildRoot({ version, nowMs, keys: roleKeys })
  const publics = {
    root: [keys.root.public],
    targets: [keys.targets.public],
    snapshot: [keys.snapshot.public],
    timestamp: [keys.timestamp.public],
  }
  const first = signWith(rootOf(1, publics), keys.root)
  files['1.root.json'] = first
  let version = 0
  function publish(entries: readonly TargetEntry[], at = nowMs): void {
    version++
    const targets = signWith(
      buildTargets({ version, nowMs: at, targets: entries, vendor: testVendor }),
      keys.targets,
    )
    files[`${version}.targets.json`] = targets
    const snapshot = signWith(
      buildSnapshot({ version, nowMs: at, targetsVersion: version, targets }),
      keys.snapshot,
    )
    files[`${version}.snapshot.json`] = snapshot
    files['timestamp.json'] = signWith(
      buildTimestamp({ version, nowMs: at, snapshotVersion: version, snapshot }),
      keys.timestamp,
    )
  }
  return { files, publish, vendor: vendorId(first) as VendorId, rootOf, publics }
}
