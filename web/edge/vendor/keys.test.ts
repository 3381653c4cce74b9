import { ed25519 } from '@noble/curves/ed25519.js'
import { expect, test } from 'vitest'
import { fromHex, utf8 } from '../../core/bytes.ts'
import { buildRoot } from '../../core/release/repository.ts'
import { keyId, type PublicKeyObject } from '../../core/release/tuf.ts'
import { createKeys, openKeys, restoreKeys, type KeyHome, type StoredKeys } from './keys.ts'
import {
  generateSecrets,
  keysFromSecrets,
  needsPassphrase,
  parseSecrets,
  serializeSecrets,
  settled,
} from './keys-file.ts'
import type { VendorKeys } from './api.ts'

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
const PASSPHRASE = 'four random words here'

/** Like IndexedDB: what comes out is a structured clone of what went in. */
function home(): KeyHome & { stored: StoredKeys | undefined } {
  return {
    stored: undefined,
    async get() {
      return structuredClone(this.stored)
    },
    async put(keys) {
      this.stored = structuredClone(keys)
    },
  }
}

async function signs(keys: VendorKeys): Promise<void> {
  expect(keys.signers.map(({ key }) => key).slice(0, 2)).toEqual([keys.rootKey, keys.targetsKey])
  const message = utf8('any metadata')
  for (const { key, sign } of keys.signers)
    expect(ed25519.verify(await sign(message), message, fromHex(key.keyval.public), { zip215: false })).toBe(
      true,
    )
}

test('keys made in a browser sign, survive a reload, and are not made twice', async () => {
  const disk = home()
  expect(await openKeys(disk)).toBeUndefined()
  const made = await createKeys(disk)
  await signs(made)
  const again = await openKeys(disk)
  expect(again).toMatchObject({ rootKey: made.rootKey, targetsKey: made.targetsKey, nostr: made.nostr })
  expect((await createKeys(disk)).rootKey).toEqual(made.rootKey)
  await signs(again!)
  expect(made.rootKey).not.toEqual(made.targetsKey)
})

test('a backup restores the same vendor elsewhere; once it is saved the keys cannot be read out', async () => {
  const disk = home()
  const keys = await createKeys(disk)
  const text = await keys.backup(PASSPHRASE)
  expect(needsPassphrase(text)).toBe(true)
  await expect(keys.seal(text, 'another passphrase')).rejects.toMatchObject({ code: 'wrong-passphrase' })
  const foreign = await serializeSecrets(generateSecrets(random), PASSPHRASE)
  await expect(keys.seal(foreign, PASSPHRASE)).rejects.toMatchObject({ code: 'other-keys' })
  expect(keys.sealed.get()).toBe(false)
  await keys.seal(text, PASSPHRASE)
  expect(keys.sealed.get()).toBe(true)
  await signs(keys)
  await expect(keys.backup(PASSPHRASE)).rejects.toMatchObject({ code: 'sealed' })
  for (const key of [disk.stored!.root, disk.stored!.targets, disk.stored!.wrapping]) {
    expect(key.extractable).toBe(false)
  }
  expect(Buffer.from(disk.stored!.nostrCipher).includes(Buffer.from(keys.nostr.secret))).toBe(false)

  const elsewhere = home()
  const restored = await restoreKeys(text, PASSPHRASE, elsewhere)
  expect(restored).toMatchObject({ rootKey: keys.rootKey, targetsKey: keys.targetsKey, nostr: keys.nostr })
  expect(elsewhere.stored!.sealed).toBe(true)
  await signs(restored)
})

test('a wrong passphrase, a damaged or foreign file and a weak passphrase say so and change nothing', async () => {
  const secrets = generateSecrets(random)
  const text = await serializeSecrets(secrets, PASSPHRASE)
  await expect(parseSecrets(text, 'another passphrase')).rejects.toMatchObject({ code: 'wrong-passphrase' })
  await expect(parseSecrets(text)).rejects.toMatchObject({ code: 'needs-passphrase' })
  const data = (JSON.parse(text) as { data: string }).data
  const damaged = text.replace(data, `${data[0] === 'A' ? 'B' : 'A'}${data.slice(1)}`)
  await expect(parseSecrets(damaged, PASSPHRASE)).rejects.toMatchObject({ code: 'wrong-passphrase' })
  for (const junk of ['', '{}', '[1]', 'x'.repeat(20_000)]) {
    await expect(parseSecrets(junk, PASSPHRASE)).rejects.toMatchObject({ code: 'not-a-key-file' })
  }
  await expect(parseSecrets(text.replace('"v": 1', '"v": 2'), PASSPHRASE)).rejects.toMatchObject({
    code: 'newer-version',
  })
  await expect(serializeSecrets(secrets, 'short')).rejects.toMatchObject({ code: 'weak-passphrase' })
  const disk = home()
  await expect(restoreKeys(text, 'another passphrase', disk)).rejects.toThrow()
  expect(disk.stored).toBeUndefined()
})

test('a file without a passphrase, as a shell keeps it, holds the same keys', async () => {
  const secrets = generateSecrets(random)
  const text = await serializeSecrets(secrets)
  expect(needsPassphrase(text)).toBe(false)
  expect(await parseSecrets(text)).toEqual(secrets)
  const restored = await restoreKeys(text, undefined, home())
  expect(restored.rootKey).toEqual(keysFromSecrets(secrets).rootKey)
  await signs(keysFromSecrets(secrets))
})

test('no secret is in an error', async () => {
  const secrets = generateSecrets(random)
  const text = await serializeSecrets(secrets, PASSPHRASE)
  const error = await parseSecrets(text, 'a secret attempt').then(
    () => new Error('parsed'),
    (e: unknown) => e as Error,
  )
  expect(error.name).toBe('KeysError')
  expect(`${error.message} ${error.stack} ${JSON.stringify(error)}`).not.toContain('a secret attempt')
})

test('new keys sign beside the old, are backed up alone, and take over once a root names them', async () => {
  const disk = home()
  const keys = await createKeys(disk)
  await keys.seal(await keys.backup(PASSPHRASE), PASSPHRASE)
  const old = keys.rootKey
  const next = await keys.prepareNext()
  expect(keys.next.get()).toEqual(next)
  expect(await keys.prepareNext()).toEqual(next)
  expect(keys.sealed.get()).toBe(false)
  expect(keys.signers).toHaveLength(4)
  await signs(keys)
  const text = await keys.backup(PASSPHRASE)
  expect(keysFromSecrets(await parseSecrets(text, PASSPHRASE)).rootKey).toEqual(next.root)
  await keys.seal(text, PASSPHRASE)
  expect(disk.stored!.next!.root.extractable).toBe(false)

  // A reload half way keeps both; a root that does not name the new ones changes nothing.
  const again = (await openKeys(disk))!
  const rootWith = (key: PublicKeyObject) =>
    buildRoot({
      version: 2,
      nowMs: 0,
      keys: { root: [key], targets: [key], snapshot: [key], timestamp: [key] },
    })
  await again.settle(rootWith(old))
  expect(again.rootKey).toEqual(old)
  await again.settle(rootWith(next.root))
  expect(again.rootKey).toEqual(next.root)
  expect(again.signers).toHaveLength(2)
  expect(again.next.get()).toBeUndefined()
  expect(again.sealed.get()).toBe(true)
  expect(JSON.stringify(disk.stored)).not.toContain(old.keyval.public)
  await signs(again)
})

test('a tab that has not heard of what another did with the keys does not write over it', async () => {
  const place = home()
  const one = await createKeys(place)
  const other = (await openKeys(place))!
  const fresh = await one.prepareNext()
  await expect(other.prepareNextNostr()).rejects.toMatchObject({ code: 'other-keys' })
  await expect(other.prepareNext()).rejects.toMatchObject({ code: 'other-keys' })
  expect((await openKeys(place))!.next.get()).toEqual(fresh)

  const third = (await openKeys(place))!
  const nostr = await third.prepareNextNostr()
  await expect(one.seal(await one.backup(PASSPHRASE), PASSPHRASE)).rejects.toMatchObject({
    code: 'other-keys',
  })
  expect((await openKeys(place))!.nextNostr?.key).toBe(nostr)
  // Both see that it is in force: the second finds it done.
  const fourth = (await openKeys(place))!
  await third.settleNostr(nostr)
  await fourth.settleNostr(nostr)
  for (const keys of [third, fourth, (await openKeys(place))!]) expect(keys.nostr.key).toBe(nostr)
})

test('new keys that are not wanted after all leave the old as they were', async () => {
  const keys = await createKeys(home())
  await keys.seal(await keys.backup(PASSPHRASE), PASSPHRASE)
  const before = keys.rootKey
  const next = await keys.prepareNext()
  // Something names one of them by now: whoever forgot it could not sign any more.
  await expect(keys.dropNext((key) => keyId(key) === keyId(next.targets))).rejects.toMatchObject({
    code: 'in-use',
  })
  expect(keys.signers).toHaveLength(4)
  await keys.dropNext(() => false)
  expect(keys.sealed.get()).toBe(true)
  expect(keys.signers).toHaveLength(2)
  expect(keys.rootKey).toEqual(before)
})

test('one key is replaced, the other stays: the new backup holds both, which only the old backup makes possible', async () => {
  const keys = await createKeys(home())
  const backup = { text: await keys.backup(PASSPHRASE), passphrase: PASSPHRASE }
  await keys.seal(backup.text, PASSPHRASE)
  const [root, targets] = [keys.rootKey, keys.targetsKey]
  await expect(keys.prepareNext('targets')).rejects.toMatchObject({ code: 'sealed' })
  const foreign = await serializeSecrets(generateSecrets(random), PASSPHRASE)
  await expect(keys.prepareNext('targets', { text: foreign, passphrase: PASSPHRASE })).rejects.toMatchObject({
    code: 'other-keys',
  })
  expect(keys.next.get()).toBeUndefined()

  const next = await keys.prepareNext('targets', backup)
  expect(next.root).toEqual(root)
  expect(next.targets).not.toEqual(targets)
  // Each key signs once: old and new for releases, the one for key changes.
  expect(keys.signers.map(({ key }) => key)).toEqual([root, targets, next.targets])
  const text = await keys.backup(PASSPHRASE)
  expect(keysFromSecrets(await parseSecrets(text, PASSPHRASE))).toMatchObject({
    rootKey: root,
    targetsKey: next.targets,
  })
  await keys.seal(text, PASSPHRASE)
  const rootWith = (key: PublicKeyObject) =>
    buildRoot({
      version: 2,
      nowMs: 0,
      keys: { root: [root], targets: [key], snapshot: [key], timestamp: [key] },
    })
  // The key that stays is in every root: only the new one says that the change is in force.
  await keys.settle(rootWith(targets))
  expect(keys.targetsKey).toEqual(targets)
  await keys.settle(rootWith(next.targets))
  expect([keys.rootKey, keys.targetsKey]).toEqual([root, next.targets])
  expect(keys.sealed.get()).toBe(true)
  await signs(keys)
})

test('before the first backup one key is replaced without it', async () => {
  const keys = await createKeys(home())
  const { targetsKey } = keys
  const next = await keys.prepareNext('root')
  expect(next.targets).toEqual(targetsKey)
  expect(next.root).not.toEqual(keys.rootKey)
})

test('a key file keeps new keys beside those in force until a root names them', async () => {
  const secrets = { ...generateSecrets(random), next: { root: random(32), targets: random(32) } }
  expect(await parseSecrets(await serializeSecrets(secrets, PASSPHRASE), PASSPHRASE)).toEqual(secrets)
  await signs(keysFromSecrets(secrets))
  const named = keysFromSecrets({ ...secrets.next, nostr: secrets.nostr })
  const root = buildRoot({
    version: 2,
    nowMs: 0,
    keys: {
      root: [named.rootKey],
      targets: [named.targetsKey],
      snapshot: [named.rootKey],
      timestamp: [named.rootKey],
    },
  })
  expect(settled(secrets, root)).toEqual({ ...secrets.next, nostr: secrets.nostr })
  expect(settled({ ...secrets, next: { root: random(32), targets: random(32) } }, root).root).toEqual(
    secrets.root,
  )
})
