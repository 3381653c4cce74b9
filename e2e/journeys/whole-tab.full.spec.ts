/**
 * A large file from a vendor's tab to a device, paid: neither holds more of it than its windows. SATPATCH_LARGE_MIB sets
 * the size; 4096 is the largest that there can be, and takes a quarter of an hour.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openHouse } from '../support/house.ts'
import { addDevice, becomeVendor } from '../support/pages.ts'
import { until } from '../support/processes.ts'
import { openBrowser } from '../support/tabs.ts'
import { testDir } from '../support/world.ts'

const MIB = 1024 * 1024
const SIZE = Number(process.env['SATPATCH_LARGE_MIB'] ?? 512) * MIB
/** What a tab may take at most for the file, whatever its size, beside what the page takes. */
const TAB_BOUND_MIB = 350
const TAB_GROWTH_MIB = 100
const DEVICE_BOUND_MIB = 300
/** One MiB a second: a slow machine ends too. */
const TIMEOUT_MS = 60_000 + SIZE / 1000

test(
  'a large file leaves a tab and arrives, and memory stays what it was',
  { timeout: 3 * TIMEOUT_MS },
  async () => {
    const dir = testDir()
    const house = await openHouse({ dir, port: 0, grantSats: 50_000, accounts: 10 })
    onTestFinished(() => house.stop())
    const { page } = await openBrowser('vendor', dir)
    await becomeVendor(page, house, 'Acme')
    const configFile = path.join(dir, 'device', 'device.toml')
    await addDevice(page, house, { name: 'pi', configFile, hardware: 'pi-zero' }, 20_000)
    const toml = fs.readFileSync(configFile, 'utf8')
    fs.writeFileSync(
      configFile,
      toml.replace(/^budget_sats_per_release = \d+$/m, 'budget_sats_per_release = 20000'),
    )
    const device = house.programs.satpatch('pi', ['device', 'run', '--config', configFile])

    const file = path.join(dir, 'image.bin')
    for (let at = 0; at < SIZE; at += 64 * MIB)
      fs.appendFileSync(file, randomBytes(Math.min(64 * MIB, SIZE - at)))
    await page.goto(`${house.relay.url}/vendor`)
    await page.getByText('Drop a patch file here').waitFor()
    const before = tabMiB(dir)
    await page.getByTestId('file-input').setInputFiles(file)
    await page.getByLabel('Product', { exact: true }).fill('image')
    await page.getByLabel('Version', { exact: true }).fill('1.0.0')
    await page.getByRole('checkbox', { name: 'pi-zero' }).check()
    await page.getByText(/of [\d,]+ pieces? hashed/).waitFor({ timeout: TIMEOUT_MS })
    const publish = page.getByRole('button', { name: 'Sign and publish' })
    const hashing: number[] = []
    await until(
      'the file to be hashed',
      TIMEOUT_MS,
      async () => {
        hashing.push(tabMiB(dir))
        return (await publish.getAttribute('aria-disabled')) !== 'true' || undefined
      },
      undefined,
      500,
    )
    const startedMs = performance.now()
    await publish.click()
    const samples: number[] = []
    await until(
      'the device to have verified it',
      TIMEOUT_MS,
      () => {
        samples.push(tabMiB(dir))
        return fs.readFileSync(device.logFile, 'utf8').includes('image 1.0.0: verified') || undefined
      },
      () => device.tail(),
      500,
    )
    const seconds = (performance.now() - startedMs) / 1000
    const taken = statusMiB(device.pid, 'VmHWM')
    const half = Math.ceil(samples.length / 2)
    const [hash, first, second] = [hashing, samples.slice(0, half), samples.slice(half)].map((part) =>
      Math.max(...part),
    ) as [number, number, number]
    console.log(
      `${SIZE / MIB} MiB in ${seconds.toFixed(0)} s; tab ${before.toFixed(0)} MiB before, at most ${hash.toFixed(0)} hashing, ${first.toFixed(0)} in the first half and ${second.toFixed(0)} in the second; device ${taken.toFixed(0)}`,
    )
    expect(before).toBeGreaterThan(0)
    expect(Math.max(hash, first, second) - before).toBeLessThan(TAB_BOUND_MIB)
    // What grows with the file grows all the way through.
    expect(second - first).toBeLessThan(TAB_GROWTH_MIB)
    expect(taken).toBeLessThan(DEVICE_BOUND_MIB)
  },
)

/** Resident memory of the largest tab of the browsers that live in `dir`. */
function tabMiB(dir: string): number {
  const parents = new Map<number, number>()
  const browsers = new Set<number>()
  const tabs: number[] = []
  for (const name of fs.readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    // Chromium writes its children's anew, with spaces.
    const words = read(`/proc/${name}/cmdline`).split(/[\0 ]/)
    parents.set(pid, Number(/^PPid:\s*(\d+)/m.exec(read(`/proc/${name}/status`))?.[1] ?? 0))
    if (words.some((word) => word.startsWith(`--user-data-dir=${dir}`))) browsers.add(pid)
    if (words.includes('--type=renderer')) tabs.push(pid)
  }
  const ours = (pid: number | undefined): boolean =>
    pid !== undefined && pid > 1 && (browsers.has(pid) || ours(parents.get(pid)))
  return Math.max(0, ...tabs.filter(ours).map((pid) => statusMiB(pid, 'VmRSS')))
}

const statusMiB = (pid: number, what: 'VmRSS' | 'VmHWM'): number =>
  Number(new RegExp(`^${what}:\\s*(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024

/** A process may end while it is looked at. */
function read(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1')
  } catch {
    return ''
  }
}
