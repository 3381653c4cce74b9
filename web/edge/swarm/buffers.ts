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

/**
 * In Chromium a buffer that the browser made (a message, a cipher's result, a file's part) lies there until the browser's
 * collector runs, and emptied by hand it no longer counts as a reason to run it: tabs kept whole files so.
 */
const byHand =
  typeof (globalThis as { process?: { getBuiltinModule?: unknown } }).process?.getBuiltinModule === 'function'

/** In Node frees the memory at once, and `bytes` and every other view of it are empty afterwards; tabs leave it to the browser. */
export function free({ buffer }: Uint8Array<ArrayBuffer>): void {
  if (byHand) buffer.transfer(0)
}
