/** Reads an artifact once and makes everything that is signed about it: SHA-256, piece layer, info-hash. */
import { concat, toHex, type Sha256Hex } from '../../core/bytes.ts'
import { buildMetainfo, magnetOf, pieceLengthFor, type Metainfo } from '../../core/swarm/metainfo.ts'
import { BLOCK, HASH, pieceBytes, pieceRoot, piecesOf } from '../../core/swarm/merkle.ts'
import type { ByteSource } from './api.ts'
import { hashOf, leafHashes, runningSha256 } from './window-cipher.ts'

/** A browser reads large parts three times as fast as pieces; the next one comes while this one is hashed. */
const READ_BYTES = 4 * 1024 * 1024

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
  const perRead = Math.max(1, Math.floor(READ_BYTES / shape.pieceLength))
  const read = (piece: number): Promise<Uint8Array> => {
    const offset = piece * shape.pieceLength
    const bytes = source.read(offset, Math.min(perRead * shape.pieceLength, shape.length - offset))
    bytes.catch(() => undefined) // awaited later, or not at all after another error
    return bytes
  }
  let next = read(0)
  for (let first = 0; first < count; first += perRead) {
    const bytes = await next
    const end = Math.min(count, first + perRead)
    if (end < count) next = read(end)
    const at = (piece: number): number => (piece - first) * shape.pieceLength
    const piecesHere = Array.from({ length: end - first }, (_, i) => first + i)
    const hashing = Promise.all([
      leafHashes(bytes),
      ...piecesHere.map((piece) => hashOf('SHA-1', bytes.subarray(at(piece), at(piece + 1)))),
    ])
    // Here, while the others run on threads of their own.
    whole.update(bytes)
    const [leaves, ...sha1sHere] = await hashing
    for (const piece of piecesHere) {
      const from = (at(piece) / BLOCK) * HASH
      const blocks = Math.ceil(pieceBytes(shape, piece) / BLOCK)
      layer.set(pieceRoot(leaves.subarray(from, from + blocks * HASH), shape), piece * HASH)
    }
    sha1s.push(...sha1sHere)
    onProgress(end, count)
  }
  const salt = crypto.getRandomValues(new Uint8Array(16))
  const meta = buildMetainfo({ name, ...shape, sha1s: concat(...sha1s), layer, trackers, salt })
  return { meta, sha256: toHex(whole.digest()) as Sha256Hex, magnet: magnetOf(meta.infoHash, name, trackers) }
}
