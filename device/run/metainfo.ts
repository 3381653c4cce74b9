/** The list of a release's pieces, and where the artifact may lie as a plain file. */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Release } from '../../web/core/release/target.ts'
import { readMetainfo } from '../../web/core/swarm/metainfo.ts'
import { artifactUrl, fetchTorrent, type Verified } from '../../web/edge/release/mirror.ts'
import type { Metainfo } from '../../web/edge/swarm/api.ts'
import type { DeviceConfig } from '../config/config.ts'
import { downloadDir } from '../storage/downloads.ts'
import { writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import type { Ports } from './ports.ts'
import type { RefusedBook } from './refused.ts'

/** The message is for the device's owner; the purchase is tried again. */
export class PurchaseError extends Error {
  override readonly name = 'PurchaseError'
}

export type MetainfoDeps = Readonly<{
  config: DeviceConfig
  ports: Pick<Ports, 'fetch'>
  verified: () => Verified | undefined
  /** What was refused, by the attack's name. */
  refused: Pick<RefusedBook, 'note'>
}>

/** Static hosts of the owner's choice and of the vendor's. */
const staticMirrors = (config: DeviceConfig, verified: Verified | undefined): readonly string[] => [
  ...new Set([...config.mirrors, ...(verified?.vendorBlock.mirrors ?? [])]),
]

/** Where the artifact may lie as a plain file. */
export function mirrorsOf(
  config: DeviceConfig,
  release: Release,
  verified: Verified | undefined,
): readonly string[] {
  const { mirrorUrl } = config.trade
  const own =
    mirrorUrl === undefined ? [] : [mirrorUrl.replaceAll('{file}', encodeURIComponent(release.fileName))]
  const hosts = staticMirrors(config, verified)
  return [...own, ...hosts.map((host) => artifactUrl(host, config.vendor, release.sha256))]
}

/** From disk, or from a mirror and then kept: an open payment must be settled without any mirror. @throws PurchaseError, StorageError */
export async function metainfoOf(deps: MetainfoDeps, release: Release): Promise<Metainfo> {
  const directory = downloadDir(deps.config.dataDir, release)
  const path = join(directory, 'metainfo.torrent')
  try {
    return readMetainfo(await readFile(path), release)
  } catch (error) {
    const code = errnoOf(error)
    if (code !== undefined && code !== 'ENOENT') throw storageError(error, path)
  }
  const meta = await fetchMetainfo(deps, release)
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writeDurably(path, meta.torrent)
  } catch (error) {
    throw storageError(error, path)
  }
  return meta
}

/** Each mirror in turn: one that shows another list is passed over like one that shows none. @throws PurchaseError */
async function fetchMetainfo(
  { config, ports, refused, verified }: MetainfoDeps,
  release: Release,
): Promise<Metainfo> {
  const troubles: string[] = []
  for (const mirror of [...config.relays, ...staticMirrors(config, verified())]) {
    const fetched = await fetchTorrent([mirror], config.vendor, release.infoHash, ports.fetch)
    if (fetched.tag === 'failed') {
      troubles.push(fetched.text)
      continue
    }
    try {
      return readMetainfo(fetched.bytes, release)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      refused.note('wrong-pieces', mirror, `The list of pieces is not the release’s: ${why}.`)
      troubles.push(`${mirror}: its list of pieces is not the release’s`)
    }
  }
  throw new PurchaseError(
    `The list of pieces cannot be fetched (${troubles.join('; ').slice(0, 400)}). It is tried again.`,
  )
}
