/** Small artifacts that tests of a device buy: a few pieces, other bytes for each version. */
import { createHash } from 'node:crypto'
import type { Bytes, Sha256Hex } from '../../web/core/bytes.ts'
import { buildMetainfo, type Metainfo } from '../../web/core/swarm/metainfo.ts'
import { leavesPerPiece, pieceRoot } from '../storage/piece-root.ts'
import { BUILT_AT_S } from './ports.ts'

export const PIECE = 16_384
export const MONEY = 'sandbox:test'
export const NOW = (BUILT_AT_S + 1000) * 1000
export const sha = (bytes: Uint8Array): Sha256Hex =>
  createHash('sha256').update(bytes).digest('hex') as Sha256Hex

export const artifactOf = (version: string): Bytes => {
  const bytes = new Uint8Array(PIECE * 4 + 11)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + version.charCodeAt(0) * (i >> 8)) & 255
  return bytes
}
export function metaOf(artifact: Bytes): Metainfo {
  const pieces = Math.ceil(artifact.length / PIECE)
  const layer = new Uint8Array(32 * pieces)
  const leaves = leavesPerPiece({ length: artifact.length, pieceLength: PIECE, pieces })
  for (let i = 0; i < pieces; i++)
    layer.set(pieceRoot(artifact.subarray(i * PIECE, (i + 1) * PIECE), leaves), i * 32)
  const sha1s = new Uint8Array(20 * pieces)
  return buildMetainfo({
    salt: new Uint8Array(16),
    name: 'f',
    length: artifact.length,
    pieceLength: PIECE,
    sha1s,
    layer,
    trackers: [],
  })
}
