import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { PayResult, Wallet } from '../../web/edge/wallet/wallet.ts'
import { Arena, GRANT, until } from './arena.ts'
import { hostileSeller } from './hostile-seller.ts'

let arena: Arena
beforeEach(async () => {
  arena = await Arena.open()
})
afterEach(() => arena.close())

/** A wallet that can hold but takes no preimage. */
const holdOnly = (wallet: Wallet): Wallet => ({
  ...wallet,
  info: async () => {
    const info = await wallet.info()
    return { ...info, features: new Set([...info.features].filter((one) => one !== 'preimage-invoices')) }
  },
})

describe('a crash between lock and settlement', () => {
  test('of the seller: the same journal settles, the device completes, nothing is bought twice', async () => {
    const wallet = holdOnly(arena.money.wallet('shop', 0 as Awaited<ReturnType<Wallet['balance']>>))
    let locked: () => void = () => undefined
    const lock = new Promise<void>((done) => (locked = done))
    // This one dies of the news.
    const dying: Wallet = {
      ...wallet,
      onEvent: (run) => wallet.onEvent((event) => (event.tag === 'hold-accepted' ? locked() : run(event))),
    }
    const member = await arena.member('self', { full: true })
    await member.leave()
    const first = await arena.seller({}, { ...member, wallet: dying })
    const device = await arena.device()
    await lock
    await first.kill()
    expect(device.download.get().have).toBe(0)
    const second = await arena.seller({}, { ...member, wallet })
    await device.download.complete
    expect(arena.intact(device)).toBe(true)
    const { boughtTwice, paid } = device.download.get()
    expect(boughtTwice).toBe(0)
    expect(await wallet.balance()).toBe(paid)
    expect(await device.wallet.balance()).toBe(GRANT - paid)
    await until(second.shop, ({ unpaidBytes }) => unpaidBytes === 0)
  })

  test('of the seller before the lock: what is locked after its restart is settled too', async () => {
    const wallet = holdOnly(arena.money.wallet('shop', 0 as Awaited<ReturnType<Wallet['balance']>>))
    const member = await arena.member('self', { full: true })
    await member.leave()
    const first = await arena.seller({}, { ...member, wallet })
    const purse = arena.money.wallet('purse', GRANT)
    let open: () => void = () => undefined
    const gate = new Promise<void>((done) => (open = done))
    let asked: () => void = () => undefined
    const asking = new Promise<void>((done) => (asked = done))
    const slow: Wallet = {
      ...purse,
      pay: async (invoice): Promise<PayResult> => {
        asked()
        await gate
        return purse.pay(invoice)
      },
    }
    const self = await arena.member('purse', { full: false })
    await self.leave()
    const device = await arena.device({}, { ...self, wallet: slow })
    await asking
    await first.kill()
    await arena.seller({}, { ...member, wallet })
    open()
    await device.download.complete
    expect(arena.intact(device)).toBe(true)
    expect(await wallet.balance()).toBe(device.download.get().paid)
  })

  test('of the buyer, paid and not unlocked: journal and store finish, and buy nothing twice', async () => {
    const seller = await hostileSeller(arena, {})
    const purse = arena.money.wallet('purse', GRANT)
    let paid: () => void = () => undefined
    const out = new Promise<void>((done) => (paid = done))
    const mute: Wallet = {
      ...purse,
      pay: (invoice) => {
        void purse.pay(invoice).then(paid)
        return new Promise(() => undefined)
      },
    }
    const self = await arena.member('purse', { full: false })
    await self.leave()
    const first = await arena.device({}, { ...self, wallet: mute })
    await out
    await first.kill()
    expect(await purse.balance()).toBeLessThan(GRANT)
    expect(first.download.get().have).toBe(0)
    const second = await arena.device({}, { ...self, wallet: purse })
    await second.download.settled
    expect(arena.intact(second)).toBe(true)
    const { windows, boughtTwice } = second.download.get()
    expect(boughtTwice).toBe(0)
    expect(windows.flatMap(({ pieces }) => pieces).sort()).toEqual([0, 1, 2, 3, 4])
    expect(await purse.balance()).toBe(GRANT - second.download.get().paid)
    expect(await seller.wallet.balance()).toBe(second.download.get().paid)
    // And once more from what is on disk: the sums are there, nothing is asked for.
    await second.kill()
    const third = await arena.device({}, { ...self, wallet: purse })
    await third.download.settled
    expect(third.download.get().paid).toBe(windows.reduce((sum, row) => sum + row.amountMsat, 0))
    expect(third.download.receipts()).toHaveLength(windows.length)
  })
})
