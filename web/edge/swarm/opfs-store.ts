/** The browser's piece stores: OPFS behind a worker, and a chosen `File` read where it lies. */
import type { Bytes } from '../../core/bytes.ts'
import { pieceBytes, type Shape } from '../../core/swarm/merkle.ts'
import { openCipher } from '../confidential/cipher.ts'
import type { Metainfo, PieceStore } from './api.ts'
import type { OpfsReply, OpfsRequest } from './opfs.worker.ts'

export class StorageError extends Error {
  override readonly name = 'StorageError'
}

type Pending = { done: (bytes: Bytes | undefined) => void; fail: (error: Error) => void }

let worker: Worker | undefined
let serial = 0
const pending = new Map<number, Pending>()

function ask(request: OpfsRequest, transfer: Transferable[] = []): Promise<Bytes | undefined> {
  worker ??= startWorker()
  const id = ++serial
  const to = worker
  return new Promise((done, fail) => {
    pending.set(id, { done, fail })
    to.postMessage({ id, request }, transfer)
  })
}

function startWorker(): Worker {
  const started = new Worker(new URL('./opfs.worker.ts', import.meta.url), { type: 'module' })
  started.addEventListener('message', (event: MessageEvent<{ id: number; reply: OpfsReply }>) => {
    const { id, reply } = event.data
    const waiting = pending.get(id)
    pending.delete(id)
    if (reply.ok) waiting?.done(reply.bytes)
    else waiting?.fail(new StorageError(`This browser could not keep the pieces: ${reply.message}.`))
  })
  started.addEventListener('error', () => {
    for (const waiting of pending.values())
      waiting.fail(new StorageError('This browser’s storage stopped; reload the page.'))
    pending.clear()
    worker = undefined
  })
  return started
}

/** Whose copy it is: a vendor's of what it made, or a volunteer's. One browser may be both, and each deletes its own only. */
export type Shelf = 'own' | 'carried'

/** Opens what this browser holds of the artifact, pieces of an earlier visit included. One tab at a time. */
export async function openOpfsStore(meta: Metainfo, shelf: Shelf = 'own'): Promise<PieceStore> {
  const name = shelf === 'own' ? meta.infoHash : `${meta.infoHash}.${shelf}`
  const have = (await ask({ op: 'open', name, length: meta.length, bits: meta.pieces })) ?? new Uint8Array()
  return storeOn(name, have, meta)
}

/**
 * Copies a chosen file into OPFS, so that it seeds again after a reload. The file must be the artifact; with `key` it is
 * the plain one of an encrypted artifact, and encrypted on its way.
 */
export async function importToOpfs(meta: Metainfo, file: Blob, key?: Bytes): Promise<PieceStore> {
  const name = meta.infoHash
  await ask({ op: 'open', name, length: meta.length, bits: meta.pieces })
  const { pieceLength } = meta
  const have = (await ask({ op: 'import', name, file, pieceLength, ...(key && { key }) })) ?? new Uint8Array()
  return storeOn(name, have, meta)
}

/** Forgets an artifact's bytes, open or not. */
export async function removeFromOpfs(infoHash: string): Promise<void> {
  await ask({ op: 'remove', name: infoHash })
}

function storeOn(name: string, have: Uint8Array, shape: Shape): PieceStore {
  let written = 0
  return {
    have,
    get bytesWritten() {
      return written
    },
    async read(offset, length) {
      return (await ask({ op: 'read', name, offset, length })) ?? new Uint8Array()
    },
    async write(piece, bytes) {
      const copy = bytes.slice() as Bytes
      await ask({ op: 'write', name, piece, offset: piece * shape.pieceLength, bytes: copy }, [copy.buffer])
      written += bytes.length
      have[piece >> 3] = (have[piece >> 3] ?? 0) | (0x80 >> (piece & 7))
    },
    async close() {
      await ask({ op: 'close', name })
    },
    async destroy() {
      await ask({ op: 'remove', name })
    },
  }
}

/**
 * All pieces of a chosen file, read where it lies: seeding starts at once, and ends with the page. With `key` they are
 * those of the encrypted artifact.
 */
export function fileStore(file: Blob, shape: Shape, key?: Bytes): PieceStore {
  const cipher = key && openCipher(key)
  const pieces = Math.ceil(shape.length / shape.pieceLength)
  const have = new Uint8Array(Math.ceil(pieces / 8)).fill(0xff)
  if (pieces % 8 !== 0) have[have.length - 1] = (0xff << (8 - (pieces % 8))) & 0xff
  return {
    have,
    bytesWritten: 0,
    async read(offset, length) {
      const bytes = new Uint8Array(await file.slice(offset, offset + length).arrayBuffer())
      return cipher ? (await cipher)(offset, bytes) : bytes
    },
    write: (piece, bytes) =>
      bytes.length === pieceBytes(shape, piece)
        ? Promise.resolve()
        : Promise.reject(new RangeError('piece of a wrong length')),
    close: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  }
}
