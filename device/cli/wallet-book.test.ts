import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Flags } from './command.ts'
import { openBook } from './wallet-book.ts'

test('two commands at once keep the keys of both their accounts', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'satpatch-book-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const nwc = `nostr+walletconnect://${'ab'.repeat(32)}?relay=ws%3A%2F%2Frelay.test&secret=${'cd'.repeat(32)}`
  await writeFile(join(dir, 'nwc'), nwc)
  const given = new Map([
    ['data', dir],
    ['wallet-file', join(dir, 'nwc')],
  ])
  const flags = { text: (name) => given.get(name) } as Flags
  const [one, other] = [await openBook(flags), await openBook(flags)]
  const shop = await one.add('shop')
  await other.add('till')
  await one.reachedBy(shop, { walletPubkey: 'ef'.repeat(32), relays: ['ws://other.test'] })
  await expect(other.add('shop')).rejects.toThrow('already')
  const after = await openBook(flags)
  expect(after.accounts.map(({ name }) => name)).toEqual(['shop', 'till'])
  expect(after.account('shop').connection).toContain('ef'.repeat(32))
  await one.remove(shop)
  expect((await openBook(flags)).accounts.map(({ name }) => name)).toEqual(['till'])
})
