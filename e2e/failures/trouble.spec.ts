/** What a device cannot help: its disk is full, its clock is off, sellers want other money. It says so and goes on. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { openHouse, type DeviceHandle } from '../support/house.ts'
import { until } from '../support/processes.ts'
import { PRICE } from '../support/world.ts'
import { endsWell, reached, receipts, records, shipped, start, statusOf } from './scene.ts'

const MIB = 1024 * 1024
const DISK_MIB = 100
const TOLD_TIMEOUT_MS = 90_000
const YEAR_MS = 365 * 86_400_000

/** Until `device status` gives a reason that fits. */
const told = (device: DeviceHandle, reason: RegExp) =>
  until(
    `a reason like ${String(reason)}`,
    TOLD_TIMEOUT_MS,
    async () => {
      const status = await statusOf(device)
      return reason.test(status.reason) ? status : undefined
    },
    () => device.program?.tail() ?? '',
  )

/** Puts the device's data on a file system of its own; false where this user may not mount one. */
function ownDisk(device: DeviceHandle): boolean {
  const { dataDir } = device
  const aside = `${dataDir}-before`
  fs.renameSync(dataDir, aside)
  fs.mkdirSync(dataDir, { mode: 0o700 })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m,mode=700`, 'tmpfs', dataDir], {
      stdio: 'ignore',
    })
  } catch {
    return false
  }
  fs.cpSync(aside, dataDir, { recursive: true })
  return true
}

/** Takes all that is left of the disk, however much the device writes meanwhile. */
function fill(file: string): void {
  const { bavail, bsize } = fs.statfsSync(path.dirname(file))
  try {
    fs.writeFileSync(file, Buffer.alloc(bavail * bsize, 1))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}

test('a full disk: the device says how much is missing, and goes on once there is room', async ({ skip }) => {
  const scene = await shipped({
    distributors: 2,
    devices: 1,
    bytes: 12 * MIB,
    distributorArgs: ['--upload', '2048'],
  })
  const [device] = scene.world.devices
  if (device === undefined) throw new Error('no device')
  if (!ownDisk(device)) return skip('this user may not mount a small disk')
  onTestFinished(async () => {
    await device.program?.stop()
    execFileSync('umount', ['-l', device.dataDir])
  })
  await scene.seed.stop()
  start(device)
  await receipts(device, 2)
  const filler = path.join(device.dataDir, 'somebody-elses-file')
  fill(filler)
  const status = await told(device, /MiB free.*Free some space; what was bought is kept/)
  expect(status).toMatchObject({ state: 'queued', code: 4 })
  const kept = records(device, 'receipt')
  expect(kept.length).toBeGreaterThanOrEqual(2)
  fs.rmSync(filler)
  await endsWell(scene)
  expect(records(device, 'receipt')).toEqual(expect.arrayContaining(kept))
}, 240_000)

test('a clock that is behind, then ahead: the device says so, buys nothing, and goes on when it is right', async () => {
  const scene = await shipped({ distributors: 1, devices: 1, bytes: MIB })
  const { world } = scene
  const [device] = world.devices
  if (device === undefined) throw new Error('no device')
  const clock = path.join(world.dir, 'clock-offset')
  const offBy = (ms: number): void => {
    fs.writeFileSync(`${clock}.new`, String(ms))
    fs.renameSync(`${clock}.new`, clock)
  }
  offBy(-20 * YEAR_MS)
  const preload = pathToFileURL(path.join(import.meta.dirname, 'fake-clock.ts')).href
  device.program = world.house.programs.satpatch(
    device.name,
    ['device', 'run', '--config', device.configFile],
    { NODE_OPTIONS: `--disable-warning=ExperimentalWarning --import ${preload}`, CLOCK_OFFSET_FILE: clock },
  )
  expect(await told(device, /no plausible time: the clock says 20\d\d-.*Set the clock/)).toMatchObject({
    code: 4,
  })
  offBy(2 * YEAR_MS)
  expect(await told(device, /This device’s clock says 20\d\d-.*set it if that is wrong/)).toMatchObject({
    code: 4,
  })
  expect((await statusOf(device)).paidMsat).toBe(0)
  offBy(0)
  await endsWell(scene)
}, 240_000)

test('sellers that want money of another kind: the device says which, and pays nothing', async () => {
  const scene = await shipped({ distributors: 0, devices: 1, bytes: MIB })
  const { world, seed } = scene
  const [device] = world.devices
  if (device === undefined) throw new Error('no device')
  const elsewhere = await openHouse({
    dir: path.join(world.dir, 'elsewhere'),
    port: 0,
    grantSats: 1000,
    accounts: 1,
  })
  onTestFinished(() => elsewhere.stop())
  const { connection } = await openPlayAccount(elsewhere.relay.url, { name: 'stranger' })
  const walletFile = path.join(world.dir, 'stranger-wallet')
  fs.writeFileSync(walletFile, connection, { mode: 0o600 })
  world.house.programs.satpatch('stranger', [
    'distributor',
    'run',
    '--relay',
    world.house.relay.url,
    '--data',
    path.join(world.dir, 'stranger-data'),
    '--price',
    String(PRICE),
    '--wallet-file',
    walletFile,
  ])
  await reached(seed, 1)
  await seed.stop()
  const before = await device.wallet.balance()
  start(device)
  const status = await told(device, /Sellers here ask for .*this wallet holds/)
  expect(status).toMatchObject({ state: 'queued', code: 4, paidMsat: 0 })
  expect(await device.wallet.balance()).toBe(before)
}, 240_000)
