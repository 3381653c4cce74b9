/** `paid`: the same file between the same two Node peers, free by stock webtorrent and paid by the product. */
import { alternate, MB, MIB, type Bench, type Context } from './bench.ts'
import { DEFAULT_PRICE_MSAT, freeTransfer, openHouse, paidTransfer, type Transfer } from './contest.ts'
import { makeMaterial } from './material.ts'
import { figure, row, type Row } from './table.ts'
import { median } from './stats.ts'

const PAIRS = 5
const QUICK_PAIRS = 3
const RUN_TIMEOUT_MS = 280_000
/** A device's `risk_sats_per_seller` when its owner does not change it. */
export const DEFAULT_RISK_MSAT = 100_000

export const paidBench: Bench = {
  name: 'paid',
  about: 'free stock webtorrent time / paid time, Node to Node',
  async run(context) {
    return [await fullSpeed(context)]
  },
}

/** The price of speed: rate <= budget / (price x latency). */
export const fastestMBps = (riskMsat: number, priceMsat: number, latencyMs: number): number =>
  ((riskMsat / priceMsat) * MIB) / (latencyMs / 1000) / MB

const rateOf = (bytes: number) => (run: Transfer) => bytes / 1000 / run.ms

async function fullSpeed(context: Context): Promise<Row> {
  const bytes = (context.quick ? 256 : 512) * MIB
  const material = await makeMaterial(context.dir, bytes, 'paid')
  const house = await openHouse(context.dir, { latencyMs: 0 }, context.profileDir)
  try {
    const run = { material, house, timeoutMs: RUN_TIMEOUT_MS, profileDir: context.profileDir }
    const mbps = rateOf(bytes)
    const told = (name: string, one: Transfer): Transfer => {
      context.say(
        `  ${name}: ${figure(one.ms / 1000)} s, ${figure(mbps(one))} MB/s; CPU ${figure(one.buyer.cpuS)} s buyer, ${figure(one.seller.cpuS)} s seller; peak ${figure(one.buyer.peakMiB)} and ${figure(one.seller.peakMiB)} MiB`,
      )
      return one
    }
    const runs = await alternate(
      context.pairs ?? (context.quick ? QUICK_PAIRS : PAIRS),
      // Its file store and its memory store: the faster one counts.
      async () => {
        const disk = told('free, file store', await freeTransfer(context, run))
        const memory = told('free, memory store', await freeTransfer(context, run, true))
        return disk.ms <= memory.ms ? disk : memory
      },
      async () => told('paid', await paidTransfer(context, run)),
    )
    const free = median(runs.map(({ a }) => mbps(a)))
    const paid = median(runs.map(({ b }) => mbps(b)))
    return row(
      'latency 0, full speed',
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
