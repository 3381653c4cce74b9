/** Confidential releases from the vendor's engine, over a real relay, to whoever reads the mirror. */
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Bytes, PartyKey } from '../web/core/bytes.ts'
import { msat } from '../web/core/money/msat.ts'
import { publicKey, signEvent, type SecretKey } from '../web/core/nostr/event.ts'
import { ROSTER } from '../web/core/nostr/kinds.ts'
import { plainOf } from '../web/core/release/confidential.ts'
import type { Release } from '../web/core/release/target.ts'
import { emptyRoster, enrol } from '../web/core/rollout/roster.ts'
import { hashConfidential, newArtifactKey, throughCipher } from '../web/edge/confidential/artifact.ts'
import { openCipher } from '../web/edge/confidential/cipher.ts'
import { unwrapKey } from '../web/edge/confidential/keys.ts'
import { encryptTo } from '../web/edge/nostr/nip44.ts'
import { createPool } from '../web/edge/nostr/pool.ts'
import { fetchRelayConfig } from '../web/edge/relay-config.ts'
import { failureText, fetchKeys, refresh } from '../web/edge/release/mirror.ts'
import { memoryStore } from '../web/edge/release/store.ts'
import { generateSecrets, keysFromSecrets } from '../web/edge/vendor/keys-file.ts'
import { createVendor } from '../web/edge/vendor/vendor.ts'
import { afterTest, relay } from './fixture.ts'

const random = (bytes: number): Bytes => crypto.getRandomValues(new Uint8Array(bytes))
const plain = random(60_000)
const source = {
  length: plain.length,
  read: (at: number, n: number) => Promise.resolve(plain.subarray(at, at + n)),
}

async function admitted() {
  const { url, admissionLink } = await relay()
  const keys = keysFromSecrets(generateSecrets(random))
  const config = await fetchRelayConfig(url)
  const pool = createPool([config.nostrUrl])
  const vendor = createVendor({
    keys,
    relayUrl: url,
    config,
    pool,
    store: memoryStore(),
    nowMs: Date.now,
    random,
    fetch,
  })
  afterTest(() => {
    vendor.close()
    pool.close()
  })
  await vendor.ready
  const code = new URLSearchParams(new URL(admissionLink ?? '').hash.slice(1)).get('admit') ?? ''
  const id = await vendor.admit(code, 'Pumps Ltd')

  let roster = emptyRoster
  let at = Math.floor(Date.now() / 1000)
  /** As another tab of the vendor enrols it. */
  async function enrolled(name: string): Promise<{ key: PartyKey; secret: SecretKey }> {
    const secret = random(32)
    const key = publicKey(secret)
    roster = enrol(roster, { key, name, hardware: 'rpi4', enrolledAt: Date.now() })
    const content = encryptTo(keys.nostr.secret, keys.nostr.key, JSON.stringify(roster))
    const template = { kind: ROSTER, created_at: (at += 5), tags: [['d', id]], content }
    const heard = new Promise<void>((done) => {
      const end = vendor.roster.subscribe(({ devices }) => {
        if (!devices.some((one) => one.key === key)) return
        queueMicrotask(() => end())
        done()
      })
    })
    await pool.publish(signEvent(template, keys.nostr.secret, random(32)))
    await heard
    return { key, secret }
  }
  const onMirror = async (path: string): Promise<Release> => {
    const seen = await refresh({ mirrors: [url], vendor: id, store: memoryStore(), nowMs: Date.now(), fetch })
    if (seen.tag !== 'ok') throw new Error(failureText(seen))
    const release = seen.verified.releases.find((one) => one.path === path)
    if (!release) throw new Error(`${path} is not out`)
    return release
  }
  const opens = async (release: Release, secret: SecretKey) => {
    if (!release.confidential) throw new Error('not confidential')
    const list = await fetchKeys([url], id, release.confidential.keys, fetch)
    if (list.tag === 'failed') throw new Error(list.text)
    return unwrapKey(list.bytes, secret)
  }
  const artifact = async (version: string) => ({
    ...(await hashConfidential(source, 'pump.bin', [], newArtifactKey())),
    form: { product: 'pump', version, fileName: 'pump.bin', hardware: ['rpi4'], priceCapMsat: msat(2000) },
  })
  return { url, id, keys, vendor, enrolled, onMirror, opens, artifact }
}

test('devices that are enrolled open it, a revoked one not the next, a later one once the keys are wrapped again', async () => {
  const { vendor, enrolled, onMirror, opens, artifact } = await admitted()
  const [one, two] = [await enrolled('one'), await enrolled('two')]
  const [first] = await vendor.publish([await artifact('1.0.0')])
  const seen = await onMirror(first!.path)
  expect(seen).toEqual(first)

  const own = await opens(seen, one.secret)
  if (own.tag !== 'ok') throw new Error(own.tag)
  const encrypted = await throughCipher(source, own.key)
  const travels = await encrypted.read(0, plain.length)
  const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
  expect(hash(travels)).toBe(seen.sha256)
  expect(hash(plain)).toBe(plainOf(seen).sha256)
  expect(await (await openCipher(own.key))(0, travels as Bytes)).toEqual(plain)
  expect(await opens(seen, random(32))).toEqual({ tag: 'not-listed' })

  await vendor.revoke(two.key)
  const [second] = await vendor.publish([await artifact('1.1.0')])
  expect((await opens(second!, one.secret)).tag).toBe('ok')
  expect(await opens(second!, two.secret)).toEqual({ tag: 'not-listed' })
  // Another key each time: what opened the first does not open the second.
  expect(await opens(second!, one.secret)).not.toEqual(await opens(seen, one.secret))

  const three = await enrolled('three')
  expect(await opens(second!, three.secret)).toEqual({ tag: 'not-listed' })
  await vendor.wrapAgain(second!.path)
  const again = await onMirror(second!.path)
  expect(again.sha256).toBe(second!.sha256)
  expect(again.confidential?.keys.sha256).not.toBe(second!.confidential?.keys.sha256)
  expect(await opens(again, three.secret)).toEqual(await opens(second!, one.secret))
  expect(await opens(again, two.secret)).toEqual({ tag: 'not-listed' })

  await vendor.withdraw(first!.path)
  await expect(onMirror(first!.path)).rejects.toThrow('is not out')
  await expect(vendor.wrapAgain(first!.path)).rejects.toMatchObject({ code: 'unknown-release' })
})
