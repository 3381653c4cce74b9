/** The Keys page, followed as an outsider would: two browsers, each with its own keys, sign together. */
import { expect, onTestFinished, test } from 'vitest'
import { openHouse } from '../support/house.ts'
import { becomeSigner, becomeVendor } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

test('a colleague is added by their card, and two must sign from then on', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1000, accounts: 10 })
  onTestFinished(() => house.stop())
  const [vendor, ann] = [await openBrowser('vendor', dir), await openBrowser('ann', dir)]
  await becomeVendor(vendor.page, house, 'Acme')
  const card = await becomeSigner(ann.page, house, 'Ann')

  await vendor.page.goto(`${house.relay.url}/keys`)
  await vendor.page.getByRole('button', { name: 'Add a person or machine' }).click()
  const dialog = vendor.page.getByRole('dialog')
  await dialog.getByLabel('Their card').fill(card)
  await dialog.getByLabel('From now on two must sign').check()
  await dialog.getByRole('button', { name: 'Sign and add' }).click()
  // It waits for her: what it changes is told, and the link goes to her by whatever way they talk.
  await vendor.page.getByRole('heading', { name: 'Waiting for signatures' }).waitFor()
  await vendor.page.getByText('2 of 2 must sign releases from now on, not 1.').waitFor()
  await vendor.page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  await vendor.page.getByRole('button', { name: 'Copy the link' }).click()
  const link = await vendor.page.evaluate(() => navigator.clipboard.readText())
  expect(link).toContain('/keys#sign=')

  await ann.page.goto('about:blank')
  await ann.page.goto(link)
  await ann.page.getByText(/^Ann may sign releases, with the key/).waitFor()
  await ann.page.getByRole('button', { name: 'Sign this' }).click()
  await ann.page.getByText('Signed. Enough have signed now').waitFor()
  await ann.page.reload()
  await ann.page.getByRole('row', { name: /Ann \(you\)/ }).waitFor()
  await vendor.page.reload()
  await vendor.page.getByText('releases need 2 of 2').waitFor()
}, 120_000)
