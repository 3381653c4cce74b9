import { expect, onTestFinished, test, vi } from 'vitest'
import { fromUtf8, utf8 } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import { decodeStoreCode, MAX_GOOD_BYTES, PART_BYTES } from '../../core/shop/shop.ts'
import { matchesAny, type Filter } from '../nostr/filter.ts'
import type { Pool } from '../nostr/pool.ts'
import type { Journal } from '../swarm/api.ts'
import { memoryJournal } from '../swarm/memory.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import type { Wallet, WalletFeature } from '../wallet/wallet.ts'
import { openStore, type NewGood, type Store } from './store.ts'
import { boughtGoods, claimPaid, contentOf } from './purchases.ts'
import { claimer, visitStore, type BuyStep, type Visit } from './visit.ts'

/** A relay in memory: keeps the newest list, hands everything on, and remembers all that it saw. */
function memoryRelay() {
  const kept: NostrEvent[] = []
  const seen: NostrEvent[] = []
  const open = new Set<{ filters: readonly Filter[]; run: (event: NostrEvent) => void }>()
  const pool = (): Pool => ({
    status: liveCell([]),
    async publish(event) {
      seen.push(event)
      if (event.kind >= 30_000) kept.push(event)
      for (const { filters, run } of [...open])
        if (matchesAny(filters, event)) queueMicrotask(() => run(event))
    },
    subscribe(filters, run) {
      const one = { filters, run }
      open.add(one)
      for (const event of kept) if (matchesAny(filters, event)) queueMicrotask(() => run(event))
      return () => open.delete(one)
    },
    close: () => undefined,
  })
  return { pool, seen }
}
function until<T>(live: Live<T>, holds: (value: T) => boolean): Promise<T> {
  return new Promise((resolve) => {
    const end = live.subscribe((value) => {
      if (!holds(value)) return
      queueMicrotask(() => end())
      resolve(value)
    })
  })
}
const opinion = (words: string, priceMsat = 5_000): NewGood => ({
  kind: 'opinion',
  title: 'On tea',
  about: '',
  priceMsat: msat(priceMsat),
  content: utf8(words),
})
const fakeTimers = (): void => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
}
const secretOf = (n: number) => new Uint8Array(32).fill(n)

type Scene = Readonly<{
  store: Store
  visit: Visit
  payer: Wallet
  payee: Wallet
  bought: Journal
  seen: NostrEvent[]
  pool: () => Pool
}>
async function scene(
  features?: readonly WalletFeature[],
  { kept = memoryJournal(), paidInto }: { kept?: Journal; paidInto?: (payee: Wallet) => Wallet } = {},
): Promise<Scene> {
  const money = createFakeMoney({ money: 'sandbox:x', ...(features && { features: new Set(features) }) })
  const [payer, payee] = [money.wallet('payer', msat(50_000)), money.wallet('payee', msat(0))]
  const relay = memoryRelay()
  const store = await openStore({
    pool: relay.pool(),
    relay: 'ws://localhost/nostr',
    money: 'sandbox:x',
    secret: secretOf(3),
    visitor: secretOf(5),
    journal: kept,
  })
  onTestFinished(() => store.close())
  store.setWallet(paidInto?.(payee) ?? payee)
  await until(store.view, ({ trouble }) => trouble === undefined)
  const code = decodeStoreCode(store.view.get().code)
  if (!code) throw new Error('no code')
  const bought = memoryJournal()
  const visit = visitStore({ code, pool: relay.pool(), journal: bought, secret: secretOf(7) })
  onTestFinished(() => visit.close())
  return { store, visit, payer, payee, bought, ...relay }
}
const listed = async ({ store, visit }: Scene, good: NewGood) => {
  await store.add(good)
  await store.setOpen(true)
  const { listing } = await until(
    visit.view,
    (view) => view.listing?.open === true && view.listing.goods.length > 0,
  )
  const found = listing?.goods.at(-1)
  if (!found) throw new Error('not listed')
  return found
}

const ALL: WalletFeature[] = ['pay', 'receive', 'look-up', 'history', 'notifications']
test.each([
  ['takes our preimage', [...ALL, 'preimage-invoices']],
  ['holds invoices', [...ALL, 'hold-invoices']],
  ['does neither', ALL],
] as const)('a good is bought from a shop whose wallet %s; both balances move', async (_, features) => {
  const all = await scene([...features])
  const words = 'Darjeeling, second flush. '.repeat(3_000)
  const good = await listed(all, opinion(words))
  expect(good.bytes).toBeGreaterThan(2 * PART_BYTES)
  const steps: BuyStep['tag'][] = []
  const done = await all.visit.buy(good, all.payer, ({ tag }) => steps.push(tag))
  expect(done.state).toBe('opened')
  expect([...new Set(steps)]).toEqual(['ordering', 'fetching', 'paying', 'unlocking'])
  expect(fromUtf8((await contentOf(all.bought, done.order)) ?? new Uint8Array())).toBe(words)
  expect(await all.payer.balance()).toBe(45_000)
  expect(await all.payee.balance()).toBe(5_000)
  const { earned, sales } = await until(all.store.view, (view) => view.sales.length === 1)
  expect([earned, sales[0]?.title]).toEqual([5_000, 'On tea'])
  expect(JSON.stringify(all.seen)).not.toMatch(/Darjeeling|On tea/)
})

test('nothing is delivered without the payment: what came is sealed, and a false preimage gives no key', async () => {
  const all = await scene(ALL)
  const good = await listed(all, opinion('Darjeeling'))
  const broke = {
    ...all.payer,
    pay: async () => ({ tag: 'failed', code: 'quota-exceeded', message: 'No.' }) as const,
  }
  await expect(all.visit.buy(good, broke, () => undefined)).rejects.toThrow('No.')
  expect(await boughtGoods(all.bought)).toEqual([])
  const liar = {
    ...all.payer,
    pay: async () => ({ tag: 'paid', preimage: '00'.repeat(32), fees: msat(0) }) as const,
  }
  await expect(all.visit.buy(good, liar, () => undefined)).rejects.toThrow(/proof/)
  expect(await all.payee.balance()).toBe(0)
})

test('a price that moved is said and not paid; a shop that closed sells nothing', async () => {
  const all = await scene()
  const good = await listed(all, opinion('Darjeeling'))
  await all.store.setPrice(good.id, msat(9_000))
  await expect(all.visit.buy(good, all.payer, () => undefined)).rejects.toMatchObject({ price: 9_000 })
  const dearer = await until(all.visit.view, ({ listing }) => listing?.goods[0]?.priceMsat === 9_000)
  await all.store.setOpen(false)
  const now = dearer.listing?.goods[0]
  if (!now) throw new Error('not listed')
  await expect(all.visit.buy(now, all.payer, () => undefined)).rejects.toThrow(/closed/)
  expect(await all.payer.balance()).toBe(50_000)
})

/** Its page pays for `good` and hears of nothing any more. */
async function diesAfterPaying(all: Scene, good: Parameters<Visit['buy']>[0]): Promise<void> {
  const paid = new Promise<void>((resolve) => {
    const pay: Wallet['pay'] = async (bolt11) => {
      await all.payer.pay(bolt11)
      resolve()
      return new Promise(() => undefined)
    }
    void all.visit.buy(good, { ...all.payer, pay }, () => undefined)
  })
  await paid
}
/** The good is there, as it was sold. */
async function expectOpened({ bought }: Scene, wallets: readonly Wallet[] = []): Promise<void> {
  const [found] = await boughtGoods(bought, wallets)
  expect(found?.state).toBe('opened')
  expect(fromUtf8((await contentOf(bought, found!.order)) ?? new Uint8Array())).toBe('Darjeeling')
}

test('a page that dies after paying finds its good again', async () => {
  const all = await scene()
  const good = await listed(all, opinion('Darjeeling'))
  await diesAfterPaying(all, good)
  expect(await boughtGoods(all.bought)).toMatchObject([{ state: 'paying' }])
  await expectOpened(all, [all.payer])
})

test('a page that dies after paying a shop that keeps the key asks for it at the next load', async () => {
  const all = await scene(ALL)
  const good = await listed(all, opinion('Darjeeling'))
  await diesAfterPaying(all, good)
  all.visit.close()
  const claim = claimer(secretOf(7), all.pool)
  expect(await claimPaid(all.bought, claim)).toBe(false) // nobody has said yet that it was paid
  expect(await boughtGoods(all.bought, [all.payer])).toMatchObject([{ state: 'paying' }])
  await expect(claimPaid(all.bought, () => Promise.reject(new Error('its tab is closed')))).resolves.toBe(
    false,
  )
  expect(await claimPaid(all.bought, claim)).toBe(true)
  await expectOpened(all)
})

test('who leaves while a payment is not known stops asking, and finds it among what was bought', async () => {
  const all = await scene()
  const good = await listed(all, opinion('Darjeeling'))
  let asked = 0
  const silent: Wallet = {
    ...all.payer,
    async pay(bolt11) {
      if (asked++ === 0) await all.payer.pay(bolt11)
      return { tag: 'unknown', message: 'no answer' }
    },
  }
  const buying = all.visit.buy(good, silent, (step) => {
    if (step.tag === 'paying' && step.message !== undefined) all.visit.close()
  })
  await expect(buying).rejects.toThrow(/You left the shop/)
  expect(asked).toBeLessThanOrEqual(2)
  expect(await boughtGoods(all.bought, [all.payer])).toMatchObject([{ state: 'opened' }])
})

test('an order that comes again while its invoice is made has one invoice, which opens the good', async () => {
  const made = Promise.withResolvers<void>()
  const asked: string[] = []
  const slow = (payee: Wallet): Wallet => ({
    ...payee,
    async makeInvoice(request) {
      asked.push(request.description)
      await made.promise
      return payee.makeInvoice(request)
    },
  })
  const all = await scene(ALL, { paidInto: slow })
  const good = await listed(all, opinion('Darjeeling'))
  fakeTimers()
  const buying = all.visit.buy(good, all.payer, () => undefined)
  const opened = expect(buying).resolves.toMatchObject({ state: 'opened' })
  await vi.advanceTimersByTimeAsync(15_000)
  made.resolve()
  await vi.advanceTimersByTimeAsync(60_000)
  await opened
  expect(asked).toHaveLength(1)
})

test('a sale that cannot be written is shown, and its good handed over', async () => {
  const kept = memoryJournal()
  let broken = false
  const put: Journal['put'] = (...args) =>
    broken ? Promise.reject(new Error('no space left')) : kept.put(...args)
  const get: Journal['get'] = (key) => (broken ? Promise.reject(new Error('a bad block')) : kept.get(key))
  const all = await scene(undefined, { kept: { ...kept, put, get } })
  const good = await listed(all, opinion('Darjeeling'))
  const pay: Wallet['pay'] = async (bolt11) => {
    broken = true
    return all.payer.pay(bolt11)
  }
  expect(await all.visit.buy(good, { ...all.payer, pay }, () => undefined)).toMatchObject({ state: 'opened' })
  expect(await until(all.store.view, ({ earned }) => earned > 0)).toMatchObject({ waiting: 0 })
  fakeTimers()
  const next = expect(all.visit.buy(good, all.payer, () => undefined)).rejects.toThrow(/does not answer/)
  await vi.advanceTimersByTimeAsync(60_000)
  await next
})

test('a price that moves while a good is added stays moved', async () => {
  const kept = memoryJournal()
  const written = Promise.withResolvers<void>()
  let slow = false
  const put: Journal['put'] = async (key, ...parts) => {
    if (slow && key.startsWith('store/good/')) await written.promise
    await kept.put(key, ...parts)
  }
  const { store } = await scene(ALL, { kept: { ...kept, put } })
  await store.add(opinion('Assam'))
  slow = true
  const adding = store.add(opinion('Darjeeling'))
  await store.setPrice(store.view.get().goods[0]?.id ?? '', msat(9_000))
  written.resolve()
  await adding
  expect(store.view.get().goods.map(({ priceMsat }) => priceMsat)).toEqual([9_000, 5_000])
})

test('a shop that has closed asks its wallet for nothing any more', async () => {
  const money = createFakeMoney({ money: 'sandbox:x' })
  const all = await scene(ALL)
  fakeTimers()
  let asked = 0
  const info: Wallet['info'] = () => Promise.reject(new Error(`no answer ${++asked}`))
  all.store.setWallet({ ...money.wallet('silent', msat(0)), info })
  await vi.advanceTimersByTimeAsync(12_000)
  expect(asked).toBe(3)
  all.store.close()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(asked).toBe(3)
})

test('what is paid counts, though the wallet did not tell: the buyer’s proof does', async () => {
  const silent = (payee: Wallet): Wallet => ({ ...payee, onEvent: () => () => undefined })
  const all = await scene(ALL, { paidInto: silent })
  const good = await listed(all, opinion('Darjeeling'))
  expect(await all.visit.buy(good, all.payer, () => undefined)).toMatchObject({ state: 'opened' })
  expect(await until(all.store.view, ({ earned }) => earned > 0)).toMatchObject({ waiting: 0 })
})

test('a purchase that is found in one place while it is finished in another stays opened', async () => {
  const all = await scene()
  const good = await listed(all, opinion('Darjeeling'))
  await diesAfterPaying(all, good)
  const [asked, said] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const lookUp: Wallet['lookUp'] = async (hash) => {
    asked.resolve()
    await said.promise
    return all.payer.lookUp(hash)
  }
  const slow = boughtGoods(all.bought, [{ ...all.payer, lookUp }])
  await asked.promise
  await expectOpened(all, [all.payer])
  said.resolve()
  expect(await slow).toMatchObject([{ state: 'opened' }])
  await expectOpened(all)
})

test('a wallet that breaks while it pays leaves the purchase to be looked up', async () => {
  const all = await scene()
  const good = await listed(all, opinion('Darjeeling'))
  const pay: Wallet['pay'] = async (bolt11) => {
    await all.payer.pay(bolt11)
    throw new Error('out of memory')
  }
  await expect(all.visit.buy(good, { ...all.payer, pay }, () => undefined)).rejects.toThrow(/memory/)
  await expectOpened(all, [all.payer])
})

test('who has paid a shop that then closes is not told that nothing was paid', async () => {
  const all = await scene(ALL)
  const good = await listed(all, opinion('Darjeeling'))
  fakeTimers()
  const pay: Wallet['pay'] = async (bolt11) => {
    all.store.close()
    return all.payer.pay(bolt11)
  }
  const buying = all.visit.buy(good, { ...all.payer, pay }, () => undefined)
  const refused = expect(buying).rejects.toThrow(/^It is paid, /)
  await vi.advanceTimersByTimeAsync(60_000)
  await refused
  expect(await boughtGoods(all.bought)).toMatchObject([{ state: 'paying' }])
})

test('a wallet that looks nothing up is asked to pay once: each asking may be a question to its owner', async () => {
  const all = await scene()
  const good = await listed(all, opinion('Darjeeling'))
  fakeTimers()
  let asked = 0
  const refused: Wallet = {
    ...all.payer,
    info: async () => ({ money: 'sandbox:x', alias: 'webln', features: new Set(['pay'] as const) }),
    pay: async () => (asked++, { tag: 'unknown', message: 'The wallet did not say that it paid' }),
  }
  const buying = expect(all.visit.buy(good, refused, () => undefined)).rejects.toThrow(/did not say whether/)
  await vi.advanceTimersByTimeAsync(20_000)
  all.visit.close()
  await vi.advanceTimersByTimeAsync(20_000)
  await buying
  expect(asked).toBe(1)
  expect(await boughtGoods(all.bought)).toMatchObject([{ state: 'paying' }])
})

test('what is too large is refused in words', async () => {
  const { store } = await scene()
  const large = { ...opinion('x'), content: new Uint8Array(MAX_GOOD_BYTES + 1) }
  await expect(store.add(large)).rejects.toThrow(/1 MiB/)
  await expect(store.add({ ...large, content: new Uint8Array() })).rejects.toThrow(/nothing/)
})
