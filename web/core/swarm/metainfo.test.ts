import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { concat, toHex, type Bytes, type InfoHash, type Sha256Hex } from '../bytes.ts'
import { decode, encode, type BDict } from '../exchange/bencode.ts'
import { BLOCK, pieceRoot, piecesOf } from './merkle.ts'
import {
  buildMetainfo,
  magnetOf,
  MAX_TORRENT_BYTES,
  MetainfoError,
  pieceLengthFor,
  readMetainfo,
} from './metainfo.ts'

const sha = (name: string, bytes: Uint8Array): Bytes =>
  new Uint8Array(createHash(name).update(bytes).digest())

const KIB = 1024
const shape = { length: 5 * BLOCK + 9, pieceLength: 2 * BLOCK }
const bytes = new Uint8Array(shape.length).fill(3)
const blocks = Array.from({ length: 6 }, (_, i) => bytes.subarray(i * BLOCK, (i + 1) * BLOCK))
const leaves = blocks.map((block) => sha('sha256', block))
const layer = concat(
  ...[0, 1, 2].map((piece) => pieceRoot(concat(...leaves.slice(piece * 2, piece * 2 + 2)), shape)),
)
const sha1s = concat(
  ...[0, 1, 2].map((piece) =>
    sha('sha1', bytes.subarray(piece * shape.pieceLength, (piece + 1) * shape.pieceLength)),
  ),
)
const meta = buildMetainfo({
  salt: new Uint8Array(16),
  name: 'Änderung 1.bin',
  ...shape,
  sha1s,
  layer,
  trackers: ['wss://a/tracker', 'wss://b/tracker'],
})
const signed = {
  infoHash: meta.infoHash,
  piecesRoot: meta.piecesRoot,
  bytes: shape.length,
  pieceLength: shape.pieceLength,
}

/** The torrent with other entries in its info, and the signed values that go with it. */
function altered(change: BDict): [Bytes, typeof signed] {
  const file = decode(meta.torrent) as BDict
  const info = { ...(file['info'] as BDict), ...change }
  return [encode({ ...file, info }), { ...signed, infoHash: toHex(sha('sha1', encode(info))) as InfoHash }]
}

describe('the .torrent file', () => {
  test('what is built is read back and named by the SHA-1 of its info', () => {
    const read = readMetainfo(meta.torrent, signed)
    expect(read).toEqual(meta)
    const file = decode(meta.torrent) as { info: BDict }
    expect(meta.infoHash).toBe(toHex(sha('sha1', encode(file.info))))
    expect(piecesOf(shape)).toBe(meta.pieces)
    expect(Object.keys(file).sort()).toEqual(['announce', 'announce-list', 'info'])
  })

  test('trackers are outside of what the info-hash names', () => {
    const bare = buildMetainfo({
      salt: new Uint8Array(16),
      name: meta.name,
      ...shape,
      sha1s,
      layer,
      trackers: [],
    })
    expect(bare.infoHash).toBe(meta.infoHash)
    expect(readMetainfo(bare.torrent, signed).layer).toEqual(layer)
  })

  test('one piece: the layer is the root itself', () => {
    const one = { length: BLOCK + 1, pieceLength: 4 * BLOCK }
    const own = pieceRoot(concat(...leaves.slice(0, 2)), one)
    const single = buildMetainfo({
      salt: new Uint8Array(16),
      name: 'x',
      ...one,
      sha1s: sha1s.slice(0, 20),
      layer: own,
      trackers: [],
    })
    expect(single.piecesRoot).toBe(toHex(own))
    expect(toHex(own)).toBe(toHex(sha('sha256', concat(...leaves.slice(0, 2)))))
  })

  const flipped = layer.slice()
  flipped[40] = (flipped[40] ?? 0) ^ 1
  test.each<[string, () => [Uint8Array, typeof signed], RegExp]>([
    ['garbage', () => [new Uint8Array([1, 2, 3]), signed], /not a torrent file/],
    ['no info', () => [encode({ announce: 'x' }), signed], /it has no info/],
    [
      'another info-hash',
      () => [meta.torrent, { ...signed, infoHash: 'a'.repeat(40) as InfoHash }],
      /info-hash differs/,
    ],
    ['a changed name', () => [altered({ name: 'other' })[0], signed], /info-hash differs/],
    ['no layer', () => altered({ 'piece layer': 1 }), /has no piece layer/],
    ['no name', () => altered({ name: 5 }), /no readable name/],
    ['a name that is not UTF-8', () => altered({ name: new Uint8Array([0xff]) }), /no readable name/],
    ['another length', () => altered({ length: 5 * BLOCK + 8 }), /another length/],
    ['another piece length', () => altered({ 'piece length': BLOCK }), /another length/],
    ['a layer too short', () => altered({ 'piece layer': layer.slice(32) }), /another number of pieces/],
    ['hashes too short', () => altered({ pieces: sha1s.slice(20) }), /another number of pieces/],
    ['a layer that does not prove', () => altered({ 'piece layer': flipped }), /does not prove/],
    [
      'another signed root',
      () => [meta.torrent, { ...signed, piecesRoot: 'b'.repeat(64) as Sha256Hex }],
      /does not prove/,
    ],
    [
      'a signed piece length below 16 KiB',
      () => [meta.torrent, { ...signed, pieceLength: 8 * KIB }],
      /power of two/,
    ],
    ['one above 16 MiB', () => [meta.torrent, { ...signed, pieceLength: 32 * KIB * KIB }], /power of two/],
    [
      'one that is no power of two',
      () => [meta.torrent, { ...signed, pieceLength: 48 * KIB }],
      /power of two/,
    ],
    ['an empty release', () => [meta.torrent, { ...signed, bytes: 0 }], /empty/],
    ['a file past 16 MiB', () => [new Uint8Array(MAX_TORRENT_BYTES + 1), signed], /larger than 16 MiB/],
  ])('%s is refused', (_, make, why) => {
    const [torrent, want] = make()
    expect(() => readMetainfo(torrent, want)).toThrow(MetainfoError)
    expect(() => readMetainfo(torrent, want)).toThrow(why)
  })

  test('piece lengths grow so that there are about 2,000 pieces at most', () => {
    expect(pieceLengthFor(1)).toBe(256 * KIB)
    expect(pieceLengthFor(512 * KIB * KIB)).toBe(256 * KIB)
    expect(pieceLengthFor(512 * KIB * KIB + 1)).toBe(512 * KIB)
    expect(pieceLengthFor(4 * KIB * KIB * KIB)).toBe(2048 * KIB)
  })

  test('the magnet escapes names and trackers', () => {
    expect(magnetOf('c'.repeat(40) as InfoHash, 'a b&c', ['wss://t/?x=1'])).toBe(
      `magnet:?xt=urn:btih:${'c'.repeat(40)}&dn=a%20b%26c&tr=wss%3A%2F%2Ft%2F%3Fx%3D1`,
    )
  })
})
