/** The same as crash.test.ts with processes that die by SIGKILL. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { directory } from '../fixture.ts'
import { makeRepository, openScene, pinned } from './crash-scene.ts'

const child = new URL('crash-child.ts', import.meta.url).pathname

test('killed before any write, root and targets are in force together or not at all', async () => {
  const dir = join(await directory(), 'vendor')
  const ends: number[] = []
  for (let at = 1, killed = true; killed; at++) {
    await makeRepository(dir)
    const { signal, stderr } = spawnSync(process.execPath, [child, dir, String(at)])
    killed = signal === 'SIGKILL'
    if (!killed) expect(stderr.toString()).toBe('')
    const next = await openScene(dir)
    ends.push(await pinned()(next))
  }
  expect(ends).toEqual([1, 2, 2, 2, 2, 2])
}, 120_000)
