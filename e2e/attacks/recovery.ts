/** The way out after keys were stolen: the vendor's root names others, and what the old keys signed counts no more. */
import fs from 'node:fs'
import path from 'node:path'
import { signWith, testKey, type TestKey } from '../../web/core/release/test-repository.ts'
import { buildRoot, type PublicKeyObject } from '../../web/core/release/repository.ts'
import { forge, type Keys } from './forge.ts'
import type { Stage } from './stage.ts'

export interface Vendor {
  readonly keys: Keys
  /** Those that must sign beside `keys`, where two are needed. */
  readonly second: Readonly<{ root?: TestKey; targets?: TestKey }>
  readonly rootVersion: number
}

/** The repository as this stage's relay has it at first. */
export const firstVendor = (stage: Stage): Vendor => ({ keys: stage.keys, second: {}, rootVersion: 1 })

const metadata = (stage: Stage, name: string): string =>
  fs.readFileSync(path.join(stage.device.dataDir, 'metadata', name), 'utf8')

let serial = 0

/**
 * A root with fresh snapshot and timestamp keys, and with a second root or targets key if asked; the targets are the
 * relay's present ones, signed again where the keys changed. Resolves when the device has taken all of it.
 */
export async function recover(
  stage: Stage,
  before: Vendor,
  twoKeys: readonly ('root' | 'targets')[] = [],
): Promise<Vendor> {
  serial++
  const second = {
    ...before.second,
    ...Object.fromEntries(twoKeys.map((role) => [role, testKey(`second ${role} ${serial}`)])),
  }
  const keys: Keys = {
    ...before.keys,
    snapshot: testKey(`snapshot ${serial}`),
    timestamp: testKey(`timestamp ${serial}`),
  }
  const rootVersion = before.rootVersion + 1
  const pair = (role: 'root' | 'targets'): PublicKeyObject[] => [
    keys[role].public,
    ...(second[role] === undefined ? [] : [second[role].public]),
  ]
  const root = signWith(
    buildRoot({
      version: rootVersion,
      nowMs: Date.now(),
      keys: {
        root: pair('root'),
        targets: pair('targets'),
        snapshot: [keys.snapshot.public],
        timestamp: [keys.timestamp.public],
      },
      thresholds: { root: pair('root').length, targets: pair('targets').length },
    }),
    ...new Set([
      before.keys.root,
      ...(before.second.root === undefined ? [] : [before.second.root]),
      ...(second.root === undefined ? [] : [second.root]),
    ]),
  )
  const vendor: Vendor = { keys, second, rootVersion }
  await republish(stage, vendor, { [`/${rootVersion}.root.json`]: root })
  return vendor
}

/** The relay's present releases under the vendor's present keys, one version on. */
export async function republish(
  stage: Stage,
  vendor: Vendor,
  more: Readonly<Record<string, Uint8Array>> = {},
): Promise<void> {
  const { front } = stage
  front.standIn({})
  const { versions, entries, vendor: block } = await stage.state()
  const kept = (JSON.parse(metadata(stage, 'targets.json')) as { signed: { version: number } }).signed.version
  serial++
  const { files, timestamp } = forge({
    keys: vendor.keys,
    also: vendor.second,
    versions: { targets: Math.max(kept, versions.targets) + 1, snapshot: serial, timestamp: serial },
    entries,
    vendor: block,
    nowMs: Date.now(),
  })
  roots.set(stage, { ...roots.get(stage), ...more })
  front.standIn({ ...files, ...roots.get(stage) })
  stage.look()
  await stage.seenByDevice('timestamp.json', timestamp)
}

/** Roots stay where they were published: a device takes them one by one. */
const roots = new WeakMap<Stage, Readonly<Record<string, Uint8Array>>>()
