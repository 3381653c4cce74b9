import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { lockDirectory } from './lock.ts'

/** What another process hears, whatever it takes for the temporary directory. */
const elsewhere = (directory: string): Promise<string> =>
  new Promise((done) => {
    const module = new URL('lock.ts', import.meta.url).href
    const code = `import { lockDirectory } from '${module}'
      await lockDirectory(${JSON.stringify(directory)}).then(() => console.log('held'), (error) => console.log(error.name))`
    const env = { ...process.env, TMPDIR: directory }
    execFile(process.execPath, ['--input-type=module', '-e', code], { timeout: 30_000, env }, (_, stdout) =>
      done(stdout.trim()),
    )
  })

test('one process holds a directory, wherever it keeps its temporary files; an ended one holds nothing', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'satpatch-lock-'))
  expect(await elsewhere(directory)).toBe('held')
  const unlock = await lockDirectory(directory)
  await expect(lockDirectory(directory)).rejects.toThrow('Another process already runs')
  expect(await elsewhere(directory)).toBe('LockedError')
  await unlock()
  expect(await elsewhere(directory)).toBe('held')
  await expect(lockDirectory(join(directory, 'none'))).rejects.toThrow('could not be read or written')
  await rm(directory, { recursive: true, force: true })
})
