import { expect, test } from 'vitest'
import type { PartyKey } from '../../core/bytes.ts'
import { msat } from '../../core/money/msat.ts'
import { authorizationUrl } from './authorize.ts'

test('a wallet’s page is opened with what the connection is to be', () => {
  const client = 'ab'.repeat(32) as PartyKey
  const base = { page: 'https://my.albyhub.com/apps/new', client, name: 'Satpatch', isolated: true } as const
  const url = new URL(
    authorizationUrl({ ...base, limit: msat(5000), renewal: 'daily', may: new Set(['pay']) }),
  )
  expect(url.origin + url.pathname).toBe(base.page)
  expect(Object.fromEntries(url.searchParams)).toMatchObject({
    pubkey: client,
    name: 'Satpatch',
    max_amount: '5000',
    budget_renewal: 'daily',
    isolated: 'true',
  })
  const methods = url.searchParams.get('request_methods')?.split(' ')
  expect(methods).toContain('pay_invoice')
  expect(methods).not.toContain('make_invoice')
  expect(authorizationUrl({ ...base, may: new Set(['receive']) })).not.toContain('pay_invoice')
})
