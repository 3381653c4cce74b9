/** The vendor's Nostr key is replaced, against a real relay: who is heard before, meanwhile and afterwards. */
import { expect, test } from 'vitest'
import type { Bytes, PartyKey } from '../web/core/bytes.ts'
import type { Live } from '../web/core/live.ts'
import { msat } from '../web/core/money/msat.ts'
import { publicKey, signEvent, type SecretKey } from '../web/core/nostr/event.ts'
import { JOIN_REQUEST, PROGRESS, RELEASE } from '../web/core/nostr/kinds.ts'
import { decodeJoinCode } from '../web/core/rollout/join.ts'
import { encryptTo } from '../web/edge/nostr/nip44.ts'
import { wrap } from '../web/edge/nostr/nip59.ts'
import { createPool } from '../web/edge/nostr/pool.ts'
import { fetchRelayConfig } from '../web/edge/relay-config.ts'
import { ApiError, putTorrent } from '../web/edge/release/api.ts'
import { memoryStore } from '../web/edge/release/store.ts'
import { hashArtifact } from '../web/edge/swarm/hash-artifact.ts'
import {
  generateSecrets,
  keysFromSecrets,
  settledNostr,
  type VendorSecrets,
} from '../web/edge/vendor/keys-file.ts'
import { createVendor } from '../web/edge/vendor/vendor.ts'
import { afterTest, relay } from './fixture.ts'

const random = (bytes: number): Bytes => crypto.getRandomValues(new Uint8Array(bytes))
const until = <T>(live: Live<T>, right: (value: T) => boolean): Promise<T> =>
  new Promise((resolve) => {
    const end: { now?: () => void } = {}
    end.now = live.subscribe((value) => {
      if (!right(value)) return
      queueMicrotask(() => end.now?.())
      resolve(value)
    })
  })

async function artifact(version: string) {
  const bytes = random(20_000)
  const source = { length: bytes.length, read: async (at: number, n: number) => bytes.slice(at, at + n) }
  const form = {
    product: 'pump',
    version,
    fileName: 'pump.bin',
    hardware: ['rpi4'],
    priceCapMsat: msat(2000),
  }
  return { ...(await hashArtifact(source, 'pump.bin', [])), form }
}

test('a new Nostr key takes over the fleet once signed metadata names it, and the old one is refused', async () => {
  const { url, admissionLink } = await relay()
  const config = await fetchRelayConfig(url)
  const pool = createPool([config.nostrUrl])
  afterTest(() => pool.close())
  const open = async (secrets: VendorSecrets) => {
    const keys = keysFromSecrets(secrets)
    const vendor = createVendor({
      keys,
      relayUrl: url,
      config: await fetchRelayConfig(url),
      pool,
      store: memoryStore(),
      nowMs: Date.now,
      random,
      fetch,
    })
    afterTest(() => vendor.close())
    await vendor.ready
    return { vendor, keys }
  }
  const secrets = generateSecrets(random)
  const { vendor: first, keys: oldKeys } = await open(secrets)
  const code = new URLSearchParams(new URL(admissionLink ?? '').hash.slice(1)).get('admit') ?? ''
  const id = await first.admit(code, 'Pumps Ltd')
  await first.publish([await artifact('1.0')])

  const device = random(32) as SecretKey
  const joinCode = decodeJoinCode(await first.makeJoinCode())
  if (joinCode.tag !== 'ok') throw new Error(joinCode.message)
  const join = (to: PartyKey, from: SecretKey) => {
    const walletClient = publicKey(random(32) as SecretKey)
    const request = { v: 1, name: 'shed', hardware: 'rpi4', walletClient, secret: joinCode.code.secret }
    const template = {
      kind: JOIN_REQUEST,
      created_at: Math.floor(Date.now() / 1000),
      tags: [],
      content: JSON.stringify(request),
    }
    return pool.publish(wrap(template, from, to))
  }
  await join(oldKeys.nostr.key, device)
  const [request] = await until(first.joinRequests, (requests) => requests.length === 1)
  await first.accept(request!.id, { name: 'Shed', fundMsat: msat(0) })
  const progress = (to: PartyKey, seq: number) => {
    const at = Date.now()
    const content = encryptTo(
      device,
      to,
      JSON.stringify({
        v: 1,
        name: 'shed',
        hardware: 'rpi4',
        seq,
        at,
        state: 'queued',
        needMsat: 5000,
        fundInvoice: `lnbcrt${seq}`,
      }),
    )
    const tags = [
      ['d', id],
      ['p', to],
    ]
    return pool.publish(
      signEvent(
        { kind: PROGRESS, created_at: Math.floor(at / 1000) + seq, tags, content },
        device,
        random(32),
      ),
    )
  }

  // Without a new key there is nothing to change to; with one that waits, the old is in force until it is signed.
  await expect(first.changeNostr()).rejects.toMatchObject({ code: 'bad-form' })
  const waiting = { ...secrets, nextNostr: random(32) as SecretKey }
  const { vendor: changing, keys: bothKeys } = await open(waiting)
  await until(changing.roster, (roster) => roster.devices.length === 1)
  expect(changing.signing.get()?.nostr).toBe(oldKeys.nostr.key)
  expect(await changing.changeNostr()).toEqual({ tag: 'published' })
  expect(changing.signing.get()?.nostr).toBe(bothKeys.nextNostr?.key)

  const after = settledNostr(waiting, changing.signing.get()!.nostr)
  const { vendor: renewed, keys } = await open(after)
  expect(keys.nostr.key).toBe(bothKeys.nextNostr?.key)
  expect(keys.formerNostr?.map(({ key }) => key)).toEqual([oldKeys.nostr.key])
  await until(renewed.roster, (roster) => roster.devices.some((one) => one.key === publicKey(device)))
  // The device that has not looked yet still writes to the old key; later to the new.
  await progress(oldKeys.nostr.key, 1)
  await until(renewed.fleet, (fleet) => fleet.devices[0]?.fundInvoice === 'lnbcrt1')
  await progress(keys.nostr.key, 2)
  await until(renewed.fleet, (fleet) => fleet.devices[0]?.fundInvoice === 'lnbcrt2')
  // A code that was made before the change is as good as ever.
  await join(keys.nostr.key, random(32) as SecretKey)
  const [late] = await until(renewed.joinRequests, (requests) => requests.length === 1)
  expect(late).toMatchObject({ invited: true })

  const heard = new Promise((resolve) => {
    pool.subscribe([{ kinds: [RELEASE], authors: [keys.nostr.key], '#i': [id] }], resolve)
  })
  await heard
  const next = await artifact('2.0')
  const { torrent, infoHash } = next.meta
  const upload = (secret: SecretKey) => putTorrent(fetch, url, id, infoHash, torrent, secret, Date.now())
  await expect(upload(oldKeys.nostr.secret)).rejects.toBeInstanceOf(ApiError)
  await renewed.publish([next])
  // Dated to the second, as the first that was announced again: which of the two comes first is not said.
  expect(renewed.releases.get().map(({ release }) => release.version)).toContain('2.0')
})
