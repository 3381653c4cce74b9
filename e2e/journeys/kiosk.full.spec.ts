/** A device with a screen of its own, in real Chromium: its code until it is accepted, then what it does; to this machine only. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { LOOKS, violations, type Look } from '../support/axe.ts'
import { openHouse } from '../support/house.ts'
import { becomeVendor, publish, switchOn } from '../support/pages.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const HEARD_MS = 45_000
/** A small panel, a common one, and those of every other page. */
const SCREENS = [
  { colorScheme: 'light', size: { width: 480, height: 320 } },
  { colorScheme: 'dark', size: { width: 800, height: 480 } },
  ...LOOKS,
] as unknown as readonly Look[]
const inspect = (page: Page, name: string): Promise<string[]> => violations(page, SCREENS, name)

/** What the server answers to a name and an origin: `fetch` would not send them. */
function status(address: string, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    http
      .get(address, { headers }, (response) => {
        resolve(response.statusCode ?? 0)
        response.destroy()
      })
      .on('error', reject)
  })
}

test('a device shows its code on its own screen, is accepted with it, and shows what it buys', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 10_000, accounts: 10 })
  onTestFinished(() => house.stop())
  const vendor = await openBrowser('vendor', dir)
  const screen = await openBrowser('screen', dir)
  const volunteer = await openBrowser('volunteer', dir)
  const said: string[] = []
  screen.page.on('console', (message) => {
    if (message.type() === 'error') said.push(message.text())
  })
  await becomeVendor(vendor.page, house, 'Acme')

  // The device joins and runs; nobody has accepted it.
  await vendor.page.goto(`${house.relay.url}/vendor/devices`)
  await vendor.page.getByRole('button', { name: 'Add a device' }).first().click()
  const line = await vendor.page.getByRole('dialog').getByText('device init --join').innerText()
  await vendor.page.getByRole('button', { name: 'Done' }).click()
  const configFile = path.join(dir, 'pi-1', 'device.toml')
  const init = ['device', 'init', '--join', /--join (\S+)/.exec(line)?.[1] ?? '', '--config', configFile]
  const made = house.programs.satpatch('pi-1-init', [
    ...init,
    '--name',
    'pi-1',
    '--hardware',
    'pi-4',
    '--no-wait',
  ])
  expect(await made.exited).toBe(0)
  const run = ['device', 'run', '--config', configFile, '--kiosk', '127.0.0.1:0', '--download-limit', '400K']
  const device = house.programs.satpatch('pi-1', run)
  const address = await device.line(
    'the kiosk’s address',
    HEARD_MS,
    (text) => /on this machine only: (\S+)/.exec(text)?.[1],
  )

  const { page } = screen
  await page.goto(address)
  await page.getByRole('heading', { name: 'asks to join' }).waitFor()
  const code = (await page.getByLabel(/^Device code/).innerText()).trim()
  expect(code).toMatch(/^[0-9A-Z]{4}-[0-9A-Z]{4}$/)
  const found = await inspect(page, 'kiosk-asks')

  // No other name, no other site: who rebinds a name to this machine reads nothing.
  const events = `${address}/events`
  expect(await status(events, { host: 'evil.example' })).toBe(403)
  expect(await status(address, { host: 'evil.example' })).toBe(403)
  expect(await status(events, { origin: 'http://evil.example' })).toBe(403)
  expect(await status(events, { 'sec-fetch-site': 'cross-site' })).toBe(403)
  expect(await status(events, {})).toBe(200)
  expect(await status(`${address}/vendor`, {})).toBe(404)
  // Nothing of what it must keep to itself is in what the screen hears.
  const heard = await page.evaluate(
    () =>
      new Promise<string>((resolve) => {
        const source = new EventSource('/events')
        source.onmessage = ({ data }) => {
          source.close()
          resolve(String(data))
        }
      }),
  )
  const toml = fs.readFileSync(configFile, 'utf8')
  const secrets = [...toml.matchAll(/^(?:device|wallet_client) = "([0-9a-f]{64})"/gm)].map(
    ([, secret]) => secret,
  )
  expect(secrets).toHaveLength(2)
  for (const secret of [...secrets, 'nostr+walletconnect']) expect(heard).not.toContain(secret)

  // The QR code leads the vendor to the request of this very device.
  const view = JSON.parse(heard) as { page: string }
  await vendor.page.goto(view.page)
  await vendor.page.getByText(code, { exact: true }).waitFor({ timeout: HEARD_MS })
  found.push(...(await violations(vendor.page, LOOKS, 'device-asks')))
  // Less than the release will cost.
  await vendor.page.getByLabel(/^Allowance/).fill('5')
  await vendor.page.getByRole('button', { name: 'Accept' }).click()
  await page.getByRole('heading', { name: 'queued' }).waitFor({ timeout: HEARD_MS })
  await page.getByText('the vendor has no release out').waitFor()
  await page.getByText('5.000').waitFor()
  found.push(...(await inspect(page, 'kiosk-waits')))

  const file = path.join(dir, 'firmware.img')
  fs.writeFileSync(file, randomBytes(12_000_000))
  await switchOn(volunteer.page, house)
  await publish(vendor.page, house, file, { product: 'firmware', version: '1.0.0', hardware: 'pi-4' })
  await page.getByRole('heading', { name: 'buying' }).waitFor({ timeout: HEARD_MS })
  await page.getByText(/ paid/).waitFor({ timeout: HEARD_MS })
  found.push(...(await inspect(page, 'kiosk-buying')))
  // It waits, and shows an invoice that anybody may pay; here the vendor does.
  await page.getByRole('img', { name: /^An invoice for [\d.]+ play sats/ }).waitFor({ timeout: HEARD_MS })
  found.push(...(await inspect(page, 'kiosk-needs')))
  await vendor.page.getByRole('button', { name: /^Fund pi-1 with/ }).click({ timeout: HEARD_MS })
  await page.getByRole('heading', { name: 'healthy' }).waitFor({ timeout: 120_000 })
  await page.getByText('It runs firmware 1.0.0').waitFor()
  found.push(...(await inspect(page, 'kiosk-healthy')))

  expect(said).toEqual([])
  // What was said last stays, with its time; when the device is back the page goes on by itself.
  device.kill('SIGTERM')
  await page.getByText(/device silent since/).waitFor({ timeout: HEARD_MS })
  found.push(...(await inspect(page, 'kiosk-silent')))
  expect(found).toEqual([])
}, 600_000)
