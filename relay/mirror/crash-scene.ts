/** For tests: a vendor whose targets key is replaced by one that alone signs, and clients that pinned the first root. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bytes, VendorId } from '../../web/core/bytes.ts'
import { buildRoot, buildTargets, vendorId } from '../../web/core/release/repository.ts'
import { signWith, testEntry, testKey, testKeys, testVendor } from '../../web/core/release/test-repository.ts'
import { failureText, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { writeAtomically } from '../files.ts'
import { tufSigner } from '../keys.ts'
import { createRepositoryFiles, openRepository, type VendorRepository } from './repository.ts'

/** The same in every process of a test. */
const NOW = Date.UTC(2026, 10, 20)
const signers = {
  snapshot: tufSigner(testKey('relay s').secret),
  timestamp: tufSigner(testKey('relay t').secret),
}
const fresh = testKey('fresh targets')

const root = (version: number, targets: typeof fresh): Bytes =>
  signWith(
    buildRoot({
      version,
      nowMs: NOW,
      keys: {
        root: [testKeys.root.public],
        targets: [targets.public],
        snapshot: [signers.snapshot.public],
        timestamp: [signers.timestamp.public],
      },
    }),
    testKeys.root,
  )
const targets = (version: number, by: typeof fresh): Bytes =>
  signWith(buildTargets({ version, nowMs: NOW, targets: [testEntry('1.0')], vendor: testVendor }), by)

const first = root(1, testKeys.targets)
const id: VendorId = vendorId(first)
export const change = { root: root(2, fresh), targets: targets(2, fresh) }

export async function makeRepository(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true })
  await createRepositoryFiles(join(dir), signers, first, targets(1, testKeys.targets), NOW)
}

/** `atWrite` is asked before each write, with its number from 1 on. `laterMs`: how long it has run. */
export function openScene(
  dir: string,
  atWrite?: (n: number) => unknown,
  laterMs: () => number = () => 0,
): Promise<VendorRepository> {
  let writes = 0
  const write: typeof writeAtomically = async (...args) => {
    await atWrite?.(++writes)
    return writeAtomically(...args)
  }
  return openRepository({ dir, id, signers, nowMs: () => NOW + laterMs(), write })
}

/** A device that looks again and again; gives the targets version, or throws what it refused. */
export function pinned() {
  const store = memoryStore()
  return async (repository: VendorRepository): Promise<number> => {
    const seen = await refresh({
      mirrors: ['http://relay.test'],
      vendor: id,
      store,
      nowMs: NOW,
      fetch: async (url) => {
        const bytes = await repository.read(
          new URL(url instanceof Request ? url.url : url).pathname.split('/').at(-1) ?? '',
        )
        return new Response(bytes ? new Uint8Array(bytes) : null, { status: bytes ? 200 : 404 })
      },
    })
    if (seen.tag !== 'ok') throw new Error(failureText(seen))
    return seen.verified.targetsVersion
  }
}
