/**
 * `PieceStore` of web/edge/swarm/api.ts on a file system: one file per artifact, written in place. A piece's bit is
 * set after its bytes are synced. No bitfield is kept: at opening each piece is hashed against the signed layer, which
 * trusts neither the last shutdown nor the card.
 */
import { open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Bytes } from '../../web/core/bytes.ts'
import type { Metainfo, PieceStore } from '../../web/edge/swarm/api.ts'
import { makeDirectory, syncDirectory, writeAll } from './durable.ts'
import { StorageError, errnoOf, storageError } from './errors.ts'
import { leavesPerPiece, pieceRoot } from './piece-root.ts'
import { createSyncGroup } from './sync-group.ts'

type Layout = Pick<Metainfo, 'length' | 'pieceLength' | 'pieces' | 'layer'>

export interface NodePieceStore extends PieceStore {
  readonly path: string
}

export type PieceStoreOptions = Readonly<{
  /** Written by earlier runs, to go on counting. */
  bytesWrittenBefore?: number
  onProgress?: (checked: number, of: number) => void
}>

export const hasPiece = (have: Uint8Array, piece: number): boolean =>
  ((have[piece >> 3] ?? 0) & (0x80 >> (piece & 7))) !== 0

export function countPieces(have: Uint8Array): number {
  let count = 0
  for (let byte of have) for (; byte !== 0; byte &= byte - 1) count++
  return count
}

/** Opens the file at `path` (made when missing) and finds out which of its pieces are the release's. */
export async function openPieceStore(
  path: string,
  meta: Layout,
  options: PieceStoreOptions = {},
): Promise<NodePieceStore> {
  await makeDirectory(dirname(path))
  const have = new Uint8Array(Math.ceil(meta.pieces / 8))
  const setBit = (piece: number): void => {
    have[piece >> 3] = (have[piece >> 3] ?? 0) | (0x80 >> (piece & 7))
  }
  const lengthOf = (piece: number): number =>
    Math.min(meta.pieceLength, meta.length - piece * meta.pieceLength)

  const handle = await openOrMake(path)
  try {
    const { size } = await handle.stat()
    if (size > 0) await prove()
    if (size !== meta.length) await handle.truncate(meta.length)
    await handle.sync()
    await syncDirectory(dirname(path))
  } catch (error) {
    await handle.close()
    throw storageError(error, path)
  }

  async function prove(): Promise<void> {
    const leaves = leavesPerPiece(meta)
    const buffer = Buffer.allocUnsafe(Math.min(meta.pieceLength, meta.length))
    for (let piece = 0; piece < meta.pieces; piece++) {
      const length = lengthOf(piece)
      const got = await readFully(buffer, length, piece * meta.pieceLength)
      const signed = meta.layer.subarray(piece * 32, piece * 32 + 32)
      if (got === length && pieceRoot(buffer.subarray(0, length), leaves).equals(signed)) setBit(piece)
      options.onProgress?.(piece + 1, meta.pieces)
    }
  }

  async function readFully(into: Uint8Array, length: number, offset: number): Promise<number> {
    let done = 0
    while (done < length) {
      const { bytesRead } = await handle.read(into, done, length - done, offset + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return done
  }

  const synced = createSyncGroup(() => handle.datasync())
  let bytesWritten = options.bytesWrittenBefore ?? 0
  let open = true
  const inFlight = new Set<Promise<void>>()

  let waiting: { piece: number; bytes: Uint8Array }[] = []
  /** What waits, neighbours in one call: writers of one file at once keep each other waiting, and a processor busy. */
  const written = createSyncGroup(async () => {
    const batch = waiting.sort((a, b) => a.piece - b.piece)
    waiting = []
    let run: Uint8Array[] = []
    for (const [i, { piece, bytes }] of batch.entries()) {
      run.push(bytes)
      if (batch[i + 1]?.piece === piece + 1) continue
      const end = piece * meta.pieceLength + bytes.length
      const length = run.reduce((sum, part) => sum + part.length, 0)
      await writeAll(handle, run, end - length)
      bytesWritten += length
      run = []
    }
  })

  async function writePiece(piece: number, bytes: Uint8Array): Promise<void> {
    try {
      waiting.push({ piece, bytes })
      await written.sync()
      await synced.sync()
    } catch (error) {
      throw storageError(error, path)
    }
    setBit(piece)
  }

  const close = async (): Promise<void> => {
    if (!open) return
    open = false
    await Promise.allSettled(inFlight)
    await handle.close()
  }

  return {
    path,
    have,
    get bytesWritten() {
      return bytesWritten
    },
    async read(offset, length, into) {
      if (offset < 0 || length < 0 || offset + length > meta.length) {
        throw new RangeError(`no such bytes: ${length} at ${offset} of ${meta.length}`)
      }
      if (!open) throw new StorageError('io', `${path} is closed.`)
      const bytes: Bytes = into ?? new Uint8Array(length)
      const got = await readFully(bytes, length, offset)
      if (got !== length)
        throw new StorageError('io', `${path} is shorter than it was: ${got} of ${length} bytes.`)
      return bytes
    },
    async write(piece, bytes) {
      if (!Number.isInteger(piece) || piece < 0 || piece >= meta.pieces || bytes.length !== lengthOf(piece)) {
        throw new RangeError(`piece ${piece} of ${meta.pieces} with ${bytes.length} bytes`)
      }
      if (!open) throw new StorageError('io', `${path} is closed.`)
      const work = writePiece(piece, bytes)
      inFlight.add(work)
      try {
        await work
      } finally {
        inFlight.delete(work)
      }
    },
    close,
    async destroy() {
      await close()
      await rm(path, { force: true })
    },
  }
}

async function openOrMake(path: string): ReturnType<typeof open> {
  try {
    // Not 'a+' (it ignores positions) and not 'w+' (it empties): reading and writing what may be there.
    return await open(path, 'r+').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return open(path, 'wx+', 0o600)
      throw error
    })
  } catch (error) {
    throw storageError(error, path)
  }
}
