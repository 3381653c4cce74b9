/** Every page is clean for axe: light and dark, desktop and phone, with a release out and a volunteer seeding. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { LOOKS, ONE_LOOK, violations } from '../support/axe.ts'
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
  found.push(...(await violations(page, LOOKS, 'stopped')))
  for (const address of ['/vendor', '/vendor/devices', '/keys', '/settings']) {
    await page.goto(`${house.relay.url}${address}`)
    await page.getByRole('heading', { level: 1 }).first().waitFor()
    found.push(...(await violations(page, LOOKS, 'stopped')))
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

test('a page that a fault stops says so, leaves the others alone, and is shown again on demand', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000, accounts: 10 })
  onTestFinished(() => house.stop())
  const { page } = await openBrowser('visitor', dir)
  const faulty = 'let shown = 0; export default () => { if (shown++ < 2) throw new Error("faulty") }'
  await page.route('**/assets/Settings-*.js', (route) =>
    route.fulfill({ contentType: 'text/javascript', body: faulty }),
  )
  await page.goto(`${house.relay.url}/wallet`)
  const to = (name: string) => page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name })
  const stopped = page.getByRole('heading', { name: 'This page stopped' })
  await to('Settings').click()
  await stopped.waitFor()
  expect(await violations(page, LOOKS, 'stopped')).toEqual([])
  await to('Shop').click()
  await page.getByRole('heading', { level: 1, name: 'Shop' }).waitFor()
  await to('Settings').click()
  await stopped.waitFor()
  await page.getByRole('button', { name: 'Show it again' }).click()
  await stopped.waitFor({ state: 'detached' })
}, 60_000)
