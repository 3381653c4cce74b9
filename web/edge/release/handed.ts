/**
 * Signed metadata as it passes from one process to another that trusts it no more than any mirror: the files that a
 * client trusts, under their names in the repository, with the chain of roots that leads to them.
 */
import { fromUtf8, utf8, type Bytes, type VendorId } from '../../core/bytes.ts'
import { segmentOf } from '../../core/release/delegations.ts'
import { readRoot } from '../../core/release/repository.ts'
import { parseEnvelope, type RootSigned } from '../../core/release/tuf.ts'
import { metadataIn, refresh, type RefreshResult, type Verified } from './mirror.ts'
import type { TextStore } from './store.ts'
import { loadKept } from './updater.ts'

/** Texts by their names in the repository. */
export type HandedFiles = Readonly<Record<string, string>>

/** No such host exists (RFC 6761). */
const HANDED_URL = 'http://handed.invalid'

const rootName = (version: number): string => `roots/${version}.root.json`

/** The root that a store has come to, as it was verified then. */
export async function keptRoot(store: TextStore): Promise<RootSigned | undefined> {
  const kept = await store.get('root.json')
  const root = kept === undefined ? undefined : readRoot(utf8(kept))
  return root?.tag === 'ok' ? root.value.signed : undefined
}

/**
 * What another process needs to come to the same verdict: of `verified`, else as `store` has it. `fetchRoot` is asked for
 * roots that were not kept; a file that cannot be had is left out, and the other will say so.
 */
export async function filesToHand(
  verified: Pick<Verified, 'current'> | undefined,
  store: TextStore,
  fetchRoot: (version: number) => Promise<Bytes | undefined>,
): Promise<HandedFiles> {
  const { root, timestamp, snapshot, targets } =
    verified?.current ?? (await loadKept(metadataIn(store))) ?? {}
  if (!root || !timestamp || !snapshot || !targets) return {}
  const files: Record<string, string> = { 'timestamp.json': fromUtf8(timestamp.bytes) }
  const prefix = (version: number): string => (root.signed.consistent_snapshot === true ? `${version}.` : '')
  files[`${prefix(snapshot.signed.version)}snapshot.json`] = fromUtf8(snapshot.bytes)
  files[`${prefix(targets.signed.version)}targets.json`] = fromUtf8(targets.bytes)
  for (let version = 1; version < root.signed.version; version++) {
    let text = await store.get(rootName(version))
    if (text === undefined) {
      const fetched = await fetchRoot(version)
      if (fetched === undefined) continue
      text = fromUtf8(fetched)
      await store.put(rootName(version), text)
    }
    files[`${version}.root.json`] = text
  }
  files[`${root.signed.version}.root.json`] = fromUtf8(root.bytes)
  const kept = metadataIn(store)
  for (const [file, { version }] of Object.entries(snapshot.signed.meta)) {
    const role = file.replace(/\.json$/, '')
    if (role === 'targets') continue
    const bytes = await kept.get(role)
    const parsed = bytes && parseEnvelope('targets', bytes)
    const segment = segmentOf(role)
    // One that was fetched meanwhile belongs to another snapshot.
    if (bytes && segment !== undefined && parsed?.tag === 'ok' && parsed.value.signed.version === version)
      files[`${prefix(version)}${segment}.json`] = fromUtf8(bytes)
  }
  return files
}

/**
 * The whole client workflow with `files` as the only mirror. As from a stick, the expiry of timestamp and snapshot is
 * waived: what waits to be installed may have been days on its way, and whoever hands it over could wait as well.
 */
export const refreshHanded = (
  files: HandedFiles,
  options: Readonly<{ vendor: VendorId; store: TextStore; nowMs: number }>,
): Promise<RefreshResult> =>
  refresh({
    ...options,
    mirrors: [HANDED_URL],
    offline: true,
    fetch: (input) => {
      const { pathname } = new URL(input instanceof Request ? input.url : input)
      const name = pathname.slice(pathname.lastIndexOf('/') + 1)
      const text = Object.hasOwn(files, name) ? files[name] : undefined
      return Promise.resolve(new Response(text ?? null, { status: text === undefined ? 404 : 200 }))
    },
  })

/** The same store, which keeps every root that was trusted beside the newest. */
export const keepingRoots = (store: TextStore): TextStore => ({
  ...store,
  async put(name, text) {
    const root = name === 'root.json' ? readRoot(utf8(text)) : undefined
    if (root?.tag === 'ok') await store.put(rootName(root.value.signed.version), text)
    await store.put(name, text)
  },
})
