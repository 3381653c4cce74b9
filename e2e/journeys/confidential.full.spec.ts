/** A confidential release on the pages: switched on, carried unread, installed, refused to a revoked device, opened to a later one. */
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { LOOKS, violations } from '../support/axe.ts'
import { openHouse, type House } from '../support/house.ts'
import { addDevice, becomeVendor, switchOn } from '../support/pages.ts'
import { until } from '../support/processes.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const HARDWARE = 'pi-zero'
const BYTES = 3_000_000
const SWITCH = 'Only my enrolled devices can read it'

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const deviceOf = (dir: string, name: string) => ({
  name,
  hardware: HARDWARE,
  configFile: path.join(dir, name, 'device.toml'),
})
type Device = ReturnType<typeof deviceOf>
const installedOf = (one: Device): string =>
  path.join(path.dirname(one.configFile), 'data/products/firmware/current/firmware.img')
const runDevice = (house: House, one: Device) =>
  house.programs.satpatch(one.name, ['device', 'run', '--config', one.configFile])

/** SHA-256 of each artifact that this browser keeps. */
const keptIn = (page: Page): Promise<string[]> =>
  page.evaluate(async () => {
    const root = await navigator.storage.getDirectory()
    const folder = await root.getDirectoryHandle('artifacts')
    const hashes: string[] = []
    for await (const [name, handle] of (
      folder as unknown as { entries(): AsyncIterable<[string, unknown]> }
    ).entries()) {
      if (name.endsWith('.have')) continue
      const file = await (handle as FileSystemFileHandle).getFile()
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()))
      hashes.push([...hash].map((byte) => byte.toString(16).padStart(2, '0')).join(''))
    }
    return hashes
  })

async function draft(page: Page, house: House, file: string, version: string): Promise<void> {
  await page.goto(`${house.relay.url}/vendor`)
  await page.getByTestId('file-input').setInputFiles(file)
  await page.getByLabel('Product', { exact: true }).fill('firmware')
  await page.getByLabel('Version', { exact: true }).fill(version)
  await page.getByRole('checkbox', { name: HARDWARE }).check()
  await page.getByText(/of \d+ pieces? hashed/).waitFor()
  await page.getByRole('switch', { name: SWITCH }).click()
  await page.getByText('SHA-256, encrypted').waitFor()
  await page
    .getByText(/^[0-9a-f]{64}$/)
    .nth(2)
    .waitFor()
}

async function sign(page: Page, version: string): Promise<void> {
  await page.getByRole('button', { name: 'Sign and publish' }).click()
  await page.waitForURL('**/vendor/release/**', { timeout: 60_000 })
  await page.getByRole('heading', { name: `firmware ${version}` }).waitFor()
}

test('a vendor ships what only its devices can read; a volunteer carries it unread; who was revoked stays out', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000_000, accounts: 100 })
  onTestFinished(() => house.stop())
  const file = path.join(dir, 'firmware.img')
  const content = randomBytes(BYTES)
  fs.writeFileSync(file, content)
  const [one, two] = [deviceOf(dir, 'device-1'), deviceOf(dir, 'device-2')]
  const { page } = await openBrowser('vendor', dir)
  await becomeVendor(page, house, 'Acme')
  await addDevice(page, house, one, 500)

  // Switched off and on again it is the plain file in between: what is signed is what is shown.
  await draft(page, house, file, '1.0.0')
  await page.getByRole('switch', { name: SWITCH }).click()
  await page.getByText(sha256(content)).waitFor()
  await page.getByText('SHA-256, encrypted').waitFor({ state: 'detached' })
  await page.getByRole('switch', { name: SWITCH }).click()
  await page
    .getByText(/^[0-9a-f]{64}$/)
    .nth(2)
    .waitFor()
  await page.getByText('Encrypted here, for 1 device.').waitFor()
  expect(await violations(page, LOOKS, 'confidential-draft')).toEqual([])
  await sign(page, '1.0.0')
  await page.getByRole('heading', { name: 'Who can read it' }).waitFor()

  // A volunteer gets the first copy, says what it is, and has other bytes than the vendor's file.
  const volunteer = await openBrowser('volunteer', dir)
  await switchOn(volunteer.page, house)
  await volunteer.page.getByText('encrypted: you carry what you cannot read').waitFor()
  await page.getByText('You may close this tab:').waitFor({ timeout: 60_000 })
  expect(await violations(volunteer.page, LOOKS, 'confidential-seed')).toEqual([])
  const carried = await keptIn(volunteer.page)
  expect(carried).toHaveLength(1)
  expect(carried).not.toContain(sha256(content))
  // The vendor's own browser keeps what it seeds, encrypted, and no plain copy of an earlier turn of the switch.
  expect(await keptIn(page)).toEqual(carried)

  // After a reload the vendor's tab seeds the same bytes.
  await page.reload()
  await page.getByText('You may close this tab:').waitFor({ timeout: 60_000 })
  const program = runDevice(house, one)
  const has = (device: Device, bytes: Uint8Array) => (): true | undefined =>
    fs.existsSync(installedOf(device)) && sha256(fs.readFileSync(installedOf(device))) === sha256(bytes)
      ? true
      : undefined
  await until('the device to install the plain file', 60_000, has(one, content), () => program.tail())

  // A device that joins now waits, and says why on the page; let in, it goes on.
  await addDevice(page, house, two, 500)
  const later = runDevice(house, two)
  const release = `${house.relay.url}/vendor/release/firmware/1.0.0/firmware.img`
  await page.goto(release)
  await page
    .getByText(/it is encrypted, and not for this device/)
    .first()
    .waitFor({ timeout: 60_000 })
  await page.getByRole('button', { name: 'List the devices' }).click()
  await page.getByText('1 device can read it: device-1.').waitFor()
  await page.getByText('1 device cannot: enrolled later: device-2.').waitFor()
  expect(await violations(page, LOOKS, 'confidential-release')).toEqual([])
  await page.getByRole('button', { name: 'Let later devices read it' }).click()
  await page.getByText('Every device that is enrolled now can read it').waitFor()
  await until('the later device to install', 60_000, has(two, content), () => later.tail())

  // Revoked, it gets nothing of the next one; the other does.
  await page.goto(`${house.relay.url}/vendor/devices`)
  await page.getByRole('link', { name: 'device-2' }).click()
  await page.getByRole('button', { name: 'Revoke device' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke device' }).click()
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  const next = randomBytes(BYTES)
  fs.writeFileSync(file, next)
  await draft(page, house, file, '1.1.0')
  await sign(page, '1.1.0')
  await until('the other device to install the next', 60_000, has(one, next), () => program.tail())
  await until(
    'the revoked one to say that it cannot',
    60_000,
    () => (/not for this device/.test(later.tail(200)) ? true : undefined),
    () => later.tail(),
  )
  expect(has(two, content)()).toBe(true)
}, 420_000)
