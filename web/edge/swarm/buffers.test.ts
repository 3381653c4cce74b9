import { expect, test } from 'vitest'
import { Buffers, free } from './buffers.ts'

test('a buffer that was given is taken again, the smallest that is large enough', () => {
  const buffers = new Buffers()
  const [small, large] = [buffers.take(10), buffers.take(100)]
  buffers.give(large)
  buffers.give(small)
  expect(buffers.take(8).buffer).toBe(small.buffer)
  expect(buffers.take(11).buffer).toBe(large.buffer)
  expect(buffers.take(1).buffer.byteLength).toBe(1)
})

test('of many that are free the largest are kept', () => {
  const buffers = new Buffers()
  const taken = [1, 2, 3, 4, 5].map((length) => buffers.take(length))
  for (const bytes of taken) buffers.give(bytes)
  expect(buffers.take(1).buffer).toBe(taken[1]?.buffer)
})

test('what is freed is empty at once', () => {
  const bytes = new Uint8Array(1024)
  free(bytes.subarray(10))
  expect(bytes.length).toBe(0)
})
