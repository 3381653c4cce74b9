/** `paid --lnd`: the paid transfer with two real LND nodes under it, on the same machine: an HTLC for every window. */
import path from 'node:path'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { htlcsBetween } from '../lnd-lab/books.ts'
import { binariesOrWhy, type Binaries } from '../lnd-lab/build.ts'
import { measure, OWN_SATS, startService, type Speed } from '../lnd-lab/lab.ts'
import { startLab, type Lab } from '../lnd-lab/nodes.ts'
import { createPrograms } from '../support/processes.ts'
import { alternate, MB, MIB, wanted, type Bench, type Context } from './bench.ts'
import { BenchError } from './children.ts'
import { DEFAULT_PRICE_MSAT, freeTransfer, paidTransfer, type House, type Run } from './contest.ts'
import { makeMaterial } from './material.ts'
import { startShaper } from './shaper.ts'
import { median } from './stats.ts'
import { figure, row, type Row } from './table.ts'

const FULL_SPEED = 'LND, full speed'
const LINK = 'LND, 4 MB/s'
const RATE = 'LND, payments/s, 32 at once'
const LINK_BYTES_PER_S = 4 * MB
/** What one LND is known to settle. */
const KNOWN_PER_S = 33
const PAIRS = 3
const RUN_TIMEOUT_MS = 280_000
/** Accounts that this machine may open: one a run. */
const ACCOUNTS = '1000'

export const paidLndBench: Bench = {
  name: 'paid --lnd',
  about: 'free stock webtorrent time / paid time, each window paid between two real LND nodes',
  async run(context) {
    const found = binariesOrWhy()
    if (found.tag === 'found') return onNodes(context, found.binaries)
    context.say(`  Left out: ${found.why}`)
    return []
  },
}

type Stage = Readonly<{ context: Context; lab: Lab; house: Omit<House, 'child'>; speed: Speed }>

async function onNodes(context: Context, binaries: Binaries): Promise<Row[]> {
  const { dir } = context
  const programs = createPrograms(path.join(dir, 'logs'))
  try {
    const lab = await startLab(path.join(dir, 'lightning'), programs, binaries)
    const buyers = await startService(programs, lab.alice, { dir, ownSats: OWN_SATS })
    const extra = ['--accounts', ACCOUNTS]
    const sellers = await startService(programs, lab.bob, { dir, ownSats: 0, extra })
    const openTill = async (): Promise<string> => (await openPlayAccount(sellers.url)).connection
    const speed = await speedOf(buyers.connection, await openTill())
    const house = {
      url: buyers.url,
      tracker: `${buyers.url.replace(/^http/, 'ws')}/tracker`,
      account: () => Promise.resolve(buyers.connection),
      openTill,
    }
    const stage: Stage = { context, lab, house, speed }
    const rows: Row[] = []
    if (wanted(context, RATE))
      rows.push(row(RATE, [speed.at32], KNOWN_PER_S, 'higher', { note: `${figure(speed.oneMs)} ms for one` }))
    if (wanted(context, LINK)) rows.push(await linked(stage))
    if (wanted(context, FULL_SPEED)) rows.push(await contest(stage, FULL_SPEED, 1, (free) => free))
    return rows
  } finally {
    await programs.stopAll()
  }
}

async function speedOf(from: string, to: string): Promise<Speed> {
  const [payer, payee] = await Promise.all([connectNwc(from), connectNwc(to)])
  try {
    return await measure(payer, payee)
  } finally {
    payer.close()
    payee.close()
  }
}

/** Both over a link of the same speed; nothing is as fast as the bytes and then one payment. */
async function linked(stage: Stage): Promise<Row> {
  const lane = { bytesPerS: LINK_BYTES_PER_S }
  const lanes = [
    { name: 'seller', ...lane },
    { name: 'buyer', ...lane },
  ]
  const shaper = await startShaper(stage.house.tracker, lanes)
  const trackers = { sellerTracker: shaper.trackerOf(0), buyerTracker: shaper.trackerOf(1) }
  try {
    return await contest(stage, LINK, 0.97, (freeMs) => freeMs + stage.speed.oneMs, trackers)
  } finally {
    await shaper.stop()
  }
}

async function contest(
  { context, lab, house }: Stage,
  name: string,
  goal: number,
  boundMs: (freeMs: number) => number,
  trackers: Pick<Run, 'sellerTracker' | 'buyerTracker'> = {},
): Promise<Row> {
  const bytes = (context.quick ? 64 : 128) * MIB
  const material = await makeMaterial(context.dir, bytes, name)
  const run: Run = { material, house, timeoutMs: RUN_TIMEOUT_MS, profileDir: context.profileDir, ...trackers }
  const settled = async (): Promise<number> => (await htlcsBetween(lab.alice, lab.bob)).received.size
  const runs = await alternate(
    context.pairs ?? (context.quick ? 1 : PAIRS),
    () => freeTransfer(context, run),
    async () => {
      const before = await settled()
      const transfer = await paidTransfer(context, run)
      const payments = Number(transfer.detail['payments'])
      const seen = (await settled()) - before
      if (seen !== payments)
        throw new BenchError(`The buyer made ${payments} payments; the seller's node has settled ${seen}.`)
      return { ms: transfer.ms, payments }
    },
  )
  const [freeMs, paidMs] = [median(runs.map(({ a }) => a.ms)), median(runs.map(({ b }) => b.ms))]
  const mbps = (ms: number): string => `${figure(bytes / 1000 / ms)} MB/s`
  const perS = figure(median(runs.map(({ b }) => (b.payments * 1000) / b.ms)))
  return row(
    name,
    runs.map(({ a, b }) => boundMs(a.ms) / b.ms),
    goal,
    'higher',
    {
      note: `free ${mbps(freeMs)}, paid ${mbps(paidMs)}; ${median(runs.map(({ b }) => b.payments))} HTLCs, ${perS} a second; ${bytes / MIB} MiB at ${DEFAULT_PRICE_MSAT} msat/MiB`,
    },
  )
}
