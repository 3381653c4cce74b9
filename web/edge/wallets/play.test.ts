import { expect, test } from 'vitest'
import { parseMoney, type Money } from '../../core/money/msat.ts'
import { browserPasskeys } from '../vault/passkey.ts'
import { openVault } from '../vault/vault.ts'
import { forgetWallet, keepWallet, keptWallets } from './kept.ts'
import { keepPlay, keptPlay, keptSeedPlay, releasesPlay, seedPlay, type ClearPlace } from './play.ts'

const CONNECTION = 'nostr+walletconnect://wallet?secret=71a8c14c'

const vaultOf = (kept: Map<string, unknown>) =>
  openVault(
    {
      get: async (name) => kept.get(name),
      put: async (name, value) => void kept.set(name, value),
      putFirst: async (name, value) => kept.set(name, kept.get(name) ?? value).get(name),
      delete: async (name) => void kept.delete(name),
      names: async () => [...kept.keys()],
    },
    browserPasskeys,
  )
const nowhere: ClearPlace = { get: async () => undefined, delete: async () => undefined }

test('a connection that lay in clear is moved into the vault, and the clear one deleted, once it is in', async () => {
  const kept = new Map<string, unknown>()
  let clear: string | undefined = CONNECTION
  let inTheVault = false
  const place: ClearPlace = {
    get: async () => clear,
    async delete() {
      inTheVault = (await (await vaultOf(kept)).get('play/seed')) === CONNECTION
      clear = undefined
    },
  }
  expect(await keptPlay(await vaultOf(kept), 'seed', place)).toBe(CONNECTION)
  expect(clear).toBeUndefined()
  expect(inTheVault).toBe(true)
  expect(await keptPlay(await vaultOf(kept), 'seed', nowhere)).toBe(CONNECTION)
  expect(await keptPlay(await vaultOf(kept), 'vendor', nowhere)).toBeUndefined()
})

test('it is readable after a reload although the vault is locked', async () => {
  const kept = new Map<string, unknown>()
  const vault = await vaultOf(kept)
  await keepPlay(vault, 'seed', CONNECTION)
  await vault.choose({ by: 'passphrase', passphrase: 'four random words' })
  const reloaded = await vaultOf(kept)
  expect(reloaded.state.get().tag).toBe('locked')
  expect(await keptPlay(reloaded, 'seed', nowhere)).toBe(CONNECTION)
})

test('accounts of pages are listed after the wallets that were added, of this relay only, and can be forgotten', async () => {
  const [here, elsewhere] = [sandbox('a'), sandbox('b')]
  const vault = await vaultOf(new Map())
  for (const money of [here, elsewhere])
    await keepPlay(vault, releasesPlay('4f1c', money), `${CONNECTION}&of=${money}`)
  await keepPlay(vault, seedPlay(here), CONNECTION)
  await keepWallet(vault, 'own', { name: 'Mine', origin: 'play', addedAtMs: 1 }, 'browser')
  const listed = await keptWallets(vault, here)
  expect(listed).toMatchObject([
    { tag: 'open', name: 'Mine' },
    { tag: 'page', page: 'seed', connection: CONNECTION },
    { tag: 'page', page: 'releases', connection: `${CONNECTION}&of=${here}` },
  ])
  expect(listed.every(({ id }) => id.length <= 100 && !id.includes('/'))).toBe(true)
  // Until the relay has said its money, nobody knows which of the Releases page's are its.
  expect((await keptWallets(vault, undefined)).map(({ tag }) => tag)).toEqual(['open', 'page'])

  for (const { id } of listed) await forgetWallet(vault, id)
  expect(await keptWallets(vault, here)).toEqual([])
  expect(await keptWallets(vault, elsewhere)).toMatchObject([{ connection: `${CONNECTION}&of=${elsewhere}` }])
})

test('the Seed page’s account of another relay is neither used nor listed, and is there again when that relay is', async () => {
  const [before, now] = [sandbox('a'), sandbox('b')]
  const at = (money: Money): string =>
    `nostr+walletconnect://${money.slice('sandbox:'.length)}?relay=ws%3A%2F%2Flocalhost&secret=${'1'.repeat(64)}`
  const vault = await vaultOf(new Map())
  // As earlier versions kept it: whatever the relay.
  await keepPlay(vault, 'seed', at(before))
  expect(await keptSeedPlay(vault, now, nowhere)).toBeUndefined()
  expect(await keptWallets(vault, now)).toEqual([])
  const [listed] = await keptWallets(vault, before)
  expect(listed).toMatchObject({ tag: 'page', page: 'seed', connection: at(before) })
  expect(await keptWallets(vault, undefined)).toEqual([listed])

  await keepPlay(vault, seedPlay(now), at(now))
  expect(await keptSeedPlay(vault, now, nowhere)).toBe(at(now))
  expect(await keptWallets(vault, now)).toMatchObject([{ page: 'seed', connection: at(now) }])
  expect(await keptSeedPlay(vault, before, nowhere)).toBe(at(before))
  expect(await keptWallets(vault, before)).toEqual([listed])
})

function sandbox(digit: string): Money {
  const money = parseMoney(`sandbox:${digit.repeat(64)}`)
  if (!money) throw new Error('no money')
  return money
}
