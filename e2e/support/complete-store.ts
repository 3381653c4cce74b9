/** A file that is wholly there, as a piece store: what a vendor seeds from. */
import fs from 'node:fs/promises'
import type { Bytes } from '../../web/core/bytes.ts'
import type { ByteSource, PieceStore } from '../../web/edge/swarm/api.ts'

/** Reads `file` in place; the caller closes it. */
export async function openSource(file: string): Promise<ByteSource & { close(): Promise<void> }> {
  const handle = await fs.open(file, 'r')
  const { size } = await handle.stat()
  return {
    length: size,
    async read(offset, length) {
      const bytes = new Uint8Array(length)
      const { bytesRead } = await handle.read(bytes, 0, length, offset)
      if (bytesRead !== length) throw new Error(`${file} has become shorter while it was read.`)
      return bytes
    },
    close: () => handle.close(),
  }
}

/** A store that has every one of `pieces` pieces. */
export async function completeStore(file: string, pieces: number): Promise<PieceStore> {
  const source = await openSource(file)
  const have = new Uint8Array(Math.ceil(pieces / 8))
  for (let piece = 0; piece < pieces; piece++)
    have[piece >> 3] = (have[piece >> 3] ?? 0) | (0x80 >> (piece & 7))
  return {
    have,
    bytesWritten: 0,
    read: async (offset, length) => (await source.read(offset, length)) as Bytes,
    write: () => Promise.reject(new Error('This store is complete: nothing is written to it.')),
    close: () => source.close(),
    destroy: () => source.close(),
  }
}
