/** A fleet of 10,000 devices on the vendor's page: it stays usable, and a confidential release is wrapped for each. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Page } from 'playwright'
import { expect, onTestFinished, test } from 'vitest'
import { signEvent, publicKey, type SecretKey } from '../../web/core/nostr/event.ts'
import { msat } from '../../web/core/money/msat.ts'
import { PROGRESS, ROSTER } from '../../web/core/nostr/kinds.ts'
import type { Progress } from '../../web/core/rollout/messages.ts'
import { MAX_MEMBERS, partsOf } from '../../web/core/rollout/roster.ts'
import { unwrapKey } from '../../web/edge/confidential/keys.ts'
import { encryptTo } from '../../web/edge/nostr/nip44.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { failureText, fetchKeys, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { generateSecrets, serializeSecrets } from '../../web/edge/vendor/keys-file.ts'
import { openHouse } from '../support/house.ts'
import { picture } from '../support/pictures.ts'
import { openBrowser } from '../support/tabs.ts'
import { openVendor, random } from '../support/vendor-host.ts'
import { HARDWARE, PRICE, testDir } from '../support/world.ts'

const PASSPHRASE = 'four random words here'
/** Devices that speak; the others are on the roster only. */
const HEARD = 1000
const nameOf = (i: number): string => `device-${String(i).padStart(5, '0')}`

/** Milliseconds until `done`, told beside the test: no machine's speed is asserted. */
async function timed<T>(what: string, done: () => Promise<T>): Promise<T> {
  const startedMs = performance.now()
  const result = await done()
  console.log(`${what}: ${Math.round(performance.now() - startedMs)} ms`)
  return result
}

const rowsOn = (page: Page): Promise<number> => page.locator('table tbody tr').count()

test('10,000 devices are listed, found by name, and each can open a confidential release', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000_000, accounts: 10 })
  onTestFinished(() => house.stop())
  const secrets = generateSecrets(random)
  const relayUrl = house.relay.url
  const host = await openVendor({
    ...{ relayUrl, admission: house.relay.admission ?? '', name: 'Acme', secrets },
    ...{ dataDir: path.join(dir, 'vendor'), price: PRICE, gifts: 0, log: () => undefined },
  })
  const status = host.vendor.status.get()
  if (status.tag !== 'ready') throw new Error('The vendor was not admitted.')
  const { vendor } = status
  await host.close()

  const devices = Array.from({ length: MAX_MEMBERS }, (): SecretKey => random(32))
  const enrolledAt = Date.now() - 1000
  const members = devices.map((secret, i) => ({
    ...{ key: publicKey(secret), name: nameOf(i), hardware: HARDWARE, enrolledAt },
    ...(i % 10 === 0 ? { group: 'attic' } : {}),
  }))
  const pool = createPool([host.config.nostrUrl])
  onTestFinished(() => pool.close())
  const { key, secret } = host.keys.nostr
  const created_at = Math.floor(Date.now() / 1000)
  const put = (kind: number, tags: string[][], content: string, by: SecretKey) =>
    pool.publish(signEvent({ kind, created_at, tags, content }, by, random(32)), { timeoutMs: 60_000 })
  for (const [part, roster] of partsOf({ v: 1, devices: members }) ?? []) {
    const tags = [['d', part === '' ? vendor : `${vendor}/${part}`]]
    await put(ROSTER, tags, encryptTo(secret, key, JSON.stringify(roster)), secret)
  }
  for (const [i, device] of devices.slice(0, HEARD).entries()) {
    const bad = i % 3 === 0
    const told: Progress = {
      ...{ v: 1, name: nameOf(i), hardware: HARDWARE, seq: 1, at: Date.now() },
      ...(bad ? { state: 'queued', needMsat: msat(1000) } : { state: 'announced' }),
    }
    const tags = [
      ['d', vendor],
      ['p', key],
    ]
    await put(PROGRESS, tags, encryptTo(device, key, JSON.stringify(told)), device)
  }

  const backup = path.join(dir, 'backup.json')
  fs.writeFileSync(backup, await serializeSecrets(secrets, PASSPHRASE))
  const { page } = await openBrowser('vendor', dir)
  page.context().setDefaultTimeout(120_000)
  await page.goto(`${relayUrl}/keys`)
  await page.getByLabel('Backup file').setInputFiles(backup)
  await page.getByLabel('Passphrase').fill(PASSPHRASE)
  await page.getByRole('button', { name: 'Restore keys' }).click()
  await page.getByRole('row', { name: /Acme\s\(you\)/ }).waitFor()

  await timed('the fleet is there', async () => {
    await page.goto(`${relayUrl}/vendor/devices`)
    await page.getByText('10,000 enrolled devices').waitFor()
    await page.getByRole('link', { name: nameOf(0) }).waitFor()
  })
  await page
    .getByText(String(Math.ceil(HEARD / 3)), { exact: true })
    .first()
    .waitFor()
  expect(await rowsOn(page)).toBe(100)
  await picture(page, 'fleet-10000')
  await timed('a device is found', async () => {
    await page.getByLabel('Find').fill('09999')
    await page.getByRole('link', { name: nameOf(9999) }).waitFor()
  })
  expect(await rowsOn(page)).toBe(1)
  await page.getByLabel('Find').fill('')
  await page.getByRole('button', { name: '9,900 devices more' }).click()
  await page.getByRole('button', { name: '9,500 devices more' }).waitFor()
  await timed('a group is chosen', async () => {
    await page.getByLabel('Group').selectOption('attic')
    await page.getByText('1,000 devices', { exact: true }).waitFor()
  })
  await timed('the page is opened again', async () => {
    await page.reload()
    await page.getByText('10,000 enrolled devices').waitFor()
  })

  const file = path.join(dir, 'firmware.img')
  fs.writeFileSync(file, randomBytes(100_000))
  await page.goto(`${relayUrl}/vendor`)
  await page.getByTestId('file-input').setInputFiles(file)
  await page.getByLabel('Product', { exact: true }).fill('firmware')
  await page.getByLabel('Version', { exact: true }).fill('1.0.0')
  await page.getByRole('checkbox', { name: HARDWARE }).check()
  await page.getByText(/of \d+ pieces? hashed/).waitFor()
  await page.getByRole('switch', { name: 'Only my enrolled devices can read it' }).click()
  await page.getByText('SHA-256, encrypted').waitFor()
  await timed('wrapped for 10,000 devices, signed, published', async () => {
    await page.getByRole('button', { name: 'Sign and publish' }).click()
    await page.waitForURL('**/vendor/release/**', { timeout: 240_000 })
  })
  await timed('said for whom it is', async () => {
    await page.getByRole('button', { name: 'List the devices' }).click()
    await page.getByText(/^10,000 devices can read it: /).waitFor({ timeout: 240_000 })
  })
  await picture(page, 'readers-10000')

  const seen = await refresh({ mirrors: [relayUrl], vendor, store: memoryStore(), nowMs: Date.now(), fetch })
  if (seen.tag !== 'ok') throw new Error(failureText(seen))
  const keys = seen.verified.releases[0]?.confidential?.keys
  if (!keys) throw new Error('The release is not confidential.')
  const list = await fetchKeys([relayUrl], vendor, keys, fetch)
  if (list.tag !== 'ok') throw new Error(list.text)
  for (const device of [devices[0]!, devices[MAX_MEMBERS - 1]!])
    expect(unwrapKey(list.bytes, device).tag).toBe('ok')
  expect(unwrapKey(list.bytes, random(32)).tag).toBe('not-listed')
}, 900_000)
