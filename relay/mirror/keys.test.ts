/** Keys of a vendor over their life, by the real engine against a real relay, as a device that pinned the first root sees it. */
import { expect, test } from 'vitest'
import type { Bytes, VendorId } from '../../web/core/bytes.ts'
import { keyId } from '../../web/core/release/keys.ts'
import { withNewKeys, without, withPerson, type Person } from '../../web/core/release/people.ts'
import { msat } from '../../web/core/money/msat.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { fetchRelayConfig } from '../../web/edge/relay-config.ts'
import { failureText, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore, type TextStore } from '../../web/edge/release/store.ts'
import { hashArtifact } from '../../web/edge/swarm/hash-artifact.ts'
import type { NewRelease, Vendor, VendorKeys } from '../../web/edge/vendor/api.ts'
import {
  generateSecrets,
  keysFromSecrets,
  settled,
  type VendorSecrets,
} from '../../web/edge/vendor/keys-file.ts'
import { createVendor } from '../../web/edge/vendor/vendor.ts'
import { afterTest, relay } from '../fixture.ts'

const random = (bytes: number): Bytes => crypto.getRandomValues(new Uint8Array(bytes))
const newKeys = (): VendorKeys => keysFromSecrets(generateSecrets(random))

async function tab(url: string, keys: VendorKeys, known?: VendorId): Promise<Vendor> {
  const config = await fetchRelayConfig(url)
  const pool = createPool([config.nostrUrl])
  const deps = { keys, relayUrl: url, config, pool, store: memoryStore(), nowMs: Date.now, random, fetch }
  const vendor = createVendor(known ? { ...deps, vendor: known } : deps)
  afterTest(() => {
    vendor.close()
    pool.close()
  })
  await vendor.ready
  return vendor
}

async function admitted() {
  const { url, admissionLink } = await relay()
  const secrets = generateSecrets(random)
  const vendor = await tab(url, keysFromSecrets(secrets))
  const code = new URLSearchParams(new URL(admissionLink ?? '').hash.slice(1)).get('admit') ?? ''
  const id = await vendor.admit(code, 'Pumps Ltd')
  // Pinned before any change of keys.
  const device = pinned(url, id)
  await device()
  return { url, secrets, vendor, id, device }
}

/** A device's refresh with its own store: what it runs the chain from. */
function pinned(url: string, vendor: VendorId) {
  const store: TextStore = memoryStore()
  return async () => {
    const seen = await refresh({ mirrors: [url], vendor, store, nowMs: Date.now(), fetch })
    if (seen.tag !== 'ok') throw new Error(failureText(seen))
    return seen.verified
  }
}

async function release(version: string): Promise<NewRelease> {
  const bytes = random(20_000)
  const source = { length: bytes.length, read: async (at: number, n: number) => bytes.slice(at, at + n) }
  const form = { product: 'pump', version, fileName: 'pump.bin', hardware: ['pi'], priceCapMsat: msat(1000) }
  return { ...(await hashArtifact(source, 'pump.bin', [])), form }
}

const person = (name: string, keys: VendorKeys): Person => ({
  name,
  root: keys.rootKey,
  targets: keys.targetsKey,
})
const onlyName = (vendor: Vendor): string => vendor.signing.get()?.draft.people[0]?.name ?? ''

test('rotated keys: a device that pinned the first root follows, the old keys sign nothing any more', async () => {
  const { url, secrets, vendor, id, device } = await admitted()
  await vendor.publish([await release('1.0')])
  const next: VendorSecrets = { ...secrets, next: { root: random(32), targets: random(32) } }
  const fresh = keysFromSecrets({ ...next.next!, nostr: secrets.nostr })
  const both = await tab(url, keysFromSecrets(next))
  const outcome = await both.changeRoot((draft) =>
    withNewKeys(draft, onlyName(both), { root: fresh.rootKey, targets: fresh.targetsKey }),
  )
  expect(outcome).toEqual({ tag: 'published', targetsVersion: 3 })
  const seen = await device()
  expect(seen.current.root.signed.version).toBe(2)
  expect(seen.releases).toMatchObject([{ version: '1.0' }])
  expect(seen.current.root.signed.roles.root.keyids).toEqual([keyId(fresh.rootKey)])

  await expect(vendor.publish([await release('1.1')])).rejects.toMatchObject({ code: 'not-signer' })
  await expect(vendor.changeRoot((draft) => draft)).rejects.toMatchObject({ code: 'not-signer' })
  // A backup of the new keys finds the vendor, whose first root does not name them.
  const restored = await tab(url, keysFromSecrets(settled(next, seen.current.root.signed)))
  expect(restored.status.get()).toMatchObject({ tag: 'ready', vendor: id })
  await restored.publish([await release('1.2')])
  expect((await device()).releases.map(({ version }) => version)).toContain('1.2')
})

test('two must sign: one proposes, the other opens the id and signs, and only then devices see it', async () => {
  const { url, vendor, id, device } = await admitted()
  const ann = newKeys()
  const stranger = await tab(url, newKeys())
  const both = (draft: Parameters<Parameters<Vendor['changeRoot']>[0]>[0]) => ({
    ...withPerson(draft, person('Ann', ann)),
    thresholds: { root: 2, targets: 2 },
  })
  // Her own signature makes the new root stand: nobody is made a co-signer who cannot sign.
  const asked = await vendor.changeRoot(both)
  if (asked.tag !== 'waiting') throw new Error('it was published')
  expect((await device()).current.root.signed.version).toBe(1)
  const hers = await tab(url, ann)
  expect(hers.status.get().tag).toBe('not-admitted')
  const view = await hers.look(id, asked.id)
  expect(view).toMatchObject({ mine: true })
  expect(view!.changes.map(({ text }) => text)).toEqual([
    expect.stringContaining('Ann may sign key changes'),
    '2 of 2 must sign key changes from now on, not 1.',
    expect.stringContaining('Ann may sign releases'),
    '2 of 2 must sign releases from now on, not 1.',
  ])
  expect(await stranger.look(id, asked.id)).toMatchObject({ mine: false })
  await expect(stranger.approve(id, asked.id)).rejects.toMatchObject({ code: 'not-signer' })
  expect(await hers.approve(id, asked.id)).toMatchObject({ tag: 'published' })
  expect((await device()).current.root.signed).toMatchObject({
    version: 2,
    roles: { root: { threshold: 2 } },
  })
  expect(await hers.look(id, asked.id)).toBeUndefined()

  const proposed = await vendor.publish([await release('2.0')]).catch((error: unknown) => error)
  expect(proposed).toMatchObject({ code: 'needs-signatures' })
  expect((await device()).releases).toEqual([])
  const { proposal } = proposed as { proposal: Parameters<Vendor['look']>[1] }
  // Signing the same twice adds nothing.
  await expect(vendor.approve(id, proposal)).rejects.toMatchObject({ code: 'not-signer' })
  const annsTab = await tab(url, ann)
  expect(annsTab.status.get()).toMatchObject({ tag: 'ready', vendor: id })
  expect((await annsTab.look(id, proposal))?.changes).toMatchObject([{ sort: 'adds' }])
  await annsTab.approve(id, proposal)
  expect((await device()).releases).toMatchObject([{ version: '2.0' }])
})

test('a key that was lost or stolen is taken out by another, also where no old key is left to sign the targets', async () => {
  const { url, vendor, device } = await admitted()
  await vendor.publish([await release('1.0')])
  const ann = newKeys()
  await vendor.changeRoot((draft) => withPerson(draft, person('Ann', ann)))
  const annsTab = await tab(url, ann)
  const owner = onlyName(annsTab)
  await annsTab.changeRoot((draft) => without(draft, owner))
  const seen = await device()
  expect(seen.current.root.signed.roles.targets.keyids).toEqual([keyId(ann.targetsKey)])
  expect(seen.releases).toMatchObject([{ version: '1.0' }])
  await expect(vendor.publish([await release('1.1')])).rejects.toMatchObject({ code: 'not-signer' })
})

test('a change that nobody could undo is refused before anything is signed', async () => {
  const { vendor, device } = await admitted()
  await expect(vendor.changeRoot((draft) => without(draft, onlyName(vendor)))).rejects.toMatchObject({
    code: 'bad-form',
    message: expect.stringContaining('nobody could sign') as string,
  })
  await expect(
    vendor.changeRoot((draft) => ({ ...draft, thresholds: { root: 2, targets: 1 } })),
  ).rejects.toMatchObject({ code: 'bad-form' })
  expect((await device()).current.root.signed.version).toBe(1)
})

test('a product that was handed over is released by its own key alone, until it is taken back', async () => {
  const { url, vendor, device } = await admitted()
  await vendor.publish([await release('1.0')])
  const ci = newKeys()
  const { key: nostr } = ci.nostr
  await vendor.delegate({ product: 'alarm', name: 'CI', key: ci.targetsKey, nostr })
  await vendor.delegate({ product: 'pump', name: 'CI', key: ci.targetsKey, nostr })
  // Found by what was handed over: no root names its keys.
  const machine = await tab(url, ci)
  await machine.publish([await release('1.1')])
  const seen = await device()
  expect(seen.releases.map(({ version }) => version).toSorted()).toEqual(['1.0', '1.1'])
  expect(seen.ownReleases.map(({ version }) => version)).toEqual(['1.0'])
  // Its own releases it may withdraw too, nobody else's.
  const ofVersion = (version: string) => seen.releases.find((one) => one.version === version)?.path ?? ''
  await machine.withdraw(ofVersion('1.1'))
  expect((await device()).releases.map(({ version }) => version)).toEqual(['1.0'])
  await expect(machine.withdraw(ofVersion('1.0'))).rejects.toMatchObject({ code: 'unknown-release' })
  await machine.publish([await release('1.2')])
  const valve = await release('1.0')
  await expect(
    machine.publish([{ ...valve, form: { ...valve.form, product: 'valve' } }]),
  ).rejects.toMatchObject({ code: 'not-signer' })
  await vendor.undelegate('pump')
  expect((await device()).releases.map(({ version }) => version)).toEqual(['1.0'])
  await expect(machine.publish([await release('1.3')])).rejects.toMatchObject({ code: 'refused' })
})
