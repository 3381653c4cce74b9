import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createBatch, type After } from './batch.ts'
import { openDatabase } from './database.ts'

function begin() {
  const dir = mkdtempSync(join(tmpdir(), 'satpatch-batch-'))
  const db = openDatabase(join(dir, 'batch.sqlite'))
  onTestFinished(() => {
    db.close()
    rmSync(dir, { recursive: true })
  })
  db.run('CREATE TABLE done (name TEXT)')
  const turns: (() => void)[] = []
  const said: string[] = []
  const batch = createBatch({
    db,
    schedule: (run) => void turns.push(run),
    onError: (error) => said.push(String(error)),
    onCommit: () => said.push('committed'),
  })
  const work = (name: string) => (): After => {
    db.run('INSERT INTO done VALUES (?)', name)
    return { answer: () => said.push(`answer ${name}`), tell: () => said.push(`tell ${name}`) }
  }
  const done = () => db.all('SELECT name FROM done').map((row) => row['name'])
  return { batch, work, said, done, turn: () => turns.splice(0).forEach((run) => run()) }
}

test('all answers of a batch go out before anything is told, which waits for the next turn', () => {
  const { batch, work, said, turn } = begin()
  batch.add(work('a'))
  batch.add(work('b'))
  turn()
  expect(said.splice(0)).toEqual(['answer a', 'answer b', 'committed'])
  turn()
  expect(said).toEqual(['tell a', 'tell b'])
})

test('one that throws undoes only itself; an answer that throws is in nobody’s way', () => {
  const { batch, work, said, done, turn } = begin()
  batch.add(() => {
    work('lost')()
    throw new Error('no')
  })
  batch.add(() => ({
    ...work('mute')(),
    answer: () => {
      throw new Error('mute')
    },
  }))
  batch.add(work('c'))
  turn()
  turn()
  expect(done()).toEqual(['mute', 'c'])
  expect(said).toEqual(['Error: no', 'Error: mute', 'answer c', 'committed', 'tell mute', 'tell c'])
})

test('what waits when it stops is committed, answered and told', () => {
  const { batch, work, said, done } = begin()
  batch.add(work('a'))
  batch.stop()
  expect(done()).toEqual(['a'])
  expect(said).toEqual(['answer a', 'committed', 'tell a'])
})
