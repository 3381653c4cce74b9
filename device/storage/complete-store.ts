/** A file that is wholly there, read in place: what a vendor hashes and seeds from. */
import { open } from 'node:fs/promises'
import type { Bytes } from '../../web/core/bytes.ts'
import { openCipher } from '../../web/edge/confidential/cipher.ts'
import { pieceBytes } from '../../web/core/swarm/merkle.ts'
import type { Metainfo, PieceStore } from '../../web/edge/swarm/api.ts'
import { StorageError, storageError } from './errors.ts'
import { leavesPerPiece, pieceRoot } from './piece-root.ts'

export interface FileSource {
  readonly length: number
  read(offset: number, length: number, into?: Bytes): Promise<Bytes>
  close(): Promise<void>
}

/** @throws StorageError */
export async function openSource(path: string): Promise<FileSource> {
  try {
    const handle = await open(path, 'r')
    const stat = await handle.stat()
    if (!stat.isFile()) {
      await handle.close()
      throw new StorageError('missing', `${path} is not a file. Name the one file that devices should get.`)
    }
    return {
      length: stat.size,
      async read(offset, length, into) {
        const bytes = into ?? new Uint8Array(length)
        let done = 0
        while (done < length) {
          const { bytesRead } = await handle.read(bytes, done, length - done, offset + done)
          if (bytesRead === 0)
            throw new StorageError('io', `${path} became shorter while it was read. Publish it again.`)
          done += bytesRead
        }
        return bytes
      },
      close: () => handle.close(),
    }
  } catch (error) {
    throw storageError(error, path)
  }
}

/**
 * A store that has every piece of `path`; nothing is ever written to it. With `key` the pieces are those of the encrypted
 * artifact that `path` is the plain file of.
 */
export async function openCompleteStore(path: string, pieces: number, key?: Bytes): Promise<PieceStore> {
  const source = await openSource(path)
  const cipher = key && (await openCipher(key))
  const refuse = (): Promise<void> =>
    Promise.reject(new StorageError('io', `${path} is complete; nothing is written to it.`))
  return complete(source, pieces, refuse, cipher)
}

type Layout = Pick<Metainfo, 'length' | 'pieceLength' | 'pieces' | 'layer'>

/**
 * A store over a file that is installed: `undefined` where its length or a piece is not the release's. Every piece is
 * hashed here. It is never written to; a piece that is bought late is there already. @throws StorageError
 */
export async function openProvenStore(path: string, meta: Layout): Promise<PieceStore | undefined> {
  const source = await openSource(path)
  let proven = false
  try {
    proven = source.length === meta.length && (await proves(source, meta))
  } finally {
    if (!proven) await source.close()
  }
  return proven ? complete(source, meta.pieces, () => Promise.resolve()) : undefined
}

async function proves(source: FileSource, meta: Layout): Promise<boolean> {
  const leaves = leavesPerPiece(meta)
  const buffer = new Uint8Array(Math.min(meta.pieceLength, meta.length))
  for (let piece = 0; piece < meta.pieces; piece++) {
    const length = pieceBytes(meta, piece)
    const bytes = await source.read(piece * meta.pieceLength, length, buffer.subarray(0, length))
    const signed = meta.layer.subarray(piece * 32, piece * 32 + 32)
    if (!pieceRoot(bytes, leaves).equals(signed)) return false
  }
  return true
}

function complete(
  source: FileSource,
  pieces: number,
  write: PieceStore['write'],
  cipher?: Awaited<ReturnType<typeof openCipher>>,
): PieceStore {
  const have = new Uint8Array(Math.ceil(pieces / 8))
  for (let piece = 0; piece < pieces; piece++) have[piece >> 3]! |= 0x80 >> (piece & 7)
  return {
    have,
    bytesWritten: 0,
    async read(offset, length, into) {
      const bytes = await source.read(offset, length, into)
      return cipher ? cipher(offset, bytes) : bytes
    },
    write,
    close: () => source.close(),
    destroy: () => source.close(),
  }
}
