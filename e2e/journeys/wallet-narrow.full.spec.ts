/** Wallet and shop where there is least room: large sums, long names, and every dialog at 320 px. */
import type { Page } from 'playwright'
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { sideways } from '../support/axe.ts'
import { openBrowser } from '../support/tabs.ts'
import { holdWallet, openHouseWithShop } from '../support/wallet-house.ts'
import { cutAllowance, openPlayWallet } from '../support/wallet-pages.ts'

const GRANT = 21_000_000
const LONG = 'Kitchen display of the house by the lake, second floor'
const ONE_WORD = 'firmware-with-a-very-long-name-2.4.1-and-more-of-it-without-any-space'

test('large sums and long names fit into 320 px, on the pages and in every dialog', async () => {
  const { dir, base, shop } = await openHouseWithShop(GRANT)
  const invoice = async (amount: number): Promise<string> =>
    (await shop.makeInvoice({ amount: msat(amount), description: ONE_WORD, expirySeconds: 600 })).bolt11
  const { page } = await openBrowser('owner', dir)
  const over: Record<string, number> = {}
  const look = async (what: string, on: Page = page): Promise<void> => {
    over[what] = await sideways(on, `narrow-${what}`)
  }
  const dialog = page.getByRole('dialog')
  const close = (name: string): Promise<void> => dialog.getByRole('button', { name }).click()

  await page.goto(`${base}/wallet`)
  await page.getByRole('button', { name: 'Connect a wallet' }).waitFor()
  await look('welcome')
  await page.getByRole('button', { name: 'Connect a wallet' }).click()
  await look('connect')
  await openPlayWallet(page, base)
  const holder = await holdWallet(await cutAllowance(page, LONG, 1_234_567))
  expect(await holder.pay(await invoice(123_456_789))).toMatchObject({ tag: 'paid' })
  await page.getByRole('button', { name: `More for ${LONG}` }).click()
  await page.getByText(/^123,45\d spent/).waitFor()
  await page.getByRole('button', { name: 'Cut one from it' }).click()
  await look('new-allowance')
  await dialog.getByLabel('Name').fill(ONE_WORD.slice(0, 60))
  await dialog.getByLabel(/^Limit in/).fill('654321.123')
  await dialog.getByRole('button', { name: 'Make it' }).click()
  await page.getByTestId('connection').waitFor()
  await look('beacon')
  await close('Done')
  await look('wallet')
  await page.getByRole('button', { name: 'Top up' }).first().click()
  await look('top-up')
  await close('Cancel')
  await page.getByRole('button', { name: 'Send' }).click()
  await page.getByLabel('Invoice or Lightning address').fill(await invoice(1_000_000))
  await page.getByText('Fee reserve').waitFor()
  await look('send')
  await close('Close')
  await page.getByRole('button', { name: 'Receive' }).click()
  await page.getByLabel(/^Amount in/).fill('1000000')
  await page.getByRole('button', { name: 'Make an invoice' }).click()
  await page.getByTestId('invoice').waitFor()
  await look('receive')
  await close('Close')

  await page.getByRole('link', { name: 'Shop' }).click()
  await look('shop-enter')
  await page.getByRole('button', { name: 'Sell', exact: true }).click()
  await page.getByRole('combobox', { name: 'Paid into' }).waitFor()
  await page.getByLabel('Title').fill(LONG)
  await page.getByLabel('The opinion').fill(ONE_WORD)
  await page.getByLabel(/^Price in/).fill('1234567.125')
  await page.getByRole('button', { name: 'List it' }).click()
  await page.getByRole('button', { name: 'Open the shop' }).click()
  const code = await page.getByTestId('store-code').innerText()
  await look('shop-sell')
  const buyer = await openBrowser('buyer', dir)
  await openPlayWallet(buyer.page, base)
  await buyer.page.goto(`${base}/shop#store=${code}`)
  await buyer.page.getByRole('button', { name: `Buy ${LONG}` }).click()
  await buyer.page.getByTestId('good').waitFor()
  await look('shop-buy', buyer.page)
  expect(over).toEqual(Object.fromEntries(Object.keys(over).map((what) => [what, 0])))
}, 180_000)
