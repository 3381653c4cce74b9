/** Vendors' tabs against a real relay, and devices that say what a test wants. */
import { expect } from 'vitest'
import type { Bytes, PartyKey } from '../web/core/bytes.ts'
import type { Live } from '../web/core/live.ts'
import { msat } from '../web/core/money/msat.ts'
import { publicKey, signEvent, type SecretKey } from '../web/core/nostr/event.ts'
import { PROGRESS } from '../web/core/nostr/kinds.ts'
import type { Progress } from '../web/core/rollout/messages.ts'
import { encryptTo } from '../web/edge/nostr/nip44.ts'
import { wrap } from '../web/edge/nostr/nip59.ts'
import { createPool, type Pool } from '../web/edge/nostr/pool.ts'
import { fetchRelayConfig } from '../web/edge/relay-config.ts'
import { memoryStore, type TextStore } from '../web/edge/release/store.ts'
import { hashArtifact } from '../web/edge/swarm/hash-artifact.ts'
import type { NewRelease, ReleaseForm, Vendor, VendorKeys } from '../web/edge/vendor/api.ts'
import { generateSecrets, keysFromSecrets } from '../web/edge/vendor/keys-file.ts'
import { createVendor } from '../web/edge/vendor/vendor.ts'
import type { Wallet } from '../web/edge/wallet/wallet.ts'
import { afterTest, relay } from './fixture.ts'

export const random = (bytes: number): Bytes => crypto.getRandomValues(new Uint8Array(bytes))

export function until<T>(live: Live<T>, right: (value: T) => boolean): Promise<T> {
  return new Promise((resolve) => {
    let done = false
    const end = live.subscribe((value) => {
      if (done || !right(value)) return
      done = true
      queueMicrotask(() => end()) // not before `subscribe` has returned
      resolve(value)
    })
  })
}

export async function tab(
  url: string,
  keys: VendorKeys,
  store: TextStore = memoryStore(),
): Promise<{ vendor: Vendor; pool: Pool }> {
  const config = await fetchRelayConfig(url)
  const pool = createPool([config.nostrUrl])
  const vendor = createVendor({ keys, relayUrl: url, config, pool, store, nowMs: Date.now, random, fetch })
  afterTest(() => {
    vendor.close()
    pool.close()
  })
  await vendor.ready
  return { vendor, pool }
}

export async function admitted() {
  const { url, admissionLink } = await relay()
  const keys = keysFromSecrets(generateSecrets(random))
  const store = memoryStore()
  const first = await tab(url, keys, store)
  expect(first.vendor.status.get().tag).toBe('not-admitted')
  const code = new URLSearchParams(new URL(admissionLink ?? '').hash.slice(1)).get('admit') ?? ''
  const id = await first.vendor.admit(code, 'Pumps Ltd')
  return { url, keys, store, id, code, ...first }
}

export const form = (version: string, more: Partial<ReleaseForm> = {}): ReleaseForm => ({
  product: 'pump',
  version,
  fileName: 'pump größe.bin',
  hardware: ['rpi4'],
  priceCapMsat: msat(2000),
  ...more,
})

export async function artifact(
  version: string,
  more: Partial<ReleaseForm> = {},
  bytes = random(40_000),
): Promise<NewRelease> {
  const source = { length: bytes.length, read: async (at: number, n: number) => bytes.slice(at, at + n) }
  return { ...(await hashArtifact(source, 'pump größe.bin', [])), form: form(version, more) }
}

/** What a device says, as the shell will say it. */
export function device(vendorKey: PartyKey, id: string, pool: Pool) {
  const secret = random(32) as SecretKey
  const key = publicKey(secret)
  const nowS = () => Math.floor(Date.now() / 1000)
  const say = (kind: number, content: object, laterS = 0) =>
    pool.publish(
      wrap(
        { kind, created_at: nowS() + laterS, tags: [], content: JSON.stringify(content) },
        secret,
        vendorKey,
      ),
    )
  return {
    key,
    secret,
    say,
    progress: (progress: Progress) =>
      pool.publish(
        signEvent(
          {
            kind: PROGRESS,
            created_at: nowS() + progress.seq,
            tags: [
              ['d', id],
              ['p', vendorKey],
            ],
            content: encryptTo(secret, vendorKey, JSON.stringify(progress)),
          },
          secret,
          random(32),
        ),
      ),
  }
}

export const baseProgress: Progress = {
  v: 1,
  name: 'shed',
  hardware: 'rpi4',
  seq: 1,
  at: Date.now(),
  state: 'queued',
}

export function fakeWallet(cut: string[]): Wallet {
  return {
    createConnection: async ({ client }: { client: string }) => {
      cut.push(client)
      return { walletPubkey: 'ab'.repeat(32), relays: ['ws://x'] }
    },
    pay: async () => ({ tag: 'paid', preimage: '00'.repeat(32), fees: msat(0) }),
  } as unknown as Wallet
}
