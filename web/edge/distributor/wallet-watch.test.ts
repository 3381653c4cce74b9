import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { msat, type Msat } from '../../core/money/msat.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import type { Wallet, WalletEvent } from '../wallet/wallet.ts'
import { watchWallet } from './wallet-watch.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('what comes in while the balance is asked for is shown too', async () => {
  const wallet = createFakeMoney({ money: 'bitcoin' }).wallet('seller', msat(0))
  const answers: ((balance: Msat) => void)[] = []
  let hear: (event: WalletEvent) => void = () => undefined
  const slow: Wallet = {
    ...wallet,
    status: wallet.status,
    balance: () => new Promise((done) => answers.push(done)),
    onEvent: (run) => ((hear = run), () => undefined),
  }
  const watch = watchWallet(slow, 'bitcoin')
  await vi.advanceTimersByTimeAsync(10)
  expect(answers).toHaveLength(1)
  hear({ tag: 'received' } as WalletEvent)
  await vi.advanceTimersByTimeAsync(5_000)
  answers[0]!(msat(1_000)) // as it was before
  await vi.advanceTimersByTimeAsync(2_000)
  answers[1]?.(msat(2_000))
  await vi.advanceTimersByTimeAsync(10)
  expect(watch.view.get().balance).toBe(2_000)
  expect(answers).toHaveLength(2)
  watch.stop()
})
