/** The vendor engine against a real relay: what two tabs, a late viewer and a device see. */
import { expect, test } from 'vitest'
import type { PartyKey } from '../web/core/bytes.ts'
import { liveCell } from '../web/core/live.ts'
import { tagValue } from '../web/core/nostr/event.ts'
import { RELEASE } from '../web/core/nostr/kinds.ts'
import { createPool } from '../web/edge/nostr/pool.ts'
import { fetchRelayConfig } from '../web/edge/relay-config.ts'
import { failureText, refresh } from '../web/edge/release/mirror.ts'
import { memoryStore } from '../web/edge/release/store.ts'
import { generateSecrets, keysFromSecrets } from '../web/edge/vendor/keys-file.ts'
import { createPublicView } from '../web/edge/vendor/public-view.ts'
import { createVendor } from '../web/edge/vendor/vendor.ts'
import { afterTest } from './fixture.ts'
import { admitted, artifact, form, random, tab, until } from './vendor-fixture.ts'

test('a vendor is admitted once, publishes, and a client that knows only its id verifies the release', async () => {
  const { url, vendor, id, code } = await admitted()
  expect(vendor.status.get()).toMatchObject({
    tag: 'ready',
    vendor: id,
    name: 'Pumps Ltd',
    targetsVersion: 1,
  })
  const [release] = await vendor.publish([await artifact('1.0.0')])
  const seen = await refresh({ mirrors: [url], vendor: id, store: memoryStore(), nowMs: Date.now(), fetch })
  if (seen.tag !== 'ok') throw new Error(failureText(seen))
  expect(seen.verified.releases).toEqual([release])
  expect((await vendor.torrent(release!)).piecesRoot).toBe(release!.piecesRoot)
  expect(vendor.floor.get()).toContain(release!.sha256)
  const stranger = await tab(url, keysFromSecrets(generateSecrets(random)))
  await expect(stranger.vendor.admit(code, 'Thief')).rejects.toMatchObject({
    code: 'bad-code',
    field: 'code',
  })
})

test('a version that is not newer, an empty file and a bad name are refused before anything is signed', async () => {
  const { vendor } = await admitted()
  await vendor.publish([await artifact('1.0.0')])
  await expect(vendor.publish([await artifact('1.0.0')])).rejects.toMatchObject({
    code: 'not-newer',
    field: 'version',
  })
  await expect(vendor.publish([await artifact('0.9')])).rejects.toMatchObject({ code: 'not-newer' })
  await expect(vendor.publish([await artifact('2.0', { hardware: [' '] })])).rejects.toMatchObject({
    field: 'hardware',
  })
  await expect(vendor.publish([await artifact('2.0', { fileName: '../x' })])).rejects.toMatchObject({
    code: 'bad-file',
  })
  expect(vendor.check(form('2.0'), 0)).toMatchObject({ code: 'bad-file' })
  expect(vendor.check(form('2.0'), 1)).toBeUndefined()
  expect(vendor.status.get()).toMatchObject({ targetsVersion: 2 })
})

test('two tabs that publish at the same moment both get through, and a third that comes late sees all', async () => {
  const { url, keys, vendor } = await admitted()
  const second = await tab(url, keys)
  const [a, b] = [await artifact('1.0', { product: 'a' }), await artifact('1.0', { product: 'b' })]
  await Promise.all([vendor.publish([a]), second.vendor.publish([b])])
  for (const one of [vendor, second.vendor, (await tab(url, keys)).vendor]) {
    const all = await until(one.releases, (releases) => releases.length === 2)
    expect(all.map(({ release }) => release.product).sort()).toEqual(['a', 'b'])
  }
})

test('a withdrawn release is shown as such, also to who comes late, and its version is spent', async () => {
  const { url, keys, vendor } = await admitted()
  const [release] = await vendor.publish([await artifact('1.0')])
  await vendor.withdraw(release!.path)
  expect(vendor.releases.get()).toMatchObject([{ status: 'withdrawn', release: { path: release!.path } }])
  const late = await tab(url, keys)
  const all = await until(late.vendor.releases, (releases) => releases.length === 1)
  expect(all).toMatchObject([{ status: 'withdrawn', release: { sha256: release!.sha256 } }])
  await expect(late.vendor.publish([await artifact('1.0')])).rejects.toMatchObject({ code: 'not-newer' })
  await expect(vendor.withdraw(release!.path)).rejects.toMatchObject({ code: 'unknown-release' })
})

test('a tab that died between signing and announcing: the next one announces, live and withdrawn', async () => {
  const { url, keys, vendor, id } = await admitted()
  const config = await fetchRelayConfig(url)
  const [kept] = await vendor.publish([await artifact('1.0', { product: 'old' })])
  const mute = createPool([config.nostrUrl])
  afterTest(() => mute.close())
  const silent = { ...mute, publish: () => Promise.reject(new Error('died')) }
  const deps = { keys, relayUrl: url, config, store: memoryStore(), nowMs: Date.now, random, fetch }
  const dying = createVendor({ ...deps, pool: silent })
  await dying.ready
  await dying.publish([await artifact('1.0', { product: 'new' })])
  await dying.withdraw(kept!.path)
  dying.close()
  const said = liveCell<Record<string, string>>({})
  const pool = createPool([config.nostrUrl])
  afterTest(() => pool.close())
  pool.subscribe([{ kinds: [RELEASE], '#i': [id] }], (event) => {
    said.set({ ...said.get(), [tagValue(event, 'd') ?? '']: tagValue(event, 'status') ?? '' })
  })
  vendor.close()
  await tab(url, keys)
  await until(said, (now) => now['new@1.0'] === 'live' && now['old@1.0'] === 'withdrawn')
})

test('the public view shows verified releases without keys', async () => {
  const { url, id, vendor, pool } = await admitted()
  const view = createPublicView({
    relayUrl: url,
    pool,
    store: memoryStore(),
    nowMs: Date.now,
    fetch,
    vendor: id,
  })
  afterTest(() => view.close())
  await until(view.name, (name) => name === 'Pumps Ltd')
  await vendor.publish([await artifact('1.0')])
  const [seen] = await until(view.releases, (releases) => releases.length === 1)
  expect(seen).toMatchObject({ healthy: 0, release: { version: '1.0' } })
})

test('signing again and approving distributors move the targets on', async () => {
  const { vendor } = await admitted()
  await vendor.resign()
  expect(vendor.status.get()).toMatchObject({ targetsVersion: 2 })
  await vendor.setApproved(['cd'.repeat(32) as PartyKey])
  expect(vendor.status.get()).toMatchObject({ targetsVersion: 3, approved: ['cd'.repeat(32)] })
})

test('static mirrors are signed for devices, and stay through what is published later', async () => {
  const { vendor, url } = await admitted()
  await expect(vendor.setMirrors(['ftp://files.example'])).rejects.toThrow(/no address of a mirror/)
  await vendor.setMirrors(['https://files.example/', 'https://files.example'])
  await vendor.setApproved(['cd'.repeat(32) as PartyKey])
  const status = vendor.status.get()
  if (status.tag !== 'ready') throw new Error('not admitted')
  const result = await refresh({
    mirrors: [url],
    vendor: status.vendor,
    store: memoryStore(),
    nowMs: Date.now(),
    fetch,
  })
  expect(result.tag === 'ok' && result.verified.vendorBlock.mirrors).toEqual(['https://files.example'])
})
