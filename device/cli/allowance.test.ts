import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startService, type TestService } from '../../relay/wallet/harness.ts'
import { msat } from '../../web/core/money/msat.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { createLogTo } from '../log.ts'
import { allowanceCommands } from './allowance.ts'
import { keeperOf } from './allowance-keeper.ts'
import { findCommand, parseFlags } from './command.ts'

const log = createLogTo('silent', new Writable({ write: (_chunk, _encoding, done) => done() }))
let dir: string
let service: TestService
let shop: Wallet
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-allowance-cli-'))
  service = await startService()
  const { connection } = await service.wallet.openAccount({ grantMsat: 100_000 })
  await writeFile(join(dir, 'nwc'), connection, { mode: 0o600 })
  shop = await connectNwc((await service.wallet.openAccount({ grantMsat: 0 })).connection)
})
afterAll(async () => {
  shop.close()
  await service.stop()
  await rm(dir, { recursive: true, force: true })
})

const parsed = (args: readonly string[]) => {
  const { command, rest } = findCommand(allowanceCommands, args)
  const where = ['--wallet-file', join(dir, 'nwc'), '--data', join(dir, 'kept')]
  return { command, ...parseFlags(command, [...rest, ...where]) }
}
async function run(...args: string[]): Promise<string> {
  const { command, flags, argument } = parsed(args)
  const lines: string[] = []
  const input = {
    argument,
    flags,
    json: flags.has('json'),
    log,
    out: (line: string) => void lines.push(line),
  }
  expect(await command.run(input)).toBe(0)
  return lines.join('\n')
}
const invoice = async (sats: number): Promise<string> =>
  (await shop.makeInvoice({ amount: msat(sats * 1000), description: 'tea', expirySeconds: 600 })).bolt11

test('one process runs the allowances, others of the same directory change them while they are in use', async () => {
  expect(await run('allowance', 'list')).toContain('There are none')
  const made = await run('allowance', 'create', '50sat', '--name', 'pi')
  expect(made).toContain('It works while "satpatch allowance run" does.')

  // What `allowance run` does, but for the signal that ends it.
  const running = await keeperOf(parsed(['allowance', 'run']).flags, log)
  expect(running.runs).toBe(true)
  await expect(run('allowance', 'run')).rejects.toMatchObject({ code: 3 })
  expect((await stat(join(dir, 'kept', 'keeper.sock'))).mode & 0o077).toBe(0)
  const connection = await run('allowance', 'code', 'pi')
  expect(made.split('\n')[0]).toBe(connection)
  const holder = await connectNwc(connection)
  expect(await holder.pay(await invoice(20))).toMatchObject({ tag: 'paid' })
  expect(await run('allowance', 'limit', 'pi', '--to', '25sat')).toMatch(
    /^pi +5 play sats left of 25 play sats/,
  )
  expect(await holder.pay(await invoice(6))).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  expect(await run('allowance', 'pause', 'pi')).toContain('paused')
  expect(await holder.pay(await invoice(1))).toMatchObject({ tag: 'failed' })
  await run('allowance', 'resume', 'pi')

  const deeper = JSON.parse(
    await run('allowance', 'create', '40sat', '--name', 'sensor', '--from', 'pi', '--json'),
  ) as { connection: string }
  const deep = await connectNwc(deeper.connection)
  expect(await deep.pay(await invoice(4))).toMatchObject({ tag: 'paid' })
  expect(await run('allowance', 'list')).toMatch(
    /pi .*24 play sats spent[^]*\n {2}sensor .*4 play sats spent/,
  )
  await expect(run('allowance', 'limit', 'pie', '--to', '1sat')).rejects.toThrow(/There are: pi, sensor/)

  await running.close()
  expect(await run('allowance', 'revoke', 'pi')).toContain('revoked')
  await expect(run('allowance', 'code', 'sensor')).rejects.toThrow(/There is no allowance "sensor"/)
  for (const wallet of [holder, deep]) wallet.close()
})
