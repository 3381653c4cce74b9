/**
 * A device that buys one release: `openPurchase` of the device over its piece store and journal on disk, with the limits
 * of a fresh `device.toml`. Tells `ready`, `connected`, `done` (all pieces proven and synced) with what it paid.
 */
import { mkdir, copyFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path'
import { parseConfig } from '../../../device/config/config.ts'
import { deviceToml } from '../../../device/config/template.ts'
import { createLog } from '../../../device/log.ts'
import { downloadDir, openPurchase } from '../../../device/run/purchase.ts'
import { realPorts } from '../../../device/run/real-ports.ts'
import { openJournal } from '../../../device/storage/journal.ts'
import { child } from '../child.ts'
import { onConnected } from '../connected.ts'
import type { Material } from '../material.ts'

export type BuyerConfig = Readonly<{
  dir: string
  material: Material
  tracker: string
  relayUrl: string
  wallet: string
}>

child<BuyerConfig>(async ({ dir, material, tracker, relayUrl, wallet: connection }, tell) => {
  onConnected((atMs) => tell('connected', {}, atMs))
  const { release } = material
  const toml = deviceToml({
    name: 'bench',
    hardware: 'bench',
    dataDir: join(dir, 'data'),
    vendor: material.vendor,
    relays: [relayUrl],
    trackers: [tracker],
    deviceSecret: randomBytes(32).toString('hex'),
    walletClientSecret: randomBytes(32).toString('hex'),
    walletConnection: connection,
    products: [],
    healthCommand: '',
    priceCapMsat: undefined,
  })
  const config = parseConfig(toml, join(dir, 'device.toml'))
  await mkdir(downloadDir(config.dataDir, release), { recursive: true })
  await copyFile(material.torrentFile, join(downloadDir(config.dataDir, release), 'metainfo.torrent'))
  const swarm = await realPorts.createSwarm({
    identity: config.identity,
    iceServers: [],
    trackers: [tracker],
    log: (event, detail) => console.error(event, JSON.stringify(detail)),
  })
  const wallet = await realPorts.openWallet(connection)
  const stopped = new AbortController()
  const purchase = await openPurchase(
    {
      config,
      ports: realPorts,
      journal: await openJournal(join(config.dataDir, 'journal')),
      swarm: () => Promise.resolve(swarm),
      verified: () => undefined,
      floor: () => undefined,
      onFloor: () => undefined,
      onLate: () => undefined,
      log: createLog(process.env['BENCH_LOG'] === undefined ? 'warn' : 'debug'),
    },
    release,
    false,
  )
  tell('ready', { file: join(dirname(join(downloadDir(config.dataDir, release), 'artifact')), 'artifact') })
  void purchase.buy(wallet, stopped.signal).then(
    (how) => {
      if (how !== 'complete') return
      const now = purchase.snapshot.get()
      tell('done', {
        paidMsat: now?.paid,
        payments: now?.windows.length,
        boughtTwice: now?.boughtTwice,
        riskBudgetMsat: config.riskBudget,
      })
    },
    (error: unknown) => tell('failed', { message: String(error) }),
  )
  return {
    async stop() {
      stopped.abort()
      await purchase.close()
      await swarm.close()
      wallet.close()
    },
  }
})
