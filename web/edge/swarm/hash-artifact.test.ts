import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { BLOCK } from '../../core/swarm/merkle.ts'
import { hashArtifact } from './hash-artifact.ts'

const MIB = 1024 * 1024
const sha = (name: string, bytes: Uint8Array): Buffer => createHash(name).update(bytes).digest()

/** BEP 52 by its text: blocks, padded with zero hashes to a power of two. */
function rootOf(bytes: Uint8Array): string {
  let row: Buffer[] = []
  for (let at = 0; at < bytes.length; at += BLOCK) row.push(sha('sha256', bytes.subarray(at, at + BLOCK)))
  while (row.length & (row.length - 1)) row.push(Buffer.alloc(32))
  while (row.length > 1)
    row = Array.from({ length: row.length / 2 }, (_, i) =>
      sha('sha256', Buffer.concat([row[2 * i] as Buffer, row[2 * i + 1] as Buffer])),
    )
  return (row[0] as Buffer).toString('hex')
}

test.each([1, BLOCK, MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 5 * BLOCK + 7])(
  'what is signed of %i bytes is theirs, read in order and once',
  async (length) => {
    const file = new Uint8Array(length).map((_, i) => (i * 31 + (i >> 11)) & 0xff)
    const reads: [number, number][] = []
    const told: number[] = []
    const source = {
      length,
      read: (offset: number, size: number) => {
        reads.push([offset, size])
        return Promise.resolve(file.slice(offset, offset + size))
      },
    }
    const { meta, sha256 } = await hashArtifact(source, 'file', [], (done) => told.push(done))
    expect(sha256).toBe(sha('sha256', file).toString('hex'))
    expect(meta.piecesRoot).toBe(rootOf(file))
    const sha1s = Array.from({ length: meta.pieces }, (_, i) =>
      sha('sha1', file.subarray(i * meta.pieceLength, (i + 1) * meta.pieceLength)),
    )
    expect(Buffer.from(meta.torrent).includes(Buffer.concat(sha1s))).toBe(true)
    let end = 0
    for (const [offset, size] of reads) {
      expect(offset).toBe(end)
      end += size
    }
    expect(end).toBe(length)
    expect(told.at(-1)).toBe(meta.pieces)
  },
)
