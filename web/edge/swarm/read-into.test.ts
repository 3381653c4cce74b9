import { expect, test } from 'vitest'
import { readInto } from './read-into.ts'

const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => i * 7)

test('a part of a file comes in the memory that was given', async () => {
  const memory = new ArrayBuffer(300_000)
  const read = await readInto(new Blob([bytes]).slice(1000, 151_000), new Uint8Array(memory, 0, 150_000))
  expect(read).toEqual(bytes.subarray(1000, 151_000))
  expect(memory.byteLength).toBe(0)
  expect(read.buffer.byteLength).toBe(300_000)
})

test('where there are no such readers, in fresh memory', async () => {
  const blob = new Blob([bytes])
  const plain = Object.assign(blob, {
    stream: () => ({
      getReader() {
        throw new TypeError('no byte stream')
      },
    }),
  }) as unknown as Blob
  expect(await readInto(plain, new Uint8Array(bytes.length))).toEqual(bytes)
})

test('a file that is shorter than it was is an error', async () => {
  await expect(readInto(new Blob([bytes]), new Uint8Array(bytes.length + 1))).rejects.toThrow('shorter')
})
