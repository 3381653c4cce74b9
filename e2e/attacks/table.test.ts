/** SECURITY.md's tables name tests by their file and words of their title: each must be there. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../support/run.ts'

const text = fs.readFileSync(path.join(root, 'SECURITY.md'), 'utf8')
const tables = text.slice(text.indexOf('## Attacks and their tests'), text.indexOf('## Plainly'))
const rows = tables
  .split('\n')
  .filter((line) => /^\| (?!-|attack \||id \|)/.test(line) && !/^\|[-|]+$/.test(line))
const plain = (words: string): string => words.replaceAll(/[’']/g, "'").replaceAll('`', '')

/** `tuf.spec.ts` for `e2e/attacks/tuf.spec.ts`: short where it was said in full before. */
function find(name: string): string[] {
  const rooms = ['e2e', 'web', 'relay', 'device']
  const found = name.includes('/')
    ? [name]
    : rooms.flatMap((room) => fs.globSync(`${room}/**/${name}`, { cwd: root }))
  return found.flatMap((file) => {
    const at = path.join(root, file)
    if (!fs.existsSync(at)) return []
    if (!fs.statSync(at).isDirectory()) return [at]
    return fs.globSync('**/*.ts', { cwd: at }).map((one) => path.join(at, one))
  })
}

/** What stands right behind `test(`, `describe(` or the table of `test.each`. */
const titlesOf = (source: string): string =>
  [...source.matchAll(/(?:\b(?:test|describe)(?:\.\w+)*\(|\)\()\s*(['"`])((?:\\.|(?!\1).)*)\1/gs)]
    .map(([, , title = '']) => title)
    .join('\n')

test('every row of SECURITY.md names a test that exists', () => {
  expect(rows.length).toBeGreaterThan(45)
  const missing: string[] = []
  for (const row of rows) {
    const tests = row.split('|').at(-2) ?? ''
    const named = tests.split(';').flatMap((part) => {
      const match = /`([\w./-]+)`(?:: (.+?)\s*$)?/.exec(part)
      return match === null ? [] : [{ file: match[1] ?? '', words: match[2] ?? '' }]
    })
    if (named.length === 0) missing.push(row)
    for (const { file, words } of named) {
      const files = find(file)
      const said = files.map((one) => plain(titlesOf(fs.readFileSync(one, 'utf8')))).join('\n')
      const parts = said.includes(plain(words)) ? [] : plain(words).split(', ')
      if (files.length === 0) missing.push(file)
      else missing.push(...parts.filter((one) => !said.includes(one)).map((one) => `${file}: ${one}`))
    }
  }
  expect(missing).toEqual([])
})
