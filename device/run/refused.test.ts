import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { MAX_REFUSED } from '../../web/core/rollout/messages.ts'
import { openRefused, readRefused, refusedFile, withRefused } from './refused.ts'

async function directory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'satpatch-refused-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}
const log = pino({ level: 'silent' })

test('the same attack from the same origin is one row with a count; the oldest row makes room', () => {
  const one = { attack: 'rollback', from: 'http://a', text: 'old' }
  const twice = withRefused(withRefused([], one, 1), { ...one, text: 'older' }, 2)
  expect(twice).toEqual([{ ...one, text: 'older', count: 2, firstAt: 1, lastAt: 2 }])
  let rows = twice
  for (let i = 0; i < MAX_REFUSED; i++) rows = withRefused(rows, { ...one, from: `http://${i}` }, 3 + i)
  expect(rows).toHaveLength(MAX_REFUSED)
  expect(rows.some(({ from }) => from === 'http://a')).toBe(false)
})

test('what was refused is on disk for the owner alone, over a restart, and a damaged file is none', async () => {
  const dataDir = await directory()
  const book = await openRefused({ dataDir, nowMs: () => 5, log })
  book.note('freeze', 'http://a', 'x'.repeat(5000))
  await book.idle()
  expect((await stat(refusedFile(dataDir))).mode & 0o777).toBe(0o600)
  const again = await openRefused({ dataDir, nowMs: () => 6, log })
  expect(again.get()).toMatchObject([{ attack: 'freeze', from: 'http://a', count: 1 }])
  await writeFile(refusedFile(dataDir), '[{')
  expect(await readRefused(dataDir)).toEqual([])
})

test('a flood of one attack costs one write in half a minute, and thirty lines of the log', async () => {
  const dataDir = await directory()
  let lines = 0
  const log = pino({ level: 'warn' }, { write: () => void lines++ })
  let nowMs = 0
  const counts: number[] = []
  const write = (_file: string, text: Uint8Array | string): Promise<void> => {
    counts.push((JSON.parse(String(text)) as { count: number }[])[0]?.count ?? 0)
    return Promise.resolve()
  }
  const book = await openRefused({ dataDir, nowMs: () => nowMs, log, write })
  for (let i = 0; i < 1000; i++) book.note('forged-announcement', 'key', `n ${i}`)
  nowMs = 29_000
  book.note('forged-announcement', 'key', 'late')
  nowMs = 31_000
  book.note('forged-announcement', 'key', 'later')
  await book.idle()
  await book.idle()
  expect(counts).toEqual([1002, 1002])
  expect(lines).toBe(32)
})

test('a flood from ever new origins costs some writes, not one each', async () => {
  const dataDir = await directory()
  let nowMs = 0
  let writes = 0
  const write = (): Promise<void> => Promise.resolve(void writes++)
  const book = await openRefused({ dataDir, nowMs: () => nowMs, log, write })
  for (let i = 0; i < 1000; i++) book.note('forged-announcement', `key ${i}`, 'no')
  await book.idle()
  expect(writes).toBeLessThanOrEqual(12)
  nowMs = 31_000
  book.note('freeze', 'http://a', 'old')
  expect((await book.idle(), writes)).toBeLessThanOrEqual(13)
  expect(book.get()[0]).toMatchObject({ attack: 'freeze' })
})
