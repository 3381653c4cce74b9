/** The loss table of ARCHITECTURE.md names tests by their file and words of their title: each must be there. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../support/run.ts'

const text = fs.readFileSync(path.join(root, 'ARCHITECTURE.md'), 'utf8')
const section = text.slice(text.indexOf('## What anyone can lose'), text.indexOf('## The simulator'))
const rows = section.split('\n').filter((line) => /^\| (?!-|what happens \|)/.test(line))
const plain = (words: string): string => words.replaceAll(/[’']/g, "'").replaceAll('`', '')

/** What stands right behind `test(`, `describe(` or the table of `test.each`; of `test.each`'s cases their names. */
const titlesOf = (source: string): string =>
  [...source.matchAll(/(?:\b(?:test|describe)(?:\.\w+)*\(|\)\(|\[|^\s+)\s*(['"`])((?:\\.|(?!\1).)*)\1/gms)]
    .map(([, , title = '']) => title)
    .join('\n')

/** `sellers` for `e2e/peers/sellers.test.ts`; else a file of the house. */
const titlesIn = (name: string): string | undefined => {
  const file = path.join(root, name.includes('/') ? name : `e2e/peers/${name}.test.ts`)
  return fs.existsSync(file) ? plain(titlesOf(fs.readFileSync(file, 'utf8'))) : undefined
}

test('every row names tests that exist', () => {
  expect(rows.length).toBeGreaterThan(35)
  const missing: string[] = []
  for (const row of rows) {
    const cell = row.split('|').at(-3) ?? ''
    const named = [...cell.matchAll(/`([^`]+)`([^`]*)/g)].filter(([, name]) => !name?.startsWith('npm '))
    if (named.length === 0) missing.push(row)
    for (const [, name = '', rest = ''] of named) {
      const titles = titlesIn(name)
      const words = (/: ([^;]*)/.exec(rest.replaceAll(/\([^)]*\)/g, ''))?.[1] ?? '').split(/, | … /)
      if (titles === undefined) missing.push(name)
      else
        for (const one of words)
          if (!titles.includes(plain(one.trim()))) missing.push(`${name}: ${one.trim()}`)
    }
  }
  expect(missing).toEqual([])
})
