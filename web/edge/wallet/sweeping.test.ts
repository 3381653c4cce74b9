import { expect, test, vi } from 'vitest'
import { msat } from '../../core/money/msat.ts'
import { memoryJournal } from '../swarm/memory.ts'
import { createFakeMoney } from './fake.ts'
import { openSweeping, type Sweeping } from './sweeping.ts'

const above = msat(300_000)

async function stage() {
  const money = createFakeMoney({ money: 'sandbox:x' })
  const [seller, owner] = [money.wallet('seller', msat(1_000_000)), money.wallet('owner', msat(0))]
  const journal = memoryJournal()
  const open = (): Promise<Sweeping> => openSweeping({ journal, nowMs: () => 7 })
  const invoice = async (amount: number): Promise<string> =>
    (await owner.makeInvoice({ amount: msat(amount), description: 'sweep', expirySeconds: 60 })).bolt11
  return { seller, owner, open, invoice }
}
const heard = (sweeping: Sweeping, tag: string): Promise<void> =>
  vi.waitFor(() => expect(sweeping.state.get().last?.tag).toBe(tag))

test('an order is carried out when there is a wallet, an invoice once; what came of it is told at the next visit', async () => {
  const { seller, owner, open, invoice } = await stage()
  const sweeping = await open()
  const to = await invoice(500_000)
  await sweeping.order({ above, to })
  expect(sweeping.state.get()).toEqual({ order: { above, to } })
  sweeping.setWallet(seller)
  await vi.waitFor(() => expect(sweeping.state.get().order).toBeUndefined())
  const last = { tag: 'swept', atMs: 7, to, amount: 500_000, fees: 0 }
  expect(sweeping.state.get()).toEqual({ last })
  expect([await seller.balance(), await owner.balance()]).toEqual([500_000, 500_000])
  expect((await open()).state.get()).toEqual({ last })
})

test('an order outlives a visit until it is taken back, and its failures are told in words', async () => {
  const { seller, open } = await stage()
  const to = 'bob@nowhere.invalid'
  await (await open()).order({ above, to: ` ${to} ` })
  const sweeping = await open()
  expect(sweeping.state.get()).toEqual({ order: { above, to } })
  sweeping.setWallet(seller)
  await heard(sweeping, 'failed')
  expect(sweeping.state.get().last).toMatchObject({ to, why: expect.stringContaining(to) as string })
  await sweeping.order(undefined)
  expect((await open()).state.get().order).toBeUndefined()
  expect(await seller.balance()).toBe(1_000_000)
})

test('what is neither an address nor an invoice is no order', async () => {
  const sweeping = await (await stage()).open()
  await expect(sweeping.order({ above, to: 'nostr+walletconnect://x' })).rejects.toThrow('neither')
  expect(sweeping.state.get()).toEqual({})
})
