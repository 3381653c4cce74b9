/**
 * The journeys' fixture: a relay, a vendor, distributors and devices in a directory of their own, on free
 * ports. What a test started ends with it; the logs of a failed one are shown and kept.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import type { PartyKey } from '../../web/core/bytes.ts'
import { msat, type Msat } from '../../web/core/money/msat.ts'
import type { DeviceRelease } from '../../web/core/rollout/fleet.ts'
import type { Release } from '../../web/core/release/target.ts'
import type { Seed } from '../../web/edge/vendor/api.ts'
import { openBooks, viewOf, type Books } from '../demo/outcome.ts'
import { openHouse, type DeviceHandle, type DistributorHandle, type House } from './house.ts'
import { until } from './processes.ts'
import { openVendor, type VendorHost } from './vendor-host.ts'

export const HARDWARE = 'test-board'
export const PRICE = msat(1000)
const GRANT_SATS = 1_000_000
const ACCOUNTS = 100
const LOG_LINES = 25

export type WorldOptions = Readonly<{
  distributors?: number
  devices?: number
  /** What each device may spend. */
  fundMsat?: Msat
  /** More arguments for each `distributor run`. */
  distributorArgs?: readonly string[]
  /** Free first copies that the vendor gives. */
  gifts?: number
}>

export interface World {
  readonly dir: string
  readonly house: House
  readonly host: VendorHost
  readonly distributors: readonly DistributorHandle[]
  readonly devices: readonly DeviceHandle[]
  /** A file of random bytes. */
  file(name: string, bytes: number): string
  /** Publishes; `books` were opened just before. */
  ship(
    file: string,
    version?: string,
    options?: Readonly<{ confidential?: boolean }>,
  ): Promise<{ release: Release; seed: Seed; books: Books }>
  /** What the vendor knows of a device in a release. */
  row(device: DeviceHandle, release: Release): DeviceRelease | undefined
  /** Until the vendor's view of the device's release is as wanted. */
  when(
    device: DeviceHandle,
    release: Release,
    what: string,
    wanted: (row: DeviceRelease) => boolean,
    timeoutMs?: number,
  ): Promise<DeviceRelease>
  /** Until every device is healthy and its report is accepted. */
  allHealthy(release: Release, timeoutMs?: number): Promise<void>
  /** Pays the invoice that a device asks with, notes it in the books and returns it. */
  fund(device: DeviceHandle): Promise<string | undefined>
}

/** Where failed tests leave their logs. */
const KEPT = path.join(os.tmpdir(), 'satpatch-failed')

/** Where a failed test of the directory `dir` keeps `name`. */
export function keepFailed(dir: string, name: string): string {
  const kept = path.join(KEPT, path.basename(dir))
  fs.mkdirSync(kept, { recursive: true })
  return path.join(kept, name)
}

/** A fresh directory that ends with the test; on failure its logs are printed and kept. */
export function testDir(): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-journey-'))
  // One hook: those for failed tests run after these, when the directory is gone.
  onTestFinished(({ task }) => {
    const logs = path.join(dir, 'logs')
    if (task.result?.state === 'fail' && fs.existsSync(logs)) {
      const kept = path.join(KEPT, path.basename(dir))
      fs.cpSync(logs, kept, { recursive: true })
      for (const name of fs.readdirSync(logs)) {
        const lines = fs.readFileSync(path.join(logs, name), 'utf8').trimEnd().split('\n')
        console.error(`── ${name}\n${lines.slice(-LOG_LINES).join('\n')}`)
      }
      console.error(`All logs: ${kept}`)
    }
    fs.rmSync(dir, { recursive: true, force: true })
  })
  return dir
}

export async function openWorld(options: WorldOptions = {}): Promise<World> {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: GRANT_SATS, accounts: ACCOUNTS })
  onTestFinished(() => house.stop())
  const vendorLog = fs.createWriteStream(path.join(dir, 'logs', 'vendor.log'))
  const host = await openVendor({
    relayUrl: house.relay.url,
    admission: house.relay.admission ?? '',
    name: 'Test vendor',
    dataDir: path.join(dir, 'vendor'),
    price: PRICE,
    gifts: options.gifts ?? 10,
    log: (event, detail) => void vendorLog.write(`${JSON.stringify({ at: Date.now(), event, ...detail })}\n`),
  })
  onTestFinished(() => host.close())

  const fundMsat = options.fundMsat ?? msat(1_000_000)
  const grant = { vendor: host.vendor, vendorWallet: host.wallet, hardware: HARDWARE, fundMsat }
  const [distributors, devices] = await Promise.all([
    Promise.all(
      names('distributor', options.distributors ?? 2).map((name) =>
        house.distributor(name, PRICE, options.distributorArgs),
      ),
    ),
    Promise.all(names('device', options.devices ?? 1).map((name) => house.device(name, grant))),
  ])
  for (const device of devices) device.program = device.start()

  const funded = new Map<PartyKey, number>()
  const row: World['row'] = (device, release) =>
    viewOf(host, release)?.devices.find((one) => one.device === device.key)
  const tell = (device: DeviceHandle, release: Release): string =>
    `${device.name}: ${JSON.stringify({ ...row(device, release), windows: undefined, have: undefined, report: undefined })}`
  const world: World = {
    dir,
    house,
    host,
    distributors,
    devices,
    file(name, bytes) {
      const file = path.join(dir, name)
      fs.writeFileSync(file, randomBytes(bytes))
      return file
    },
    async ship(file, version = '1.0.0', options = {}) {
      const books = await openBooks({
        host,
        relayUrl: house.relay.url,
        devices,
        distributors,
        funded: (key) =>
          key === undefined
            ? [...funded.values()].reduce((sum, one) => sum + one, 0)
            : (funded.get(key) ?? 0),
      })
      const form = { product: 'firmware', version, hardware: [HARDWARE], priceCapMsat: PRICE }
      return { ...(await host.ship(file, form, options)), books }
    },
    row,
    when: (device, release, what, wanted, timeoutMs = 60_000) =>
      until(
        `${device.name} ${what}`,
        timeoutMs,
        () => {
          const now = row(device, release)
          return now && wanted(now) ? now : undefined
        },
        () => tell(device, release),
        20,
      ),
    async allHealthy(release, timeoutMs = 90_000) {
      await Promise.all(
        devices.map((device) =>
          world.when(
            device,
            release,
            'to be healthy and its report accepted',
            ({ state, verdict }) => state === 'healthy' && verdict?.tag === 'accepted',
            timeoutMs,
          ),
        ),
      )
    },
    async fund(device) {
      const asked = host.vendor.fleet.get().devices.find(({ key }) => key === device.key)
      const { fundInvoice, needMsat = 0 } = asked ?? {}
      const result = await host.vendor.fund(device.key, host.wallet)
      if (result.tag !== 'paid') throw new Error(`Funding failed: ${result.message}`)
      funded.set(device.key, (funded.get(device.key) ?? 0) + needMsat)
      return fundInvoice
    },
  }
  return world
}

const names = (name: string, n: number): string[] => Array.from({ length: n }, (_, i) => `${name}-${i + 1}`)
