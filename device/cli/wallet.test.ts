import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startService, type TestService } from '../../relay/wallet/harness.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { createLogTo } from '../log.ts'
import { Writable } from 'node:stream'
import { auditCommand } from './audit.ts'
import { CliError, findCommand, parseFlags } from './command.ts'
import { readAmount, showAmount } from './wallet-amount.ts'
import { walletCommands } from './wallet.ts'

let dir: string
let service: TestService
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-wallet-cli-'))
  service = await startService()
  const { connection } = await service.wallet.openAccount({ grantMsat: 10_000_000 })
  await writeFile(join(dir, 'nwc'), connection, { mode: 0o600 })
})
afterAll(async () => {
  await service.stop()
  await rm(dir, { recursive: true, force: true })
})

type Ran = { code: number; out: string; data: Record<string, unknown> }
async function run(...args: string[]): Promise<Ran> {
  const { command, rest } = findCommand([...walletCommands, auditCommand], args)
  const where =
    command.verb === 'audit' ? [] : ['--wallet-file', join(dir, 'nwc'), '--data', join(dir, 'book')]
  const { flags, argument } = parseFlags(command, [...rest, ...where])
  const lines: string[] = []
  const log = createLogTo('silent', new Writable({ write: (_chunk, _encoding, done) => done() }))
  const json = flags.has('json')
  const code = await command.run({ argument, flags, json, log, out: (line) => void lines.push(line) })
  const out = lines.join('\n')
  return { code, out, data: json ? (JSON.parse(out) as Record<string, unknown>) : {} }
}

test('amounts need a unit and are exact', () => {
  expect([readAmount('500sat'), readAmount('1.5 sats'), readAmount('7msat')]).toEqual([500_000, 1500, 7])
  for (const wrong of ['500', '1.5msat', '-1sat', '1,5sat', 'sat', '1.2345sat'])
    expect(() => readAmount(wrong)).toThrow(CliError)
  expect([showAmount(readAmount('1.5sat'), 'sandbox:x'), showAmount(readAmount('2sat'), 'bitcoin')]).toEqual([
    '1.5 play sats',
    '2 sats',
  ])
})

test('an account is made, connected, spent from, cleared and removed', async () => {
  expect((await run('wallet', 'list')).out).toContain('no accounts')
  expect((await run('wallet', 'create', '500sat', '--name', 'shop')).out).toBe('shop has 500 play sats.')
  expect((await stat(join(dir, 'book', 'wallet.json'))).mode & 0o077).toBe(0)
  expect((await run('wallet', 'getinfo', '--json')).data).toMatchObject({ balanceMsat: 9_500_000 })
  expect((await run('wallet', 'getinfo', '--account', 'shop')).out).toContain('balance    500 play sats')

  const { data } = await run('wallet', 'listen', 'shop', '--limit', '100sat', '--json')
  const holder = await connectNwc(String(data['connection']))
  const invoice = (await run('wallet', 'invoice', '60sat', '--memo', 'coffee')).out
  expect(await holder.pay(invoice)).toMatchObject({ tag: 'paid' })
  expect((await run('wallet', 'list')).out).toMatch(
    /shop +440 play sats\n {2}[0-9a-f]{12}… +60 play sats of 100 play sats used, active/,
  )
  await run('wallet', 'connect', 'shop', '--key', 'ab'.repeat(32))
  await expect(run('wallet', 'rm', 'shop')).rejects.toMatchObject({ code: 3 })
  expect((await run('wallet', 'clear', 'shop')).out).toBe('2 connections to shop ended.')
  await expect(holder.balance()).rejects.toMatchObject({ code: 'unauthorized' })
  holder.close()
  expect((await run('wallet', 'rm', 'shop')).out).toBe('shop is gone; 440 play sats went back.')
  expect((await run('wallet', 'getinfo', '--json')).data).toMatchObject({ balanceMsat: 10_000_000 })
})

test('pays from an account, says why not, and keeps no account that was refused', async () => {
  await run('wallet', 'create', '20sat', '--name', 'small')
  const made = async (amount: string): Promise<string> => (await run('wallet', 'invoice', amount)).out
  const paid = await run('wallet', 'pay', await made('5sat'), '--account', 'small')
  expect(paid.out).toMatch(/^Paid 5 play sats, 0 play sats of fees\. Proof: [0-9a-f]{64}$/)
  await expect(run('wallet', 'pay', await made('16sat'), '--account', 'small')).rejects.toThrow(/15 sats/)
  await expect(run('wallet', 'pay', 'lnbc1nonsense')).rejects.toThrow(/no Lightning invoice/)
  await expect(run('wallet', 'create', '99999sat', '--name', 'big')).rejects.toThrow(/99999 are needed/)
  await expect(run('wallet', 'getinfo', '--account', 'big')).rejects.toThrow(/no account "big"/)
  await expect(run('wallet', 'create', '1sat', '--name', 'small')).rejects.toThrow(/already/)
})

test('audit: adds up, and says what does not', async () => {
  const ok = await run('audit', '--data', service.dataDir)
  expect([ok.code, ok.out]).toEqual([0, expect.stringContaining('Everything adds up.')])
  expect((await run('audit', '--data', service.dataDir, '--json')).data).toMatchObject({ problems: [] })
  await expect(run('audit', '--data', dir)).rejects.toThrow(/no ledger/)
  const other = new DatabaseSync(join(service.dataDir, 'wallet.sqlite'))
  other.exec("UPDATE accounts SET balance = balance + 1 WHERE kind = 'fees'")
  const wrong = await run('audit', '--data', service.dataDir)
  expect([wrong.code, wrong.out]).toEqual([3, expect.stringContaining('✗ account fees: has 1')])
  other.exec("UPDATE accounts SET balance = balance - 1 WHERE kind = 'fees'")
  other.close()
})
