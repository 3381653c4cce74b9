/** The Nostr key of a browser, replaced: what is kept, in what order, and what a backup of before is worth. */
import { expect, test } from 'vitest'
import { createKeys, openKeys, restoreKeys, type KeyHome, type StoredKeys } from './keys.ts'

function home(): KeyHome {
  let kept: StoredKeys | undefined
  return { get: async () => kept, put: async (keys) => void (kept = keys) }
}

test('a new key waits over reloads, takes over when it is named, and the old one goes on reading', async () => {
  const at = home()
  const keys = await createKeys(at)
  const { key: old } = keys.nostr
  const next = await keys.prepareNextNostr()
  expect(next).not.toBe(old)
  expect(await keys.prepareNextNostr()).toBe(next)
  await keys.settleNostr(old)
  expect(keys.nostr.key).toBe(old)
  const reloaded = await openKeys(at)
  expect(reloaded?.nextNostr?.key).toBe(next)
  await reloaded?.settleNostr(next)
  for (const one of [reloaded, await openKeys(at)]) {
    expect(one?.nostr.key).toBe(next)
    expect(one?.nextNostr).toBeUndefined()
    expect(one?.formerNostr?.map(({ key }) => key)).toEqual([old])
    expect(one?.origin).toBe(old)
    expect(one?.rootKey).toEqual(keys.rootKey)
  }
})

test('a backup taken while the new key waits restores both, and seals after it has taken over', async () => {
  const at = home()
  const keys = await createKeys(at)
  const { key: old } = keys.nostr
  const next = await keys.prepareNextNostr()
  const backup = await keys.backup('correct horse')
  const elsewhere = await restoreKeys(backup, 'correct horse', home())
  expect([elsewhere.nostr.key, elsewhere.nextNostr?.key]).toEqual([old, next])
  await keys.settleNostr(next)
  await keys.seal(backup, 'correct horse')
  expect(keys.sealed.get()).toBe(true)
  expect((await openKeys(at))?.nostr.key).toBe(next)
})
