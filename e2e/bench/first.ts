/**
 * `first`: from the drop on the vendor's page to the first device that has verified the file, with the real page, relay
 * and device process; beside it what cannot be spared: one SHA-256 of the file, its bytes on a bare data channel from a
 * tab to Node, and one payment.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import fs from 'node:fs'
import path from 'node:path'
import { chromium, type Page } from 'playwright'
import { msat } from '../../web/core/money/msat.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { openHouse, type House } from '../support/house.ts'
import { addDevice, becomeVendor, publish } from '../support/pages.ts'
import { until } from '../support/processes.ts'
import { chromiumPath, CHROMIUM_FLAGS } from '../support/tabs.ts'
import { alternate, MB, type Bench, type Context } from './bench.ts'
import { makeMaterial, type Material } from './material.ts'
import { median } from './stats.ts'
import { figure, row } from './table.ts'
import { MESSAGE_BYTES, raw } from './tabs-bench.ts'
import { openSite, type Site } from './tabs.ts'

const BYTES = 100 * MB
const PAIRS = 5
const QUICK_PAIRS = 2
const DEVICE_TIMEOUT_MS = 120_000
const PAYMENTS = 5
const HARDWARE = 'bench'
const ALLOWANCE_SATS = 20_000

export const firstBench: Bench = {
  name: 'first',
  about: 'drop to first device verified / (hash + raw transfer + one payment)',
  async run(context) {
    const pairs = context.pairs ?? (context.quick ? QUICK_PAIRS : PAIRS)
    const house = await openHouse({
      dir: path.join(context.dir, 'house'),
      port: 0,
      grantSats: 1e6,
      accounts: 50,
    })
    const site = await openSite(context.dir)
    const browser = await chromium.launchPersistentContext(path.join(context.dir, 'vendor'), {
      executablePath: chromiumPath(),
      headless: true,
      args: [...CHROMIUM_FLAGS],
    })
    try {
      const page = browser.pages()[0] ?? (await browser.newPage())
      await becomeVendor(page, house, 'Bench')
      const configFile = path.join(context.dir, 'device', 'device.toml')
      await addDevice(page, house, { name: 'device', configFile, hardware: HARDWARE }, ALLOWANCE_SATS)
      const device = house.programs.satpatch('device', ['device', 'run', '--config', configFile])
      const files: Material[] = []
      for (let pair = 0; pair < pairs; pair++) {
        const dir = path.join(context.dir, `file-${pair}`)
        fs.mkdirSync(dir)
        files.push(await makeMaterial(dir, BYTES, `first ${pair}`))
      }
      const runs = await alternate(
        pairs,
        (pair) => whole(context, site, house, files[pair] as Material),
        (pair) => product(context, page, house, device.logFile, files[pair] as Material, pair + 1),
      )
      const seconds = (ms: readonly number[]): string => `${figure(median(ms) / 1000)} s`
      const parts = runs.map(({ a }) => a)
      const sum = ({ hashMs, rawMs, payMs }: Parts): number => hashMs + rawMs + payMs
      return [
        row(
          'drop to first device verified',
          runs.map(({ a, b }) => b / sum(a)),
          1.6,
          'lower',
          {
            note: `${seconds(runs.map(({ b }) => b))}; hash ${seconds(parts.map(({ hashMs }) => hashMs))}, raw transfer ${seconds(parts.map(({ rawMs }) => rawMs))}, payment ${seconds(parts.map(({ payMs }) => payMs))}`,
          },
        ),
      ]
    } finally {
      await browser.close()
      await site.close()
      await house.stop()
    }
  },
}

/** Milliseconds until the device says that it has verified what was dropped. */
async function product(
  context: Context,
  page: Page,
  house: House,
  log: string,
  { file }: Material,
  serial: number,
): Promise<number> {
  const version = `${serial}.0.0`
  const droppedAtMs = await publish(page, house, file, { product: 'first', version, hardware: HARDWARE })
  const said = (state: string) =>
    until(`the device to say ${state}`, DEVICE_TIMEOUT_MS, () => {
      const line = fs
        .readFileSync(log, 'utf8')
        .split('\n')
        .find((one) => one.includes(`first ${version}: ${state}`))
      return line === undefined
        ? undefined
        : Date.parse((JSON.parse(line) as { time: string }).time) - droppedAtMs
    })
  const [begunMs, verifiedMs] = [await said('buying'), await said('verified')]
  await said('healthy')
  context.say(`  begun after ${figure(begunMs / 1000)} s, verified after ${figure(verifiedMs / 1000)} s`)
  return verifiedMs
}

type Parts = Readonly<{ hashMs: number; rawMs: number; payMs: number }>

async function whole(context: Context, site: Site, house: House, material: Material): Promise<Parts> {
  const bytes = await readFile(material.file)
  const startedMs = performance.now()
  createHash('sha256').update(bytes).digest()
  const hashMs = performance.now() - startedMs
  let rawMs = Infinity
  for (const size of MESSAGE_BYTES)
    rawMs = Math.min(rawMs, await raw({ context, site, material, to: 'Node' }, size))
  return { hashMs, rawMs, payMs: await payment(house) }
}

async function payment(house: House): Promise<number> {
  const [payer, payee] = await Promise.all(
    ['payer', 'payee'].map(async (name) =>
      connectNwc((await openPlayAccount(house.relay.url, { name })).connection),
    ),
  )
  if (payer === undefined || payee === undefined) throw new Error('no wallets')
  try {
    const times: number[] = []
    for (let i = 0; i < PAYMENTS; i++) {
      const { bolt11 } = await payee.makeInvoice({
        amount: msat(1000),
        description: 'one',
        expirySeconds: 60,
      })
      const startedMs = performance.now()
      const { tag } = await payer.pay(bolt11)
      if (tag !== 'paid') throw new Error(`the payment is ${tag}`)
      times.push(performance.now() - startedMs)
    }
    return median(times)
  } finally {
    payer.close()
    payee.close()
  }
}
