/** Allowances over a real relay and its wallet service: cut, spent, moved, read by other clients, replayed, restarted. */
import { NWCClient } from '@getalby/sdk/nwc'
import { NostrWebLNProvider } from '@getalby/sdk/webln'
import { afterEach, expect, test, vi } from 'vitest'
import { fromUtf8 } from '../../web/core/bytes.ts'
import { memoryJournal } from '../../web/edge/swarm/memory.ts'
import { liveCell } from '../../web/core/live.ts'
import type { AllowanceId, KeeperChannel, KeeperLock, OpenSource } from '../../web/edge/allowance/api.ts'
import {
  allowance,
  cut,
  HASH,
  holdSale,
  invoiceOf,
  openHouse,
  PREIMAGE,
  sats,
  terms,
  until,
  type House,
} from './harness.ts'
import { rawHolder } from './raw.ts'

const MINE = { tag: 'wallet', id: 'mine' } as const

const houses: House[] = []
const begin = async (balance = 100) => {
  const house = await openHouse()
  houses.push(house)
  const [owner, shop] = [await house.account(balance), await house.account(0)]
  return { house, owner, shop: shop.wallet }
}
afterEach(async () => {
  for (const house of houses.splice(0)) await house.stop()
})

test('an allowance pays within its limit, and both ends see what is left', async () => {
  const { house, owner, shop } = await begin()
  const keeper = house.keeper({ mine: owner.wallet })
  const { id, connection } = await cut(keeper, MINE, 30)
  const holder = await house.open(connection)
  expect((await holder.info()).features).toContain('pay')
  expect(await holder.balance()).toBe(sats(30))
  expect(await holder.pay(await invoiceOf(shop, 20))).toMatchObject({ tag: 'paid', fees: 0 })
  const tooMuch = await holder.pay(await invoiceOf(shop, 11))
  expect(tooMuch).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  expect(await holder.balance()).toBe(sats(10))
  expect(await holder.budget()).toMatchObject({ total: sats(30), used: sats(20) })
  expect(await allowance(keeper, id, ({ flows }) => flows.length > 0)).toMatchObject({
    ...{ spent: sats(20), left: sats(10), available: sats(10), reserved: 0, totalSpent: sats(20) },
    flows: [{ state: 'settled', amount: sats(20), direction: 'out' }],
  })
  expect(await shop.balance()).toBe(sats(20))
  const measured = await allowance(keeper, id, ({ latency }) => latency.holderMs !== undefined)
  expect(measured.latency.sourceMs).toBeGreaterThanOrEqual(0)
  expect(measured.heardAtMs).toBeGreaterThan(0)
  expect(await holder.history({ limit: 10, offset: 0 })).toMatchObject([
    { amount: sats(20), state: 'settled' },
  ])
})

test('the holder hears of a moved limit, of a pause and of the source running dry', async () => {
  const { house, owner, shop } = await begin()
  const keeper = house.keeper({ mine: owner.wallet })
  const { id, connection } = await cut(keeper, MINE, 30)
  const holder = await house.open(connection)
  await holder.balance()
  const hears = (wanted: number, state = 'active') =>
    new Promise((resolve) => {
      const stop = holder.onConnection((told) => {
        if (told.available !== sats(wanted) || told.state !== state) return
        stop()
        resolve(told)
      })
    })
  const raised = hears(50)
  await keeper.setLimit(id, sats(50))
  expect(await raised).toMatchObject({ limit: sats(50), used: 0, renewal: 'never' })
  const paused = hears(0, 'paused')
  await keeper.pause(id)
  await paused
  expect(await holder.pay(await invoiceOf(shop, 1))).toMatchObject({ tag: 'failed', code: 'restricted' })
  const resumed = hears(50)
  await keeper.resume(id)
  await resumed
  const dry = hears(5)
  expect(await owner.wallet.pay(await invoiceOf(shop, 95))).toMatchObject({ tag: 'paid' })
  await dry
  expect(await holder.balance()).toBe(sats(5))
  const topped = hears(5)
  await keeper.topUp(id, sats(10))
  await topped
  expect(await allowance(keeper, id, ({ limit }) => limit === sats(60))).toMatchObject({ available: sats(5) })
  await keeper.revoke(id)
  await expect(holder.balance()).rejects.toMatchObject({ code: 'unauthorized' })
  await expect(keeper.setLimit(id, sats(1))).rejects.toMatchObject({ code: 'revoked' })
  await keeper.remove(id)
  await until(keeper.view, ({ allowances }) => allowances.length === 0)
})

test('Alby’s client and WebLN provider work against an allowance', async () => {
  for (const method of ['error', 'info', 'warn'] as const)
    vi.spyOn(console, method).mockImplementation(() => undefined)
  const { house, owner, shop } = await begin()
  const keeper = house.keeper({ mine: owner.wallet })
  const { connection } = await cut(keeper, MINE, 30, { renewal: 'daily' })
  const client = new NWCClient({ nostrWalletConnectUrl: connection })
  house.afterwards(() => client.close())
  expect(await client.getWalletServiceInfo()).toMatchObject({ encryptions: ['nip44_v2', 'nip04'] })
  expect(await client.getInfo()).toMatchObject({ alias: 'pi', network: 'regtest' })
  expect(await client.getBalance()).toEqual({ balance: 30_000 })
  const paid = await client.payInvoice({ invoice: await invoiceOf(shop, 12) })
  expect(paid.preimage).toMatch(/^[0-9a-f]{64}$/)
  expect(await client.getBudget()).toMatchObject({
    ...{ used_budget: 12_000, total_budget: 30_000, renewal_period: 'daily' },
  })
  await expect(client.payInvoice({ invoice: await invoiceOf(shop, 19) })).rejects.toMatchObject({
    code: 'QUOTA_EXCEEDED',
  })
  const made = await client.makeInvoice({ amount: 1500, description: 'coffee' })
  const settled = new Promise<unknown>((resolve) => {
    void client
      .subscribeNotifications(({ notification }) => resolve(notification), ['payment_received'])
      .then((stop) => house.afterwards(stop))
  })
  expect(await shop.pay(made.invoice)).toMatchObject({ tag: 'paid' })
  expect(await settled).toMatchObject({ payment_hash: made.payment_hash, amount: 1500 })
  expect(await client.lookupInvoice({ invoice: made.invoice })).toMatchObject({
    state: 'settled',
    amount: 1500,
  })
  const { transactions } = await client.listTransactions({})
  expect(transactions.map(({ type, amount }) => [type, amount]).toSorted()).toEqual([
    ['incoming', 1500],
    ['outgoing', 12_000],
  ])
  const hold = await client.makeHoldInvoice({ amount: 4000, payment_hash: HASH })
  const paying = shop.pay(hold.invoice)
  await vi.waitFor(async () =>
    expect(await client.lookupInvoice({ payment_hash: HASH })).toMatchObject({ state: 'accepted' }),
  )
  await client.settleHoldInvoice({ preimage: PREIMAGE })
  expect(await paying).toMatchObject({ tag: 'paid', preimage: PREIMAGE })

  const webln = new NostrWebLNProvider({ nostrWalletConnectUrl: connection })
  house.afterwards(() => webln.close())
  await webln.enable()
  expect(await webln.getBalance()).toMatchObject({ balance: 18 })
  expect((await webln.sendPayment(await invoiceOf(shop, 1))).preimage).toMatch(/^[0-9a-f]{64}$/)
})

test('a request is executed once, also by NIP-04, after a restart, and by whoever sends it again', async () => {
  const { house, owner, shop } = await begin()
  const journal = memoryJournal()
  const first = house.keeper({ mine: owner.wallet }, { journal })
  const { id, connection } = await cut(first, MINE, 30)
  const raw = rawHolder(house.service, connection)
  const pay = raw.event(
    { method: 'pay_invoice', params: { invoice: await invoiceOf(shop, 10) } },
    { encryption: 'nip04' },
  )
  const tooMuch = raw.event({ method: 'pay_invoice', params: { invoice: await invoiceOf(shop, 25) } })
  const [paid, refused] = [await raw.send(pay), await raw.send(tooMuch)]
  expect(paid).toMatchObject({ error: null, result: { fees_paid: 0 } })
  expect(refused).toMatchObject({ error: { code: 'QUOTA_EXCEEDED' } })
  await first.close()
  const back = raw.heard()
  const again = house.keeper({ mine: owner.wallet }, { journal })
  await back
  // Now it would fit: the request was refused, and stays so.
  await again.setLimit(id, sats(100))
  expect(await raw.send(pay)).toEqual(paid)
  expect(await raw.send(tooMuch)).toEqual(refused)
  expect(await shop.balance()).toBe(sats(10))
  expect(await allowance(again, id, ({ limit }) => limit === sats(100))).toMatchObject({
    totalSpent: sats(10),
  })
})

test('a payment that comes before the wallet behind has said a word waits for it', async () => {
  const { house, owner, shop } = await begin()
  const journal = memoryJournal()
  const first = house.keeper({ mine: owner.wallet }, { journal })
  const { id, connection } = await cut(first, MINE, 30)
  const holder = await house.open(connection)
  await holder.info()
  await first.close()
  const opening = Promise.withResolvers<void>()
  const slow = { ...owner.wallet, info: () => opening.promise.then(() => owner.wallet.info()) }
  const again = house.keeper({ mine: slow }, { journal })
  const paying = holder.pay(await invoiceOf(shop, 10))
  await allowance(again, id, ({ heardAtMs }) => heardAtMs !== undefined)
  opening.resolve()
  expect(await paying).toMatchObject({ tag: 'paid' })
})

test('what nobody waits for any more, and what another key signs, is not executed', async () => {
  const { house, owner, shop } = await begin()
  // Its clock is ahead of the relay's, which would drop such a request itself.
  const keeper = house.keeper({ mine: owner.wallet }, { nowMs: () => Date.now() + 30_000 })
  const { id, connection } = await cut(keeper, MINE, 30)
  const raw = rawHolder(house.service, connection)
  const body = { method: 'pay_invoice', params: { invoice: await invoiceOf(shop, 10) } }
  house.service.core.publish(raw.event(body, { expiresInS: 20 }))
  house.service.core.publish(raw.event(body, { secret: new Uint8Array(32).fill(7) }))
  expect(await raw.send(raw.event({ method: 'get_balance' }))).toMatchObject({ result: { balance: 30_000 } })
  expect(await raw.send(raw.event({ method: 'pay_keysend', params: {} }))).toMatchObject({
    error: { code: 'NOT_IMPLEMENTED' },
  })
  expect(await raw.send(raw.event({ method: 'pay_invoice', params: { invoice: 7 } }))).toMatchObject({
    error: { code: 'OTHER' },
  })
  expect(await shop.balance()).toBe(0)
  expect((await allowance(keeper, id)).totalSpent).toBe(0)
  expect(raw.answers).toHaveLength(3)
})

test('two allowances of one wallet cannot both count one payment; what is not allowed is refused', async () => {
  const { house, owner, shop } = await begin()
  const keeper = house.keeper({ mine: owner.wallet })
  const [a, b] = [await cut(keeper, MINE, 30), await cut(keeper, MINE, 30)]
  const only = await cut(keeper, MINE, 30, { may: { pay: false, receive: true } })
  const invoice = await invoiceOf(shop, 10)
  const results = await Promise.all(
    [a, b].map(async ({ connection }) => (await house.open(connection)).pay(invoice)),
  )
  expect(results.map(({ tag }) => tag).toSorted()).toEqual(['failed', 'paid'])
  expect(await owner.wallet.balance()).toBe(sats(90))
  const receiver = await house.open(only.connection)
  expect(await receiver.pay(await invoiceOf(shop, 1))).toMatchObject({ tag: 'failed', code: 'restricted' })
  expect(await shop.pay(await invoiceOf(receiver, 3))).toMatchObject({ tag: 'paid' })
  expect(await allowance(keeper, only.id, ({ totalReceived }) => totalReceived > 0)).toMatchObject({
    totalReceived: sats(3),
  })
})

test('a full disk: nothing is paid that could not be written down first', async () => {
  const { house, owner, shop } = await begin()
  const journal = memoryJournal()
  let full = false
  const put: typeof journal.put = (...args) =>
    full ? Promise.reject(new Error('no space left')) : journal.put(...args)
  const keeper = house.keeper({ mine: owner.wallet }, { journal: { ...journal, put } })
  const { id, connection } = await cut(keeper, MINE, 30)
  const holder = await house.open(connection)
  full = true
  expect(await holder.pay(await invoiceOf(shop, 5))).toMatchObject({ tag: 'failed', code: 'internal' })
  await expect(keeper.setLimit(id, sats(1))).rejects.toMatchObject({ code: 'storage' })
  expect(await allowance(keeper, id, ({ trouble }) => trouble !== undefined)).toMatchObject({
    limit: sats(30),
    reserved: 0,
  })
  full = false
  expect(await holder.pay(await invoiceOf(shop, 6))).toMatchObject({ tag: 'paid' })
  expect(await shop.balance()).toBe(sats(6))
})

test('what passed an allowance stands in its list once at any time: while its end is written, and when it is tried again', async () => {
  const { house, owner, shop } = await begin()
  const journal = memoryJournal()
  const [begun, written] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const put: typeof journal.put = async (key, ...parts) => {
    if (key.includes('/past/')) begun.resolve()
    if (key.includes('/past/')) await written.promise
    await journal.put(key, ...parts)
  }
  const keeper = house.keeper({ mine: owner.wallet }, { journal: { ...journal, put } })
  const [slow, other] = [await cut(keeper, MINE, 30), await cut(keeper, MINE, 30)]
  const seen: number[] = []
  keeper.view.subscribe(({ allowances }) => {
    const flows = allowances.find(({ id }) => id === slow.id)?.flows ?? []
    seen.push(flows.filter(({ paymentHash }) => paymentHash === HASH).length)
  })
  const holder = await house.open(slow.connection)
  const sale = await holdSale(shop, 5)
  const first = holder.pay(sale.bolt11)
  await sale.locked
  await shop.cancelHoldInvoice(HASH)
  // Something else moves, and is shown, before it is on disk what became of the payment.
  await begun.promise
  await keeper.setLimit(other.id, sats(20))
  await allowance(keeper, other.id, ({ limit }) => limit === sats(20))
  written.resolve()
  expect(await first).toMatchObject({ tag: 'failed' })
  expect(await holder.pay(sale.bolt11)).toMatchObject({ tag: 'failed' })
  expect(seen.slice(seen.indexOf(1))).toEqual(expect.not.arrayContaining([0]))
  expect(Math.max(...seen)).toBe(1)
})

test('what a payment had locked can be spent again as soon as it has failed, though no wallet tells of that', async () => {
  const { house, owner, shop } = await begin(30)
  const keeper = house.keeper({ mine: owner.wallet })
  const { id, connection } = await cut(keeper, MINE, 100)
  const holder = await house.open(connection)
  const sale = await holdSale(shop, 20)
  const locked = holder.pay(sale.bolt11)
  await sale.locked
  expect(await holder.pay(await invoiceOf(shop, 1))).toMatchObject({ tag: 'paid' })
  await until(keeper.view, ({ sources }) => sources[0]?.left === sats(9))
  await shop.cancelHoldInvoice(HASH)
  expect(await locked).toMatchObject({ tag: 'failed' })
  expect(await allowance(keeper, id, ({ available }) => available === sats(29))).toMatchObject({
    reserved: 0,
  })
})

test('with a vault no secret lies in the clear; while it is locked, the allowance says so and comes back', async () => {
  const { house, owner } = await begin()
  const journal = memoryJournal()
  let locked = false
  const flip = (bytes: Uint8Array) => new Uint8Array(bytes.map((byte) => byte ^ 0x55))
  const vault = {
    seal: (secret: Uint8Array) => Promise.resolve(flip(secret)),
    open: (box: Uint8Array) =>
      locked ? Promise.reject(new Error('Give the passphrase.')) : Promise.resolve(flip(box)),
  }
  const first = house.keeper({ mine: owner.wallet }, { journal, vault })
  const { id, connection } = await cut(first, MINE, 30)
  const secret = /secret=([0-9a-f]{64})/.exec(connection)?.[1] ?? 'none'
  for (const bytes of journal.records.values()) {
    const text = Buffer.from(bytes).toString('latin1')
    expect(text).not.toContain(secret)
  }
  expect(fromUtf8(journal.records.get(`allowance/${id}/main`) ?? new Uint8Array())).toContain('"limit":30000')
  await first.close()
  locked = true
  const sources = liveCell<ReadonlyMap<string, OpenSource>>(new Map())
  const again = house.keeper({}, { journal, vault, sources })
  expect((await allowance(again, id)).trouble).toContain('Give the passphrase.')
  locked = false
  sources.set(new Map([['mine', { name: 'mine', wallet: owner.wallet }]]))
  await allowance(again, id, ({ trouble, available }) => trouble === undefined && available === sats(30))
  expect(await (await house.open(connection)).balance()).toBe(sats(30))
})

test('a request for an invoice that comes again after a restart is answered with the same invoice', async () => {
  const { house, owner } = await begin()
  const journal = memoryJournal()
  const first = house.keeper({ mine: owner.wallet }, { journal })
  const { id, connection } = await cut(first, MINE, 30)
  const raw = rawHolder(house.service, connection)
  const event = raw.event({ method: 'make_invoice', params: { amount: 1000 } })
  const made = await raw.send(event)
  expect(made.result?.['invoice']).toMatch(/^lnbcrt/)
  await first.close()
  await allowance(
    house.keeper({ mine: owner.wallet }, { journal }),
    id,
    ({ trouble }) => trouble === undefined,
  )
  expect(await raw.send(event)).toEqual(made)
})

test('killed at any write of a payment, the keeper counts it once or not at all, as the wallet does', async () => {
  const { house, owner, shop } = await begin()
  let writes = Infinity
  for (let killAt = 1; killAt <= writes; killAt++) {
    const journal = memoryJournal()
    let armed = false
    let done = 0
    let die: (tag: { tag: 'dead' }) => void = () => undefined
    const dead = new Promise<{ tag: 'dead' }>((resolve) => (die = resolve))
    const put: typeof journal.put = (...args) => {
      if (!armed || ++done < killAt) return journal.put(...args)
      die({ tag: 'dead' })
      // Nothing that it waits for comes, until the test is over.
      return new Promise((_, reject) => house.afterwards(() => reject(new Error('dead'))))
    }
    const keeper = house.keeper({ mine: owner.wallet }, { journal: { ...journal, put } })
    const { id, connection } = await cut(keeper, MINE, 30)
    const holder = await house.open(connection)
    const before = await shop.balance()
    const invoice = await invoiceOf(shop, 1)
    armed = true
    // Before each write but the first the source has answered: when it dies, nothing is under way.
    const result = await Promise.race([holder.pay(invoice), dead])
    if (result.tag === 'paid') writes = done
    // A holder that still waits would ask again, and be served: here nobody does.
    holder.close()
    const moved = (await shop.balance()) - before
    // The dead one is left where it hangs; its key is served by the next one.
    const next = house.keeper({ mine: owner.wallet }, { journal })
    const after = await allowance(
      next,
      id,
      ({ reserved, available }) => available !== undefined && reserved === 0,
    )
    expect([killAt, after.totalSpent]).toEqual([killAt, moved])
    expect(after.left).toBe(sats(30) - moved)
  }
  expect(writes).toBeGreaterThan(2)
}, 60_000)

/** Two tabs of one origin: one lock, one channel. */
function origin(): { lock: () => KeeperLock; channel: () => KeeperChannel } {
  let tail: Promise<void> = Promise.resolve()
  const listeners = new Set<(message: unknown) => void>()
  return {
    lock: () => ({
      acquire: () => {
        const before = tail
        let release: () => void = () => undefined
        tail = new Promise((resolve) => (release = resolve))
        return before.then(() => release)
      },
    }),
    channel: () => {
      let mine: ((message: unknown) => void) | undefined
      return {
        post: (message) => {
          const copy: unknown = structuredClone(message)
          for (const run of listeners) if (run !== mine) queueMicrotask(() => run(copy))
        },
        onMessage: (run) => {
          listeners.add((mine = run))
          return () => listeners.delete(run)
        },
        close: () => undefined,
      }
    },
  }
}

test('two tabs: one runs the allowances, the other shows them, acts through it, and takes over', async () => {
  const { house, owner, shop } = await begin()
  const { lock, channel } = origin()
  const journal = memoryJournal()
  const tab = () => house.keeper({ mine: owner.wallet }, { journal, lock: lock(), channel: channel() })
  const first = tab()
  await until(first.view, ({ role }) => role === 'runs')
  const second = tab()
  await until(second.view, ({ role }) => role === 'watches')
  const { id, connection } = await second.create(terms(MINE, 30))
  await allowance(second, id, ({ available }) => available === sats(30))
  expect(await first.connection(id)).toBe(connection)
  await expect(second.setLimit('0'.repeat(16) as AllowanceId, sats(1))).rejects.toMatchObject({
    code: 'not-found',
  })
  await second.setLimit(id, sats(20))
  await allowance(first, id, ({ limit }) => limit === sats(20))
  const holder = await house.open(connection)
  expect(await holder.pay(await invoiceOf(shop, 5))).toMatchObject({ tag: 'paid' })
  // What its holder hears first from the tab that took over.
  const back = new Promise((resolve) => holder.onConnection(resolve))
  await first.close()
  await until(second.view, ({ role }) => role === 'runs')
  await back
  expect(await holder.pay(await invoiceOf(shop, 6))).toMatchObject({ tag: 'paid' })
  expect(await allowance(second, id, ({ spent }) => spent === sats(11))).toMatchObject({ left: sats(9) })
})
