/** Sets the demo's stage: an admitted vendor, distributors that run, devices that have joined and are funded. */
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import type { PartyKey } from '../../web/core/bytes.ts'
import { LEAST_ON_LIGHTNING, msat, priceOf, type Msat } from '../../web/core/money/msat.ts'
import type { DeviceHandle, DistributorHandle, House } from '../support/house.ts'
import type { VendorHost } from '../support/vendor-host.ts'
import { UsageError, type Flags } from './flags.ts'

export const HARDWARE = 'demo-board'
/** A little more than the file costs, so that nothing waits for funds. */
const SPARE_MSAT = 50_000
/** Bytes of the smallest pieces that a file of some size is cut into. */
const SMALLEST_PIECE = 256 * 1024
/** Refills that the demo makes for one device by itself. */
const MAX_REFILLS = 20
const PID_FILE = 'demo.pid'

export type Stage = Readonly<{
  house: House
  host: VendorHost
  distributors: readonly DistributorHandle[]
  devices: readonly DeviceHandle[]
  nameOf: (key: string) => string
  refills: Refills
}>

/** @throws UsageError when something listens there already. */
export async function demandPort(port: number): Promise<void> {
  if (port === 0) return
  await new Promise<void>((resolve, reject) => {
    const probe = net.createServer()
    probe.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new UsageError(
          error.code === 'EADDRINUSE'
            ? `Port ${port} is in use by another program. Stop it, or choose another port: npm run demo -- --port 0`
            : `Port ${port} cannot be opened (${error.code ?? error.message}). Choose another with --port.`,
        ),
      ),
    )
    probe.listen(port, () => probe.close(() => resolve()))
  })
}

/** An empty directory that is this run's own. @throws UsageError */
export function freshDir(flags: Flags): string {
  let dir = flags.dataDir
  if (flags.keep) {
    if (fs.existsSync(dir) && fs.readdirSync(dir).length > 0)
      throw new UsageError(`${dir} is not empty. The demo starts anew each time: name another directory.`)
  } else {
    if (isRunning(dir)) dir = `${dir}-${process.pid}`
    fs.rmSync(dir, { recursive: true, force: true })
  }
  fs.mkdirSync(path.join(dir, 'logs'), { recursive: true })
  fs.writeFileSync(path.join(dir, PID_FILE), String(process.pid))
  return dir
}

function isRunning(dir: string): boolean {
  try {
    process.kill(Number(fs.readFileSync(path.join(dir, PID_FILE), 'utf8')), 0)
    return true
  } catch {
    return false
  }
}

/** Starts distributors and lets devices join, all at once. */
export async function furnish(house: House, host: VendorHost, flags: Flags, bytes: number): Promise<Stage> {
  const price = msat(flags.priceMsat)
  // Every piece in a window of its own is the most that it can cost.
  const atLeast = flags.lnd
    ? Math.ceil(bytes / SMALLEST_PIECE) * (LEAST_ON_LIGHTNING + (flags.hopMsat ?? 0))
    : 0
  const fundMsat = msat(2 * Math.max(priceOf(bytes, price), atLeast) + SPARE_MSAT)
  const edit = (toml: string): string => withLimits(toml, price, fundMsat)
  const grant = { vendor: host.vendor, vendorWallet: host.wallet, hardware: HARDWARE, fundMsat, edit }
  const [distributors, devices] = await Promise.all([
    Promise.all(numbered('distributor', flags.distributors).map((name) => house.distributor(name, price))),
    Promise.all(numbered('device', flags.devices).map((name) => house.device(name, grant))),
  ])
  for (const device of devices) device.program = device.start()
  const names = new Map<string, string>([
    [host.keys.nostr.key, 'vendor'],
    ...[...distributors, ...devices].map(({ key, name }): [string, string] => [key, name]),
  ])
  const nameOf = (key: string): string => names.get(key) ?? key.slice(0, 8)
  return { house, host, distributors, devices, nameOf, refills: keepFunded(host) }
}

const numbered = (name: string, n: number): string[] =>
  Array.from({ length: n }, (_, i) => `${name}-${i + 1}`)

/** A demo of a high price or a large file must not stop at a device's own cautious limits. */
function withLimits(toml: string, price: Msat, fundMsat: Msat): string {
  const least = (key: string, value: number) => (text: string) =>
    text.replace(
      new RegExp(`^(${key} = )(\\d+)$`, 'm'),
      (_, head: string, old: string) => `${head}${Math.max(Number(old), Math.ceil(value))}`,
    )
  return [least('price_cap_msat_per_mib', price), least('budget_sats_per_release', fundMsat / 1000)].reduce(
    (text, change) => change(text),
    toml,
  )
}

export type Refills = Readonly<{
  /** Msat paid so far to one device, or to all. */
  paid: (device?: PartyKey) => number
  stop: () => void
}>

/** Pays the invoice of every device that waits for funds, as a vendor would from the page. */
function keepFunded(host: VendorHost): Refills {
  const paid = new Map<PartyKey, number>()
  const tries = new Map<PartyKey, number>()
  const done = new Set<string>()
  const end = host.vendor.fleet.subscribe(({ devices }) => {
    for (const { key, state, fundInvoice, needMsat } of devices) {
      if (state !== 'queued' || fundInvoice === undefined || done.has(fundInvoice)) continue
      const already = tries.get(key) ?? 0
      if (already >= MAX_REFILLS) continue
      tries.set(key, already + 1)
      done.add(fundInvoice)
      host.vendor.fund(key, host.wallet).then(
        (result) => {
          if (result.tag === 'paid') paid.set(key, (paid.get(key) ?? 0) + (needMsat ?? 0))
        },
        () => done.delete(fundInvoice),
      )
    }
  })
  return {
    paid: (device) =>
      device === undefined ? [...paid.values()].reduce((sum, one) => sum + one, 0) : (paid.get(device) ?? 0),
    stop: end,
  }
}
