/**
 * After its first release the demo stays up: its address gives a browser the vendor's keys, once; a file dropped
 * there goes to the same devices. With PICTURES set it also makes the pictures of the README.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { until } from '../support/processes.ts'
import { root } from '../support/run.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const pictures = process.env['PICTURES'] !== undefined
const fleet = pictures
  ? { devices: 8, distributors: 4, bytes: 80_000_000 }
  : { devices: 2, distributors: 1, bytes: 5_000_000 }

test('the demo’s address restores the vendor’s keys once, and a dropped file goes to the same devices', async () => {
  const dir = testDir()
  const first = path.join(dir, 'first.bin')
  fs.writeFileSync(first, randomBytes(100_000))
  const flags = ['--file', first, '--port', '0', '--data', path.join(dir, 'demo')]
  flags.push('--devices', String(fleet.devices), '--distributors', String(fleet.distributors))
  const demo = spawn(process.execPath, ['device/setup.mjs', 'run', 'e2e/demo/main.ts', ...flags], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<number>((resolve) => demo.once('close', (code) => resolve(code ?? -1)))
  let said = ''
  for (const stream of [demo.stdout, demo.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => (said += chunk))
  onTestFinished(async () => {
    demo.kill('SIGTERM')
    await ended
  })
  const address = await until(
    'the demo’s address',
    120_000,
    () => /(http:\/\/\S+\/vendor#keys=\S+)/.exec(said)?.[1],
    () => said,
  )
  expect(said).toContain('every receipt checks, the sums agree')

  const { page } = await openBrowser('vendor', dir)
  await page.goto(address)
  await page.getByRole('link', { name: /first 1\.0\.0/ }).waitFor()
  expect(page.url()).not.toContain('keys=')

  const file = path.join(dir, 'second patch.bin')
  fs.writeFileSync(file, randomBytes(fleet.bytes))
  await page.getByTestId('file-input').setInputFiles(file)
  await page.getByLabel('Product', { exact: true }).fill('second')
  await page.getByLabel('Version', { exact: true }).fill('2.0.0')
  await page.getByRole('checkbox', { name: 'demo-board' }).check()
  await page.getByText(/of \d+ pieces? hashed/).waitFor({ timeout: 60_000 })
  await page.getByRole('button', { name: 'Sign and publish' }).click()
  await page.waitForURL('**/vendor/release/**', { timeout: 60_000 })
  if (pictures) await takePictures(page, new URL(address).origin, dir)
  const all = new RegExp(`${fleet.devices}\\s*of ${fleet.devices}`)
  await until('all devices to be healthy', 180_000, async () =>
    all.test(await page.locator('dl').first().innerText()) ? true : undefined,
  )

  // The address is spent.
  const stranger = await openBrowser('stranger', dir)
  await stranger.page.goto(address)
  await stranger.page.getByText('This address has been used already').waitFor()
}, 400_000)

/** Half way through: the release's page, and a volunteer's. */
async function takePictures(page: import('playwright').Page, origin: string, dir: string): Promise<void> {
  const volunteer = await openBrowser('volunteer', dir)
  await volunteer.page.goto(`${origin}/seed`)
  await volunteer.page.getByRole('switch').first().click()
  const to = path.join(root, 'e2e/pictures')
  fs.mkdirSync(to, { recursive: true })
  await until('a third of the way', 120_000, async () => {
    const text = await page
      .getByText(/Devices paid/)
      .locator('..')
      .innerText()
    return Number(/([\d.]+)\s*play sats/.exec(text)?.[1] ?? 0) > (fleet.devices * fleet.bytes) / 2 ** 20 / 3
      ? true
      : undefined
  })
  await page.screenshot({ path: path.join(to, 'release.png') })
  await volunteer.page.screenshot({ path: path.join(to, 'seed.png') })
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.screenshot({ path: path.join(to, 'release-dark.png') })
  await page.emulateMedia({ colorScheme: 'light' })
}
