/** A device that buys one release: the device's own `openPurchase` over its piece store and journal on disk. */
import { copyFile, mkdir } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { parseConfig, type DeviceConfig } from '../../device/config/config.ts'
import { deviceToml } from '../../device/config/template.ts'
import { asEventLog, createLog } from '../../device/log.ts'
import { artifactPath, downloadDir, openPurchase } from '../../device/run/purchase.ts'
import { realPorts } from '../../device/run/real-ports.ts'
import { openJournal } from '../../device/storage/journal.ts'
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../web/core/exchange/desk.ts'
import { msat } from '../../web/core/money/msat.ts'
import type { DownloadSnapshot, Session, Swarm } from '../../web/edge/swarm/api.ts'
import { createCheats } from '../../web/edge/swarm/cheats.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import type { Material } from './material.ts'

export type BuyerSettings = Readonly<{
  dir: string
  material: Material
  tracker: string
  relayUrl: string
  wallet: string
  /** Sells on what it has verified at this price, msat per MiB. */
  resellMsat?: number
}>

export type Bought = Readonly<{ snapshot: DownloadSnapshot; config: DeviceConfig }>

export interface DeviceBuyer {
  readonly file: string
  /** Resolves when all pieces are proven and synced. */
  buy(): Promise<Bought>
  close(): Promise<void>
}

export function deviceConfig(settings: BuyerSettings): DeviceConfig {
  const text = deviceToml({
    name: 'bench',
    hardware: 'bench',
    dataDir: join(settings.dir, 'data'),
    vendor: settings.material.vendor,
    relays: [settings.relayUrl],
    trackers: [settings.tracker],
    deviceSecret: randomBytes(32).toString('hex'),
    walletClientSecret: randomBytes(32).toString('hex'),
    walletConnection: settings.wallet,
    products: [],
    healthCommand: '',
    priceCapMsat: undefined,
  })
  return parseConfig(text, join(settings.dir, 'device.toml'))
}

export async function openDeviceBuyer(settings: BuyerSettings): Promise<DeviceBuyer> {
  const { material, tracker, relayUrl } = settings
  const { release } = material
  const config = deviceConfig(settings)
  const { identity, dataDir } = config
  await mkdir(downloadDir(dataDir, release), { recursive: true })
  await copyFile(material.torrentFile, join(downloadDir(dataDir, release), 'metainfo.torrent'))
  const log = createLog(process.env['BENCH_LOG'] === undefined ? 'error' : 'debug')
  const journal = await openJournal(join(dataDir, 'journal'))
  const pool = realPorts.createPool([`${relayUrl.replace(/^http/, 'ws')}/nostr`])
  const { nowMs, random, randomBytes: bytes } = realPorts
  const cheats = createCheats({
    pool,
    journal,
    identity,
    nowMs,
    random,
    randomBytes: bytes,
    log: asEventLog(log),
  })
  const swarm = await realPorts.createSwarm({
    identity,
    iceServers: [],
    trackers: [tracker],
    log: asEventLog(log),
  })
  const wallet = await realPorts.openWallet(settings.wallet)
  const stopped = new AbortController()
  let session: Session | undefined
  const noted: Swarm['join'] = async (...how) => (session = await swarm.join(...how))
  const purchase = await openPurchase(
    {
      config,
      ports: realPorts,
      journal,
      swarm: () => Promise.resolve({ ...swarm, join: noted }),
      cheats,
      verified: () => undefined,
      refused: { note: () => undefined },
      floor: () => undefined,
      onFloor: () => undefined,
      onLate: () => undefined,
      log,
    },
    release,
    false,
  )
  const shop =
    settings.resellMsat === undefined || session === undefined
      ? undefined
      : createShop({
          session,
          identity,
          journal,
          wallet,
          policy: {
            price: msat(settings.resellMsat),
            gifts: { to: 'nobody', copies: 0 },
            approved: [],
            unpaidBytes: DEFAULT_UNPAID_BYTES,
            unprovenBytes: DEFAULT_UNPROVEN_BYTES,
          },
          nowMs,
          log: asEventLog(log),
        })
  await shop?.start()
  return {
    file: artifactPath(dataDir, release),
    async buy() {
      if ((await purchase.buy(wallet, stopped.signal)) !== 'complete')
        throw new Error('The purchase was stopped.')
      const snapshot = purchase.snapshot.get()
      if (snapshot === undefined) throw new Error('The purchase showed nothing.')
      return { snapshot, config }
    },
    async close() {
      stopped.abort()
      await shop?.stop()
      await purchase.close()
      await cheats.stop()
      await swarm.close()
      wallet.close()
      pool.close()
    },
  }
}
