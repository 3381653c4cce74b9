/** What is refused, in words: names, versions, hardware, wallet strings with a typo, a port in use, an empty file. */
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { until } from '../support/processes.ts'
import { openWorld, PRICE } from '../support/world.ts'
import { kill, satpatch, statusOf } from './scene.ts'

const TOLD_TIMEOUT_MS = 60_000

test('what a vendor cannot publish is refused in words and changes nothing', async () => {
  const world = await openWorld({ distributors: 0, devices: 1 })
  const { host } = world
  const [device] = world.devices
  if (device === undefined) throw new Error('no device')
  const form = { product: 'firmware', hardware: ['another-board'], priceCapMsat: PRICE }

  // Made for other hardware: the device says for which, and takes nothing.
  await host.ship(world.file('image.bin', 1000), { ...form, version: '2.0.0' })
  const status = await until('the device to say why', TOLD_TIMEOUT_MS, async () => {
    const now = await statusOf(device)
    return now.reason.includes('another-board') ? now : undefined
  })
  expect(status).toMatchObject({
    state: 'queued',
    reason: 'firmware 2.0.0 is for another-board',
    code: 4,
    paidMsat: 0,
  })

  const names = (): string[] => host.vendor.releases.get().map(({ release }) => release.path)
  const before = names()
  await expect(host.ship(world.file('image.bin', 1000), { ...form, version: '1.9.9' })).rejects.toThrow(
    /2\.0\.0 is out already and 1\.9\.9 is not newer.*use a higher version/,
  )
  await expect(host.ship(world.file('two\nlines.bin', 1000), { ...form, version: '2.0.1' })).rejects.toThrow(
    /control character.*Rename the file/,
  )
  await expect(host.ship(world.file('empty.bin', 0), { ...form, version: '2.0.1' })).rejects.toThrow(/empty/)
  expect(names()).toEqual(before)
  // And after all these, a good one goes out.
  await host.ship(world.file('good name.bin', 1000), { ...form, version: '2.0.1' })
  expect(names()).toHaveLength(before.length + 1)
})

test('the command line says what is wrong with a port and a wallet string', async () => {
  const world = await openWorld({ distributors: 0, devices: 1 })
  const { house, dir } = world
  const [device] = world.devices
  if (device === undefined) throw new Error('no device')
  await device.program?.stop()

  const taken = await satpatch([
    'relay',
    '--port',
    String(house.relay.port),
    '--data',
    path.join(dir, 'second'),
  ])
  expect(taken.code).toBe(1)
  expect(taken.output).toMatch(new RegExp(`satpatch: .*${house.relay.port}.*in use`))

  // One character less in the secret of the device's wallet.
  const toml = fs.readFileSync(device.configFile, 'utf8')
  const secret = /secret=([0-9a-f]{64})/.exec(toml)?.[1] ?? ''
  fs.writeFileSync(device.configFile, toml.replace(`secret=${secret}`, `secret=${secret.slice(1)}`))
  const typo = await satpatch(['device', 'run', '--config', device.configFile])
  expect(typo.code).toBe(1)
  expect(typo.output).toMatch(/device\.toml: "wallet\.connection" cannot be used\. .*secret.*63/)
  expect(typo.output).not.toContain(secret.slice(1))

  const walletFile = path.join(dir, 'wallet.txt')
  fs.writeFileSync(
    walletFile,
    `nostr+walletconnect://${'a'.repeat(63)}?relay=ws://localhost&secret=${secret}`,
  )
  const distributor = ['distributor', 'run', '--relay', house.relay.url, '--data', path.join(dir, 'd')]
  const wrong = await satpatch([...distributor, '--wallet-file', walletFile])
  expect(wrong.code).toBe(2)
  expect(wrong.output).toMatch(/wallet\.txt: The wallet's key.*63/)
  expect(wrong.output).not.toContain(secret)

  // Set right again, it runs with the balance that it had.
  fs.writeFileSync(device.configFile, toml)
  const program = (device.program = device.start())
  await program.line('its key', TOLD_TIMEOUT_MS, (line) => (line.includes(device.key) ? line : undefined))
  expect(await device.wallet.balance()).toBe(msat(1_000_000))
  await kill(program)
})
