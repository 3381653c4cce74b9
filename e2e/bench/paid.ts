/** `paid`: the same file between the same two Node peers, free by stock webtorrent and paid by the product. */
import { alternate, MB, MIB, wanted, type Bench, type Context } from './bench.ts'
import {
  DEFAULT_PRICE_MSAT,
  freeTransfer,
  openHouse,
  paidTransfer,
  type Run,
  type Transfer,
} from './contest.ts'
import { makeMaterial } from './material.ts'
import { figure, row, type Row } from './table.ts'
import { startShaper } from './shaper.ts'
import { median } from './stats.ts'

const FULL_SPEED = 'latency 0, full speed'
const PAIRS = 5
const QUICK_PAIRS = 2
const RUN_TIMEOUT_MS = 280_000
/** A device's `risk_sats_per_seller` when its owner does not change it. */
export const DEFAULT_RISK_MSAT = 100_000

export const paidBench: Bench = {
  name: 'paid',
  about: 'free stock webtorrent time / paid time, Node to Node',
  async run(context) {
    const rows: Row[] = []
    if (wanted(context, FULL_SPEED)) rows.push(await fullSpeed(context))
    for (const link of links(context)) if (wanted(context, link.name)) rows.push(await capped(context, link))
    return rows
  },
}

/** The price of speed: rate <= budget / (price x latency). */
export const fastestMBps = (riskMsat: number, priceMsat: number, latencyMs: number): number =>
  ((riskMsat / priceMsat) * MIB) / (latencyMs / 1000) / MB

const rateOf = (bytes: number) => (run: Transfer) => bytes / 1000 / run.ms

type Link = Readonly<{
  name: string
  latencyMs: number
  bytesPerS: number
  bytes: number
  pairs: number
  goal: number
}>

/** A transfer takes at least twenty latencies. */
const LATENCIES = 21

function links({ quick, pairs }: Context): Link[] {
  // 8.6 s is what a payment took in 2022 in the median; a fifth of it when there is no time for 20 of them.
  const longMs = quick ? 8_600 / 5 : 8_600
  const link = (latencyMs: number, bytesPerS: number, normally: number, goal: number): Link => ({
    name: `${latencyMs / 1000} s at ${bytesPerS / MB} MB/s`,
    latencyMs,
    bytesPerS,
    bytes: Math.ceil((bytesPerS * LATENCIES * latencyMs) / 1000 / MIB) * MIB,
    pairs: pairs ?? (quick ? 1 : normally),
    goal,
  })
  return [link(1_000, 4 * MB, 5, 0.97), link(longMs, 2 * MB, 3, 0.95)]
}

/** The link is capped for both by the shaper; payments wait in the wallet. */
async function capped(context: Context, link: Link): Promise<Row> {
  const material = await makeMaterial(context.dir, link.bytes, link.name)
  const house = await openHouse(context.dir, { latencyMs: link.latencyMs }, context.profileDir)
  const lane = { bytesPerS: link.bytesPerS }
  const shaper = await startShaper(house.tracker, [
    { name: 'seller', ...lane },
    { name: 'buyer', ...lane },
  ])
  try {
    const run: Run = {
      material,
      house,
      timeoutMs: RUN_TIMEOUT_MS,
      profileDir: context.profileDir,
      sellerTracker: shaper.trackerOf(0),
      buyerTracker: shaper.trackerOf(1),
    }
    const runs = await alternate(
      link.pairs,
      async () => tell(context, 'free', link.bytes, await freeTransfer(context, run)),
      async () => tell(context, 'paid', link.bytes, await paidTransfer(context, run)),
    )
    const most = fastestMBps(DEFAULT_RISK_MSAT, DEFAULT_PRICE_MSAT, link.latencyMs)
    const figures = [median(runs.map(({ a }) => a.ms / 1000)), median(runs.map(({ b }) => b.ms / 1000))]
    return row(
      link.name,
      runs.map(({ a, b }) => (a.ms + link.latencyMs) / b.ms),
      link.goal,
      'higher',
      {
        note: `free ${figure(figures[0] ?? 0)} s, paid ${figure(figures[1] ?? 0)} s; risk budget ${DEFAULT_RISK_MSAT / 1000} sats allows ${figure(most)} MB/s at ${DEFAULT_PRICE_MSAT} msat/MiB`,
      },
    )
  } finally {
    await shaper.stop()
    await house.child.stop()
  }
}

function tell(context: Context, name: string, bytes: number, one: Transfer): Transfer {
  const { buyer, seller } = one
  context.say(
    `  ${name}: ${figure(one.ms / 1000)} s, ${figure(rateOf(bytes)(one))} MB/s; CPU ${figure(buyer.cpuS)} s buyer, ${figure(seller.cpuS)} s seller; peak ${figure(buyer.peakMiB)} and ${figure(seller.peakMiB)} MiB`,
  )
  return one
}

async function fullSpeed(context: Context): Promise<Row> {
  const bytes = (context.quick ? 128 : 512) * MIB
  const material = await makeMaterial(context.dir, bytes, 'paid')
  const house = await openHouse(context.dir, { latencyMs: 0 }, context.profileDir)
  try {
    const run = { material, house, timeoutMs: RUN_TIMEOUT_MS, profileDir: context.profileDir }
    const mbps = rateOf(bytes)
    const runs = await alternate(
      context.pairs ?? (context.quick ? QUICK_PAIRS : PAIRS),
      // Its file store and its memory store: the faster one counts.
      async () => {
        const disk = tell(context, 'free, file store', bytes, await freeTransfer(context, run))
        const memory = tell(context, 'free, memory store', bytes, await freeTransfer(context, run, true))
        return disk.ms <= memory.ms ? disk : memory
      },
      async () => tell(context, 'paid', bytes, await paidTransfer(context, run)),
    )
    const free = median(runs.map(({ a }) => mbps(a)))
    const paid = median(runs.map(({ b }) => mbps(b)))
    return row(
      FULL_SPEED,
      runs.map(({ a, b }) => a.ms / b.ms),
      1.2,
      'higher',
      {
        note: `free ${figure(free)} MB/s, paid ${figure(paid)} MB/s; ${bytes / MIB} MiB at ${DEFAULT_PRICE_MSAT} msat/MiB`,
      },
    )
  } finally {
    await house.child.stop()
  }
}
