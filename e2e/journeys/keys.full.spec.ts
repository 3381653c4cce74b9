/** Keys over their life, followed on the page alone: backup tried, keys replaced, somebody removed, a browser lost and restored. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import type { VendorId } from '../../web/core/bytes.ts'
import { failureText, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { LOOKS, violations } from '../support/axe.ts'
import { openHouse, type House } from '../support/house.ts'
import { addDevice, becomeSigner, becomeVendor, publish } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const PASSPHRASE = 'four random words here'

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

const inspect = (page: Page, name: string): Promise<string[]> => violations(page, LOOKS, name)

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
  const found = await inspect(page, 'replace-1')
  await dialog.getByRole('button', { name: 'Make new keys' }).click()
  // Half way, the page is closed: it goes on where it was.
  await dialog.getByLabel('The same again').waitFor()
  await page.reload()
  await page.getByRole('button', { name: 'Go on replacing your keys' }).click()
  const second = await saveAndTry(page, dir, 'second.json')
  found.push(...(await inspect(page, 'replace-3')))
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
  await ann.page.getByRole('heading', { name: 'Sign with others' }).waitFor()
  const found = await inspect(ann.page, 'signer-new')
  await ann.page.getByLabel('Your name').fill('Ann')
  await ann.page.getByRole('button', { name: 'Make keys' }).click()
  const card = (await ann.page.getByText(/^spkey1/).innerText()).trim()
  found.push(...(await inspect(ann.page, 'signer-card')))

  await openKeys(page, house)
  const device = deviceOf(house, await vendorIdOn(page))
  await device()
  await page.getByRole('button', { name: 'Add a person or machine' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Their card').fill(card.slice(0, -1))
  await dialog.getByText('This is no card').waitFor()
  found.push(...(await inspect(page, 'add')))
  await dialog.getByLabel('Their card').fill(card)
  await dialog.getByRole('button', { name: 'Sign and add' }).click()
  await page.getByRole('row', { name: /^Ann/ }).waitFor()
  expect((await device()).current.root.signed.version).toBe(2)

  await page.getByRole('button', { name: 'Hand over a product' }).click()
  await dialog.getByLabel('Product').fill('pump')
  await dialog.getByLabel('Their card').fill(card)
  await dialog.getByRole('button', { name: 'Sign and hand over' }).click()
  await page.getByRole('row', { name: /pump/ }).waitFor()
  found.push(...(await inspect(page, 'keys')))
  expect((await device()).current.targets.signed.delegations?.roles?.[0]?.paths).toEqual(['pump/*/*'])
  await page.getByRole('button', { name: 'Take back pump' }).click()
  found.push(...(await inspect(page, 'take-back')))
  await dialog.getByRole('button', { name: 'Take it back' }).click()
  await page.getByText('None. A build machine').waitFor()

  // She needs two from now on, then the vendor signs what she proposed.
  await ann.page.reload()
  await ann.page.getByRole('button', { name: 'Change how many' }).click()
  await ann.page.getByLabel('Releases').selectOption('2')
  await ann.page.getByRole('dialog').getByRole('button', { name: 'Sign the change' }).click()
  await ann.page.getByRole('heading', { name: 'Waiting for signatures' }).waitFor()
  found.push(...(await inspect(ann.page, 'waiting')))
  await ann.page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  await ann.page.getByRole('button', { name: 'Copy the link' }).click()
  const link = await ann.page.evaluate(() => navigator.clipboard.readText())
  await page.goto('about:blank')
  await page.goto(link)
  await page.getByText('2 of 2 must sign releases from now on, not 1.').waitFor()
  found.push(...(await inspect(page, 'asked')))
  await page.getByRole('button', { name: 'Sign this' }).click()
  await page.getByText('Signed. Enough have signed now').waitFor()
  expect((await device()).current.root.signed.roles.targets.threshold).toBe(2)

  await page.getByRole('button', { name: 'Remove Ann' }).click()
  await dialog.getByText('it falls to 1 for key changes and 1 for releases').waitFor()
  found.push(...(await inspect(page, 'remove')))
  await dialog.getByRole('button', { name: 'Remove', exact: true }).click()
  await page.getByText('releases need 1 of 1').waitFor()
  expect((await device()).current.root.signed.roles.root.keyids).toHaveLength(1)
  expect(found).toEqual([])
}, 600_000)

test('a browser is lost without a backup: the other signer removes its key, takes over its Nostr key and adds a new one', async () => {
  const { dir, house } = await setUp()
  const [lost, { page }] = [await openBrowser('vendor', dir), await openBrowser('ann', dir)]
  await becomeVendor(lost.page, house, 'Acme')
  const card = await becomeSigner(page, house, 'Ann')
  await openKeys(lost.page, house)
  const device = deviceOf(house, await vendorIdOn(lost.page))
  await lost.page.getByRole('button', { name: 'Add a person or machine' }).click()
  await lost.page.getByRole('dialog').getByLabel('Their card').fill(card)
  await lost.page.getByRole('dialog').getByRole('button', { name: 'Sign and add' }).click()
  await lost.page.getByRole('row', { name: /^Ann/ }).waitFor()
  const before = await device()
  await lost.context.close()

  // Ann goes by what her page says.
  await openKeys(page, house)
  await page.getByText('Who else may sign key changes removes the lost key and adds a new one').waitFor()
  await page.getByText('announced by another Nostr key than this browser').waitFor()
  const dialog = page.getByRole('dialog')
  await page.getByRole('button', { name: 'Remove Acme' }).click()
  await dialog.getByRole('button', { name: 'Remove', exact: true }).click()
  await page.getByRole('row', { name: /^Acme/ }).waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Replace the Nostr key' }).click()
  await dialog.getByRole('button', { name: 'Make a new key and sign' }).click()
  await dialog.getByText('The new key is in force').waitFor()
  const found = await inspect(page, 'lost-nostr')
  await dialog.getByRole('button', { name: 'Load the page anew' }).click()

  const again = await openBrowser('acme-again', dir)
  const newCard = await becomeSigner(again.page, house, 'Acme again')
  await page.getByRole('button', { name: 'Add a person or machine' }).click()
  await dialog.getByLabel('Their card').fill(newCard)
  await dialog.getByRole('button', { name: 'Sign and add' }).click()
  await page.getByRole('row', { name: /^Acme again/ }).waitFor()
  await again.page.reload()
  await again.page.getByRole('button', { name: 'Sign again for 30 days' }).click()
  await again.page.getByText(new RegExp(`^version ${before.targetsVersion + 3},`)).waitFor()

  const after = await device()
  expect(after.current.root.signed.roles.root.keyids).toHaveLength(2)
  expect(after.current.root.signed.roles.root.keyids).not.toContain(
    before.current.root.signed.roles.root.keyids[0],
  )
  expect(after.vendorBlock.nostr).not.toBe(before.vendorBlock.nostr)
  // Her page is the one that devices speak to now.
  await page.goto(`${house.relay.url}/vendor/devices`)
  const one = { name: 'pi-1', configFile: path.join(dir, 'pi-1', 'device.toml'), hardware: 'pi-zero' }
  await addDevice(page, house, one, 100)
  await page.getByText('1 enrolled device').waitFor()
  expect(found).toEqual([])
}, 600_000)

test('one key is replaced: the old backup opens the key that stays, the new one holds both', async () => {
  const { dir, house } = await setUp()
  const { page } = await openBrowser('vendor', dir)
  await becomeVendor(page, house, 'Acme')
  await openKeys(page, house)
  const device = deviceOf(house, await vendorIdOn(page))
  const before = (await device()).current.root.signed.roles
  await page.getByRole('button', { name: 'Save the backup' }).click()
  const first = await saveAndTry(page, dir, 'first.json')
  await page.getByText('saved and tried; the keys here sign').waitFor()

  await page.getByRole('button', { name: 'Replace your keys', exact: true }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('radio', { name: /^The key for releases/ }).check()
  await dialog.getByLabel('Your backup file').setInputFiles(first)
  await dialog.getByLabel('Its passphrase').fill('not these words')
  await dialog.getByRole('button', { name: 'Make the new key' }).click()
  await dialog.getByText('The passphrase does not fit').waitFor()
  const found = await inspect(page, 'replace-one')
  await dialog.getByLabel('Its passphrase').fill(PASSPHRASE)
  // From the keyboard: Enter in the last field.
  await dialog.getByLabel('Its passphrase').press('Enter')
  await dialog.getByLabel('The same again').waitFor()
  await saveAndTry(page, dir, 'second.json')
  await dialog.getByText('The key for changes of who signs is not touched').waitFor()
  await dialog.getByRole('button', { name: 'Sign the change' }).click()
  await dialog.getByText('Keep the new backup and destroy the old one').waitFor()
  found.push(...(await inspect(page, 'replace-one-done')))
  const after = (await device()).current.root.signed.roles
  expect(after.root.keyids).toEqual(before.root.keyids)
  expect(after.targets.keyids).not.toEqual(before.targets.keyids)
  expect(found).toEqual([])
}, 600_000)

test('mirrors are named on the page, and devices hear of them', async () => {
  const { dir, house } = await setUp()
  const { page } = await openBrowser('vendor', dir)
  await becomeVendor(page, house, 'Acme')
  await openKeys(page, house)
  const device = deviceOf(house, await vendorIdOn(page))
  const field = page.getByLabel('Add a mirror')
  await field.fill('files.example')
  await page.getByText('is no address of a mirror').waitFor()
  const found = await inspect(page, 'mirrors')
  await field.fill('https://files.example/')
  await field.press('Enter')
  await page.getByRole('button', { name: 'Remove https://files.example' }).waitFor()
  expect((await device()).vendorBlock.mirrors).toEqual(['https://files.example'])
  await field.fill('https://files.example')
  await page.getByText('It is in the list already').waitFor()
  await page.getByRole('button', { name: 'Remove https://files.example' }).click()
  await page.getByText('None. Devices get your metadata').waitFor()
  expect((await device()).vendorBlock.mirrors).toEqual([])
  expect(found).toEqual([])
}, 600_000)

test('a product is handed over: its new owner releases it and withdraws it on the page, until it is taken back', async () => {
  const { dir, house } = await setUp()
  const [{ page }, ann] = [await openBrowser('vendor', dir), await openBrowser('ann', dir)]
  await becomeVendor(page, house, 'Acme')
  const card = await becomeSigner(ann.page, house, 'Ann')
  await openKeys(page, house)
  const device = deviceOf(house, await vendorIdOn(page))
  await device()
  await page.getByRole('button', { name: 'Hand over a product' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Product').fill('pump')
  await dialog.getByLabel('Their card').fill(card)
  const found = await inspect(page, 'hand-over')
  await dialog.getByLabel('Name').press('Enter')
  await page.getByRole('row', { name: /pump/ }).waitFor()

  await ann.page.reload()
  await ann.page.getByRole('row', { name: /pump.*Ann.*\(you\)/ }).waitFor()
  found.push(...(await inspect(ann.page, 'delegate')))
  const file = path.join(dir, 'pump.bin')
  fs.writeFileSync(file, randomBytes(100_000))
  await publish(ann.page, house, file, { product: 'pump', version: '1.0', hardware: 'pi' })
  expect((await device()).releases.map(({ version }) => version)).toEqual(['1.0'])
  found.push(...(await inspect(ann.page, 'delegate-release')))
  await ann.page.getByRole('button', { name: /^Withdraw/ }).click()
  await ann.page
    .getByRole('dialog')
    .getByRole('button', { name: /^Withdraw/ })
    .click()
  await ann.page.getByText('withdrawn').first().waitFor()
  expect((await device()).releases).toEqual([])
  await publish(ann.page, house, file, { product: 'pump', version: '1.1', hardware: 'pi' })

  await openKeys(page, house)
  await page.getByRole('button', { name: 'Take back pump' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Take it back' }).click()
  await page.getByText('None. A build machine').waitFor()
  expect((await device()).releases).toEqual([])
  expect(found).toEqual([])
}, 600_000)

test('the Nostr key is replaced: devices are told, and the page goes on with the new one', async () => {
  const { dir, house } = await setUp()
  const { page } = await openBrowser('vendor', dir)
  await becomeVendor(page, house, 'Acme')
  await openKeys(page, house)
  const device = deviceOf(house, await vendorIdOn(page))
  const before = (await device()).vendorBlock.nostr
  await page.getByRole('button', { name: 'Replace the Nostr key' }).click()
  const dialog = page.getByRole('dialog')
  const found = await inspect(page, 'replace-nostr')
  await dialog.getByRole('button', { name: 'Make a new key and sign' }).click()
  await dialog.getByText('The new key is in force').waitFor()
  const after = (await device()).vendorBlock.nostr
  expect(after).not.toBe(before)
  found.push(...(await inspect(page, 'replace-nostr-done')))
  await dialog.getByRole('button', { name: 'Load the page anew' }).click()
  await page.locator('dd', { hasText: after }).waitFor()
  expect(await page.getByText('A new Nostr key is in force').count()).toBe(0)
  // Devices that join now are asked to speak to the new key, and are heard.
  const one = { name: 'pi-1', configFile: path.join(dir, 'pi-1', 'device.toml'), hardware: 'pi-zero' }
  await addDevice(page, house, one, 100)
  await page.getByText('1 enrolled device').waitFor()
  expect(found).toEqual([])
}, 600_000)
