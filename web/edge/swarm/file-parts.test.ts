import { expect, test } from 'vitest'
import { fileParts } from './file-parts.ts'

const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => i * 7)
const readBy = async (file: Blob, size: number): Promise<{ read: Uint8Array; memories: number }> => {
  const read = new Uint8Array(file.size)
  const seen = new Set<ArrayBuffer>()
  for await (const { at, bytes: part } of fileParts(file, size)) {
    read.set(part, at)
    seen.add(part.buffer)
  }
  return { read, memories: [...seen].filter(({ byteLength }) => byteLength > 0).length }
}
const without = (file: Blob): Blob =>
  Object.assign(file, {
    stream: () => ({
      getReader() {
        throw new TypeError('no byte stream')
      },
    }),
  })

test.each([1000, 70_000, 200_000, 300_000])(
  'a file comes in parts of %i bytes, in one memory',
  async (size) => {
    const { read, memories } = await readBy(new Blob([bytes]), size)
    expect(read).toEqual(bytes)
    expect(memories).toBe(1)
  },
)

test('where there are no such readers, in fresh memory', async () => {
  expect((await readBy(without(new Blob([bytes])), 70_000)).read).toEqual(bytes)
})

test('a file that is shorter than it was is an error', async () => {
  const file = new Blob([bytes])
  Object.defineProperty(file, 'size', { value: bytes.length + 1 })
  await expect(readBy(file, 70_000)).rejects.toThrow('shorter')
})
