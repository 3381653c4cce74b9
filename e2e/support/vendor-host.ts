/** A vendor in this process: the engine that the page runs, with its keys in memory and its files on disk. */
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../web/core/exchange/desk-policy.ts'
import path from 'node:path'
import { webcrypto } from 'node:crypto'
import type { Bytes } from '../../web/core/bytes.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { fetchRelayConfig, type RelayConfig } from '../../web/edge/relay-config.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import type { PieceStore, SellPolicy } from '../../web/edge/swarm/api.ts'
import { hashArtifact } from '../../web/edge/swarm/hash-artifact.ts'
import { hashConfidential, newArtifactKey } from '../../web/edge/confidential/artifact.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import { createSwarm } from '../../web/edge/swarm/swarm.ts'
import type { NewRelease, ReleaseForm, Seed, Vendor, VendorKeys } from '../../web/edge/vendor/api.ts'
import { generateSecrets, keysFromSecrets, type VendorSecrets } from '../../web/edge/vendor/keys-file.ts'
import { startSeed } from '../../web/edge/vendor/seed.ts'
import { createVendor } from '../../web/edge/vendor/vendor.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { openJournal } from '../../device/storage/journal.ts'
import { openCompleteStore, openSource } from '../../device/storage/complete-store.ts'

export type Log = (event: string, detail: Readonly<Record<string, unknown>>) => void

export type VendorHost = Readonly<{
  vendor: Vendor
  keys: VendorKeys
  /** Funds devices. */
  wallet: Wallet
  /** Takes what is sold; the same wallet unless another was given. */
  till: Wallet
  config: RelayConfig
  /** Hashes, signs, publishes and seeds `file`. */
  ship(
    file: string,
    form: Omit<ReleaseForm, 'fileName'>,
    options?: Readonly<{ confidential?: boolean }>,
  ): Promise<{ release: Release; seed: Seed }>
  close(): Promise<void>
}>

export type VendorHostOptions = Readonly<{
  relayUrl: string
  /** The one-time code of the relay's admission link. */
  admission: string
  name: string
  secrets?: VendorSecrets
  dataDir: string
  price: Msat
  /** First copies for distributors. */
  gifts: number
  log: Log
  /** Wallet connections instead of a play-money account. */
  wallets?: Readonly<{ funds: string; till: string }>
}>

export const random = (length: number): Bytes => webcrypto.getRandomValues(new Uint8Array(length))

/** Makes a vendor, has the relay admit it, opens its play-money account. */
export async function openVendor(options: VendorHostOptions): Promise<VendorHost> {
  const { relayUrl, dataDir, log } = options
  const config = await fetchRelayConfig(relayUrl)
  const keys = keysFromSecrets(options.secrets ?? generateSecrets(random))
  const pool = createPool([config.nostrUrl])
  const funds = options.wallets?.funds ?? (await openPlayAccount(relayUrl, { name: options.name })).connection
  const wallet = await connectNwc(funds)
  const till = options.wallets ? await connectNwc(options.wallets.till) : wallet
  const vendor = createVendor({
    keys,
    relayUrl,
    config,
    pool,
    store: memoryStore(),
    nowMs: Date.now,
    random,
    fetch,
    log,
  })
  await vendor.ready
  await vendor.admit(options.admission, options.name)
  const swarm = await createSwarm({
    identity: keys.nostr,
    iceServers: config.iceServers,
    trackers: [config.trackerUrl],
    log,
  })
  const journal = await openJournal(path.join(dataDir, 'shop'))
  const policy: SellPolicy = {
    price: options.price,
    gifts: { to: 'distributors', copies: options.gifts },
    approved: [],
    unpaidBytes: DEFAULT_UNPAID_BYTES,
    unprovenBytes: DEFAULT_UNPROVEN_BYTES,
  }
  const seeds: Seed[] = []
  const stores: PieceStore[] = []
  return {
    vendor,
    keys,
    wallet,
    till,
    config,
    async ship(file, form, { confidential = false } = {}) {
      const name = path.basename(file)
      const source = await openSource(file)
      const trackers = [config.trackerUrl]
      const hashed: Omit<NewRelease, 'form'> = await (
        confidential
          ? hashConfidential(source, name, trackers, newArtifactKey())
          : hashArtifact(source, name, trackers)
      ).finally(() => source.close())
      const [release] = await vendor.publish([{ ...hashed, form: { ...form, fileName: name } }])
      if (release === undefined) throw new Error('The vendor engine published nothing.')
      const store = await openCompleteStore(file, hashed.meta.pieces, hashed.confidential?.key)
      stores.push(store)
      const seed = await startSeed({
        vendor,
        keys,
        swarm,
        pool,
        release,
        meta: hashed.meta,
        store,
        journal,
        wallet: till,
        policy,
        nowMs: Date.now,
        createShop,
      })
      seeds.push(seed)
      return { release, seed }
    },
    async close() {
      await Promise.allSettled(seeds.map((seed) => seed.stop()))
      vendor.close()
      await swarm.close()
      await Promise.allSettled(stores.map((store) => store.close()))
      wallet.close()
      till.close()
      pool.close()
    },
  }
}
