/** A device that is killed (-9) at drawn moments and started again: finishes, buys nothing twice, loses nothing paid. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { installedFile, type DeviceHandle } from '../support/house.ts'
import { settled } from '../demo/outcome.ts'
import {
  endsWell,
  inPhase,
  journalOf,
  kill,
  phase,
  receipts,
  records,
  seen,
  shipped,
  start,
} from './scene.ts'

const MIB = 1024 * 1024
const SLOWLY = ['--upload', '3072']
/** Kills between payment and unlocking are tried at most so often; each try is another moment. */
const MAX_KILLS = 10

/** Payments that have left the device's wallet and whose receipt is not on its disk. */
async function paidNotUnlocked(device: DeviceHandle): Promise<number> {
  const paid = (await settled(device.wallet)).filter(({ direction }) => direction === 'out')
  return paid.length - records(device, 'receipt').length
}

/** Resolves in the moment that the wallet's ledger shows a further payment. */
function payment(device: DeviceHandle, after: number): Promise<void> {
  return new Promise((resolve) => {
    let left = after
    const end = device.wallet.onEvent((event) => {
      if (event.tag !== 'sent' || --left > 0) return
      end()
      resolve()
    })
  })
}

const PHASES = ['verified', 'installing placing', 'installing switching', 'installing checking', 'done']

/** True once the device's disk says `wanted` or what follows it. */
const later = (device: DeviceHandle, wanted: string): true | undefined =>
  PHASES.indexOf(phase(device) ?? '') >= PHASES.indexOf(wanted) ? true : undefined

test('killed between payment and unlocking, and with a purchase just written down', async () => {
  const scene = await shipped({ distributors: 2, devices: 1, bytes: 12 * MIB, distributorArgs: SLOWLY })
  const [device] = scene.world.devices
  if (device === undefined) throw new Error('no device')
  await scene.seed.stop()

  let between = 0
  let kills = 0
  while (between === 0 && kills < MAX_KILLS) {
    const paid = payment(device, 1 + (kills % 2))
    const program = start(device)
    await paid
    await kill(program)
    kills++
    between = await paidNotUnlocked(device)
  }
  expect(between, `payments without a receipt after one of ${kills} kills`).toBeGreaterThan(0)

  const known = new Set(records(device, 'buy'))
  const program = start(device)
  await seen('a further purchase', journalOf(device), () =>
    records(device, 'buy').some((quote) => !known.has(quote)) ? true : undefined,
  )
  await kill(program)

  start(device)
  await endsWell(scene)
  expect(await paidNotUnlocked(device)).toBe(0)
  expect(records(device, 'buy')).toEqual([])
}, 240_000)

test('killed while it stores, when all is verified, and in each step of the installation', async () => {
  const scene = await shipped({ distributors: 2, devices: 1, bytes: 8 * MIB, distributorArgs: SLOWLY })
  const { world, release } = scene
  const [device] = world.devices
  if (device === undefined) throw new Error('no device')
  const go = path.join(world.dir, 'go')
  // The health command waits for a file, so that the check can be cut off in its middle.
  const health = `until [ -e ${go} ]; do sleep 0.05; done`
  const toml = fs.readFileSync(device.configFile, 'utf8')
  fs.writeFileSync(
    device.configFile,
    toml.replace('health_command = ""', `health_command = ${JSON.stringify(health)}`),
  )

  let program = start(device)
  await receipts(device, 2)
  await kill(program)
  const kept = records(device, 'receipt')
  for (const wanted of PHASES.slice(0, -1)) {
    program = start(device)
    // A phase may be over before it is seen; the next start goes on from there.
    await seen(`${wanted} or later`, device.dataDir, () => later(device, wanted))
    await kill(program)
  }
  fs.writeFileSync(go, '')
  start(device)
  await endsWell(scene)
  expect(records(device, 'receipt')).toEqual(expect.arrayContaining(kept))
  const bytes = fs.readFileSync(installedFile(device, release.product, release.fileName))
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(release.sha256)
  await inPhase(device, 'done')
}, 240_000)
