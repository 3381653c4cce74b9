/**
 * BEP 52 Merkle trees: SHA-256 over 16 KiB blocks, missing leaves are 32 zero bytes. A path's length follows
 * from the signed length and from nothing else. Hash lists are flat arrays, 32 bytes an entry.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { concat, equal, type Bytes } from '../bytes.ts'

export const BLOCK = 16 * 1024
export const HASH = 32

export const blocksIn = (bytes: number): number => Math.ceil(bytes / BLOCK)

const pair = (left: Uint8Array, right: Uint8Array): Bytes => sha256(concat(left, right)) as Bytes

const pads: Bytes[] = [new Uint8Array(HASH)]
/** Root of a subtree of `2^level` missing leaves. */
function pad(level: number): Bytes {
  let at = pads.length
  for (; at <= level; at++) pads.push(pair(pads[at - 1] as Bytes, pads[at - 1] as Bytes))
  return pads[level] as Bytes
}

export const entry = (list: Uint8Array, index: number): Bytes =>
  list.slice(index * HASH, (index + 1) * HASH) as Bytes

export function log2Ceil(count: number): number {
  let level = 0
  while (2 ** level < count) level++
  return level
}

/** All levels from the `entries` (which sit `base` levels above the leaves) to the root; the last has one entry. */
function levels(entries: Uint8Array, base: number, height: number): Uint8Array[] {
  const all: Uint8Array[] = [entries]
  for (let step = 0; step < height; step++) {
    const below = all[step] as Uint8Array
    const count = below.length / HASH
    const above = new Uint8Array(Math.ceil(count / 2) * HASH)
    for (let i = 0; i * 2 < count; i++) {
      const both = below.subarray(i * 2 * HASH, (i * 2 + 2) * HASH)
      above.set(i * 2 + 1 < count ? sha256(both) : pair(both, pad(base + step)), i * HASH)
    }
    all.push(above)
  }
  return all
}

/** Root over the leaves of a whole file or a window; its tree is as high as it has to be. */
export function rootOfLeaves(leaves: Uint8Array): Bytes {
  return (levels(leaves, 0, log2Ceil(leaves.length / HASH)).at(-1) as Uint8Array).slice() as Bytes
}

/** Geometry of one artifact's tree. */
export type Shape = Readonly<{ length: number; pieceLength: number }>

export const piecesOf = (shape: Shape): number => Math.ceil(shape.length / shape.pieceLength)
export const pieceBytes = (shape: Shape, piece: number): number =>
  Math.max(0, Math.min(shape.pieceLength, shape.length - piece * shape.pieceLength))

/** Levels between a block and its piece's entry in the layer. One lone piece is only as high as it has to be (BEP 52). */
function pieceHeight(shape: Shape): number {
  return piecesOf(shape) === 1 ? log2Ceil(blocksIn(shape.length)) : log2Ceil(shape.pieceLength / BLOCK)
}

/** A piece's entry in the layer, from the hashes of its blocks. */
export function pieceRoot(leaves: Uint8Array, shape: Shape): Bytes {
  return (levels(leaves, 0, pieceHeight(shape)).at(-1) as Uint8Array).slice(0, HASH) as Bytes
}

/** The release root, from the piece layer. */
export function rootOfLayer(layer: Uint8Array, shape: Shape): Bytes {
  const above = levels(layer, pieceHeight(shape), log2Ceil(piecesOf(shape))).at(-1) as Uint8Array
  return above.slice(0, HASH) as Bytes
}

/** Uncles from an entry upwards. */
function climb(entries: Uint8Array, base: number, height: number, index: number): Bytes[] {
  const all = levels(entries, base, height)
  const path: Bytes[] = []
  for (let step = 0, at = index; step < height; step++, at >>= 1) {
    const row = all[step] as Uint8Array
    path.push((at ^ 1) * HASH < row.length ? entry(row, at ^ 1) : pad(base + step).slice())
  }
  return path
}

/** Path of one block of a window to the window's root. */
export function windowPath(leaves: Uint8Array, index: number): Bytes[] {
  return climb(leaves, 0, log2Ceil(leaves.length / HASH), index)
}

/** Path of block `block` of piece `piece` to the release root, through the layer. */
export function releasePath(
  leaves: Uint8Array,
  layer: Uint8Array,
  shape: Shape,
  piece: number,
  block: number,
): Bytes[] {
  const low = pieceHeight(shape)
  return [...climb(leaves, 0, low, block), ...climb(layer, low, log2Ceil(piecesOf(shape)), piece)]
}

/** Where a walk from `leaf` at `index` along `path` ends. */
export function walk(leaf: Uint8Array, index: number, path: readonly Uint8Array[]): Bytes {
  let at = leaf as Bytes
  let position = index
  for (const uncle of path) {
    at = position % 2 === 0 ? pair(at, uncle) : pair(uncle, at)
    position = Math.floor(position / 2)
  }
  return at
}

/** `count` blocks in the tree fix the path's length; anything else is refused. */
export function provesInto(
  leaf: Uint8Array,
  index: number,
  path: readonly Uint8Array[],
  height: number,
  root: Uint8Array,
): boolean {
  if (path.length !== height || index < 0 || index >= 2 ** height) return false
  return path.every((uncle) => uncle.length === HASH) && equal(walk(leaf, index, path), root)
}

/** Height of the release's tree, and the place of a block in its leaves. */
export const releaseHeight = (shape: Shape): number => pieceHeight(shape) + log2Ceil(piecesOf(shape))
export const releaseIndex = (shape: Shape, piece: number, block: number): number =>
  piece * (shape.pieceLength / BLOCK) + block
