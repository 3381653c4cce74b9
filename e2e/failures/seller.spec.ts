/** Sellers that are killed: devices finish from the others, and a seller that comes back is owed nothing. */
import { expect, test } from 'vitest'
import { back, endsWell, inPhase, kill, receipts, shipped, start, statusOf } from './scene.ts'

const MIB = 1024 * 1024
/** Slow enough for a half way. */
const SLOWLY = ['--upload', '3072']

test('a distributor killed half way: the devices finish from the other', async () => {
  const scene = await shipped({ distributors: 2, devices: 2, bytes: 12 * MIB, distributorArgs: SLOWLY })
  const { world, seed, release } = scene
  await seed.stop()
  world.devices.forEach(start)
  await Promise.all(world.devices.map((device) => receipts(device, 3)))
  const [victim, other] = world.distributors
  await kill(victim?.program)
  for (const device of world.devices) expect(world.row(device, release)?.state).not.toBe('healthy')
  await endsWell(scene)
  expect(other?.program.exitCode()).toBeUndefined()
}, 240_000)

test('all distributors gone and no vendor: the device waits, says so, and goes on when one returns', async () => {
  const scene = await shipped({ distributors: 2, devices: 1, bytes: 8 * MIB, distributorArgs: SLOWLY })
  const { world, seed } = scene
  const [device] = world.devices
  if (device === undefined) throw new Error('no device')
  await seed.stop()
  start(device)
  await receipts(device, 3)
  await Promise.all(world.distributors.map(({ program }) => kill(program)))
  await inPhase(device, 'held')
  const status = await statusOf(device)
  expect(status).toMatchObject({ state: 'queued', code: 4 })
  expect(status.reason).toContain('goes on when a distributor returns')
  const row = await world.when(
    device,
    scene.release,
    'to tell the vendor why',
    ({ reason }) => reason !== undefined,
  )
  expect(row.reason).toBe(status.reason)
  const [returning] = world.distributors
  if (returning) back(returning)
  await endsWell(scene)
  expect((await statusOf(device)).paidMsat).toBeGreaterThan(status.paidMsat)
}, 240_000)

test('the only seller killed in the moment it is paid: it has its sats, the device its pieces, and both go on', async () => {
  const scene = await shipped({ distributors: 1, devices: 1, bytes: 4 * MIB, distributorArgs: SLOWLY })
  const { world, seed } = scene
  const [device] = world.devices
  const [seller] = world.distributors
  if (device === undefined || seller === undefined) throw new Error('nobody there')
  await seed.stop()
  const before = await seller.wallet.balance()
  const paid = new Promise<number>((resolve) => {
    device.wallet.onEvent((event) => event.tag === 'sent' && resolve(event.transaction.amount))
  })
  start(device)
  const amount = await paid
  await kill(seller.program)
  // The preimage is the key: the window is unlocked without the seller.
  await receipts(device, 1)
  expect(await seller.wallet.balance()).toBeGreaterThanOrEqual(before + amount)
  back(seller)
  await endsWell(scene)
}, 240_000)
