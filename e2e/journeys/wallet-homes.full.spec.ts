/**
 * Where wallets and allowances live: accounts that pages opened for themselves, an allowance in the wallet while its
 * owner is away, one that may only receive, and earnings that go on to a Lightning address.
 */
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { ONE_LOOK, violations } from '../support/axe.ts'
import { cameraFlags, drawCode, readCode } from '../support/camera.ts'
import { ADDRESS, serveAddress } from '../support/lightning-address.ts'
import { becomeVendor } from '../support/pages.ts'
import { picture } from '../support/pictures.ts'
import { openBrowser } from '../support/tabs.ts'
import { holdWallet, openHouseWithShop } from '../support/wallet-house.ts'
import {
  balanceIs,
  connectWallet,
  copied,
  cutAllowance,
  openPlayWallet,
  send,
} from '../support/wallet-pages.ts'

const GRANT = 1_000

const sats = (amount: number) => msat(amount * 1000)

const scene = () => openHouseWithShop(GRANT)

const invoiceOf = async (wallet: Wallet, amount: number): Promise<string> =>
  (await wallet.makeInvoice({ amount: sats(amount), description: 'tea', expirySeconds: 600 })).bolt11

/** The rows of "Wallets here", from the top. */
const walletsHere = (page: Page) => page.locator('button.pick b')

/** Fills in Receive; gives the invoice that it shows. */
async function receive(page: Page, amountSats: number): Promise<string> {
  await page.getByRole('button', { name: 'Receive' }).click()
  await page.getByLabel(/^Amount in/).fill(String(amountSats))
  await page.getByRole('button', { name: 'Make an invoice' }).click()
  return page.getByTestId('invoice').innerText()
}

test('what the Seed page and the Releases page opened for themselves are wallets here too', async () => {
  const { dir, house, base, shop } = await scene()
  const { page, context } = await openBrowser('volunteer', dir)
  await page.goto(`${base}/wallet`)
  await page.getByRole('button', { name: 'Open a play-money wallet' }).waitFor()

  // Seed opens its own in another tab: this one, which shows no wallet yet, hears of it.
  const seed = await context.newPage()
  await seed.goto(`${base}/seed`)
  await balanceIs(page, '1,000.000')
  await page.getByText('The page keeps it.').waitFor()
  expect(await page.getByRole('button', { name: 'Forget it here' }).count()).toBe(0)
  expect(await walletsHere(page).allInnerTexts()).toEqual(['Seed page'])

  // Paid into here, it has more there; and the other way round.
  const paidIn = await receive(page, 40)
  expect(await shop.pay(paidIn)).toMatchObject({ tag: 'paid' })
  await page.getByRole('heading', { name: 'Received' }).waitFor()
  await page.getByRole('button', { name: 'Done' }).click()
  await balanceIs(page, '1,040.000')
  await seed.locator('p.balance').filter({ hasText: '1,040' }).waitFor()

  // A source of allowances like any other; nobody runs it twice.
  const holder = await holdWallet(await cutAllowance(page, 'From earnings', 100))
  expect(await holder.pay(await invoiceOf(shop, 60))).toMatchObject({ tag: 'paid' })
  await balanceIs(page, '980.000')
  await send(page, await invoiceOf(shop, 30))
  await page.getByRole('heading', { name: 'Paid' }).waitFor()
  await page.getByRole('button', { name: 'Done' }).click()
  await page.reload()
  await balanceIs(page, '950.000')
  expect(await holder.pay(await invoiceOf(shop, 10))).toMatchObject({ tag: 'paid' })
  await seed.locator('p.balance').filter({ hasText: '940' }).waitFor()

  // The Releases page's comes beside it, and what the person adds comes first. Seed goes on with its own.
  const vendor = await context.newPage()
  await becomeVendor(vendor, house, 'Acme')
  await walletsHere(page).filter({ hasText: 'Releases page' }).waitFor()
  await page.getByRole('button', { name: 'Add' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Open a play-money wallet' }).click()
  await walletsHere(page).filter({ hasText: 'Play money' }).waitFor()
  expect(await walletsHere(page).allInnerTexts()).toEqual(['Play money', 'Seed page', 'Releases page'])
  await page.reload()
  await walletsHere(page).filter({ hasText: 'Releases page' }).waitFor()
  expect(await walletsHere(page).allInnerTexts()).toEqual(['Play money', 'Seed page', 'Releases page'])
  await page.getByRole('button', { name: /^Seed page/ }).click()
  await balanceIs(page, '940.000')
  expect(await violations(page, ONE_LOOK)).toEqual([])
  await picture(page, 'page-accounts')
  await seed.reload()
  await seed.locator('p.balance').filter({ hasText: '940' }).waitFor()
}, 120_000)

test('Seed paid into another wallet and back again finds what its own had earned', async () => {
  const { dir, base, shop } = await scene()
  const { page, context } = await openBrowser('volunteer', dir)
  await page.goto(`${base}/seed`)
  await page.locator('p.balance').filter({ hasText: '1,000' }).waitFor()
  const wallet = await context.newPage()
  await wallet.goto(`${base}/wallet`)
  expect(await shop.pay(await receive(wallet, 7))).toMatchObject({ tag: 'paid' })
  await page.locator('p.balance').filter({ hasText: '1,007' }).waitFor()
  await page.getByRole('button', { name: 'Use another wallet' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Open a play-money wallet' }).click()
  await page.locator('p.balance').filter({ hasText: '1,000' }).waitFor()
  await page.getByRole('button', { name: 'Use play sats' }).click()
  await page.locator('p.balance').filter({ hasText: '1,007' }).waitFor()
}, 120_000)

test('an allowance in the wallet itself works while its owner’s browser is closed; then it moves, and ends', async () => {
  const { dir, base, shop } = await scene()
  const owner = await openBrowser('owner', dir)
  await openPlayWallet(owner.page, base)
  await owner.page.getByRole('button', { name: 'New allowance' }).click()
  const dialog = owner.page.getByRole('dialog')
  expect(await dialog.getByRole('radio', { name: /in the wallet itself/ }).isChecked()).toBe(true)
  await dialog.getByLabel('Name').fill('Weather station')
  await dialog.getByLabel(/^Limit in/).fill('300')
  await dialog.getByLabel('Renews').selectOption({ label: 'Every month' })
  await dialog.getByLabel('Ends').selectOption({ label: 'In 30 days' })
  await dialog.getByRole('button', { name: 'Make it' }).click()
  const connection = (await owner.page.getByTestId('connection').innerText()).replaceAll(/\s/g, '')
  await owner.page.getByRole('button', { name: 'Done' }).click()

  const holder = await openBrowser('holder', dir)
  await connectWallet(holder.page, base, connection)
  await balanceIs(holder.page, '300.000')
  await owner.context.close()
  await send(holder.page, await invoiceOf(shop, 100))
  await holder.page.getByRole('heading', { name: 'Paid' }).waitFor()
  await holder.page.getByRole('button', { name: 'Done' }).click()
  await balanceIs(holder.page, '200.000')

  const back = await openBrowser('owner', dir)
  await back.page.goto(`${base}/wallet`)
  await balanceIs(back.page, '900.000')
  await back.page.getByText('100 spent').waitFor()
  await picture(back.page, 'lives-in-the-wallet')
  await back.page.getByRole('slider', { name: 'Limit of Weather station' }).fill('120')
  await balanceIs(holder.page, '20.000')
  await send(holder.page, await invoiceOf(shop, 50))
  await holder.page.getByRole('dialog').getByRole('alert').waitFor()
  await picture(holder.page, 'refused')
  await holder.page.getByRole('button', { name: 'Close' }).click()
  await back.page.getByRole('button', { name: 'More for Weather station' }).click()
  await back.page.getByRole('button', { name: 'Revoke' }).click()
  await back.page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
  await back.page.getByText('revoked', { exact: true }).waitFor()
  await send(holder.page, await invoiceOf(shop, 1))
  await holder.page.getByRole('dialog').getByRole('alert').waitFor()
  await balanceIs(back.page, '900.000')
  expect(await shop.balance()).toBe(sats(GRANT + 100))
}, 120_000)

test('an allowance may only receive; its codes and copies say what the page shows, and its invoice is scanned and paid', async () => {
  const { dir, base } = await scene()
  const owner = await openBrowser('owner', dir)
  await openPlayWallet(owner.page, base)
  await owner.page.getByRole('button', { name: 'New allowance' }).click()
  const dialog = owner.page.getByRole('dialog')
  await dialog.getByLabel('Name').fill('Till')
  await dialog.getByRole('checkbox', { name: 'pay', exact: true }).uncheck()
  await dialog.getByRole('checkbox', { name: 'receive' }).check()
  await dialog.getByRole('button', { name: 'Make it' }).click()
  const connection = (await owner.page.getByTestId('connection').innerText()).replaceAll(/\s/g, '')
  expect(await readCode(owner.page.getByRole('img', { name: 'Code of the connection' }))).toBe(connection)
  expect(await copied(owner.page, 'Copy the connection')).toBe(connection)
  await owner.page.getByRole('button', { name: 'Done' }).click()

  const till = await openBrowser('till', dir)
  await till.page.goto(`${base}/wallet`)
  await till.page.getByRole('button', { name: 'Connect a wallet' }).click()
  await till.page.getByLabel('Wallet connection').fill(connection)
  await till.page.getByRole('button', { name: 'Connect', exact: true }).click()
  await till.page.getByText('Does not pay').waitFor()
  expect(await till.page.getByRole('button', { name: 'Send' }).getAttribute('aria-disabled')).toBe('true')
  const invoice = await receive(till.page, 12.5)
  const code = await readCode(till.page.getByRole('img', { name: 'Code of the invoice' }))
  expect(code.toLowerCase()).toBe(invoice)
  expect(await copied(till.page, 'Copy the invoice')).toBe(invoice)
  await picture(till.page, 'receive')

  const file = path.join(dir, 'camera.y4m')
  drawCode(file, invoice)
  const payer = await openBrowser('payer', dir, cameraFlags(file))
  await openPlayWallet(payer.page, base)
  await payer.page.getByRole('button', { name: 'Send' }).click()
  await payer.page.getByRole('button', { name: 'Scan a code' }).click()
  await payer.page.getByText('12.500').first().waitFor()
  await payer.page.getByRole('button', { name: 'Pay', exact: true }).click()
  await payer.page.getByRole('heading', { name: 'Paid' }).waitFor()
  await till.page.getByRole('heading', { name: 'Received' }).waitFor()
  await balanceIs(owner.page, '1,012.500')
}, 120_000)

test('what a volunteer has above a sum goes on to a Lightning address', async () => {
  const { dir, base, shop } = await scene()
  const { page } = await openBrowser('volunteer', dir)
  await serveAddress(page, sats(10_000), (amount) => invoiceOf(shop, amount / 1000))
  await page.goto(`${base}/seed`)
  await page.locator('p.balance').filter({ hasText: '1,000' }).waitFor()
  await page.getByRole('button', { name: 'Set it up' }).click()
  await page.getByLabel(/^Keep here/).fill('600')
  await page.getByLabel('Send the rest to').fill(ADDRESS)
  await page.getByRole('button', { name: 'Send it on' }).click()
  await page
    .getByRole('status')
    .filter({ hasText: `to ${ADDRESS}, fees` })
    .waitFor()
  await picture(page, 'swept')
  await page.locator('p.balance').filter({ hasText: '600' }).waitFor()
  expect(await shop.balance()).toBe(sats(GRANT + 400))
}, 120_000)
