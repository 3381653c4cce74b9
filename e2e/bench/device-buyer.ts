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
import { msat } from '../../web/core/money/msat.ts'
import type { DownloadSnapshot } from '../../web/edge/swarm/api.ts'
import { createCheats } from '../../web/edge/swarm/cheats.ts'
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
  const config = parseConfig(text, join(settings.dir, 'device.toml'))
  const { resellMsat } = settings
  if (resellMsat === undefined) return config
  return { ...config, trade: { ...config.trade, resell: msat(resellMsat) } }
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
  const purchase = await openPurchase(
    {
      config,
      ports: realPorts,
      journal,
      swarm: () => Promise.resolve(swarm),
      cheats,
      verified: () => undefined,
      refused: { note: () => undefined },
      floor: () => undefined,
      onFloor: () => undefined,
      onLate: () => undefined,
      onSold: () => undefined,
      log,
    },
    release,
    'buy',
  )
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
      await purchase.close()
      await cheats.stop()
      await swarm.close()
      wallet.close()
      pool.close()
    },
  }
}
