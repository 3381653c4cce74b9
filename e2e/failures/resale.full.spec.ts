/** A device that resells: with the vendor and the distributor gone, the next device gets everything from it and pays it. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import * as v from 'valibot'
import { settled } from '../demo/outcome.ts'
import { inPhase, kill, satpatch, shipped, start } from './scene.ts'

const MIB = 1024 * 1024
const PRICE = 900
const statusSchema = v.object({
  sold: v.object({ earned: v.number(), pieces: v.number(), bytes: v.number() }),
})

test.each([
  ['in the run in which it bought', false, false],
  ['from the installed file, killed and started again', true, false],
  ['a confidential release, encrypted as it came, killed and started again', true, true],
])(
  'a device sells on what it has bought: %s',
  async (_, restarted, confidential) => {
    const scene = await shipped({ distributors: 1, devices: 2, bytes: 8 * MIB, confidential })
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
    await world.when(first, scene.release, 'to have reported', ({ verdict }) => verdict?.tag === 'accepted')
    await seed.stop()
    for (const { program } of world.distributors) await kill(program)
    if (restarted) {
      await kill(first.program)
      start(first)
    }
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
    // What it earned is told: to the vendor, and to its owner.
    const { resold } = await world.when(
      first,
      scene.release,
      'to say what it earned',
      (row) => row.resold?.earnedMsat === 8 * PRICE,
    )
    expect(resold).toMatchObject({
      earnedMsat: 8 * PRICE,
      pieces: scene.release.bytes / scene.release.pieceLength,
    })
    const { output } = await satpatch(['device', 'status', '--json', '--config', first.configFile])
    expect(v.parse(statusSchema, JSON.parse(output)).sold).toMatchObject({ earned: 8 * PRICE })
    // The file that is sold from is not changed by it.
    if (!confidential)
      expect(fs.existsSync(path.join(first.dataDir, 'downloads', scene.release.infoHash, 'artifact'))).toBe(
        false,
      )
  },
  180_000,
)
