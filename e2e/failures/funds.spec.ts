/** A device with too few sats: queued, told how many, funded by the vendor, goes on by itself, keeps what it paid for. */
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { endsWell, receipts, records, shipped, start, statusOf } from './scene.ts'

const MIB = 1024 * 1024

test('too few sats: needs N sats more; once funded it finishes with what it had paid for', async () => {
  // 8 MiB at 1 sat a MiB cost 8 sats.
  const scene = await shipped({ distributors: 2, devices: 1, bytes: 8 * MIB, fundMsat: msat(3_000) })
  const { world, release } = scene
  const [device] = world.devices
  if (device === undefined) throw new Error('no device')
  const program = start(device)
  await receipts(device, 1)
  const waiting = await world.when(
    device,
    release,
    'to ask for funds',
    ({ state, fundInvoice }) => state === 'queued' && fundInvoice !== undefined,
  )
  expect(waiting.reason).toMatch(/^needs \d+ .*sats more; it goes on by itself when they arrive$/)
  const status = await statusOf(device)
  expect(status).toMatchObject({ state: 'queued', reason: waiting.reason, code: 4 })
  expect(waiting.havePieces).toBeGreaterThan(0)
  const kept = records(device, 'receipt')

  for (let rounds = 0; rounds < 3 && world.row(device, release)?.state !== 'healthy'; rounds++) {
    const funded = await world.fund(device)
    await world.when(
      device,
      release,
      'to go on',
      ({ state, fundInvoice }) =>
        state === 'healthy' || (state === 'queued' && fundInvoice !== undefined && fundInvoice !== funded),
    )
  }
  await endsWell(scene)
  expect(records(device, 'receipt')).toEqual(expect.arrayContaining(kept))
  expect(program.exitCode()).toBeUndefined()
}, 240_000)
