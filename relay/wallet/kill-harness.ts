/** For kill tests: one request, killed with SIGKILL before each of its writes and after its commit, then asked again. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { audit } from './audit.ts'
import { startService, type TestService } from './harness.ts'
import { rawClient, type RawClient } from './raw-client.ts'

const secret = new Uint8Array(32).fill(3)
/** One hundredth: the child takes the same. */
export const FEE_PPM = 10_000

export type Parties = { service: TestService; payer: RawClient; payee: RawClient }
export type Case = Readonly<{
  /** Makes everything ready and gives the request that is to be killed. */
  prepare(parties: Parties): { by: 'payer' | 'payee'; event: NostrEvent }
  /** Balances when it has been executed once. */
  after: Readonly<{ payer: number; payee: number }>
}>

/** Everybody begins with 1000 msat at the payer. */
export async function killAtEachStep({ prepare, after }: Case): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'satpatch-kill-'))
  try {
    const start = join(root, 'start')
    mkdirSync(start)
    const service = await startService({ dataDir: start, secret, feePpm: FEE_PPM })
    const uris = {
      payer: (await service.wallet.openAccount({ grantMsat: 1000 })).connection,
      payee: (await service.wallet.openAccount({ grantMsat: 0 })).connection,
    }
    const [payer, payee] = [rawClient(service, uris.payer), rawClient(service, uris.payee)]
    const { by, event } = prepare({ service, payer, payee })
    await service.stop()
    const eventFile = join(root, 'event')
    writeFileSync(eventFile, JSON.stringify(event))
    const before = audit(join(start, 'wallet.sqlite')).movements

    const copy = (name: string): string => {
      const dataDir = join(root, name.replace(':', '-'))
      cpSync(start, dataDir, { recursive: true })
      return dataDir
    }
    const whole = copy('whole')
    const writes = Number(/writes (\d+)/.exec(run(whole, 'none', eventFile).out)?.[1])
    const done = audit(join(whole, 'wallet.sqlite')).movements
    expect(writes).toBeGreaterThan(5)
    for (const step of [...Array.from({ length: writes }, (_, i) => `write:${i + 1}`), 'commit']) {
      const dataDir = copy(step)
      expect(run(dataDir, step, eventFile), step).toMatchObject({ signal: 'SIGKILL' })
      const left = audit(join(dataDir, 'wallet.sqlite'))
      expect(left.problems, step).toEqual([])
      // Before the commit nothing has moved, after it everything has.
      expect(left.movements, step).toBe(step === 'commit' ? done : before)

      const again = await startService({ dataDir, secret, feePpm: FEE_PPM })
      const clients = { payer: rawClient(again, uris.payer), payee: rawClient(again, uris.payee) }
      const [answer] = clients[by].send(event)
      expect(answer?.error, step).toBeNull()
      expect(clients[by].send(event)[0], step).toEqual(answer)
      for (const who of ['payer', 'payee'] as const)
        expect(clients[who].ask('get_balance').result, `${step}, ${who}`).toEqual({ balance: after[who] })
      expect(again.wallet.audit(), step).toMatchObject({ problems: [], movements: done })
      await again.stop()
      rmSync(dataDir, { recursive: true })
    }
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

function run(dataDir: string, step: string, eventFile: string): { signal: string | null; out: string } {
  const child = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'kill-child.ts'), dataDir, step, eventFile],
    {
      encoding: 'utf8',
      timeout: 30_000,
    },
  )
  return { signal: child.signal, out: child.stdout + (child.signal ? '' : child.stderr) }
}
