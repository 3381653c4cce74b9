/**
 * Buffers of whole windows are used again, and other large ones are freed by hand: left to the engine, memory of this
 * size makes it collect garbage every few windows. Give and free only what nothing reads or writes any more.
 */
import type { Bytes } from '../../core/bytes.ts'

/** Free buffers that are kept. */
const MAX_FREE = 4

export class Buffers {
  readonly #free: ArrayBuffer[] = []

  /** `length` bytes of any content. */
  take(length: number): Bytes {
    const at = this.#free.findIndex((buffer) => buffer.byteLength >= length)
    const [buffer] = at === -1 ? [] : this.#free.splice(at, 1)
    return new Uint8Array(buffer ?? new ArrayBuffer(length), 0, length)
  }

  give({ buffer }: Bytes): void {
    // The largest fit every window; a buffer that a worker took is empty.
    if (buffer.byteLength === 0) return
    this.#free.push(buffer)
    this.#free.sort((a, b) => a.byteLength - b.byteLength)
    if (this.#free.length > MAX_FREE) this.#free.shift()
  }
}

/** Frees the memory at once; `bytes` and every other view of it are empty afterwards. */
export function free({ buffer }: Uint8Array<ArrayBuffer>): void {
  buffer.transfer(0)
}
