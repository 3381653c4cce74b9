/** Reads a chosen file into memory that is used again: a browser collects what it read for a page late, hundreds of MiB of it. */
import type { Bytes } from '../../core/bytes.ts'

/**
 * All of `from`, which is as long as `into`. @param into is given away: the result lies in its memory, or in fresh memory
 * where the browser does not read into what it is given
 */
export async function readInto(from: Blob, into: Bytes): Promise<Bytes> {
  const reader = readerOf(from)
  if (reader === undefined) return new Uint8Array(await from.arrayBuffer())
  const { byteOffset, length } = into
  let { buffer } = into
  for (let filled = 0; filled < length;) {
    const left = length - filled
    const { value } = await reader.read(new Uint8Array(buffer, byteOffset + filled, left), { min: left })
    if (value === undefined || value.length === 0) throw new Error('the file is shorter than it was')
    buffer = value.buffer
    filled += value.length
  }
  void reader.cancel()
  return new Uint8Array(buffer, byteOffset, length)
}

function readerOf(from: Blob): ReadableStreamBYOBReader | undefined {
  try {
    return from.stream().getReader({ mode: 'byob' })
  } catch {
    return undefined
  }
}
