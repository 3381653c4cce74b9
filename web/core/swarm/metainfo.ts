/**
 * The .torrent (BEP 3) with one key more in `info`: `piece layer`, the SHA-256 subtree root of each piece
 * (BEP 52), and a `salt`, so that the same bytes released twice are two swarms with books of their own.
 * The info-hash covers both; the signed release root proves the layer.
 */
import { sha1 } from '@noble/hashes/legacy.js'
import { equal, fromHex, fromUtf8, toHex, type Bytes, type InfoHash, type Sha256Hex } from '../bytes.ts'
import { BencodeError, decode, encode, type Decoded } from '../exchange/bencode.ts'
import { HASH, piecesOf, rootOfLayer } from './merkle.ts'

export type Metainfo = Readonly<{
  infoHash: InfoHash
  torrent: Bytes
  name: string
  length: number
  pieceLength: number
  pieces: number
  piecesRoot: Sha256Hex
  layer: Bytes
}>

export class MetainfoError extends Error {
  override readonly name = 'MetainfoError'
}

export const MAX_TORRENT_BYTES = 16 * 1024 * 1024
const KIB = 1024
const MIN_PIECE = 16 * KIB
const MAX_PIECE = 16 * KIB * KIB

/** 256 KiB up to 512 MiB of artifact, then twice as much for each doubling: about 2,000 pieces at most. */
export function pieceLengthFor(length: number): number {
  let pieceLength = 256 * KIB
  while (length / pieceLength > 2048) pieceLength *= 2
  return pieceLength
}

export function magnetOf(infoHash: InfoHash, name: string, trackers: readonly string[]): string {
  const parts = [`xt=urn:btih:${infoHash}`, `dn=${encodeURIComponent(name)}`]
  return `magnet:?${[...parts, ...trackers.map((tracker) => `tr=${encodeURIComponent(tracker)}`)].join('&')}`
}

/** Builds the file from hashes: `sha1s` 20 bytes and `layer` 32 bytes a piece. */
export function buildMetainfo(parts: {
  name: string
  length: number
  pieceLength: number
  sha1s: Uint8Array
  layer: Bytes
  trackers: readonly string[]
  /** 16 random bytes. */
  salt: Bytes
}): Metainfo {
  const info = {
    length: parts.length,
    name: parts.name,
    'piece layer': parts.layer,
    'piece length': parts.pieceLength,
    pieces: parts.sha1s,
    salt: parts.salt,
  }
  const announce = parts.trackers[0]
  const torrent = encode({
    ...(announce === undefined ? {} : { announce, 'announce-list': parts.trackers.map((url) => [url]) }),
    info,
  })
  const shape = { length: parts.length, pieceLength: parts.pieceLength }
  return {
    infoHash: toHex(sha1(encode(info))) as InfoHash,
    torrent,
    name: parts.name,
    ...shape,
    pieces: piecesOf(shape),
    piecesRoot: toHex(rootOfLayer(parts.layer, shape)) as Sha256Hex,
    layer: parts.layer,
  }
}

/** Parses a .torrent and proves its layer into the signed root. @throws MetainfoError */
export function readMetainfo(
  torrent: Uint8Array,
  signed: { infoHash: InfoHash; piecesRoot: Sha256Hex; bytes: number; pieceLength: number },
): Metainfo {
  if (torrent.length > MAX_TORRENT_BYTES) throw new MetainfoError('the torrent file is larger than 16 MiB')
  const { pieceLength, bytes: length } = signed
  if (pieceLength < MIN_PIECE || pieceLength > MAX_PIECE || (pieceLength & (pieceLength - 1)) !== 0)
    throw new MetainfoError(
      `the release names a piece length of ${pieceLength}, not a power of two from 16 KiB to 16 MiB`,
    )
  if (length < 1) throw new MetainfoError('the release is empty')
  const info = infoOf(torrent)
  if (toHex(sha1(encode(info))) !== signed.infoHash)
    throw new MetainfoError('the torrent is not the one that the vendor signed (info-hash differs)')
  const layer = bytesAt(info, 'piece layer')
  const sha1s = bytesAt(info, 'pieces')
  const shape = { length, pieceLength }
  const pieces = piecesOf(shape)
  if (info['length'] !== length || info['piece length'] !== pieceLength)
    throw new MetainfoError('the torrent has another length than the signed release')
  if (layer.length !== pieces * HASH || sha1s.length !== pieces * 20)
    throw new MetainfoError('the torrent has another number of pieces than the signed release')
  if (!equal(rootOfLayer(layer, shape), fromHex(signed.piecesRoot)))
    throw new MetainfoError('the torrent does not prove into the signed release root')
  return {
    infoHash: signed.infoHash,
    torrent: torrent.slice() as Bytes,
    name: nameOf(info),
    ...shape,
    pieces,
    piecesRoot: signed.piecesRoot,
    layer,
  }
}

function infoOf(torrent: Uint8Array): { [key: string]: Decoded } {
  try {
    const file = decode(torrent)
    if (isDict(file) && isDict(file['info'])) return file['info']
  } catch (error) {
    if (!(error instanceof BencodeError)) throw error
    throw new MetainfoError(`not a torrent file: ${error.message}`)
  }
  throw new MetainfoError('not a torrent file: it has no info')
}

function nameOf(info: { [key: string]: Decoded }): string {
  try {
    return fromUtf8(bytesAt(info, 'name'))
  } catch {
    throw new MetainfoError('the torrent has no readable name')
  }
}

function bytesAt(info: { [key: string]: Decoded }, key: string): Bytes {
  const value = info[key]
  if (value instanceof Uint8Array) return value
  throw new MetainfoError(`the torrent has no ${key}`)
}

const isDict = (value: Decoded | undefined): value is { [key: string]: Decoded } =>
  typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array)
