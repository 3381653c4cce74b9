import { expect, test } from 'vitest'
import { checkFileName, MAX_NAME_BYTES } from './file-name.ts'

test.each([
  'firmware.bin',
  'Pumpe größe 2.bin',
  '固件 更新.img',
  'прошивка.img',
  'a',
  '.hidden',
  'archive.tar.gz',
  'ファイル.zip',
  "it's (2) [x] & more.bin",
  'console.bin',
  'com10.txt',
  `${'é'.repeat(MAX_NAME_BYTES / 2)}`,
])('accepts %s', (name) => {
  expect(checkFileName(name)).toEqual({ tag: 'ok' })
})

test.each([
  ['', 'no name'],
  ['a/b', 'contain /'],
  ['a\\b', 'contain /'],
  ['..', 'folder'],
  ['.', 'folder'],
  ['a\nb', 'control'],
  ['a\u0000', 'control'],
  ['a\u0085', 'control'],
  ['gpj.\u202eexe', 'reverses'],
  ['a\u2066b', 'reverses'],
  ['a\u200bb', 'invisible'],
  ['a\ufeff', 'invisible'],
  ['CON', 'device name'],
  ['nul.txt', 'device name'],
  ['COM1.bin', 'device name'],
  ['a:b', 'any of'],
  ['a?', 'any of'],
  [' a', 'space'],
  ['a.', 'dot'],
  ['\ud800', 'Unicode'],
  ['é'.repeat(MAX_NAME_BYTES / 2) + 'x', '201 bytes'],
])('refuses %j and says why', (name, words) => {
  const check = checkFileName(name)
  expect(check.tag === 'refused' && check.text).toContain(words)
})
