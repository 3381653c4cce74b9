/** Three layers over a real relay: a limit moved while a purchase is on its way, layers in one browser, always on. */
import { afterEach, expect, test } from 'vitest'
import { ZERO } from '../../web/core/money/msat.ts'
import type { AllowanceKeeper } from '../../web/edge/allowance/api.ts'
import {
  allowance,
  cut,
  holdSale,
  invoiceOf,
  openHouse,
  PREIMAGE,
  sats,
  terms,
  type House,
} from './harness.ts'

const houses: House[] = []
afterEach(async () => {
  for (const house of houses.splice(0)) await house.stop()
})
const begin = async () => {
  const house = await openHouse()
  houses.push(house)
  const [owner, shop] = [await house.account(100), await house.account(0)]
  return { house, owner: owner.wallet, shop: shop.wallet }
}

test('the top slider at zero during a purchase: nothing new starts, what is in flight is counted at every layer', async () => {
  const { house, owner, shop } = await begin()
  const keepers: AllowanceKeeper[] = []
  const made: Awaited<ReturnType<typeof cut>>[] = []
  let source = owner
  for (const limit of [80, 70, 60]) {
    const keeper = house.keeper({ above: source })
    const one = await cut(keeper, { tag: 'wallet', id: 'above' }, limit)
    source = await house.open(one.connection)
    keepers.push(keeper)
    made.push(one)
  }
  const holder = source
  const each = (wanted: Parameters<typeof allowance>[2]) =>
    Promise.all(keepers.map((keeper, at) => allowance(keeper, made[at]!.id, wanted)))
  expect(await holder.balance()).toBe(sats(60))
  expect(await holder.pay(await invoiceOf(shop, 10))).toMatchObject({ tag: 'paid' })
  const sale = await holdSale(shop, 20)
  const paid = holder.pay(sale.bolt11)
  await sale.locked
  await each(({ reserved }) => reserved === sats(20))

  const heard = new Promise((resolve) =>
    holder.onConnection(({ available }) => available === 0 && resolve(true)),
  )
  await keepers[0]!.setLimit(made[0]!.id, ZERO)
  await heard
  const refused = await holder.pay(await invoiceOf(shop, 1))
  expect(refused).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  expect(await owner.balance()).toBe(sats(70))

  await shop.settleHoldInvoice(PREIMAGE)
  expect(await paid).toMatchObject({ tag: 'paid', preimage: PREIMAGE })
  for (const layer of await each(({ reserved }) => reserved === 0))
    expect(layer).toMatchObject({ spent: sats(30), unknown: 0, available: 0 })
  expect(await owner.balance()).toBe(sats(70))
  expect(await shop.balance()).toBe(sats(30))
})

test('layers in one browser need no network between them, and are revoked together', async () => {
  const { house, owner, shop } = await begin()
  const keeper = house.keeper({ mine: owner })
  const top = await cut(keeper, { tag: 'wallet', id: 'mine' }, 50)
  const mid = await cut(keeper, { tag: 'allowance', id: top.id }, 40)
  const low = await cut(keeper, { tag: 'allowance', id: mid.id }, 90)
  const holder = await house.open(low.connection)
  expect(await holder.balance()).toBe(sats(40))
  const sale = await holdSale(shop, 15)
  const paid = holder.pay(sale.bolt11)
  await sale.locked
  await keeper.setLimit(mid.id, sats(5))
  expect(await holder.pay(await invoiceOf(shop, 1))).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  await keeper.revoke(top.id)
  await expect(keeper.remove(top.id)).rejects.toMatchObject({ code: 'in-flight' })
  await shop.settleHoldInvoice(PREIMAGE)
  expect(await paid).toMatchObject({ tag: 'paid' })
  for (const [{ id }, depth] of [
    [top, 1],
    [mid, 2],
    [low, 3],
  ] as const)
    expect(await allowance(keeper, id, ({ reserved }) => reserved === 0)).toMatchObject({
      ...{ spent: sats(15), state: 'revoked', depth },
    })
  await expect(keeper.create(terms({ tag: 'allowance', id: low.id }, 1))).rejects.toMatchObject({
    code: 'revoked',
  })
  await keeper.remove(top.id)
  expect(await owner.balance()).toBe(sats(85))
})

test('always on: the wallet runs the allowance, the keeper may be closed, and its limit still moves', async () => {
  const { house, owner, shop } = await begin()
  const keeper = house.keeper({ mine: owner })
  await allowanceReady(keeper)
  const { id, connection } = await keeper.create(terms({ tag: 'wallet', id: 'mine' }, 30, { home: 'wallet' }))
  const holder = await house.open(connection)
  expect(await holder.pay(await invoiceOf(shop, 10))).toMatchObject({ tag: 'paid' })
  expect(await allowance(keeper, id, ({ spent }) => spent === sats(10))).toMatchObject({
    ...{ home: 'wallet', available: sats(20), left: sats(20), state: 'active' },
  })
  // Another layer, in this tab, on top of what the wallet runs.
  const low = await cut(keeper, { tag: 'allowance', id }, 15)
  const deep = await house.open(low.connection)
  expect(await deep.pay(await invoiceOf(shop, 4))).toMatchObject({ tag: 'paid' })
  await keeper.setLimit(id, sats(14))
  expect(await deep.pay(await invoiceOf(shop, 1))).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  await keeper.setLimit(id, sats(20))
  await keeper.close()
  expect(await holder.pay(await invoiceOf(shop, 6))).toMatchObject({ tag: 'paid' })
  expect(await holder.pay(await invoiceOf(shop, 1))).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
})

const allowanceReady = (keeper: AllowanceKeeper): Promise<unknown> =>
  new Promise((resolve) => {
    keeper.view.subscribe(({ sources }) => sources[0]?.managesConnections && resolve(true))
  })
