/** A piece store and a journal in memory: for tests and for runs that leave nothing behind. */
import { concat, type Bytes } from '../../core/bytes.ts'
import { pieceBytes, type Shape } from '../../core/swarm/merkle.ts'
import type { Journal, PieceStore } from './api.ts'

export function memoryStore(shape: Shape, content?: Uint8Array): PieceStore & { readonly bytes: Bytes } {
  const bytes = new Uint8Array(shape.length)
  const pieces = Math.ceil(shape.length / shape.pieceLength)
  const have = new Uint8Array(Math.ceil(pieces / 8))
  const mark = (piece: number) => (have[piece >> 3] = (have[piece >> 3] ?? 0) | (0x80 >> (piece & 7)))
  let written = 0
  if (content !== undefined) {
    bytes.set(content)
    for (let piece = 0; piece < pieces; piece++) mark(piece)
  }
  return {
    bytes,
    have,
    get bytesWritten() {
      return written
    },
    read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
    write(piece, part) {
      if (part.length !== pieceBytes(shape, piece))
        return Promise.reject(new RangeError('piece of a wrong length'))
      bytes.set(part, piece * shape.pieceLength)
      written += part.length
      mark(piece)
      return Promise.resolve()
    },
    close: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  }
}

export function memoryJournal(): Journal & { readonly records: Map<string, Bytes> } {
  const records = new Map<string, Bytes>()
  return {
    records,
    put(key, ...parts) {
      records.set(key, concat(...parts))
      return Promise.resolve()
    },
    get: (key) => Promise.resolve(records.get(key)?.slice()),
    delete(key) {
      records.delete(key)
      return Promise.resolve()
    },
    keys: (prefix) => Promise.resolve([...records.keys()].filter((key) => key.startsWith(prefix)).sort()),
  }
}
