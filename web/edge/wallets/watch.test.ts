import { expect, onTestFinished, test, vi } from 'vitest'
import { liveCell } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import { WalletError, type Wallet } from '../wallet/wallet.ts'
import { connectWallet, STEPS } from './connect.ts'
import { spendable, watchWallet, type WalletWatch, type WatchedWallet } from './watch.ts'

const pay = async (payer: Wallet, payee: Wallet, amount: number): Promise<void> => {
  const { bolt11 } = await payee.makeInvoice({
    amount: msat(amount),
    description: 'tea',
    expirySeconds: 60,
  })
  await payer.pay(bolt11)
}
function until(watch: WalletWatch, holds: (view: WatchedWallet) => boolean): Promise<WatchedWallet> {
  return new Promise((resolve) => {
    const end = watch.view.subscribe((view) => {
      if (!holds(view)) return
      queueMicrotask(() => end())
      resolve(view)
    })
  })
}
function following(wallet: Wallet): WalletWatch {
  const watch = watchWallet(wallet)
  onTestFinished(() => watch.stop())
  return watch
}

test('shows balance and payments, and each new one by itself', async () => {
  const money = createFakeMoney({ money: 'sandbox:x' })
  const [mine, theirs] = [money.wallet('mine', msat(10_000)), money.wallet('theirs', msat(0))]
  await pay(mine, theirs, 1_000)
  const watch = following(mine)
  const first = await until(watch, (view) => view.balance === 9_000)
  expect(first.lines).toMatchObject([{ direction: 'out', amount: 1_000, description: 'tea' }])
  await pay(mine, theirs, 2_500)
  const second = await until(watch, (view) => view.balance === 6_500)
  expect(second.lines.map((line) => line.amount)).toEqual([2_500, 1_000])
})

/** A wallet whose lists come when they are let go, as they were when they were asked for. */
function withSlowLists(wallet: Wallet) {
  const asked: (() => void)[] = []
  let tell: () => void = () => undefined
  const history: Wallet['history'] = async (options) => {
    const list = await wallet.history(options)
    await new Promise<void>((resolve) => {
      asked.push(resolve)
      tell()
    })
    return list
  }
  /** When so many have been asked for; gives the last one's leave to come. */
  const nth = async (count: number): Promise<() => void> => {
    while (asked.length < count) await new Promise<void>((resolve) => (tell = resolve))
    return asked[count - 1] ?? (() => undefined)
  }
  return { wallet: { ...wallet, history }, nth }
}

test('a payment that is told while the list is asked for stays on the list', async () => {
  const money = createFakeMoney({ money: 'sandbox:x' })
  const { wallet, nth } = withSlowLists(money.wallet('mine', msat(10_000)))
  const watch = following(wallet)
  const letGo = await nth(1)
  await pay(wallet, money.wallet('theirs', msat(0)), 1_000)
  await until(watch, ({ lines }) => lines.length === 1)
  letGo()
  expect((await until(watch, ({ atMs }) => atMs !== undefined)).lines).toHaveLength(1)
})

test('who asks for the list while it is on its way gets it anew', async () => {
  const mine = createFakeMoney({ money: 'sandbox:x' }).wallet('mine', msat(10_000))
  const { wallet, nth } = withSlowLists(mine)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const watch = following(wallet)
  await vi.advanceTimersByTimeAsync(10)
  const letGo = await nth(1)
  watch.refresh()
  await vi.advanceTimersByTimeAsync(10)
  letGo()
  let again = false
  void nth(2).then(() => (again = true))
  await vi.advanceTimersByTimeAsync(1_000)
  expect(again).toBe(true)
})

test('one that is stopped while it asks leaves no timer behind', async () => {
  const mine = createFakeMoney({ money: 'sandbox:x' }).wallet('mine', msat(10_000))
  const { wallet, nth } = withSlowLists(mine)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const watch = watchWallet(wallet)
  await vi.advanceTimersByTimeAsync(10)
  const letGo = await nth(1)
  watch.stop()
  letGo()
  await vi.advanceTimersByTimeAsync(10)
  expect(vi.getTimerCount()).toBe(0)
})

test('a connection that may not tell its balance or history is no trouble', async () => {
  const mine = createFakeMoney({ money: 'sandbox:x' }).wallet('mine', msat(10_000))
  const hidden = async () => Promise.reject(new WalletError('restricted', 'no'))
  const watch = following({ ...mine, balance: hidden, budget: hidden, history: hidden })
  const view = await until(watch, ({ atMs }) => atMs !== undefined)
  expect(view).not.toHaveProperty('balance')
  expect(view.trouble).toBeUndefined()
})

test('what can be paid is the balance, or the rest of the budget where that is less', () => {
  const budget = { total: msat(5_000), used: msat(4_000) }
  expect(spendable({ balance: msat(9_000), budget })).toBe(1_000)
  expect(spendable({ balance: msat(500), budget })).toBe(500)
  expect(spendable({ budget: { total: msat(1), used: msat(4) } })).toBe(0)
  expect(spendable({})).toBeUndefined()
})

test('connecting tells its steps; a relay that is silent ends it in words, and closes the wallet', async () => {
  const mine = createFakeMoney({ money: 'sandbox:x' }).wallet('mine', msat(10_000))
  const steps: string[] = []
  const done = await connectWallet(
    async () => mine,
    ({ step }) => steps.push(step),
  )
  expect(steps).toEqual([...STEPS, 'done'])
  expect(done.balance).toBe(10_000)

  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  let closed = 0
  const status = liveCell({ connected: false, trouble: 'connection refused' })
  const silent = { ...mine, status, close: () => void closed++ }
  const failing = connectWallet(
    async () => silent,
    () => undefined,
  )
  const refused = expect(failing).rejects.toThrow(/does not answer \(connection refused\)/)
  await vi.runAllTimersAsync()
  await refused
  expect(closed).toBe(1)
})
