import { expect, onTestFinished, test } from 'vitest'
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
async function scene(features?: readonly WalletFeature[]): Promise<Scene> {
  const money = createFakeMoney({ money: 'sandbox:x', ...(features && { features: new Set(features) }) })
  const [payer, payee] = [money.wallet('payer', msat(50_000)), money.wallet('payee', msat(0))]
  const relay = memoryRelay()
  const store = await openStore({
    pool: relay.pool(),
    relay: 'ws://localhost/nostr',
    money: 'sandbox:x',
    secret: secretOf(3),
    visitor: secretOf(5),
    journal: memoryJournal(),
  })
  onTestFinished(() => store.close())
  store.setWallet(payee)
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

test('what is too large is refused in words', async () => {
  const { store } = await scene()
  const large = { ...opinion('x'), content: new Uint8Array(MAX_GOOD_BYTES + 1) }
  await expect(store.add(large)).rejects.toThrow(/1 MiB/)
  await expect(store.add({ ...large, content: new Uint8Array() })).rejects.toThrow(/nothing/)
})
