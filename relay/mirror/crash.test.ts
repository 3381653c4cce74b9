/** Keys are replaced by ones that the old root does not know, and the relay dies in the middle: clients can always follow. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { directory } from '../fixture.ts'
import { change, makeRepository, openScene, pinned } from './crash-scene.ts'

test('cut off before any write, root and targets are in force together or not at all', async () => {
  const dir = join(await directory(), 'vendor')
  const ends: number[] = []
  for (let at = 1; ; at++) {
    await makeRepository(dir)
    const device = pinned()
    const dying = await openScene(dir, (n) => {
      if (n === at) throw new Error('the power is gone')
    })
    expect(await device(dying)).toBe(1)
    const went = await dying.submit(change).then(
      () => true,
      () => false,
    )
    const next = await openScene(dir)
    ends.push(await device(next))
    // Who comes for the first time sees the same, and the vendor may send it again.
    expect(await pinned()(next)).toBe(ends.at(-1))
    expect(await next.submit(change)).toMatchObject({ tag: 'published' })
    expect(await device(next)).toBe(2)
    if (went) break
  }
  // Nothing before it is written down what is underway; from then on all of it.
  expect(ends).toEqual([1, 2, 2, 2, 2, 2])
})

test('a disk that fails at any write, and works again: what was begun is ended before the next list is signed', async () => {
  const dir = join(await directory(), 'vendor')
  const ends: number[] = []
  for (let at = 1; ; at++) {
    await makeRepository(dir)
    const device = pinned()
    let laterMs = 0
    const running = await openScene(
      dir,
      (n) => {
        if (n === at && laterMs === 0) throw new Error('no space left on device')
      },
      () => laterMs,
    )
    const went = await running.submit(change).then(
      () => true,
      () => false,
    )
    laterMs = 13 * 3600 * 1000
    await running.refresh()
    ends.push(await device(running))
    expect(await pinned()(running)).toBe(ends.at(-1))
    if (went) break
  }
  expect(ends).toEqual([1, 2, 2, 2, 2, 2])
})

test('while it is put into force clients that look are shown one state or the other', async () => {
  const dir = join(await directory(), 'vendor')
  await makeRepository(dir)
  const device = pinned()
  const seen: number[] = []
  const repository = await openScene(dir, async () => {
    seen.push(await device(repository), await pinned()(repository))
  })
  await repository.submit(change)
  expect(seen).toEqual(new Array(seen.length).fill(1))
  expect(seen.length).toBeGreaterThan(8)
  expect(await device(repository)).toBe(2)
})
