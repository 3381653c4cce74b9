/** The fleet's pages, with every dialog looked at: enrolling, groups, what a device refuses, revoking. */
import fs from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { openFront } from '../attacks/front.ts'
import { LOOKS, violations } from '../support/axe.ts'
import { openHouse } from '../support/house.ts'
import { addDevice, becomeVendor } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const HEARD_MS = 45_000
const inspect = (page: Page, name: string): Promise<string[]> => violations(page, LOOKS, name)

async function setUp() {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 10_000, accounts: 10 })
  onTestFinished(() => house.stop())
  const { page } = await openBrowser('vendor', dir)
  await becomeVendor(page, house, 'Acme')
  const device = (name: string) => ({
    name,
    hardware: 'pi-zero',
    configFile: path.join(dir, name, 'device.toml'),
  })
  return { dir, house, page, device }
}

test('devices are enrolled with a code, filtered by group, refused and revoked', async () => {
  const { house, page, device } = await setUp()
  await page.goto(`${house.relay.url}/vendor/devices`)
  await page.getByText('No device yet').waitFor()
  const found = await inspect(page, 'fleet-empty')
  await page.getByRole('button', { name: 'Add a device' }).first().click()
  const dialog = page.getByRole('dialog')
  const line = await dialog.getByText('device init --join').innerText()
  await dialog.getByText('Or scan the code').click()
  found.push(...(await inspect(page, 'add-device')))

  // Two ask: one is not wanted.
  const code = /--join (\S+)/.exec(line)?.[1] ?? ''
  for (const name of ['pi-1', 'somebody']) {
    const { configFile } = device(name)
    const args = ['--join', code, '--config', configFile, '--name', name, '--hardware', 'pi-zero']
    house.programs.satpatch(`${name}-init`, ['device', 'init', ...args])
    await dialog
      .getByLabel('Name')
      .nth(name === 'pi-1' ? 0 : 1)
      .waitFor({ timeout: HEARD_MS })
  }
  found.push(...(await inspect(page, 'asked-to-join')))
  await dialog.getByRole('button', { name: 'Done' }).click()
  found.push(...(await inspect(page, 'fleet-asked')))
  const asking = page.getByRole('listitem').filter({ has: page.getByRole('button', { name: 'Accept' }) })
  const isFirst = (await asking.first().getByLabel('Name').inputValue()) === 'pi-1'
  const [wanted, other] = [asking.nth(isFirst ? 0 : 1), asking.nth(isFirst ? 1 : 0)]
  await wanted.getByLabel(/^Allowance/).fill('lots')
  await wanted.getByText('A number of sats, 0 for none.').waitFor()
  found.push(...(await inspect(page, 'fleet-fault')))
  await wanted.getByLabel(/^Allowance/).fill('100')
  await other.getByRole('button', { name: 'Decline' }).click()
  await page.getByLabel('Name').nth(1).waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Accept' }).click()
  await page.getByText('1 enrolled device').waitFor()
  for (const name of ['pi-2', 'pi-3']) await addDevice(page, house, device(name), 100)

  for (const [name, group] of [
    ['pi-1', 'north'],
    ['pi-2', 'south'],
  ] as const) {
    await page
      .getByRole('link', { name: new RegExp(`^(${name}|somebody)$`) })
      .first()
      .click()
    await page.getByRole('button', { name: 'Name and group' }).click()
    await dialog.getByLabel('Name').fill(`gate-${name}`)
    await dialog.getByLabel('Group').fill(group)
    if (name === 'pi-1') found.push(...(await inspect(page, 'name-and-group')))
    await dialog.getByRole('button', { name: 'Save' }).click()
    await page.getByRole('heading', { name: `gate-${name}` }).waitFor()
    await page.getByRole('link', { name: 'Fleet' }).first().click()
  }
  found.push(...(await inspect(page, 'fleet')))
  await page.getByLabel('Group').selectOption('north')
  await page.getByRole('row', { name: /gate-pi-1/ }).waitFor()
  expect(await page.getByRole('row', { name: /gate-pi-2/ }).count()).toBe(0)
  found.push(...(await inspect(page, 'fleet-group')))

  await page.getByRole('link', { name: 'gate-pi-1' }).click()
  found.push(...(await inspect(page, 'device-new')))
  await page.getByRole('button', { name: 'Revoke device' }).click()
  found.push(...(await inspect(page, 'revoke')))
  await dialog.getByRole('button', { name: 'Revoke device' }).click()
  await page.getByText('not enrolled: what it says counts for nothing').waitFor()
  found.push(...(await inspect(page, 'device-revoked')))
  await page.getByRole('link', { name: 'Fleet' }).first().click()
  await page
    .getByRole('listitem')
    .filter({ hasText: /^gate-pi-1 *revoked/ })
    .waitFor()
  found.push(...(await inspect(page, 'fleet-revoked')))
  expect(found).toEqual([])
}, 600_000)

test('what a device refuses is told on its page, by the name of the attack; an allowance can come later', async () => {
  const { house, page, device } = await setUp()
  const one = device('pi-1')
  await addDevice(page, house, one, 0)
  // Its mirror is in other hands: it shows a timestamp that nobody signed.
  const front = await openFront(house.relay.url)
  onTestFinished(() => front.close())
  const toml = fs.readFileSync(one.configFile, 'utf8')
  fs.writeFileSync(one.configFile, toml.replace(`"${house.relay.url}"`, `"${front.url}"`))
  const vendor = /[0-9a-f]{64}/.exec(toml.slice(toml.indexOf('vendor')))?.[0] ?? ''
  const real = await fetch(`${house.relay.url}/v/${vendor}/metadata/timestamp.json`)
  const forged = (await real.text()).replace(/"version":\s*\d+/, '"version":900')
  front.serve({ '/timestamp.json': forged })
  house.programs.satpatch('pi-1', ['device', 'run', '--config', one.configFile])

  await page.getByRole('link', { name: 'pi-1' }).click()
  await page.getByRole('heading', { name: 'Refused by pi-1' }).waitFor({ timeout: HEARD_MS })
  await page.getByRole('row', { name: /arbitrary-software.*127\.0\.0\.1/ }).waitFor()
  const found = await inspect(page, 'device-refused')
  await page.getByRole('button', { name: 'Give an allowance' }).click()
  found.push(...(await inspect(page, 'give-allowance')))
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel(/^Allowance/).fill('50')
  await dialog.getByRole('button', { name: 'Give allowance' }).click()
  await page.getByRole('button', { name: 'Add to its allowance' }).waitFor({ timeout: HEARD_MS })
  await page.getByRole('definition').filter({ hasText: '50.000' }).waitFor({ timeout: HEARD_MS })
  await page.getByRole('button', { name: 'Add to its allowance' }).click()
  await dialog.getByLabel(/^Add/).fill('25')
  await dialog.getByRole('button', { name: 'Add', exact: true }).click()
  await dialog.waitFor({ state: 'detached' })
  await page.getByRole('link', { name: 'Fleet' }).first().click()
  found.push(...(await inspect(page, 'fleet-refused')))
  expect(found).toEqual([])
}, 600_000)
