/** `swarm`: eight devices and one vendor, uplinks capped by the shaper: the last finisher beside the fluid lower bound. */
import { copyFile, link, mkdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createReadStream } from 'node:fs'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { inDir, MB, MIB, wanted, type Bench, type Context } from './bench.ts'
import { startChild, type Child } from './children.ts'
import type { BuyerConfig } from './children/buyer.ts'
import type { SellerConfig } from './children/seller.ts'
import type { StockConfig } from './children/stock.ts'
import { DEFAULT_PRICE_MSAT, openHouse, READY_MS, type House } from './contest.ts'
import { makeMaterial, type Material } from './material.ts'
import { simSwarm } from '../sim/swarm.ts'
import { startShaper, type Shaper } from './shaper.ts'
import { median } from './stats.ts'
import { figure, row, type Row } from './table.ts'

const DEVICES = 8
const UPLINK = 1 * MB
const TIMEOUT_MS = 280_000
/**
 * What a line has left for messages: a packet of 1221 bytes carries 1156, and for two packets that come in one of 65 bytes
 * goes out (SACK). Counted on the line. The simulator knows messages only.
 */
const GOODPUT = 1156 / (1221 + 65 / 2)
/** Seeds whose median stands for the simulator. */
const SIMULATED = 5

/** max(F/u_s, N·F/(u_s + Σu_i)) in seconds: no schedule is faster. Downlinks are not capped. */
const boundS = (bytes: number): number =>
  Math.max(bytes / UPLINK, (DEVICES * bytes) / (UPLINK + DEVICES * UPLINK))

export const swarmBench: Bench = {
  name: 'swarm',
  about: `${DEVICES} devices, uplinks ${UPLINK / MB} MB/s: last finisher / lower bound`,
  async run(context) {
    const bytes = 24 * MIB
    const material = await makeMaterial(context.dir, bytes, 'swarm')
    const house = await openHouse(context.dir, { latencyMs: 0 }, context.profileDir)
    const [free, paid, http]: [number[], number[], number[]] = [[], [], []]
    try {
      for (let run = 0; run < (context.pairs ?? (context.quick ? 1 : 3)); run++) {
        if (wanted(context, 'free'))
          free.push(await timed(context, 'free', () => freeSwarm(context, material, house)))
        if (wanted(context, 'paid'))
          paid.push(await timed(context, 'paid', () => paidSwarm(context, material, house)))
        if (wanted(context, 'HTTP')) http.push(await timed(context, 'HTTP', () => byHttp(material, house)))
      }
    } finally {
      await house.child.stop()
    }
    const bound = boundS(bytes)
    const note = `${bytes / MIB} MiB, bound ${figure(bound)} s`
    const rows: Row[] = []
    const over = (seconds: readonly number[]): number[] => seconds.map((one) => one / bound)
    if (free.length > 0)
      rows.push(row('free', over(free), 1.3, 'lower', { note: `stock webtorrent; ${note}` }))
    if (paid.length > 0) rows.push(row('paid', over(paid), 1.3, 'lower', { note: `devices resell; ${note}` }))
    if (paid.length > 0) {
      const { pieceLength } = material.release
      const simulated = Array.from({ length: SIMULATED }, (_, i) => {
        const upBps = UPLINK * GOODPUT
        return simSwarm({ fileBytes: bytes, paid: true, pieceLength, upBps, seed: i + 1 }).lastS ?? NaN
      })
      const expected = median(simulated)
      rows.push(
        row(
          'simulator beside paid',
          paid.map((seconds) => Math.max(seconds / expected, expected / seconds)),
          1.15,
          'lower',
          {
            note: `the simulator says ${figure(expected)} s, of lines that carry ${Math.round(GOODPUT * 100)} % messages`,
          },
        ),
      )
    }
    if (http.length > 0 && paid.length > 0)
      rows.push(
        row(
          'by HTTP / by swarm',
          http.map((one, i) => one / (paid[i] ?? NaN)),
          5,
          'higher',
          {
            note: 'the same file to the same eight from the vendor’s uplink alone',
          },
        ),
      )
    return rows
  },
}

async function timed(context: Context, name: string, run: () => Promise<number>): Promise<number> {
  const seconds = await run()
  context.say(`  ${name}: the last of ${DEVICES} has everything after ${figure(seconds)} s`)
  return seconds
}

async function shaped<T>(house: House, run: (shaper: Shaper) => Promise<T>): Promise<T> {
  const lanes = Array.from({ length: DEVICES + 1 }, (_, i) => ({
    name: i === 0 ? 'vendor' : `device ${i}`,
    bytesPerS: UPLINK,
  }))
  const shaper = await startShaper(house.tracker, lanes)
  try {
    return await run(shaper)
  } finally {
    await shaper.stop()
  }
}

/** From the vendor's first data channel, with all devices there, to the last one's last byte; seconds. */
async function race(devices: readonly Child[], startSeller: () => Child): Promise<number> {
  let seller: Child | undefined
  try {
    await Promise.all(devices.map((device) => device.next('ready', READY_MS)))
    seller = startSeller()
    const start = await seller.next('connected', READY_MS)
    const done = await Promise.all(devices.map((device) => device.next('done', TIMEOUT_MS)))
    return (Math.max(...done.map(({ atMs }) => atMs)) - start.atMs) / 1000
  } finally {
    await Promise.all([...devices, ...(seller === undefined ? [] : [seller])].map((child) => child.stop()))
  }
}

const freeSwarm = (context: Context, material: Material, house: House): Promise<number> =>
  shaped(house, (shaper) =>
    inDir(context, 'free', async (dir) => {
      const config = async (lane: number): Promise<StockConfig> => {
        const own = path.join(dir, String(lane))
        await mkdir(own)
        return {
          torrentFile: material.torrentFile,
          tracker: shaper.trackerOf(lane),
          dir: own,
          seed: lane === 0,
        }
      }
      const seed = await config(0)
      const file = path.join(seed.dir, material.release.fileName)
      await link(material.file, file).catch(() => copyFile(material.file, file))
      const devices = await Promise.all(
        Array.from({ length: DEVICES }, async (_, i) =>
          startChild({ program: 'stock.ts', name: `leech ${i + 1}`, config: await config(i + 1) }),
        ),
      )
      return race(devices, () => startChild({ program: 'stock.ts', name: 'seed', config: seed }))
    }),
  )

const paidSwarm = (context: Context, material: Material, house: House): Promise<number> =>
  shaped(house, (shaper) =>
    inDir(context, 'paid', async (dir) => {
      const devices = await Promise.all(
        Array.from({ length: DEVICES }, async (_, i) => {
          const own = path.join(dir, String(i + 1))
          await mkdir(own)
          const config: BuyerConfig = {
            buyers: [
              {
                dir: own,
                material,
                tracker: shaper.trackerOf(i + 1),
                relayUrl: house.url,
                wallet: await house.account(),
                resellMsat: DEFAULT_PRICE_MSAT,
              },
            ],
          }
          return startChild({ program: 'buyer.ts', name: `device ${i + 1}`, config })
        }),
      )
      const sold: SellerConfig = {
        dir: path.join(dir, 'vendor'),
        material,
        tracker: shaper.trackerOf(0),
        wallet: await house.account(),
        priceMsat: DEFAULT_PRICE_MSAT,
      }
      return race(devices, () => startChild({ program: 'seller.ts', name: 'vendor', config: sold }))
    }),
  )

/** All devices fetch the file at once through the vendor's uplink; seconds. */
async function byHttp(material: Material, house: House): Promise<number> {
  const server = createServer((_request, response) => void createReadStream(material.file).pipe(response))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const port = (server.address() as AddressInfo).port
  const shaper = await startShaper(
    house.tracker,
    [{ name: 'vendor', bytesPerS: UPLINK }],
    [{ lane: 0, port }],
  )
  try {
    const startMs = performance.now()
    await Promise.all(
      Array.from({ length: DEVICES }, async () => {
        const { body } = await fetch(`http://127.0.0.1:${shaper.portOf(0)}/`)
        let got = 0
        for await (const chunk of body ?? []) got += chunk.length
        if (got !== material.release.bytes) throw new Error(`HTTP brought ${got} bytes.`)
      }),
    )
    return (performance.now() - startMs) / 1000
  } finally {
    await shaper.stop()
    server.close()
  }
}
