/** What is carried in a bench: a file of random bytes, its torrent, and the release that a vendor would sign for it. */
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { openSource } from '../../device/storage/complete-store.ts'
import { sha256Hex, type VendorId } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import { hashArtifact } from '../../web/edge/swarm/hash-artifact.ts'
import { writeRandomFile } from './files.ts'

export type Material = Readonly<{
  dir: string
  file: string
  torrentFile: string
  release: Release
  vendor: VendorId
}>

/** `satpatch publish` without `--price-cap`. */
const DEFAULT_PRICE_CAP = 10_000

/** Trackers are named by each peer, so that every run has its own. */
export async function makeMaterial(dir: string, bytes: number, seed: string): Promise<Material> {
  const fileName = `artifact-${bytes}`
  const file = path.join(dir, fileName)
  await writeRandomFile(file, bytes, seed)
  const source = await openSource(file)
  const { meta, sha256, magnet } = await hashArtifact(source, fileName, []).finally(() => source.close())
  const torrentFile = `${file}.torrent`
  await writeFile(torrentFile, meta.torrent)
  const release: Release = {
    path: `bench/1/${fileName}`,
    product: 'bench',
    version: '1',
    fileName,
    hardware: ['bench'],
    pieceLength: meta.pieceLength,
    piecesRoot: meta.piecesRoot,
    infoHash: meta.infoHash,
    magnet,
    priceCapMsat: msat(DEFAULT_PRICE_CAP),
    releasedAt: 0,
    bytes,
    sha256,
    targetsVersion: 1,
  }
  const vendor = sha256Hex(new TextEncoder().encode(seed)) as string as VendorId
  return { dir, file, torrentFile, release, vendor }
}

/** Whether a contender's copy is the very file. */
export async function isCopy(file: string, material: Material): Promise<boolean> {
  return (await readFile(file)).equals(await readFile(material.file))
}
