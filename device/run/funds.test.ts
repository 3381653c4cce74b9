import pino from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { liveCell } from '../../web/core/live.ts'
import { msat } from '../../web/core/money/msat.ts'
import { createFakeMoney } from '../../web/edge/wallet/fake.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { createFunds } from './funds.ts'
import type { Ports } from './ports.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('what came while the wallet was away is known when it is back', async () => {
  let held = msat(1_000)
  const status = liveCell({ connected: true })
  const onChange = vi.fn()
  const wallet: Wallet = {
    ...createFakeMoney({ money: 'bitcoin' }).wallet('device', held),
    status,
    onEvent: () => () => undefined, // lost with the connection
    balance: () =>
      status.get().connected ? Promise.resolve(held) : Promise.reject(new Error('It does not answer.')),
  }
  const ports = { openWallet: () => Promise.resolve(wallet), nowMs: Date.now } as unknown as Ports
  const funds = createFunds({ ports, log: pino({ level: 'silent' }), onChange })
  await funds.open('')
  await vi.advanceTimersByTimeAsync(5_000)
  expect(funds.balance()).toBe(1_000)
  status.set({ connected: false })
  held = msat(1_500)
  await vi.advanceTimersByTimeAsync(5_000)
  status.set({ connected: true })
  onChange.mockClear()
  await vi.advanceTimersByTimeAsync(5_000)
  expect(funds.balance()).toBe(1_500)
  expect(onChange).toHaveBeenCalled()
  funds.close()
})
