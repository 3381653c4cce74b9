/** The fleet on the vendor's page alone: a device is enrolled, gets a name and a group, and is revoked. */
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openHouse } from '../support/house.ts'
import { addDevice, becomeVendor } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

test('a device is enrolled, named, grouped and revoked, from the keyboard', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1000, accounts: 10 })
  onTestFinished(() => house.stop())
  const { page } = await openBrowser('vendor', dir)
  await becomeVendor(page, house, 'Acme')
  const device = { name: 'pi-1', configFile: path.join(dir, 'pi-1', 'device.toml'), hardware: 'pi-zero' }
  await addDevice(page, house, device, 100)
  await page.getByRole('link', { name: 'pi-1' }).press('Enter')

  const naming = page.getByRole('button', { name: 'Name and group' })
  await naming.press('Enter')
  const dialog = page.getByRole('dialog')
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  expect(await naming.evaluate((node) => node === document.activeElement)).toBe(true)
  await naming.press('Enter')
  await dialog.getByLabel('Name').fill('gate-7')
  await dialog.getByLabel('Group').fill('north')
  await dialog.getByLabel('Group').press('Enter')
  await page.getByRole('heading', { name: 'gate-7' }).waitFor()
  await page.getByText('group north').waitFor()

  await page.getByRole('button', { name: 'Revoke device' }).press('Enter')
  await dialog.getByRole('button', { name: 'Revoke device' }).press('Enter')
  await page.getByText('not enrolled: what it says counts for nothing').waitFor()
  await page.goto(`${house.relay.url}/vendor/devices`)
  await page
    .getByRole('listitem')
    .filter({ hasText: /^gate-7 *revoked/ })
    .waitFor()
  await page.getByText('0 enrolled devices').waitFor()
}, 120_000)
