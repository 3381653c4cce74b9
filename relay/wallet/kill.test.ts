import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { audit } from './audit.ts'
import { startService } from './harness.ts'
import { rawClient } from './raw-client.ts'

const root = mkdtempSync(join(tmpdir(), 'satpatch-kill-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const secret = new Uint8Array(32).fill(3)

function run(dataDir: string, step: string): { signal: string | null; out: string } {
  const child = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'kill-child.ts'), dataDir, step, join(root, 'event')],
    {
      encoding: 'utf8',
      timeout: 30_000,
    },
  )
  return { signal: child.signal, out: child.stdout + (child.signal ? '' : child.stderr) }
}

test('killed at any step of a payment, the request is executed once and every msat is there', async () => {
  const start = join(root, 'start')
  mkdirSync(start)
  const service = await startService({ dataDir: start, secret })
  const payerUri = (await service.wallet.openAccount({ grantMsat: 1000 })).connection
  const payeeUri = (await service.wallet.openAccount({ grantMsat: 0 })).connection
  const payer = rawClient(service, payerUri)
  const invoice = rawClient(service, payeeUri).ask('make_invoice', { amount: 400 }).result?.['invoice']
  const request = payer.event({ method: 'pay_invoice', params: { invoice } })
  writeFileSync(join(root, 'event'), JSON.stringify(request))
  await service.stop()

  const copy = (name: string): string => {
    const dataDir = join(root, name.replace(':', '-'))
    cpSync(start, dataDir, { recursive: true })
    return dataDir
  }
  const whole = run(copy('whole'), 'none')
  const writes = Number(/writes (\d+)/.exec(whole.out)?.[1])
  expect(writes).toBeGreaterThan(8)
  const steps = [...Array.from({ length: writes }, (_, i) => `write:${i + 1}`), 'commit']
  for (const step of steps) {
    const dataDir = copy(step)
    expect(run(dataDir, step)).toMatchObject({ signal: 'SIGKILL' })
    const left = audit(dataDir + '/wallet.sqlite')
    expect(left.problems, step).toEqual([])
    // Before the commit nothing has moved, after it everything has: two grants of which one is empty, then the payment.
    expect(left.movements, step).toBe(step === 'commit' ? 2 : 1)

    const again = await startService({ dataDir, secret })
    const client = rawClient(again, payerUri)
    const [answer] = client.send(request)
    expect(answer?.result?.['preimage'], step).toMatch(/^[0-9a-f]{64}$/)
    expect(client.send(request)[0], step).toEqual(answer)
    expect(client.ask('get_balance').result, step).toEqual({ balance: 600 })
    expect(rawClient(again, payeeUri).ask('get_balance').result, step).toEqual({ balance: 400 })
    expect(again.wallet.audit().problems, step).toEqual([])
    await again.stop()
  }
}, 120_000)
