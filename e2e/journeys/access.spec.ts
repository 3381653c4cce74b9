/** Every page is clean for axe: light and dark, desktop and phone, with a release out and a volunteer seeding. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { ONE_LOOK, violations } from '../support/axe.ts'
import { openHouse } from '../support/house.ts'
import { becomeVendor, publish, switchOn } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

test('axe finds nothing on any page', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000, accounts: 100 })
  onTestFinished(() => house.stop())
  const file = path.join(dir, 'firmware.img')
  fs.writeFileSync(file, randomBytes(3_000_000))
  const { page } = await openBrowser('vendor', dir)
  const volunteer = await openBrowser('volunteer', dir)

  await page.goto(`${house.relay.url}/vendor`)
  await page.getByRole('heading').first().waitFor()
  const found = await violations(page)
  await becomeVendor(page, house, 'Acme')
  await publish(page, house, file, { product: 'firmware', version: '1.0.0', hardware: 'pi-zero' })
  found.push(...(await violations(page)))
  for (const address of ['/vendor', '/vendor/devices', '/keys', '/settings']) {
    await page.goto(`${house.relay.url}${address}`)
    await page.getByRole('heading', { level: 1 }).first().waitFor()
    found.push(...(await violations(page)))
  }
  // As they are before there is a wallet; full of life, their own journeys look at them.
  for (const address of ['/wallet', '/shop']) {
    await volunteer.page.goto(`${house.relay.url}${address}`)
    await volunteer.page.getByRole('heading', { level: 1 }).first().waitFor()
    found.push(...(await violations(volunteer.page, ONE_LOOK)))
  }
  await switchOn(volunteer.page, house)
  found.push(...(await violations(volunteer.page)))
  expect(found).toEqual([])
}, 240_000)
