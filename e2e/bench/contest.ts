/** One transfer between two processes, free by stock webtorrent or paid by the product, from the open data channel to the last byte. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, link, mkdir } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { inDir, type Context } from './bench.ts'
import type { Detail, Usage } from './child.ts'
import { BenchError, startChild, type Child } from './children.ts'
import type { BuyerConfig } from './children/buyer.ts'
import type { HouseConfig } from './children/house.ts'
import type { SellerConfig } from './children/seller.ts'
import type { StockConfig } from './children/stock.ts'
import type { Material } from './material.ts'
import type { Pace } from './pace.ts'

export const READY_MS = 60_000
/** A distributor's price when its owner does not change it, msat per MiB. */
export const DEFAULT_PRICE_MSAT = 1_000
/** Play money for each account: more than any bench pays. */
const GRANT_MSAT = 10_000_000_000

export type House = Readonly<{
  child: Child
  url: string
  tracker: string
  account(): Promise<string>
  /** Where those who sell need an account of another kind. */
  openTill?(): Promise<string>
}>

export async function openHouse(dir: string, pace: Pace, profileDir?: string): Promise<House> {
  const config: HouseConfig = { dataDir: path.join(dir, 'relay'), pace, grantMsat: GRANT_MSAT }
  const child = startChild({ program: 'house.ts', config, profileDir })
  const { detail } = await child.next('ready', READY_MS)
  const url = String(detail['url'])
  return {
    child,
    url,
    tracker: `${url.replace(/^http/, 'ws')}/tracker`,
    account: async () => (await openPlayAccount(url)).connection,
  }
}

export type Transfer = Readonly<{
  ms: number
  /** Used between the two moments. */
  buyer: Usage
  seller: Usage
  /** What the buyer told at the end. */
  detail: Detail
  /** What went over their connections, each as it counts itself; of the product only. */
  traffic: { buyer: Detail; seller: Detail } | undefined
}>

const less = (after: Usage, before: Usage): Usage => ({
  cpuS: after.cpuS - before.cpuS,
  peakMiB: after.peakMiB,
})

/** From the buyer's first data channel to its last byte. */
async function timed(
  seller: Child,
  startBuyer: () => Child,
  timeoutMs: number,
  check: () => Promise<void>,
  counted: boolean,
): Promise<Transfer> {
  await seller.next('ready', READY_MS)
  const buyer = startBuyer()
  try {
    const start = await buyer.next('connected', READY_MS)
    const sold = await seller.next('connected', READY_MS)
    const done = await buyer.next('done', timeoutMs)
    const sellerAfter = await seller.usage()
    const traffic = counted
      ? { buyer: (await buyer.ask('traffic')).detail, seller: (await seller.ask('traffic')).detail }
      : undefined
    await check()
    return {
      ms: done.atMs - start.atMs,
      buyer: less(done.usage, start.usage),
      seller: less(sellerAfter, sold.usage),
      detail: done.detail,
      traffic,
    }
  } finally {
    await Promise.all([buyer.stop(), seller.stop()])
  }
}

async function proveCopy(file: string, { release }: Material): Promise<void> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  if (hash.digest('hex') !== release.sha256) throw new BenchError(`${file} is not what was sent.`)
}

export type Run = Readonly<{
  material: Material
  house: Omit<House, 'child'>
  timeoutMs: number
  /** Where each side meets the other; the house's tracker without them. */
  sellerTracker?: string
  buyerTracker?: string
  profileDir?: string | undefined
}>

export function freeTransfer(context: Context, run: Run, memory = false): Promise<Transfer> {
  return inDir(context, 'free', async (dir) => {
    const { material, timeoutMs, profileDir } = run
    const [from, to] = [path.join(dir, 'seed'), path.join(dir, 'leech')]
    await mkdir(from)
    await mkdir(to)
    const { fileName } = material.release
    await link(material.file, path.join(from, fileName)).catch(() =>
      copyFile(material.file, path.join(from, fileName)),
    )
    const config = (seed: boolean): StockConfig => ({
      torrentFile: material.torrentFile,
      tracker: (seed ? run.sellerTracker : run.buyerTracker) ?? run.house.tracker,
      dir: seed ? from : to,
      seed,
      memory: memory && !seed,
    })
    const seller = startChild({ program: 'stock.ts', name: 'stock-seed', config: config(true), profileDir })
    const leech = () =>
      startChild({ program: 'stock.ts', name: 'stock-leech', config: config(false), profileDir })
    // In memory webtorrent verifies all the same; there is only no file to look at.
    const check = () => (memory ? Promise.resolve() : proveCopy(path.join(to, fileName), material))
    return timed(seller, leech, timeoutMs, check, false)
  })
}

export function paidTransfer(context: Context, run: Run, priceMsat = DEFAULT_PRICE_MSAT): Promise<Transfer> {
  return inDir(context, 'paid', async (dir) => {
    const { material, house, timeoutMs, profileDir } = run
    const [from, to] = [path.join(dir, 'seller'), path.join(dir, 'buyer')]
    await mkdir(from)
    await mkdir(to)
    const sold: SellerConfig = {
      dir: from,
      material,
      tracker: run.sellerTracker ?? house.tracker,
      wallet: await (house.openTill ?? house.account)(),
      priceMsat,
    }
    const bought: BuyerConfig = {
      buyers: [
        {
          dir: to,
          material,
          tracker: run.buyerTracker ?? house.tracker,
          relayUrl: house.url,
          wallet: await house.account(),
        },
      ],
    }
    const seller = startChild({ program: 'seller.ts', config: sold, profileDir })
    let artifact = ''
    return timed(
      seller,
      () => {
        const buyer = startChild({ program: 'buyer.ts', config: bought, profileDir })
        void buyer.next('ready', READY_MS).then(
          ({ detail }) => (artifact = String((detail['files'] as string[])[0])),
          () => undefined,
        )
        return buyer
      },
      timeoutMs,
      () => proveCopy(artifact, material),
      true,
    )
  })
}
