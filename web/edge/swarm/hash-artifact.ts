/** Reads an artifact once and makes everything that is signed about it: SHA-256, piece layer, info-hash. */
import { concat, toHex, type Sha256Hex } from '../../core/bytes.ts'
import { buildMetainfo, magnetOf, pieceLengthFor, type Metainfo } from '../../core/swarm/metainfo.ts'
import { HASH, pieceBytes, pieceRoot, piecesOf } from '../../core/swarm/merkle.ts'
import type { ByteSource } from './api.ts'
import { hashOf, leafHashes, runningSha256 } from './window-cipher.ts'

export class EmptyArtifactError extends Error {
  override readonly name = 'EmptyArtifactError'
  constructor() {
    super('This file is empty: there is nothing to install. Choose the file that devices should get.')
  }
}

export async function hashArtifact(
  source: ByteSource,
  name: string,
  trackers: readonly string[],
  onProgress: (pieces: number, of: number) => void = () => undefined,
): Promise<{ meta: Metainfo; sha256: Sha256Hex; magnet: string }> {
  if (source.length === 0) throw new EmptyArtifactError()
  const shape = { length: source.length, pieceLength: pieceLengthFor(source.length) }
  const count = piecesOf(shape)
  const layer = new Uint8Array(count * HASH)
  const sha1s: Uint8Array[] = []
  const whole = await runningSha256()
  for (let piece = 0; piece < count; piece++) {
    const bytes = await source.read(piece * shape.pieceLength, pieceBytes(shape, piece))
    const hashing = Promise.all([leafHashes(bytes), hashOf('SHA-1', bytes)])
    // Here, while the others run on threads of their own.
    whole.update(bytes)
    const [leaves, sha1] = await hashing
    layer.set(pieceRoot(leaves, shape), piece * HASH)
    sha1s.push(sha1)
    onProgress(piece + 1, count)
  }
  const salt = crypto.getRandomValues(new Uint8Array(16))
  const meta = buildMetainfo({ name, ...shape, sha1s: concat(...sha1s), layer, trackers, salt })
  return { meta, sha256: toHex(whole.digest()) as Sha256Hex, magnet: magnetOf(meta.infoHash, name, trackers) }
}
