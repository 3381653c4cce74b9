import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat, equal, toHex, type Bytes } from '../bytes.ts'
import {
  BLOCK,
  blocksIn,
  entry,
  HASH,
  log2Ceil,
  pieceBytes,
  pieceRoot,
  piecesOf,
  provesInto,
  releaseHeight,
  releaseIndex,
  releasePath,
  rootOfLayer,
  rootOfLeaves,
  windowPath,
  type Shape,
} from './merkle.ts'

const sha256 = (...parts: Uint8Array[]): Bytes => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}
const ZEROS = new Uint8Array(32)

/** BEP 52 as it is written: pad the leaves with zeros to a power of two, then hash pairs. No code shared. */
function naiveRoot(leaves: Uint8Array[], width: number): Bytes {
  if (width === 1) return (leaves[0] ?? ZEROS) as Bytes
  const half = width / 2
  return sha256(naiveRoot(leaves.slice(0, half), half), naiveRoot(leaves.slice(half), half))
}
const powerOfTwo = (count: number): number => 2 ** Math.ceil(Math.log2(count))

function leavesOf(bytes: Uint8Array): Bytes[] {
  const leaves: Bytes[] = []
  for (let at = 0; at < bytes.length; at += BLOCK) leaves.push(sha256(bytes.subarray(at, at + BLOCK)))
  return leaves
}
function content(length: number): Bytes {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i += 997) bytes[i] = (i / 997) % 251
  bytes[length - 1] = 7
  return bytes
}
function layerOf(bytes: Bytes, shape: Shape): Bytes {
  const roots: Bytes[] = []
  for (let piece = 0; piece < piecesOf(shape); piece++) {
    const at = piece * shape.pieceLength
    roots.push(pieceRoot(concat(...leavesOf(bytes.subarray(at, at + pieceBytes(shape, piece)))), shape))
  }
  return concat(...roots)
}

const lengths = [
  1,
  BLOCK - 1,
  BLOCK,
  BLOCK + 1,
  3 * BLOCK,
  4 * BLOCK,
  4 * BLOCK + 1,
  5 * BLOCK - 3,
  8 * BLOCK,
  9 * BLOCK + 5,
  29 * BLOCK + 1,
]

describe('BEP 52 trees', () => {
  test.each([
    ['one byte', 1, '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d'],
    ['one whole block', BLOCK, '4fe7b59af6de3b665b67788cc2f99892ab827efae3a467342b3bb4e3bc8e5bfe'],
    // SHA-256(leaf || leaf) of two zero blocks, and the same with a missing (zero) fourth leaf.
    ['two blocks', 2 * BLOCK, undefined],
    ['three blocks', 3 * BLOCK, undefined],
  ])('%s of zeros has the known root', (_, length, known) => {
    const leaves = leavesOf(new Uint8Array(length))
    const [leaf] = leaves as [Bytes]
    const expected =
      leaves.length === 1
        ? leaf
        : leaves.length === 2
          ? sha256(leaf, leaf)
          : sha256(sha256(leaf, leaf), sha256(leaf, ZEROS))
    expect(rootOfLeaves(concat(...leaves))).toEqual(expected)
    if (known !== undefined) expect(toHex(expected)).toBe(known)
  })

  test.each(lengths)(
    '%i bytes: layer and root are those of the padded tree, for every piece length',
    (length) => {
      const bytes = content(length)
      const all = leavesOf(bytes)
      for (const pieceLength of [BLOCK, 2 * BLOCK, 4 * BLOCK, 16 * BLOCK]) {
        const shape = { length, pieceLength }
        const layer = layerOf(bytes, shape)
        const expected = naiveRoot(all, powerOfTwo(all.length))
        expect(toHex(rootOfLayer(layer, shape))).toBe(toHex(expected))
        const perPiece = pieceLength / BLOCK
        for (let piece = 0; piece < piecesOf(shape) && piecesOf(shape) > 1; piece++) {
          const own = all.slice(piece * perPiece, (piece + 1) * perPiece)
          expect(entry(layer, piece)).toEqual(naiveRoot(own, perPiece))
        }
      }
    },
  )

  test.each(lengths)(
    '%i bytes: every block proves into the release at its own place and at no other',
    (length) => {
      const bytes = content(length)
      for (const pieceLength of [BLOCK, 4 * BLOCK]) {
        const shape = { length, pieceLength }
        const layer = layerOf(bytes, shape)
        const root = rootOfLayer(layer, shape)
        const height = releaseHeight(shape)
        expect(2 ** height).toBe(Math.max(powerOfTwo(blocksIn(length)), 1))
        for (let piece = 0; piece < piecesOf(shape); piece++) {
          const leaves = leavesOf(bytes.subarray(piece * pieceLength, (piece + 1) * pieceLength))
          leaves.forEach((leaf, block) => {
            const path = releasePath(concat(...leaves), layer, shape, piece, block)
            const index = releaseIndex(shape, piece, block)
            expect(provesInto(leaf, index, path, height, root)).toBe(true)
            expect(provesInto(leaf, index + 1, path, height, root) && height > 0).toBe(false)
            expect(provesInto(sha256(leaf), index, path, height, root)).toBe(false)
            expect(provesInto(leaf, index, [...path, ZEROS], height, root)).toBe(false)
            expect(provesInto(leaf, index, path.slice(1), height, root) && height > 0).toBe(false)
          })
        }
      }
    },
  )

  test('a window’s blocks prove at all indices, and a path of another length or width never does', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), (count, pick) => {
        const leaves = Array.from({ length: count }, (_, i) => sha256(new Uint8Array([i])))
        const root = rootOfLeaves(concat(...leaves))
        expect(equal(root, naiveRoot(leaves, powerOfTwo(count)))).toBe(true)
        const index = pick % count
        const path = windowPath(concat(...leaves), index)
        const height = log2Ceil(count)
        const leaf = leaves[index] as Bytes
        expect(provesInto(leaf, index, path, height, root)).toBe(true)
        for (let other = 0; other < 2 ** height; other++)
          if (other !== index) expect(provesInto(leaf, other, path, height, root)).toBe(false)
        expect(provesInto(leaf, index + 2 ** height, path, height, root)).toBe(false)
        expect(provesInto(leaf, -1, path, height, root)).toBe(false)
        expect(provesInto(leaf, index, path, height + 1, root)).toBe(false)
        const short = path.map((uncle) => uncle.slice(0, HASH - 1))
        if (height > 0) expect(provesInto(leaf, index, short, height, root)).toBe(false)
      }),
    )
  })

  test('a piece’s bytes end with the artifact', () => {
    const shape = { length: 5 * BLOCK + 1, pieceLength: 2 * BLOCK }
    expect(piecesOf(shape)).toBe(3)
    expect([0, 1, 2, 3, 9].map((piece) => pieceBytes(shape, piece))).toEqual([
      2 * BLOCK,
      2 * BLOCK,
      BLOCK + 1,
      0,
      0,
    ])
  })
})
