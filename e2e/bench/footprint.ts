/** `footprint`: the buying device's peak memory for 1 GB, and its CPU seconds beside stock webtorrent's. */
import { alternate, MB, wanted, type Bench, type Context } from './bench.ts'
import { startChild } from './children.ts'
import type { BuyerConfig } from './children/buyer.ts'
import { freeTransfer, openHouse, paidTransfer, type House, type Run, type Transfer } from './contest.ts'
import { makeMaterial, type Material } from './material.ts'
import { startShaper } from './shaper.ts'
import { median } from './stats.ts'
import { figure, row, type Row } from './table.ts'

const TIMEOUT_MS = 280_000
const START_TIMEOUT_MS = 60_000
const CAPPED_MBPS = 10

export const footprintBench: Bench = {
  name: 'footprint',
  about: 'a device’s peak resident memory and CPU time for 1 GB',
  async run(context) {
    const bytes = context.quick ? 256 * MB : 1000 * MB
    const material = await makeMaterial(context.dir, bytes, 'footprint')
    const house = await openHouse(context.dir, { latencyMs: 0 }, context.profileDir)
    await compile()
    try {
      const rows: Row[] = []
      if (wanted(context, '10 MB/s')) rows.push(await slow(context, material, house))
      if (wanted(context, 'full speed')) rows.push(...(await fast(context, material, house)))
      return rows
    } finally {
      await house.child.stop()
    }
  },
}

/** The first start after an installation has the compiler in memory, some 15 MB; its work is kept on disk for all others. */
async function compile(): Promise<void> {
  const device = startChild({ program: 'buyer.ts', config: { buyers: [] } satisfies BuyerConfig })
  await device.next('ready', START_TIMEOUT_MS)
  await device.stop()
}

const told = (context: Context, name: string, { ms, buyer, seller }: Transfer): void =>
  context.say(
    `  ${name}: ${figure(ms / 1000)} s; device ${figure(buyer.cpuS)} s CPU, peak ${figure(buyer.peakMiB)} MiB; seller ${figure(seller.cpuS)} s, ${figure(seller.peakMiB)} MiB`,
  )
const peakMB = ({ buyer }: Transfer): number => (buyer.peakMiB * 1024 * 1024) / MB

async function slow(context: Context, material: Material, house: House): Promise<Row> {
  const lane = { bytesPerS: CAPPED_MBPS * MB }
  const shaper = await startShaper(house.tracker, [
    { name: 'seller', ...lane },
    { name: 'buyer', ...lane },
  ])
  try {
    const peaks: number[] = []
    for (let i = 0; i < (context.pairs ?? (context.quick ? 1 : 3)); i++) {
      const one = await paidTransfer(context, {
        material,
        house,
        timeoutMs: TIMEOUT_MS,
        sellerTracker: shaper.trackerOf(0),
        buyerTracker: shaper.trackerOf(1),
      })
      told(context, 'paid at 10 MB/s', one)
      peaks.push(peakMB(one))
    }
    return row('device’s peak memory at 10 MB/s', peaks, 160, 'lower', {
      unit: 'MB',
      note: sizeNote(material),
    })
  } finally {
    await shaper.stop()
  }
}

const sizeNote = ({ release }: Material): string => `${release.bytes / MB} MB of artifact`

async function fast(context: Context, material: Material, house: House): Promise<Row[]> {
  const run: Run = { material, house, timeoutMs: TIMEOUT_MS, profileDir: context.profileDir }
  const runs = await alternate(
    context.pairs ?? (context.quick ? 1 : 5),
    async () => {
      const one = await freeTransfer(context, run)
      told(context, 'free', one)
      return one
    },
    async () => {
      const one = await paidTransfer(context, run)
      told(context, 'paid', one)
      return one
    },
  )
  const perGB = (cpuS: readonly number[]): string =>
    figure((median(cpuS) * 1000 * MB) / material.release.bytes)
  return [
    row(
      'device’s peak memory at full speed',
      runs.map(({ b }) => peakMB(b)),
      256,
      'lower',
      {
        unit: 'MB',
        note: `${sizeNote(material)}; stock webtorrent ${figure(median(runs.map(({ a }) => peakMB(a))))} MB`,
      },
    ),
    row(
      'device’s CPU seconds per GB / stock webtorrent’s',
      runs.map(({ a, b }) => b.buyer.cpuS / a.buyer.cpuS),
      1,
      'lower',
      {
        note: `device ${perGB(runs.map(({ b }) => b.buyer.cpuS))} s, stock ${perGB(runs.map(({ a }) => a.buyer.cpuS))} s; sellers ${perGB(runs.map(({ b }) => b.seller.cpuS))} and ${perGB(runs.map(({ a }) => a.seller.cpuS))} s`,
      },
    ),
  ]
}
