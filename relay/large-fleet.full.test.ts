/** A fleet of the largest size over a real relay: its roster in parts, and a release that each of its devices can read. */
import { expect, test } from 'vitest'
import type { Bytes, PartyKey } from '../web/core/bytes.ts'
import { msat } from '../web/core/money/msat.ts'
import { publicKey } from '../web/core/nostr/event.ts'
import { describe, isEnrolled, MAX_MEMBERS } from '../web/core/rollout/roster.ts'
import { hashConfidential, newArtifactKey } from '../web/edge/confidential/artifact.ts'
import { unwrapKey } from '../web/edge/confidential/keys.ts'
import { createPool, type Pool } from '../web/edge/nostr/pool.ts'
import { fetchRelayConfig } from '../web/edge/relay-config.ts'
import { fetchKeys } from '../web/edge/release/mirror.ts'
import { memoryStore } from '../web/edge/release/store.ts'
import type { VendorDeps } from '../web/edge/vendor/api.ts'
import { generateSecrets, keysFromSecrets } from '../web/edge/vendor/keys-file.ts'
import { syncRoster } from '../web/edge/vendor/roster-sync.ts'
import { createVendor } from '../web/edge/vendor/vendor.ts'
import { afterTest, relay } from './fixture.ts'

const random = (bytes: number): Bytes => crypto.getRandomValues(new Uint8Array(bytes))

test(`${MAX_MEMBERS} devices: another tab has them all, an edit writes one part, and the last one reads a confidential release`, async () => {
  const { url, admissionLink } = await relay()
  const config = await fetchRelayConfig(url)
  const keys = keysFromSecrets(generateSecrets(random))
  let published = 0
  function deps(): VendorDeps {
    const pool = createPool([config.nostrUrl])
    const counted: Pool = {
      ...pool,
      publish: (event, options) => {
        published++
        return pool.publish(event, options)
      },
    }
    afterTest(() => pool.close())
    const nowMs = Date.now
    return { keys, relayUrl: url, config, pool: counted, store: memoryStore(), nowMs, random, fetch }
  }
  const vendor = createVendor(deps())
  afterTest(() => vendor.close())
  await vendor.ready
  const code = new URLSearchParams(new URL(admissionLink ?? '').hash.slice(1)).get('admit') ?? ''
  const id = await vendor.admit(code, 'Pumps Ltd')

  const secrets = Array.from({ length: MAX_MEMBERS }, () => random(32))
  const members = secrets.map((secret, n) => ({
    key: publicKey(secret),
    name: `Pump station ${n}, hall ${n % 7}`,
    hardware: 'rpi4',
    enrolledAt: 1_800_000_000_000 + n,
  }))
  const tab = syncRoster(deps(), id)
  await tab.edit(() => ({ v: 1, devices: members }))
  const writtenAtOnce = published
  expect(writtenAtOnce).toBeLessThanOrEqual(256)

  const another = syncRoster(deps(), id)
  await another.stored
  expect(another.roster.get()).toEqual(tab.roster.get())
  const last = members.at(-1)!.key
  published = 0
  await another.edit((before) =>
    describe(before, last, { name: 'The last', group: 'roof' }, 1_900_000_000_000),
  )
  expect(published).toBe(1)
  const inFirst = new Promise<void>((done) => {
    const end = tab.roster.subscribe(({ devices }) => {
      if (devices.find(({ key }) => key === last)?.name !== 'The last') return
      queueMicrotask(() => end())
      done()
    })
  })
  await inFirst
  await expect(
    tab.edit(({ devices }) => ({
      v: 1,
      devices: [...devices, { ...members[0]!, key: 'ab'.repeat(32) as PartyKey }],
    })),
  ).rejects.toMatchObject({ code: 'too-large' })
  tab.close()
  another.close()

  await expect.poll(() => isEnrolled(vendor.roster.get(), last), { timeout: 30_000 }).toBe(true)
  await expect.poll(() => vendor.roster.get().devices.length, { timeout: 30_000 }).toBe(MAX_MEMBERS)
  const plain = random(60_000)
  const source = {
    length: plain.length,
    read: (at: number, n: number) => Promise.resolve(plain.subarray(at, at + n)),
  }
  const hashed = await hashConfidential(source, 'pump.bin', [], newArtifactKey())
  const form = {
    product: 'pump',
    version: '1.0',
    fileName: 'pump.bin',
    hardware: ['rpi4'],
    priceCapMsat: msat(2000),
  }
  const [release] = await vendor.publish([{ ...hashed, form }])
  const list = await fetchKeys([url], id, release!.confidential!.keys, fetch)
  if (list.tag === 'failed') throw new Error(list.text)
  for (const secret of [secrets[0]!, secrets.at(-1)!]) expect(unwrapKey(list.bytes, secret).tag).toBe('ok')
  expect(unwrapKey(list.bytes, random(32))).toEqual({ tag: 'not-listed' })
}, 240_000)
