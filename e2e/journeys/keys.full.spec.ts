/** Keys over their life, followed on the page alone: backup tried, keys replaced, somebody removed, a browser lost and restored. */
import { AxeBuilder } from '@axe-core/playwright'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import type { VendorId } from '../../web/core/bytes.ts'
import { failureText, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { openHouse, type House } from '../support/house.ts'
import { becomeVendor } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const PASSPHRASE = 'four random words here'
const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } } as const

async function setUp() {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1000, accounts: 10 })
  onTestFinished(() => house.stop())
  return { dir, house }
}

/** Saves the backup in the open dialog and tries it; gives the file. */
async function saveAndTry(page: Page, dir: string, name: string): Promise<string> {
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Passphrase', { exact: true }).fill(PASSPHRASE)
  await dialog.getByLabel('The same again').fill(PASSPHRASE)
  const download = page.waitForEvent('download')
  await dialog.getByRole('button', { name: 'Save the file' }).click()
  const file = path.join(dir, name)
  await (await download).saveAs(file)
  await dialog.getByLabel('The saved file').setInputFiles(file)
  await dialog.getByLabel('Its passphrase').fill('not these words')
  await dialog.getByRole('button', { name: 'Try the backup' }).click()
  await dialog.getByText('The passphrase does not fit').waitFor()
  await dialog.getByLabel('Its passphrase').fill(PASSPHRASE)
  await dialog.getByRole('button', { name: 'Try the backup' }).click()
  return file
}

async function openKeys(page: Page, house: House): Promise<void> {
  await page.goto(`${house.relay.url}/keys`)
  await page.getByRole('heading', { name: 'Who signs' }).waitFor()
}

async function vendorIdOn(page: Page): Promise<VendorId> {
  return (await page
    .locator('dd', { hasText: /^[0-9a-f]{64}$/ })
    .first()
    .innerText()) as VendorId
}

/** What a device that pinned the first root sees. */
function deviceOf(house: House, vendor: VendorId) {
  const store = memoryStore()
  return async () => {
    const seen = await refresh({ mirrors: [house.relay.url], vendor, store, nowMs: Date.now(), fetch })
    if (seen.tag !== 'ok') throw new Error(failureText(seen))
    return seen.verified
  }
}

/** Axe, and a picture for whoever looks, in both themes and sizes. */
async function inspect(page: Page, dir: string, name: string): Promise<string[]> {
  const found: string[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await page.setViewportSize(viewport)
      await page.screenshot({
        path: path.join(process.env['PICTURES'] ?? dir, `${name}-${size}-${colorScheme}.png`),
        fullPage: true,
      })
      const { violations } = await new AxeBuilder({ page }).analyze()
      for (const { id, nodes } of violations)
        found.push(`${name}, ${size}, ${colorScheme}: ${id} at ${nodes[0]?.html.slice(0, 160) ?? ''}`)
    }
  }
  await page.setViewportSize(SIZES.desktop)
  return found
}

test('keys are replaced, the device follows; the browser is lost, and the new backup brings the vendor back', async () => {
  const { dir, house } = await setUp()
  const { page } = await openBrowser('vendor', dir)
  await becomeVendor(page, house, 'Acme')
  await openKeys(page, house)
  const vendor = await vendorIdOn(page)
  const device = deviceOf(house, vendor)
  await device()
  await page.getByRole('button', { name: 'Save the backup' }).click()
  const first = await saveAndTry(page, dir, 'first.json')
  await page.getByText('saved and tried; the keys here sign').waitFor()
  await page.reload()
  await page.getByRole('heading', { name: 'Who signs' }).waitFor()
  expect(await page.getByText('Key not saved yet').count()).toBe(0)

  await page.getByRole('button', { name: 'Replace your keys', exact: true }).click()
  const dialog = page.getByRole('dialog')
  const found = await inspect(page, dir, 'replace-1')
  await dialog.getByRole('button', { name: 'Make new keys' }).click()
  // Half way, the page is closed: it goes on where it was.
  await dialog.getByLabel('The same again').waitFor()
  await page.reload()
  await page.getByRole('button', { name: 'Go on replacing your keys' }).click()
  const second = await saveAndTry(page, dir, 'second.json')
  found.push(...(await inspect(page, dir, 'replace-3')))
  await dialog.getByRole('button', { name: 'Sign the change' }).click()
  await dialog.getByText('Your new keys are in force').waitFor()
  await dialog.getByRole('button', { name: 'Done' }).click()
  await page.getByText('root.json version 2').waitFor()
  expect((await device()).current.root.signed.version).toBe(2)

  const lost = await openBrowser('new-browser', dir)
  await lost.page.goto(`${house.relay.url}/keys`)
  await lost.page.getByLabel('Backup file').setInputFiles(second)
  await lost.page.getByLabel('Passphrase').fill(PASSPHRASE)
  await lost.page.getByRole('button', { name: 'Restore keys' }).click()
  await lost.page.getByRole('row', { name: /Acme\s\(you\)/ }).waitFor()
  await lost.page.getByRole('button', { name: 'Sign again for 30 days' }).click()
  await lost.page.getByText(/^version 3,/).waitFor()
  expect((await device()).targetsVersion).toBe(3)

  // The old backup is of keys that sign nothing any more.
  const thief = await openBrowser('old-backup', dir)
  await thief.page.goto(`${house.relay.url}/keys`)
  await thief.page.getByLabel('Backup file').setInputFiles(first)
  await thief.page.getByLabel('Passphrase').fill(PASSPHRASE)
  await thief.page.getByRole('button', { name: 'Restore keys' }).click()
  await thief.page.getByText('Send your card to the vendor').waitFor()
  expect(found).toEqual([])
}, 600_000)

test('somebody is added, signs, and is removed; a product is handed over and taken back', async () => {
  const { dir, house } = await setUp()
  const [{ page }, ann] = [await openBrowser('vendor', dir), await openBrowser('ann', dir)]
  await becomeVendor(page, house, 'Acme')
  await ann.page.goto(`${house.relay.url}/keys`)
  const found = await inspect(ann.page, dir, 'signer-new')
  await ann.page.getByLabel('Your name').fill('Ann')
  await ann.page.getByRole('button', { name: 'Make keys' }).click()
  const card = (await ann.page.getByText(/^spkey1/).innerText()).trim()
  found.push(...(await inspect(ann.page, dir, 'signer-card')))

  await openKeys(page, house)
  const device = deviceOf(house, await vendorIdOn(page))
  await device()
  await page.getByRole('button', { name: 'Add a person or machine' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Their card').fill(card.slice(0, -1))
  await dialog.getByText('This is no card').waitFor()
  found.push(...(await inspect(page, dir, 'add')))
  await dialog.getByLabel('Their card').fill(card)
  await dialog.getByRole('button', { name: 'Sign and add' }).click()
  await page.getByRole('row', { name: /^Ann/ }).waitFor()
  expect((await device()).current.root.signed.version).toBe(2)

  await page.getByRole('button', { name: 'Hand over a product' }).click()
  await dialog.getByLabel('Product').fill('pump')
  await dialog.getByLabel('Their card').fill(card)
  await dialog.getByRole('button', { name: 'Sign and hand over' }).click()
  await page.getByRole('row', { name: /pump/ }).waitFor()
  found.push(...(await inspect(page, dir, 'keys')))
  expect((await device()).current.targets.signed.delegations?.roles?.[0]?.paths).toEqual(['pump/*/*'])
  await page.getByRole('button', { name: 'Take back pump' }).click()
  await page.getByText('None. A build machine').waitFor()

  // She needs two from now on, then the vendor signs what she proposed.
  await ann.page.reload()
  await ann.page.getByRole('button', { name: 'Change how many' }).click()
  await ann.page.getByLabel('Releases').selectOption('2')
  await ann.page.getByRole('dialog').getByRole('button', { name: 'Sign the change' }).click()
  await ann.page.getByRole('heading', { name: 'Waiting for signatures' }).waitFor()
  found.push(...(await inspect(ann.page, dir, 'waiting')))
  await ann.page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  await ann.page.getByRole('button', { name: 'Copy the link' }).click()
  const link = await ann.page.evaluate(() => navigator.clipboard.readText())
  await page.goto('about:blank')
  await page.goto(link)
  await page.getByText('2 of 2 must sign releases from now on, not 1.').waitFor()
  found.push(...(await inspect(page, dir, 'asked')))
  await page.getByRole('button', { name: 'Sign this' }).click()
  await page.getByText('Signed. Enough have signed now').waitFor()
  expect((await device()).current.root.signed.roles.targets.threshold).toBe(2)

  await page.getByRole('button', { name: 'Remove Ann' }).click()
  await dialog.getByText('it falls to 1 for key changes and 1 for releases').waitFor()
  found.push(...(await inspect(page, dir, 'remove')))
  await dialog.getByRole('button', { name: 'Remove', exact: true }).click()
  await page.getByText('releases need 1 of 1').waitFor()
  expect((await device()).current.root.signed.roles.root.keyids).toHaveLength(1)
  expect(found).toEqual([])
}, 600_000)
