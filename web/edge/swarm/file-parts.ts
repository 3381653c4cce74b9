/**
 * A chosen file from start to end, in memory that is used again: a browser collects what it read for a page late, hundreds of
 * MiB of it. One stream for the whole file: Chromium stops reading when a few hundred have been opened and not collected.
 */
import type { Bytes } from '../../core/bytes.ts'

/** Parts of `size` bytes, the last one shorter. Each is there until the next one is asked for. */
export async function* fileParts(file: Blob, size: number): AsyncGenerator<{ at: number; bytes: Bytes }> {
  const reader = readerOf(file)
  let memory = new ArrayBuffer(size)
  try {
    for (let at = 0; at < file.size; at += size) {
      const length = Math.min(size, file.size - at)
      const bytes =
        reader === undefined
          ? new Uint8Array(await file.slice(at, at + length).arrayBuffer())
          : await fill(reader, memory, length)
      yield { at, bytes }
      memory = bytes.buffer
    }
  } finally {
    // Whoever reads may have stopped half way, on a full disk.
    void reader?.cancel()
  }
}

async function fill(reader: ReadableStreamBYOBReader, memory: ArrayBuffer, length: number): Promise<Bytes> {
  let buffer = memory
  for (let filled = 0; filled < length;) {
    const left = length - filled
    const { value } = await reader.read(new Uint8Array(buffer, filled, left), { min: left })
    if (value === undefined || value.length === 0) throw new Error('the file is shorter than it was')
    buffer = value.buffer
    filled += value.length
  }
  return new Uint8Array(buffer, 0, length)
}

/** Not every browser has them. */
function readerOf(file: Blob): ReadableStreamBYOBReader | undefined {
  try {
    return file.stream().getReader({ mode: 'byob' })
  } catch {
    return undefined
  }
}
