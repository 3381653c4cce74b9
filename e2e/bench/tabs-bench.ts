/** `paid --tabs` and the tabs' part of `transport`: a tab sells to another tab, and to a device in Node. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Release } from '../../web/core/release/target.ts'
import { alternate, inDir, MB, MIB, wanted, type Bench, type Context } from './bench.ts'
import { startChild } from './children.ts'
import type { BuyerConfig } from './children/buyer.ts'
import type { RawAnswererConfig } from './children/raw-answerer.ts'
import type { StockConfig } from './children/stock.ts'
import { DEFAULT_PRICE_MSAT, openHouse, READY_MS, type House } from './contest.ts'
import { makeMaterial, type Material } from './material.ts'
import { DEFAULT_RISK_MSAT, fastestMBps } from './paid.ts'
import { startShaper } from './shaper.ts'
import { median } from './stats.ts'
import { figure, row, type Row } from './table.ts'
import type { Wanted } from './tabs-end.ts'
import { openSite, openTab, type Site, type Tab } from './tabs.ts'

const PAIRS = 5
const QUICK_PAIRS = 1
const RUN_TIMEOUT_MS = 280_000
const LATENCY_MS = 1_000
const LINK_BYTES_PER_S = 4 * MB
/** A transfer takes at least twenty latencies. */
const LATENCIES = 21
/** Of these the fastest counts. */
export const MESSAGE_BYTES = [64 * 1024, 256 * 1024] as const

type To = 'tab' | 'Node'
type Stage = Readonly<{
  context: Context
  site: Site
  house: House
  material: Material
  to: To
  sellerTracker: string
  buyerTracker: string
}>

export type RawStage = Pick<Stage, 'context' | 'site' | 'material' | 'to'>

/** A tab with the file, and a second one when a tab is to take it. */
async function withTabs<T>(
  stage: RawStage,
  run: (seller: Tab, buyer: Tab | undefined) => Promise<T>,
): Promise<T> {
  return inDir(stage.context, 'tabs', async (dir) => {
    const seller = await openTab(stage.site, dir, stage.material.file)
    const buyer = stage.to === 'tab' ? await openTab(stage.site, dir) : undefined
    try {
      return await run(seller, buyer)
    } finally {
      await buyer?.close()
      await seller.close()
    }
  })
}

async function wantedOf({ torrentFile, release }: Material): Promise<Wanted> {
  const { infoHash, piecesRoot, bytes, pieceLength }: Release = release
  return { torrent: (await readFile(torrentFile)).toString('hex'), infoHash, piecesRoot, bytes, pieceLength }
}

/** The limits of a fresh `device.toml` for this release. */
function terms({ release }: Material) {
  const priceCap = release.priceCapMsat
  const piece = Math.ceil((release.pieceLength * priceCap) / MIB)
  return {
    priceCap,
    budget: 100_000_000,
    riskBudget: Math.max(DEFAULT_RISK_MSAT, piece),
    unprovenBudget: 4 * piece,
  }
}

/** Milliseconds from the first connection to the last stored piece. */
function paid(stage: Stage): Promise<number> {
  const { house, material, context } = stage
  return withTabs(stage, async (seller, buyer) => {
    const release = await wantedOf(material)
    await seller.call(
      'paidSell',
      release,
      { tracker: stage.sellerTracker, wallet: await house.account() },
      DEFAULT_PRICE_MSAT,
    )
    const wallet = await house.account()
    if (buyer !== undefined)
      return (await buyer.call('paidBuy', release, { tracker: stage.buyerTracker, wallet }, terms(material)))
        .transferMs
    return inDir(context, 'device', (dir) => {
      const config: BuyerConfig = {
        buyers: [{ dir, material, tracker: stage.buyerTracker, relayUrl: house.url, wallet }],
      }
      return timed(startChild({ program: 'buyer.ts', config, profileDir: context.profileDir }))
    })
  })
}

function free(stage: Stage, store: 'memory' | 'disk'): Promise<number> {
  const { context } = stage
  return withTabs(stage, async (seller, buyer) => {
    const torrent = await seller.call('stockSeed', stage.sellerTracker, store)
    if (buyer !== undefined)
      return (await buyer.call('stockGet', torrent, stage.buyerTracker, store)).transferMs
    return inDir(context, 'leech', async (dir) => {
      const torrentFile = path.join(dir, 'stock.torrent')
      await writeFile(torrentFile, Buffer.from(torrent, 'hex'))
      const into = path.join(dir, 'files')
      await mkdir(into)
      const config: StockConfig = {
        torrentFile,
        tracker: stage.buyerTracker,
        dir: into,
        seed: false,
        memory: store === 'memory',
      }
      return timed(startChild({ program: 'stock.ts', config, profileDir: context.profileDir }))
    })
  })
}

async function timed(child: ReturnType<typeof startChild>): Promise<number> {
  try {
    const start = await child.next('connected', READY_MS)
    return (await child.next('done', RUN_TIMEOUT_MS)).atMs - start.atMs
  } finally {
    await child.stop()
  }
}

/** Milliseconds of the artifact's bytes on a bare data channel. */
export function raw(stage: RawStage, messageBytes: number): Promise<number> {
  const { bytes } = stage.material.release
  return withTabs(stage, async (seller, buyer) => {
    const offer = await seller.call('rawOffer')
    if (buyer !== undefined) {
      await seller.call('rawAccept', await buyer.call('rawAnswer', offer, bytes))
      const [ms] = await Promise.all([buyer.call('rawReceived'), seller.call('rawSend', bytes, messageBytes)])
      return ms
    }
    const config: RawAnswererConfig = { offer, bytes }
    const child = startChild({ program: 'raw-answerer.ts', config })
    try {
      await seller.call('rawAccept', String((await child.next('answer', READY_MS)).detail['answer']))
      await seller.call('rawSend', bytes, messageBytes)
      return Number((await child.next('received', RUN_TIMEOUT_MS)).detail['ms'])
    } finally {
      await child.stop()
    }
  })
}

const rate = (bytes: number, ms: number): string => `${figure(bytes / 1000 / ms)} MB/s`

async function onStage<T>(
  context: Context,
  to: To,
  what: { bytes: number; latencyMs: number; bytesPerS?: number },
  run: (stage: Stage) => Promise<T>,
): Promise<T> {
  const site = await openSite(context.dir)
  const material = await makeMaterial(context.dir, what.bytes, `tab to ${to}`)
  const house = await openHouse(context.dir, { latencyMs: what.latencyMs }, context.profileDir)
  const lane = { bytesPerS: what.bytesPerS ?? 0 }
  const shaper =
    what.bytesPerS === undefined
      ? undefined
      : await startShaper(house.tracker, [
          { name: 'seller', ...lane },
          { name: 'buyer', ...lane },
        ])
  try {
    return await run({
      context,
      site,
      house,
      material,
      to,
      sellerTracker: shaper?.trackerOf(0) ?? house.tracker,
      buyerTracker: shaper?.trackerOf(1) ?? house.tracker,
    })
  } finally {
    await shaper?.stop()
    await house.child.stop()
    await site.close()
  }
}

/** The faster of several ways. */
async function fastest(
  context: Context,
  name: string,
  bytes: number,
  ways: readonly (() => Promise<number>)[],
) {
  let best = Infinity
  for (const way of ways) best = Math.min(best, await way())
  context.say(`  ${name}: ${figure(best / 1000)} s, ${rate(bytes, best)}`)
  return best
}

async function fullSpeed(context: Context, to: To, name: string): Promise<Row> {
  const bytes = (context.quick ? 64 : 128) * MIB
  return onStage(context, to, { bytes, latencyMs: 0 }, async (stage) => {
    const runs = await alternate(
      context.pairs ?? (context.quick ? QUICK_PAIRS : PAIRS),
      () => fastest(context, 'free', bytes, [() => free(stage, 'memory'), () => free(stage, 'disk')]),
      () => fastest(context, 'paid', bytes, [() => paid(stage)]),
    )
    const [freeMs, paidMs] = [median(runs.map(({ a }) => a)), median(runs.map(({ b }) => b))]
    const ratios = runs.map(({ a, b }) => a / b)
    return row(name, ratios, 1, 'higher', {
      note: `free ${rate(bytes, freeMs)}, paid ${rate(bytes, paidMs)}`,
    })
  })
}

async function withLatency(context: Context, to: To, name: string): Promise<Row> {
  const bytes = Math.ceil((LINK_BYTES_PER_S * LATENCIES * LATENCY_MS) / 1000 / MIB) * MIB
  const what = { bytes, latencyMs: LATENCY_MS, bytesPerS: LINK_BYTES_PER_S }
  return onStage(context, to, what, async (stage) => {
    const runs = await alternate(
      context.pairs ?? (context.quick ? QUICK_PAIRS : PAIRS),
      () => fastest(context, 'free', bytes, [() => free(stage, 'memory')]),
      () => fastest(context, 'paid', bytes, [() => paid(stage)]),
    )
    const most = fastestMBps(DEFAULT_RISK_MSAT, DEFAULT_PRICE_MSAT, LATENCY_MS)
    const ratios = runs.map(({ a, b }) => (a + LATENCY_MS) / b)
    return row(name, ratios, 0.97, 'higher', {
      note: `free ${rate(bytes, median(runs.map(({ a }) => a)))}, paid ${rate(bytes, median(runs.map(({ b }) => b)))}; risk budget ${DEFAULT_RISK_MSAT / 1000} sats allows ${figure(most)} MB/s`,
    })
  })
}

const ENDS = ['tab', 'Node'] as const

export async function tabsPaid(context: Context): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const to of ENDS) {
    const plain = `tab to ${to}, latency 0, full speed`
    if (wanted(context, plain))
      rows.push(await inDir(context, 'row', (dir) => fullSpeed({ ...context, dir }, to, plain)))
    const late = `tab to ${to}, 1 s at 4 MB/s`
    if (wanted(context, late))
      rows.push(await inDir(context, 'row', (dir) => withLatency({ ...context, dir }, to, late)))
  }
  return rows
}

export async function tabsTransport(context: Context): Promise<readonly Row[]> {
  const rows: Row[] = []
  const bytes = (context.quick ? 64 : 128) * MIB
  for (const to of ENDS) {
    const name = `tab to ${to}`
    if (!wanted(context, name)) continue
    const one = (dir: string) =>
      onStage({ ...context, dir }, to, { bytes, latencyMs: 0 }, async (stage) => {
        const runs = await alternate(
          context.pairs ?? (context.quick ? QUICK_PAIRS : PAIRS),
          () =>
            fastest(
              context,
              'raw',
              bytes,
              MESSAGE_BYTES.map((size) => () => raw(stage, size)),
            ),
          () => fastest(context, 'paid', bytes, [() => paid(stage)]),
        )
        return row(
          name,
          runs.map(({ a, b }) => a / b),
          0.75,
          'higher',
          {
            note: `raw ${rate(bytes, median(runs.map(({ a }) => a)))}, paid ${rate(bytes, median(runs.map(({ b }) => b)))}`,
          },
        )
      })
    rows.push(await inDir(context, 'row', one))
  }
  return rows
}

export const paidTabsBench: Bench = {
  name: 'paid --tabs',
  about: 'free stock webtorrent time / paid time, from a tab to a tab and to Node',
  run: tabsPaid,
}
