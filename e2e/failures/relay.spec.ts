/** The relay is killed (-9) half way and started again on its port and data: all recover by themselves. */
import { expect, test } from 'vitest'
import { endsWell, kill, receipts, shipped, start } from './scene.ts'

const MIB = 1024 * 1024

test('the relay restarted half way: devices, distributors and vendor recover by themselves', async () => {
  const scene = await shipped({
    distributors: 2,
    devices: 2,
    bytes: 48 * MIB,
    distributorArgs: ['--upload', '3072'],
  })
  const { world } = scene
  world.devices.forEach(start)
  await Promise.all(world.devices.map((device) => receipts(device, 2)))
  await kill(world.house.relay.program)
  for (const device of world.devices) expect(world.row(device, scene.release)?.state).not.toBe('healthy')
  await world.house.restartRelay()
  await endsWell(scene)
  for (const { program } of [...world.devices, ...world.distributors])
    expect(program?.exitCode()).toBeUndefined()
}, 240_000)
