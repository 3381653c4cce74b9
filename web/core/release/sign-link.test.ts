import { expect, test } from 'vitest'
import type { Sha256Hex } from '../bytes.ts'
import { parseSignLink, signLink } from './sign-link.ts'

test('a link names a vendor and a proposal, and nothing else is one', () => {
  const link = { vendor: 'ab'.repeat(32) as Sha256Hex, id: 'cd'.repeat(32) as Sha256Hex }
  const text = signLink(link, 'https://relay.example')
  expect(new URL(text).pathname).toBe('/keys')
  expect(parseSignLink(text)).toEqual(link)
  expect(parseSignLink(new URLSearchParams(new URL(text).hash.slice(1)).get('sign') ?? '')).toEqual(link)
  for (const other of [
    undefined,
    '',
    link.vendor,
    `${link.vendor}.x`,
    `${link.vendor}.${link.id}.${link.id}`,
  ])
    expect(parseSignLink(other)).toBeUndefined()
})
