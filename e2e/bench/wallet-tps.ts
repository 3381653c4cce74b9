/** `paid --wallet-tps 33`: twenty buyers whose wallet makes 33 payments a second at most, as one Lightning node does. */
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { alternate, inDir, MIB, type Bench, type Context } from './bench.ts'
import { startChild } from './children.ts'
import type { BuyerConfig } from './children/buyer.ts'
import type { SellerConfig } from './children/seller.ts'
import { DEFAULT_PRICE_MSAT, openHouse, READY_MS, type House } from './contest.ts'
import { makeMaterial, type Material } from './material.ts'
import { median } from './stats.ts'
import { figure, row } from './table.ts'

const BUYERS = 20
/** Processes that the buyers live in: two cores do not run twenty well. */
const HOMES = 4
const PER_SECOND = 33
const TIMEOUT_MS = 280_000

export const walletTpsBench: Bench = {
  name: 'paid --wallet-tps',
  about: `${BUYERS} buyers, wallet capped at ${PER_SECOND} payments/s: uncapped time / capped time`,
  async run(context) {
    const bytes = (context.quick ? 16 : 64) * MIB
    const material = await makeMaterial(context.dir, bytes, 'wallet-tps')
    const runs = await alternate(
      context.pairs ?? (context.quick ? 1 : 5),
      (pair) => crowd(context, material, `uncapped-${pair}`),
      (pair) => crowd(context, material, `capped-${pair}`, PER_SECOND),
    )
    const seconds = (values: readonly number[]): string => figure(median(values))
    return [
      row(
        '20 buyers, 33 payments/s',
        runs.map(({ a, b }) => a / b),
        0.95,
        'higher',
        {
          note: `uncapped ${seconds(runs.map(({ a }) => a))} s, capped ${seconds(runs.map(({ b }) => b))} s; ${bytes / MIB} MiB each; the cap is in the wallet service`,
        },
      ),
    ]
  },
}

async function crowd(
  context: Context,
  material: Material,
  name: string,
  perSecond?: number,
): Promise<number> {
  return inDir(context, name, async (dir) => {
    const house = await openHouse(dir, { latencyMs: 0, ...(perSecond === undefined ? {} : { perSecond }) })
    try {
      // bittorrent-tracker has one socket for each address and process: an address of its own for each buyer.
      const seconds = await meet(dir, material, house, (peer) => `${house.tracker}?peer=${peer}`)
      context.say(`  ${name}: ${figure(seconds)} s`)
      return seconds
    } finally {
      await house.child.stop()
    }
  })
}

async function meet(
  dir: string,
  material: Material,
  house: House,
  trackerOf: (peer: number) => string,
): Promise<number> {
  const homes: BuyerConfig[] = []
  for (let home = 0; home < HOMES; home++) {
    const buyers: BuyerConfig['buyers'][number][] = []
    for (let i = home; i < BUYERS; i += HOMES) {
      const own = path.join(dir, `buyer-${i}`)
      await mkdir(own)
      const wallet = await house.account()
      buyers.push({ dir: own, material, tracker: trackerOf(i + 1), relayUrl: house.url, wallet })
    }
    homes.push({ buyers })
  }
  const devices = homes.map((config, i) =>
    startChild({ program: 'buyer.ts', name: `buyers ${i + 1}`, config }),
  )
  const sold: SellerConfig = {
    dir: path.join(dir, 'seller'),
    material,
    tracker: trackerOf(0),
    wallet: await house.account(),
    priceMsat: DEFAULT_PRICE_MSAT,
  }
  await Promise.all(devices.map((device) => device.next('ready', READY_MS)))
  const seller = startChild({ program: 'seller.ts', config: sold })
  try {
    const start = await seller.next('connected', READY_MS)
    const done = await Promise.all(devices.map((device) => device.next('done', TIMEOUT_MS)))
    return (Math.max(...done.map(({ atMs }) => atMs)) - start.atMs) / 1000
  } finally {
    await Promise.all([seller, ...devices].map((child) => child.stop()))
  }
}
