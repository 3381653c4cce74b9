/** The shop: one browser sells, another enters by the link and buys with an allowance; prices move, the doors close. */
import { randomBytes } from 'node:crypto'
import { expect, onTestFinished, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { composeConnection, connectNwc } from '../../web/edge/wallet/nwc.ts'
import { ONE_LOOK, violations } from '../support/axe.ts'
import { openHouse } from '../support/house.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const OPINION = 'Second flush, three minutes, no milk.'

/** The connection string of an allowance that somebody cut from their own wallet. */
async function allowanceOf(base: string, limitSats: number): Promise<string> {
  const wallet = await connectNwc((await openPlayAccount(base, { name: 'friend' })).connection)
  onTestFinished(() => wallet.close())
  const secret = new Uint8Array(randomBytes(32))
  const { walletPubkey, relays } = await wallet.createConnection({
    client: publicKey(secret),
    name: 'Tea money',
    limit: msat(limitSats * 1000),
    isolated: false,
    renewal: 'never',
    may: new Set(['pay']),
  })
  return composeConnection({ wallet: walletPubkey, relays, secret: Buffer.from(secret).toString('hex') })
}

test('an opinion is sold for an allowance’s sats, at the price of the moment, and read only once it is paid', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000, accounts: 100 })
  onTestFinished(() => house.stop())
  const base = house.relay.url
  const allowance = await allowanceOf(base, 100)
  const { page: seller } = await openBrowser('seller', dir)
  const { page: buyer } = await openBrowser('buyer', dir)

  await seller.goto(`${base}/shop`)
  await seller.getByRole('button', { name: 'Sell', exact: true }).click()
  await seller.getByRole('button', { name: 'Connect a wallet' }).click()
  await seller.getByRole('button', { name: 'Open a play-money wallet' }).click()
  await seller.getByLabel('Title').fill('How to make tea')
  await seller.getByLabel('The opinion').fill(OPINION)
  await seller.getByLabel(/^Price in/).fill('10')
  await seller.getByRole('button', { name: 'List it' }).click()
  await seller.getByRole('button', { name: 'Open the shop' }).click()
  const code = await seller.getByTestId('store-code').innerText()

  await buyer.goto(`${base}/shop#store=${code}`)
  await buyer.getByRole('button', { name: 'Buy How to make tea' }).waitFor()
  expect(buyer.url()).toBe(`${base}/shop`)
  await buyer.getByRole('button', { name: 'Connect a wallet' }).click()
  await buyer.getByLabel('Wallet connection').fill(allowance)
  await buyer.getByRole('button', { name: 'Connect', exact: true }).click()
  await buyer.getByLabel('With', { exact: true }).waitFor()
  const price = (shown: string) => buyer.getByRole('listitem').filter({ hasText: shown }).waitFor()
  await price('10.000')

  await seller.getByRole('slider', { name: /Price of How to make tea/ }).fill('20')
  await price('20.000')
  expect(await buyer.content()).not.toContain(OPINION)
  await buyer.getByRole('button', { name: 'Buy How to make tea' }).click()
  expect(await buyer.getByTestId('good').innerText()).toBe(OPINION)
  await buyer.getByText('80.000 play sats in it', { exact: true }).waitFor()
  await seller.getByText('in 1 sale').waitFor()
  expect([...(await violations(seller, ONE_LOOK)), ...(await violations(buyer, ONE_LOOK))]).toEqual([])

  await seller.getByRole('button', { name: 'Close the shop' }).click()
  await buyer.getByText('closed', { exact: true }).waitFor()
  await buyer.reload()
  expect(await buyer.getByTestId('good').innerText()).toBe(OPINION)
})
