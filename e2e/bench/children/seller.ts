/**
 * A distributor that has the whole file and sells it: the shop that `satpatch distributor run` opens, with its defaults,
 * over its store and journal on disk and a wallet over NWC. Tells `ready`, `connected`.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { openJournal } from '../../../device/storage/journal.ts'
import { openCompleteStore } from '../../../device/storage/complete-store.ts'
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../../web/core/exchange/desk-policy.ts'
import { publicKey } from '../../../web/core/nostr/event.ts'
import { msat } from '../../../web/core/money/msat.ts'
import { readMetainfo } from '../../../web/core/swarm/metainfo.ts'
import { createShop } from '../../../web/edge/swarm/shop.ts'
import { createSwarm } from '../../../web/edge/swarm/swarm.ts'
import { connectNwc } from '../../../web/edge/wallet/nwc.ts'
import { child, type Detail } from '../child.ts'
import { channelBytes, countWebSockets, onConnected } from '../connected.ts'
import type { Material } from '../material.ts'

export type SellerConfig = Readonly<{
  dir: string
  material: Material
  tracker: string
  wallet: string
  priceMsat: number
}>

child<SellerConfig>(async (config, tell) => {
  onConnected((atMs) => tell('connected', {}, atMs))
  const nostr = countWebSockets()
  const secret = new Uint8Array(randomBytes(32))
  const identity = { secret, key: publicKey(secret) }
  const { release, file, torrentFile } = config.material
  const meta = readMetainfo(await readFile(torrentFile), release)
  const store = await openCompleteStore(file, meta.pieces)
  const swarm = await createSwarm({
    identity,
    role: 'distributor',
    iceServers: [],
    trackers: [config.tracker],
    log: (event, detail) => console.error(event, JSON.stringify(detail)),
  })
  const session = await swarm.join(meta, store, { vendor: config.material.vendor, floor: () => undefined })
  const wallet = await connectNwc(config.wallet)
  const shop = createShop({
    session,
    identity,
    journal: await openJournal(join(config.dir, 'journal')),
    wallet,
    policy: {
      price: msat(config.priceMsat),
      gifts: { to: 'nobody', copies: 0 },
      approved: [],
      unpaidBytes: DEFAULT_UNPAID_BYTES,
      unprovenBytes: DEFAULT_UNPROVEN_BYTES,
    },
    nowMs: Date.now,
    log: (event, detail) => console.error(event, JSON.stringify(detail)),
  })
  await shop.start()
  tell('ready')
  return {
    answers: { traffic: async (): Promise<Detail> => ({ channels: await channelBytes(), nostr: nostr() }) },
    async stop() {
      await shop.stop()
      await swarm.close()
      wallet.close()
      await store.close()
    },
  }
})
