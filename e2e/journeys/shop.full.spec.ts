/** A shop sells the file of a release: the list says who signed it, the buyer's browser checks that before it pays. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ONE_LOOK, violations } from '../support/axe.ts'
import { openHouse } from '../support/house.ts'
import { becomeVendor, publish } from '../support/pages.ts'
import { picture } from '../support/pictures.ts'
import { openBrowser } from '../support/tabs.ts'
import { openPlayWallet } from '../support/wallet-pages.ts'
import { testDir } from '../support/world.ts'

test('only what a vendor has signed is sold as a release, and the buyer sees by whom', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000, accounts: 100 })
  onTestFinished(() => house.stop())
  const base = house.relay.url
  const [signed, other] = [path.join(dir, 'firmware.img'), path.join(dir, 'other.img')]
  for (const file of [signed, other]) fs.writeFileSync(file, randomBytes(300_000))
  const { page: vendor } = await openBrowser('vendor', dir)
  await becomeVendor(vendor, house, 'Acme')
  await publish(vendor, house, signed, { product: 'firmware', version: '1.0.0', hardware: 'pi-zero' })

  const { page: seller } = await openBrowser('seller', dir)
  await openPlayWallet(seller, base)
  await seller.goto(`${base}/shop`)
  await seller.getByRole('button', { name: 'Sell', exact: true }).click()
  await seller.getByRole('combobox', { name: 'Paid into' }).waitFor()
  await seller.getByLabel('Title').fill('Firmware for your board')
  await seller.getByRole('radio', { name: 'A release' }).check()
  await seller.getByLabel('File', { exact: true }).setInputFiles(other)
  await seller.getByText('No vendor of this relay has signed this file.', { exact: true }).waitFor()
  const list = seller.getByRole('button', { name: 'List it' })
  expect(await list.getAttribute('aria-disabled')).toBe('true')
  await seller.getByLabel('File', { exact: true }).setInputFiles(signed)
  await seller.getByText('Signed by Acme as firmware 1.0.0.').waitFor()
  await list.click()
  await seller.getByRole('button', { name: 'Open the shop' }).click()
  await seller.getByText('while this page is open').waitFor()
  expect(await violations(seller, ONE_LOOK)).toEqual([])
  await picture(seller, 'sell')

  const { page: buyer } = await openBrowser('buyer', dir)
  await openPlayWallet(buyer, base)
  const code = await seller.getByTestId('store-code').innerText()
  await buyer.goto(`${base}/shop#store=${code}`)
  await buyer.getByText('Signed by Acme as firmware 1.0.0, checked here').waitFor()
  await buyer.getByRole('combobox', { name: 'With' }).waitFor()
  await buyer.getByRole('button', { name: 'Buy Firmware for your board' }).click()
  const save = buyer.getByRole('button', { name: 'Save firmware.img' })
  await save.waitFor()
  expect(await violations(buyer, ONE_LOOK)).toEqual([])
  await picture(buyer, 'buy')
  const [download] = await Promise.all([buyer.waitForEvent('download'), save.click()])
  expect(fs.readFileSync(await download.path())).toEqual(fs.readFileSync(signed))
})
