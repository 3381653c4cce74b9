import { expect, test } from 'vitest'
import { readMirrors } from './mirrors.ts'
import { MAX_MIRRORS } from './target.ts'

test('addresses are taken as typed, each once, without slashes at the end', () => {
  expect(
    readMirrors([' https://files.example/ ', 'https://files.example', 'http://10.0.0.2:8080/satpatch//']),
  ).toEqual({ tag: 'ok', mirrors: ['https://files.example', 'http://10.0.0.2:8080/satpatch'] })
  expect(readMirrors([])).toEqual({ tag: 'ok', mirrors: [] })
})

test.each([
  ['files.example', /no address of a mirror/],
  ['', /no address of a mirror/],
  ['ftp://files.example', /no address of a mirror/],
  ['https://', /no address of a mirror/],
  ['https://files.example:99999', /no address of a mirror/],
  ['https://files.example/?key=1', /no address of a mirror/],
  ['https://files.example/#x', /no address of a mirror/],
  [`https://files.example/${'x'.repeat(300)}`, /no address of a mirror/],
  [`https://files.example/v/${'a'.repeat(64)}/metadata`, /leave out \/v\//],
  ['https://ann:secret@files.example', /would be public/],
])('"%s" is refused', (text, why) => {
  expect(readMirrors(['https://good.example', text])).toEqual({
    tag: 'refused',
    text: expect.stringMatching(why) as string,
  })
})

test('as many as fit are named, and not one more', () => {
  const many = Array.from({ length: MAX_MIRRORS }, (_, i) => `https://m${i}.example`)
  expect(readMirrors(many)).toMatchObject({ tag: 'ok' })
  expect(readMirrors([...many, 'https://one-more.example'])).toMatchObject({ tag: 'refused' })
})
