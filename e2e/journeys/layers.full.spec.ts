/**
 * Three layers in three browsers and a device's process below them: A cuts from its wallet, B from A's allowance, C from
 * B's, and the device pays. What happens above is felt below, each layer counts, and a layer that closes loses no sat.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, test } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import type { PayResult, Wallet } from '../../web/edge/wallet/wallet.ts'
import type { House } from '../support/house.ts'
import { openBrowser } from '../support/tabs.ts'
import { holdWallet, openHouseWithShop } from '../support/wallet-house.ts'
import { balanceIs, connectWallet, cutAllowance, openPlayWallet } from '../support/wallet-pages.ts'

const UNKNOWN_WITHIN_MS = 120_000
const TAKE_OVER_MS = 2_000

const sats = (amount: number) => msat(amount * 1000)
const slide = (page: Page, name: string, limit: number): Promise<void> =>
  page.getByRole('slider', { name: `Limit of ${name}` }).fill(String(limit))
const shows = (page: Page, text: string | RegExp): Promise<void> => page.getByText(text).first().waitFor()

/** Its exit code. */
const paidBy = (house: House, walletFile: string, bolt11: string): Promise<number> =>
  house.programs.satpatch('device-pays', ['wallet', 'pay', bolt11, '--wallet-file', walletFile]).exited

const GRANT = 5_000

/** A owns a wallet and gives B 1,000 of it, B gives C 800, and C gives whoever has `connection` 600. */
async function threeLayers() {
  const { dir, house, base, shop } = await openHouseWithShop(GRANT)
  const before = await shop.balance()
  const [a, b, c] = [await openBrowser('a', dir), await openBrowser('b', dir), await openBrowser('c', dir)]
  await openPlayWallet(a.page, base)
  await connectWallet(b.page, base, await cutAllowance(a.page, 'For B', 1_000))
  await connectWallet(c.page, base, await cutAllowance(b.page, 'For C', 800))
  const connection = await cutAllowance(c.page, 'For a device', 600)
  const holder = await holdWallet(connection)
  const terms = (amount: number) => ({ amount: sats(amount), description: 'a window', expirySeconds: 600 })
  const invoice = async (amount: number): Promise<string> => (await shop.makeInvoice(terms(amount))).bolt11
  return { dir, house, base, shop, before, a, b, c, connection, holder, terms, invoice }
}

test('allowance from allowance from allowance: moved, counted, closed and taken over', async () => {
  const { dir, house, base, shop, before, a, b, c, connection, holder, invoice } = await threeLayers()
  const walletFile = path.join(dir, 'device-wallet')
  fs.writeFileSync(walletFile, connection, { mode: 0o600 })

  // A process pays: every layer counts it.
  expect(await paidBy(house, walletFile, await invoice(100))).toBe(0)
  for (const { page } of [a, b, c]) await shows(page, '100 spent')
  await balanceIs(a.page, '4,900.000')
  await balanceIs(b.page, '900.000')
  await balanceIs(c.page, '700.000')
  for (const { page, name } of [a, b, c]) await page.screenshot({ path: path.join(dir, `layer-${name}.png`) })

  // The top slider is felt at the bottom.
  const heard = balanceHeard(holder, sats(20))
  await slide(a.page, 'For B', 120)
  const movedMs = performance.now()
  await heard
  const seenMs = performance.now() - movedMs
  const refusedFrom = performance.now()
  const refused = await holder.pay(await invoice(50))
  console.log(
    `three layers below, a moved limit is seen after ${Math.round(seenMs)} ms, a payment above it refused after ${Math.round(performance.now() - refusedFrom)} ms`,
  )
  expect(refused).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  expect(await paidBy(house, walletFile, await invoice(50))).toBe(3)
  await balanceIs(a.page, '4,900.000')

  // A purchase is on its way when the middle layer's tab closes: it stays reserved, then is known again.
  await slide(a.page, 'For B', 1_000)
  const preimage = '0d'.repeat(32)
  const locked = new Promise((resolve) =>
    shop.onEvent((event) => event.tag === 'hold-accepted' && resolve(event)),
  )
  const sale = await shop.makeHoldInvoice({
    ...{ amount: sats(30), description: 'a purchase', expirySeconds: 600 },
    paymentHash: sha256Hex(fromHex(preimage)),
  })
  const paying = holder.pay(sale.bolt11)
  await locked
  for (const { page } of [a, b, c]) await shows(page, '30.000 locked')
  await b.page.close()
  await shop.settleHoldInvoice(preimage)
  await shows(a.page, '130 spent')
  await c.page.getByRole('button', { name: 'More for For a device' }).click()
  await c.page.getByText('30.000 unknown, kept back').waitFor({ timeout: UNKNOWN_WITHIN_MS })
  expect((await paying).tag).toBe('unknown')
  expect(await holder.balance()).toBeLessThanOrEqual(sats(470))
  await c.page.screenshot({ path: path.join(dir, 'layer-unknown.png') })

  const back = await b.context.newPage()
  await back.goto(`${base}/wallet`)
  for (const page of [back, c.page]) await shows(page, '130 spent')
  expect(await holder.pay(sale.bolt11)).toMatchObject({ tag: 'paid', preimage })
  await balanceIs(a.page, '4,870.000')
  expect(await shop.balance()).toBe(before + sats(130))

  // Two tabs of one origin: one runs, the other shows; it takes over when the first closes.
  const second = await a.context.newPage()
  await second.goto(`${base}/wallet`)
  await shows(second, 'run by another tab')
  expect(await holder.pay(await invoice(5))).toMatchObject({ tag: 'paid' })
  for (const page of [a.page, second]) await shows(page, '135 spent')
  await balanceIs(second, '4,865.000')
  await a.page.close()
  const closedMs = performance.now()
  await second.getByText('run by another tab').waitFor({ state: 'detached' })
  const tookOverMs = performance.now() - closedMs
  console.log(`another tab runs the allowances after ${Math.round(tookOverMs)} ms`)
  expect(tookOverMs).toBeLessThan(TAKE_OVER_MS)
  expect(await holder.pay(await invoice(5))).toMatchObject({ tag: 'paid' })
  await shows(second, '140 spent')
  expect(await shop.balance()).toBe(before + sats(140))
}, 360_000)

const HELD = 12
const TAKEN = 8
const HELD_SATS = 10
/** Buyers of one sat at a time, each paying as soon as its last payment is through. */
const BUYERS = 4
const MOST_BOUGHT = 400
const BOUGHT_FIRST = 8

test('the top slider goes to zero during a purchase: no payment starts, those under way end, and all books agree', async () => {
  const { shop, before, a, b, c, holder, terms, invoice } = await threeLayers()
  const pages = [a.page, b.page, c.page]

  // Twelve payments are on their way for sure: the seller holds them.
  const held = heldBy(shop, HELD)
  const sales = await Promise.all(
    Array.from({ length: HELD }, async (_, i) => {
      const preimage = (i + 1).toString(16).padStart(64, '0')
      const paymentHash = sha256Hex(fromHex(preimage))
      return { preimage, ...(await shop.makeHoldInvoice({ ...terms(HELD_SATS), paymentHash })) }
    }),
  )
  const underWay = sales.map(({ bolt11 }) => holder.pay(bolt11))
  await held
  const locked = HELD * HELD_SATS
  for (const page of pages) await shows(page, `${locked} locked`)

  // More start all the time, at the bottom of the layers, until each buyer is refused.
  let bought = 0
  const enough = Promise.withResolvers<void>()
  const buyer = async (): Promise<PayResult> => {
    for (;;) {
      const result = await holder.pay(await invoice(1))
      if (result.tag !== 'paid') return result
      if (++bought === BOUGHT_FIRST) enough.resolve()
      if (bought === MOST_BOUGHT) throw new Error('nobody was refused')
    }
  }
  const ends = Promise.all(Array.from({ length: BUYERS }, buyer))
  await enough.promise
  await slide(a.page, 'For B', 0)
  for (const end of await ends) expect(end).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  const again = await Promise.all(Array.from({ length: BUYERS }, async () => holder.pay(await invoice(1))))
  for (const end of again) expect(end).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  console.log(
    `${bought} payments passed three layers before the top slider stood at zero, ${HELD} stayed under way`,
  )
  for (const page of pages) await shows(page, new RegExp(`^${bought}(\\.000)? spent, ${locked} locked$`))
  expect(await shop.balance()).toBe(before + sats(bought))

  // What was under way ends as the seller decides, though the limit is zero, and every layer counts it.
  for (const { preimage } of sales.slice(0, TAKEN)) await shop.settleHoldInvoice(preimage)
  for (const { paymentHash } of sales.slice(TAKEN)) await shop.cancelHoldInvoice(paymentHash)
  const ended = await Promise.all(
    // Its client stops waiting after a minute; asked once more, it says what became of it.
    underWay.map(async (one, i) =>
      (await one).tag === 'unknown' ? holder.pay(sales[i]?.bolt11 ?? '') : one,
    ),
  )
  expect(ended.map(({ tag }) => tag)).toEqual(sales.map((_, i) => (i < TAKEN ? 'paid' : 'failed')))
  const spent = bought + TAKEN * HELD_SATS
  for (const page of pages) await shows(page, new RegExp(`^${spent}(\\.000)? spent$`))
  expect(await shop.balance()).toBe(before + sats(spent))
  // What came back is not to be spent either.
  expect(await holder.pay(await invoice(1))).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
  await balanceIs(a.page, (GRANT - spent).toLocaleString('en', { minimumFractionDigits: 3 }))
  const history = await holder.history({ limit: MOST_BOUGHT + HELD, offset: 0 })
  const settled = history.filter(({ state, direction }) => state === 'settled' && direction === 'out')
  expect(settled.reduce((sum, { amount }) => sum + amount, 0)).toBe(sats(spent))

  // The purchase goes on when there is a limit again.
  await slide(a.page, 'For B', 1_000)
  await balanceIs(b.page, `${1_000 - spent}.000`)
  expect(await holder.pay(await invoice(1))).toMatchObject({ tag: 'paid' })
  for (const page of pages) await shows(page, new RegExp(`^${spent + 1}(\\.000)? spent$`))
}, 360_000)

/** Resolves when so many payments to this wallet are locked. */
function heldBy(wallet: Wallet, count: number): Promise<void> {
  return new Promise((resolve) => {
    let seen = 0
    const end = wallet.onEvent(({ tag }) => {
      if (tag !== 'hold-accepted' || ++seen < count) return
      end()
      resolve()
    })
  })
}

/** Resolves when the wallet tells that no more than `most` can be paid. */
function balanceHeard(wallet: Wallet, most: number): Promise<void> {
  return new Promise((resolve) => {
    const end = wallet.onConnection(({ available }) => {
      if (available > most) return
      end()
      resolve()
    })
  })
}
