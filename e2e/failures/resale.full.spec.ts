/** A device that resells: with the vendor and the distributor gone, the next device gets everything from it and pays it. */
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { settled } from '../demo/outcome.ts'
import { inPhase, kill, shipped, start } from './scene.ts'

const MIB = 1024 * 1024
const PRICE = 900

test('a device sells on what it has bought, to a device that has nobody else', async () => {
  const scene = await shipped({ distributors: 1, devices: 2, bytes: 8 * MIB })
  const { world, seed } = scene
  const [first, second] = world.devices
  if (first === undefined || second === undefined) throw new Error('no devices')
  const toml = fs.readFileSync(first.configFile, 'utf8')
  fs.writeFileSync(
    first.configFile,
    toml.replace(/# resell_msat_per_mib = \d+/, `resell_msat_per_mib = ${PRICE}`),
  )

  start(first)
  await inPhase(first, 'done')
  await seed.stop()
  for (const { program } of world.distributors) await kill(program)
  const before = (await settled(first.wallet)).filter(({ direction }) => direction === 'in')

  start(second)
  await inPhase(second, 'done')
  await world.allHealthy(scene.release)
  const earned = (await settled(first.wallet))
    .filter(({ direction }) => direction === 'in')
    .slice(before.length)
  expect(earned.reduce((sum, { amount }) => sum + amount, 0)).toBe(8 * PRICE)
  // The books of a device that sells do not balance by its purchases alone; what the second one says of itself must hold.
  const { devices } = await scene.books.judge(scene.release)
  expect(devices.find(({ id }) => id === second.key)).toMatchObject({
    receiptsValid: true,
    piecesBoughtTwice: 0,
    paidMsat: 8 * PRICE,
    sellers: { [first.key]: 8 * PRICE },
  })
}, 180_000)
