/** Every page is clean for axe: light and dark, desktop and phone, with a release out and a volunteer seeding. */
import { AxeBuilder } from '@axe-core/playwright'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { openHouse } from '../support/house.ts'
import { becomeVendor, publish, switchOn } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const SIZES = [
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
]

async function violations(page: Page): Promise<string[]> {
  const found: string[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const size of SIZES) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await page.setViewportSize(size)
      const result = await new AxeBuilder({ page }).analyze()
      const where = `${new URL(page.url()).pathname}, ${colorScheme}, ${size.width} px`
      for (const { id, nodes } of result.violations)
        found.push(`${where}: ${id} at ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`)
    }
  }
  await page.setViewportSize(SIZES[0] ?? { width: 1440, height: 900 })
  return found
}

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
  for (const address of ['/vendor', '/vendor/devices', '/vendor/keys', '/settings']) {
    await page.goto(`${house.relay.url}${address}`)
    await page.getByRole('heading', { level: 1 }).first().waitFor()
    found.push(...(await violations(page)))
  }
  await switchOn(volunteer.page, house)
  found.push(...(await violations(volunteer.page)))
  expect(found).toEqual([])
}, 120_000)
