import { expect, test } from 'vitest'
import { sha256 } from '@noble/hashes/sha2.js'
import { concat, fromUtf8, utf8, type Bytes } from '../../core/bytes.ts'
import type { Passkeys } from './passkey.ts'
import { openVault, VaultError, type VaultHome } from './vault.ts'

const SECRET = 'nostr+walletconnect://wallet?secret=71a8c14c'

function memoryHome(): VaultHome & { kept: Map<string, unknown> } {
  const kept = new Map<string, unknown>()
  return {
    kept,
    get: async (name) => kept.get(name),
    put: async (name, value) => void kept.set(name, value),
    putFirst: async (name, value) => {
      if (!kept.has(name)) kept.set(name, value)
      return kept.get(name)
    },
    delete: async (name) => void kept.delete(name),
    names: async () => [...kept.keys()],
  }
}
/** What an authenticator does, without a person. */
const passkeysOf = (owner: string): Passkeys => ({
  possible: async () => true,
  create: async () => utf8(`credential of ${owner}`),
  secret: async (credential, salt) => sha256(concat(utf8(owner), credential, salt)) as Bytes,
})

/** Every byte that lies in `home`, as text. */
function everything(home: ReturnType<typeof memoryHome>): string {
  const texts: string[] = []
  const walk = (value: unknown): void => {
    if (value instanceof Uint8Array) texts.push(String.fromCharCode(...value))
    else if (value instanceof CryptoKey) expect(value.extractable).toBe(false)
    else if (typeof value === 'object' && value !== null) Object.values(value).forEach(walk)
    else texts.push(String(value))
  }
  home.kept.forEach(walk)
  return texts.join('\n')
}
const codeOf = (error: unknown): string | undefined => (error instanceof VaultError ? error.code : undefined)

test('under the browser’s key a secret survives a reload, and does not lie there in clear', async () => {
  const home = memoryHome()
  const vault = await openVault(home, passkeysOf('me'))
  await vault.put('wallet/1', SECRET, 'browser')
  const again = await openVault(home, passkeysOf('me'))
  expect(await again.get('wallet/1')).toBe(SECRET)
  expect(everything(home)).not.toContain('71a8c14c')
  await again.delete('wallet/1')
  expect(await again.entries()).toEqual([])
})

test.each([
  ['passphrase', { by: 'passphrase', passphrase: 'four random words' }],
  ['passkey', { by: 'passkey' }],
] as const)('under a %s it is read only after that was given', async (by, opening) => {
  const home = memoryHome()
  const vault = await openVault(home, passkeysOf('me'))
  expect(vault.state.get()).toEqual({ tag: 'unset' })
  await expect(vault.put('wallet/1', SECRET, 'lock')).rejects.toMatchObject({ code: 'locked' })
  await vault.choose(opening)
  await vault.put('wallet/1', SECRET, 'lock')
  expect(await vault.get('wallet/1')).toBe(SECRET)
  vault.lock()
  await expect(vault.get('wallet/1')).rejects.toMatchObject({ code: 'locked' })

  const again = await openVault(home, passkeysOf('me'))
  expect(again.state.get()).toEqual({ tag: 'locked', by })
  expect(await again.entries()).toEqual([{ name: 'wallet/1', under: 'lock' }])
  await again.unlock(opening)
  expect(await again.get('wallet/1')).toBe(SECRET)
  expect(everything(home)).not.toContain('71a8c14c')
})

test('the wrong passphrase, another passkey and a short one are refused, in words without the secret', async () => {
  const home = memoryHome()
  const vault = await openVault(home, passkeysOf('me'))
  await expect(vault.choose({ by: 'passphrase', passphrase: 'short' })).rejects.toMatchObject({
    code: 'weak-passphrase',
  })
  await vault.choose({ by: 'passphrase', passphrase: 'four random words' })
  const wrong = await vault.unlock({ by: 'passphrase', passphrase: 'four other words' }).catch(codeOf)
  expect(wrong).toBe('wrong-passphrase')

  const other = memoryHome()
  await (await openVault(other, passkeysOf('me'))).choose({ by: 'passkey' })
  const thief = await openVault(other, passkeysOf('a thief'))
  expect(await thief.unlock({ by: 'passkey' }).catch(codeOf)).toBe('passkey')
})

test('entries that change places are not read', async () => {
  const home = memoryHome()
  const vault = await openVault(home, passkeysOf('me'))
  await vault.put('a', SECRET, 'browser')
  home.kept.set('entry/b', home.kept.get('entry/a'))
  expect(await vault.get('b').catch(codeOf)).toBe('damaged')
  expect(fromUtf8(utf8((await vault.get('a')) ?? ''))).toBe(SECRET)
})

test('a box goes under the lock once that is open, and is not read while it is closed', async () => {
  const home = memoryHome()
  const vault = await openVault(home, passkeysOf('me'))
  const before = await vault.boxes.seal(utf8(SECRET))
  await vault.choose({ by: 'passkey' })
  const after = await vault.boxes.seal(utf8(SECRET))
  vault.lock()
  expect(fromUtf8(await vault.boxes.open(before))).toBe(SECRET)
  expect(await vault.boxes.open(after).catch(codeOf)).toBe('locked')
  await vault.unlock({ by: 'passkey' })
  expect(fromUtf8(await vault.boxes.open(after))).toBe(SECRET)
  before[20]! ^= 1
  expect(await vault.boxes.open(before).catch(codeOf)).toBe('damaged')
})

test('two tabs that begin at once share the browser’s key, and one lock: what either wrote stays readable', async () => {
  const home = memoryHome()
  const [a, b] = [await openVault(home, passkeysOf('me')), await openVault(home, passkeysOf('me'))]
  await Promise.all([a.put('one', 'of a', 'browser'), b.put('two', 'of b', 'browser')])
  const again = await openVault(home, passkeysOf('me'))
  expect([await again.get('one'), await again.get('two')]).toEqual(['of a', 'of b'])

  const chosen = await Promise.allSettled([a, b].map((tab) => tab.choose({ by: 'passkey' })))
  expect(chosen.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  const [first, second] = chosen[0]?.status === 'fulfilled' ? [a, b] : [b, a]
  await first.put('three', SECRET, 'lock')
  expect(second.state.get()).toEqual({ tag: 'locked', by: 'passkey' })
  await second.unlock({ by: 'passkey' })
  expect(await second.get('three')).toBe(SECRET)
})
