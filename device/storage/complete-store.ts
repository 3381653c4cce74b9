/** A file that is wholly there, read in place: what a vendor hashes and seeds from. */
import { open } from 'node:fs/promises'
import type { Bytes } from '../../web/core/bytes.ts'
import type { PieceStore } from '../../web/edge/swarm/api.ts'
import { StorageError, storageError } from './errors.ts'

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

/** A store that has every piece of `path`; nothing is ever written to it. */
export async function openCompleteStore(path: string, pieces: number): Promise<PieceStore> {
  const source = await openSource(path)
  const have = new Uint8Array(Math.ceil(pieces / 8))
  for (let piece = 0; piece < pieces; piece++) have[piece >> 3]! |= 0x80 >> (piece & 7)
  return {
    have,
    bytesWritten: 0,
    read: (offset, length, into) => source.read(offset, length, into),
    write: () => Promise.reject(new StorageError('io', `${path} is complete; nothing is written to it.`)),
    close: () => source.close(),
    destroy: () => source.close(),
  }
}
