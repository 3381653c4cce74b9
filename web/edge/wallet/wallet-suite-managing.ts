/** The wallet suite's part on connections that are changed while in use; wallets that cannot do that pass it. */
import { expect, test } from 'vitest'
import { msat, type Msat } from '../../core/money/msat.ts'
import { changed, everything, hashOf, invoice, next, preimageOf, type Pair } from './wallet-suite-tools.ts'

export function managingTests(pair: () => Promise<Pair>): void {
  test('a limit moved while in use holds at once, for every layer below, and both ends hear of it', async () => {
    const { payer, payee, cut } = await pair()
    if (!(await payer.info()).features.has('manage-connections')) return
    const request = { isolated: false, renewal: 'never', may: everything } as const
    const upper = await cut(payer, { ...request, name: 'upper', limit: 5000 as Msat })
    const lower = await cut(upper, { ...request, name: 'lower', limit: 3000 as Msat })
    const pay = async (amount: number) => lower.pay((await payee.makeInvoice(invoice(amount))).bolt11)
    expect(await pay(1000)).toMatchObject({ tag: 'paid' })
    const [first, second] = await payer.listConnections()
    if (!first || !second) throw new Error('two connections were cut')
    expect([first.name, second.name, second.parent]).toEqual(['upper', 'lower', first.client])
    expect(second).toMatchObject({
      state: 'active',
      limit: 3000,
      used: 1000,
      available: 2000,
      isolated: false,
    })
    expect(await upper.listConnections()).toHaveLength(1)

    const told = Promise.all([
      changed(payer, (one) => one.client === first.client && one.limit === 1500),
      changed(lower, (one) => one.client === second.client && one.available === 500),
    ])
    expect(await payer.updateConnection(first.client, { limit: msat(1500) })).toMatchObject({
      limit: 1500,
      used: 1000,
      available: 500,
    })
    await told
    expect(await pay(501)).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
    expect(await pay(500)).toMatchObject({ tag: 'paid' })
    // Below what is used: nothing new starts.
    await payer.updateConnection(first.client, { limit: msat(0) })
    expect(await pay(1)).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
    expect(await payer.updateConnection(second.client, { paused: true })).toMatchObject({ state: 'paused' })
    await payer.updateConnection(first.client, { limit: msat(5000) })
    expect(await pay(1)).toMatchObject({ tag: 'failed', code: 'restricted' })
    await upper.updateConnection(second.client, { paused: false, name: 'resumed' })
    expect(await pay(1)).toMatchObject({ tag: 'paid' })
    await expect(lower.updateConnection(first.client, { paused: true })).rejects.toMatchObject({
      code: 'not-found',
    })
  })

  test('a payment in flight when the limit goes to zero finishes and counts in every layer', async () => {
    const { payer, payee, cut } = await pair()
    if (!(await payer.info()).features.has('manage-connections')) return
    const request = { limit: 5000 as Msat, isolated: false, renewal: 'never', may: everything } as const
    const upper = await cut(payer, { ...request, name: 'upper' })
    const lower = await cut(upper, { ...request, name: 'lower' })
    const made = await payee.makeHoldInvoice({ ...invoice(2000), paymentHash: hashOf(preimageOf(40)) })
    const locked = next(payee, 'hold-accepted')
    const paid = lower.pay(made.bolt11)
    await locked
    const [first] = await payer.listConnections()
    if (!first) throw new Error('no connection')
    expect(await payer.updateConnection(first.client, { limit: msat(0) })).toMatchObject({
      used: 2000,
      locked: 2000,
      available: 0,
    })
    await payee.settleHoldInvoice(preimageOf(40))
    expect(await paid).toMatchObject({ tag: 'paid' })
    for (const state of await payer.listConnections())
      expect(state).toMatchObject({ used: 2000, locked: 0, available: 0 })
    expect(await payer.balance()).toBe(8000)
  })

  test('an isolated allowance is topped up, lowered to what it has spent, and given back when revoked', async () => {
    const { payer, payee, cut } = await pair()
    if (!(await payer.info()).features.has('manage-connections')) return
    const request = { isolated: true, renewal: 'never', may: everything } as const
    const pi = await cut(payer, { ...request, name: 'pi', limit: 1000 as Msat })
    const inner = await cut(pi, { ...request, name: 'inner', limit: 300 as Msat })
    const [state] = await payer.listConnections()
    const client = state?.client ?? ''
    expect(state).toMatchObject({ isolated: true, limit: 1000, balance: 700 })
    await payer.updateConnection(client, { limit: msat(1500) })
    expect([await pi.balance(), await payer.balance()]).toEqual([1200, 8500])
    expect(await pi.pay((await payee.makeInvoice(invoice(200))).bolt11)).toMatchObject({ tag: 'paid' })
    expect(await payer.updateConnection(client, { limit: msat(0) })).toMatchObject({
      limit: 500,
      balance: 0,
    })
    expect(await payer.balance()).toBe(9500)
    await expect(payer.updateConnection(client, { limit: msat(20_000) })).rejects.toMatchObject({
      code: 'insufficient-balance',
    })
    const gone = changed(payer, (one) => one.state === 'revoked' && one.client === client)
    await payer.deleteConnection(client)
    await gone
    expect(await payer.balance()).toBe(9800)
    await expect(pi.balance()).rejects.toMatchObject({ code: 'unauthorized' })
    await expect(inner.balance()).rejects.toMatchObject({ code: 'unauthorized' })
    expect(await payer.listConnections()).toEqual([])
    await expect(payer.deleteConnection(client)).rejects.toMatchObject({ code: 'not-found' })
  })
}
