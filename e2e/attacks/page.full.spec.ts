/** Pages against pages: a foreign site that talks to a local relay, and script in every text that others fill in. */
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { openHouse } from '../support/house.ts'
import { addDevice, becomeVendor, publish, switchOn } from '../support/pages.ts'
import { until } from '../support/processes.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const ACCOUNTS = 3

test('a page of another origin opens no account, admits no vendor and reads nothing of a local relay', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1000, accounts: ACCOUNTS })
  onTestFinished(() => house.stop())
  const site = http.createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>evil</title>')
  })
  await new Promise<void>((done) => site.listen(0, '127.0.0.1', done))
  onTestFinished(() => void site.close())
  const { page } = await openBrowser('visitor', dir)
  await page.goto(`http://localhost:${(site.address() as AddressInfo).port}/`)
  const outcomes = await page.evaluate(
    async ([relay, admission]) => {
      const out: string[] = []
      const tries: [string, RequestInit][] = [
        ['/api/accounts', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }],
        ['/api/accounts', { method: 'POST', body: '{}', mode: 'no-cors' }],
        [
          '/api/accounts',
          { method: 'POST', body: '{}', mode: 'no-cors', headers: { 'content-type': 'text/plain' } },
        ],
        [
          '/api/vendors',
          {
            method: 'POST',
            body: JSON.stringify({ code: admission, root: '{}', targets: '{}' }),
            mode: 'no-cors',
          },
        ],
        ['/api/handover', { method: 'POST', body: '{"code":"x"}', mode: 'no-cors' }],
      ]
      for (const [at, init] of tries) {
        try {
          const answer = await fetch(`${relay}${at}`, init)
          out.push(`${at} ${answer.type} ${answer.status} ${await answer.text()}`)
        } catch {
          out.push(`${at} refused`)
        }
      }
      const form = document.createElement('form')
      form.action = `${relay}/api/accounts`
      form.method = 'post'
      form.enctype = 'text/plain'
      form.target = 'frame'
      form.innerHTML = `<input name='{"name":"x","y":"' value='"}'>`
      const frame = document.createElement('iframe')
      frame.name = 'frame'
      const loaded = new Promise((done) => (frame.onload = done))
      document.body.append(frame, form)
      form.submit()
      await loaded
      return out
    },
    [house.relay.url, house.relay.admission ?? ''] as const,
  )
  for (const outcome of outcomes) expect(outcome).toMatch(/refused$|opaque 0 $/)
  // None of them cost an account, and the admission code is still good for one vendor.
  for (let i = 0; i < ACCOUNTS; i++) await openPlayAccount(house.relay.url, { name: `honest ${i}` })
  await expect(openPlayAccount(house.relay.url)).rejects.toThrow(/opens 3 play-money accounts/)
  const framed = await fetch(`${house.relay.url}/vendor`)
  expect(framed.headers.get('x-frame-options')).toBe('DENY')
  expect(framed.headers.get('content-security-policy')).toMatch(/default-src 'none'; script-src 'self'/)
}, 120_000)

const EVIL = `<img src=x onerror="window.pwned=1"><script>window.pwned=2</script>`

test('script in names, notes, error tails and refusals stays text on every page', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000_000, accounts: 20 })
  onTestFinished(() => house.stop())
  const vendor = await openBrowser('vendor', dir)
  const volunteer = await openBrowser('volunteer', dir)
  const device = {
    name: `d ${EVIL}`.slice(0, 80),
    hardware: 'pi"><script>pwned=3</script>',
    configFile: path.join(dir, 'device-1', 'device.toml'),
  }
  await becomeVendor(vendor.page, house, `V ${EVIL}`.slice(0, 80))
  await addDevice(vendor.page, house, device, 500)
  const toml = fs.readFileSync(device.configFile, 'utf8')
  const health = `printf '%s' ${JSON.stringify(EVIL).replaceAll('$', '\\$')}; exit 1`
  fs.writeFileSync(
    device.configFile,
    toml.replace('health_command = ""', `health_command = ${JSON.stringify(health)}`),
  )
  const file = path.join(dir, 'firmware.img')
  fs.writeFileSync(file, Buffer.alloc(300_000, 7))
  await vendor.page.goto(`${house.relay.url}/vendor`)
  await publish(vendor.page, house, file, {
    product: 'firmware',
    version: '1.0.0',
    hardware: device.hardware,
  })
  await switchOn(volunteer.page, house)
  // What a mirror says comes back in what the device refused: a hostile mirror beside the relay, with markup in it.
  const liar = http.createServer(
    (_request, response) => void response.end(JSON.stringify({ signed: { _type: EVIL } })),
  )
  await new Promise<void>((done) => liar.listen(0, '127.0.0.1', done))
  onTestFinished(() => void liar.close())
  const { port } = liar.address() as AddressInfo
  const joined = fs.readFileSync(device.configFile, 'utf8')
  fs.writeFileSync(
    device.configFile,
    joined.replace('relays = ["', `relays = ["http://127.0.0.1:${port}", "`),
  )
  const program = house.programs.satpatch('device-1', ['device', 'run', '--config', device.configFile])
  await until(
    'the release page to show the rollback',
    90_000,
    async () => ((await vendor.page.locator('body').innerText()).match(/rolled back/i) ? true : undefined),
    () => program.tail(),
  )
  const pages = ['/vendor', '/vendor/devices', '/vendor/keys', '/seed', '/settings']
  for (const at of pages) {
    await vendor.page.goto(`${house.relay.url}${at}`)
    await vendor.page.locator('h1').first().waitFor()
    expect(await pwned(vendor.page), at).toBeUndefined()
  }
  await vendor.page.goto(`${house.relay.url}/vendor/devices`)
  await vendor.page.getByText(device.name, { exact: false }).first().waitFor()
  await vendor.page.getByRole('link', { name: device.name }).first().click()
  await vendor.page.getByText('onerror', { exact: false }).first().waitFor()
  await vendor.page.getByText(/Refused by/).waitFor()
  expect(await pwned(vendor.page)).toBeUndefined()
  expect(await pwned(volunteer.page)).toBeUndefined()
  // And if markup got in by some fault of ours, the page's policy would still not run it.
  await vendor.page.evaluate((markup) => document.body.insertAdjacentHTML('beforeend', markup), EVIL)
  const blocked = await vendor.page.evaluate(async () => {
    const script = document.createElement('script')
    script.textContent = 'window.pwned = 4'
    document.body.append(script)
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
    return (window as { pwned?: unknown }).pwned
  })
  expect(blocked).toBeUndefined()
}, 240_000)

const pwned = (page: Awaited<ReturnType<typeof openBrowser>>['page']): Promise<unknown> =>
  page.evaluate(() => (window as { pwned?: unknown }).pwned)
