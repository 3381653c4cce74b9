import { expect, test } from 'vitest'
import type { Sha256Hex } from '../../../core/bytes.ts'
import { parseSignLink, signLink } from './link.ts'

test('a link names a vendor and a proposal, and nothing else is one', () => {
  const link = { vendor: 'ab'.repeat(32) as Sha256Hex, id: 'cd'.repeat(32) as Sha256Hex }
  const url = new URL(signLink(link, 'https://relay.example'))
  expect(url.pathname).toBe('/keys')
  expect(parseSignLink(new URLSearchParams(url.hash.slice(1)).get('sign') ?? undefined)).toEqual(link)
  for (const other of [
    undefined,
    '',
    link.vendor,
    `${link.vendor}.x`,
    `${link.vendor}.${link.id}.${link.id}`,
  ])
    expect(parseSignLink(other)).toBeUndefined()
})
