/** What people do on our pages, in their words: shared by the journeys. */
import type { Page } from 'playwright'
import type { House } from './house.ts'
import { until, type Program } from './processes.ts'

const JOIN_TIMEOUT_MS = 45_000
const HASH_TIMEOUT_MS = 60_000

/** Opens the relay's one-time link and makes the vendor's keys. */
export async function becomeVendor(page: Page, house: House, name: string): Promise<void> {
  await page.goto(`${house.relay.url}/vendor#admit=${house.relay.admission ?? ''}`)
  await page.getByLabel('Vendor name').fill(name)
  await page.getByRole('button', { name: 'Make keys and begin' }).click()
  await page.getByText('Drop a patch file here').waitFor()
}

/** Makes keys as one who signs with others, and gives the card. */
export async function becomeSigner(page: Page, house: House, name: string): Promise<string> {
  await page.goto(`${house.relay.url}/keys`)
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Make keys' }).click()
  return (await page.getByText(/^spkey1/).innerText()).trim()
}

/** Enrols a device from its terminal and the page; both must show the same code. */
export async function addDevice(
  page: Page,
  house: House,
  device: Readonly<{ name: string; configFile: string; hardware: string }>,
  allowanceSats: number,
): Promise<void> {
  await page.goto(`${house.relay.url}/vendor/devices`)
  await page.getByRole('button', { name: 'Add a device' }).first().click()
  const dialog = page.getByRole('dialog')
  const line = await dialog.getByText('device init --join').innerText()
  const code = /--join (\S+)/.exec(line)?.[1] ?? ''
  const args = ['device', 'init', '--join', code, '--config', device.configFile]
  const joining: Program = house.programs.satpatch(`${device.name}-init`, [
    ...args,
    '--name',
    device.name,
    '--hardware',
    device.hardware,
  ])
  const shown = await until(
    'the device code in the terminal',
    JOIN_TIMEOUT_MS,
    () => /\b([0-9A-Z]{4}-[0-9A-Z]{4})\b/.exec(joining.tail(50))?.[1],
    () => joining.tail(),
  )
  await dialog.getByText(shown, { exact: true }).waitFor({ timeout: JOIN_TIMEOUT_MS })
  await dialog.getByLabel(/^Allowance/).fill(String(allowanceSats))
  await dialog.getByRole('button', { name: 'Accept' }).click()
  if ((await joining.exited) !== 0) throw new Error(joining.tail())
  await dialog.getByRole('button', { name: 'Done' }).click()
}

/** Drops a file on the vendor's page, fills in the form, signs. Gives the Unix time of the drop; leaves the release's page. */
export async function publish(
  page: Page,
  house: House,
  file: string,
  release: Readonly<{ product: string; version: string; hardware: string; notes?: string }>,
): Promise<number> {
  await page.goto(`${house.relay.url}/vendor`)
  const droppedAtMs = Date.now()
  await page.getByTestId('file-input').setInputFiles(file)
  await page.getByLabel('Product', { exact: true }).fill(release.product)
  await page.getByLabel('Version', { exact: true }).fill(release.version)
  const hardware = page.getByRole('checkbox', { name: release.hardware })
  if ((await hardware.count()) > 0) await hardware.check()
  else {
    await page.getByLabel('Another hardware id').fill(release.hardware)
    await page.getByLabel('Another hardware id').press('Enter')
  }
  if (release.notes !== undefined) await page.getByLabel('Notes').fill(release.notes)
  await page.getByText(/of [\d,]+ pieces? hashed/).waitFor({ timeout: HASH_TIMEOUT_MS })
  await page.getByRole('button', { name: 'Sign and publish' }).click()
  await page.waitForURL('**/vendor/release/**', { timeout: HASH_TIMEOUT_MS })
  await page.getByRole('heading', { name: `${release.product} ${release.version}` }).waitFor()
  return droppedAtMs
}

/** Flips the one switch of the distributor's page. */
export async function switchOn(page: Page, house: House): Promise<void> {
  await page.goto(`${house.relay.url}/seed`)
  await page.getByRole('switch').first().click()
  await page.getByRole('heading', { name: 'Seeding is on' }).waitFor()
}

/** "12.5" of the sats that the distributor's page shows for today. */
export async function earnedToday(page: Page): Promise<number> {
  const text = await page.locator('.earned .amount b').first().innerText()
  return Number(text.replaceAll(/[^\d.]/g, ''))
}
