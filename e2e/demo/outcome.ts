/** Gathers what the judge needs, each from its own source: wallets, disks, and the reports' receipts. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { fromHex, type PartyKey, type VendorId } from '../../web/core/bytes.ts'
import { verifyReceipt } from '../../web/core/exchange/quote.ts'
import { openBlob, type ReceiptsBlob } from '../../web/core/rollout/report-blob.ts'
import type { DeviceRelease, ReleaseView } from '../../web/core/rollout/fleet.ts'
import type { Release } from '../../web/core/release/target.ts'
import { fetchBlob } from '../../web/edge/release/mirror.ts'
import type { Transaction, Wallet } from '../../web/edge/wallet/wallet.ts'
import type { Seed } from '../../web/edge/vendor/api.ts'
import type { Htlcs } from '../lnd-lab/books.ts'
import { installedFile, type DeviceHandle } from '../support/house.ts'
import type { VendorHost } from '../support/vendor-host.ts'
import { judge, type DeviceOutcome, type Verdict } from './verdict.ts'

const HISTORY_PAGE = 200
const MAX_PAGES = 500
/** Payments that are still open when a device is healthy settle within this. */
const SETTLE_TIMEOUT_MS = 30_000
const AGAIN_MS = 500

/** All of a wallet's settled transactions. */
export async function settled(wallet: Wallet): Promise<Transaction[]> {
  const found: Transaction[] = []
  for (let page = 0; page < MAX_PAGES; page++) {
    const rows = await wallet.history({ limit: HISTORY_PAGE, offset: page * HISTORY_PAGE })
    found.push(...rows.filter(({ state }) => state === 'settled'))
    if (rows.length < HISTORY_PAGE) return found
  }
  throw new Error(`A wallet has more than ${HISTORY_PAGE * MAX_PAGES} transactions.`)
}

/** What a wallet held, and the payments it had made, before the release. */
export type Before = Readonly<{ balance: number; payments: ReadonlySet<string> }>

export async function before(wallet: Wallet): Promise<Before> {
  const [balance, rows] = await Promise.all([wallet.balance(), settled(wallet)])
  return { balance, payments: new Set(rows.map(({ paymentHash }) => paymentHash)) }
}

async function fileSha256(file: string): Promise<string> {
  if (!fs.existsSync(file)) return ''
  const hash = createHash('sha256')
  await pipeline(fs.createReadStream(file), hash)
  return hash.digest('hex')
}

async function receiptsOf(
  relayUrl: string,
  vendor: VendorId,
  report: DeviceRelease['report'],
): Promise<ReceiptsBlob> {
  if (report?.blob === undefined) return { receipts: [], windows: [] }
  const fetched = await fetchBlob([relayUrl], vendor, report.blob.sha256, fetch)
  const blob = fetched.tag === 'ok' ? openBlob(fetched.bytes, fromHex(report.blob.key)) : undefined
  if (blob === undefined) throw new Error('The receipts of a report cannot be opened.')
  return blob
}

type DeviceSources = Readonly<{
  device: DeviceHandle
  row: DeviceRelease
  release: Release
  relayUrl: string
  vendor: VendorId
  before: Before
  /** Paid to the device's account in between, so that it could go on. */
  fundedMsat: number
}>

async function deviceOutcome(sources: DeviceSources): Promise<DeviceOutcome> {
  const { device, row, release } = sources
  const blob = await receiptsOf(sources.relayUrl, sources.vendor, row.report)
  const [balance, all] = await Promise.all([device.wallet.balance(), settled(device.wallet)])
  const payments = all.filter(
    ({ direction, paymentHash }) => direction === 'out' && !sources.before.payments.has(paymentHash),
  )
  const feesOf = new Map(blob.windows.map(({ paymentHash, feesMsat }) => [paymentHash, feesMsat]))
  const bought = blob.windows.flatMap((window) => (window.late ? [] : window.pieces))
  return {
    id: device.key,
    name: device.name,
    state: row.state,
    sha256: await fileSha256(installedFile(device, release.product, release.fileName)),
    seconds: row.report ? Math.max(0, row.report.finishedAt - row.report.announcedAt) / 1000 : 0,
    balanceFallMsat: sources.before.balance + sources.fundedMsat - balance,
    paidMsat: payments.reduce((sum, { amount }) => sum + amount, 0),
    feesMsat: payments.reduce((sum, { fees }) => sum + fees, 0),
    reportedFeesMsat: row.feesMsat,
    receipts: blob.receipts.map((receipt) => {
      const check = verifyReceipt(receipt, {
        root: release.piecesRoot,
        shape: { length: release.bytes, pieceLength: release.pieceLength },
        cap: release.priceCapMsat,
        buyer: device.key,
      })
      return check.ok
        ? {
            seller: check.quote.seller,
            amountMsat: check.quote.amount,
            feesMsat: feesOf.get(check.quote.paymentHash) ?? 0,
            paymentHash: check.quote.paymentHash,
            valid: true,
          }
        : { seller: '', amountMsat: 0, feesMsat: 0, paymentHash: '', valid: false }
    }),
    paymentHashes: payments.map(({ paymentHash }) => paymentHash),
    piecesBoughtTwice: bought.length - new Set(bought).size,
  }
}

type Party = Readonly<{ key: PartyKey; name: string; wallet: Wallet }>

export type BooksOptions = Readonly<{
  host: VendorHost
  relayUrl: string
  devices: readonly DeviceHandle[]
  distributors: readonly Party[]
  /** Msat that the vendor has paid since to one device, or to all. */
  funded: (device?: PartyKey) => number
  /** With real Lightning: what the nodes say. */
  htlcs?: (() => Promise<Htlcs>) | undefined
}>

export interface Books {
  judge(release: Release, seed?: Seed): Promise<Verdict>
  /** Judges again until all is well or payments have had their time. */
  balanced(release: Release, seed?: Seed, signal?: AbortSignal): Promise<Verdict>
}

export const viewOf = (host: VendorHost, release: Release): ReleaseView | undefined =>
  host.vendor.fleet.get().releases.find((view) => view.release.path === release.path)

/** Notes what every wallet holds now, before a release. */
export async function openBooks(options: BooksOptions): Promise<Books> {
  const { host, devices, distributors, funded } = options
  const vendorKey = host.keys.nostr.key
  const sellers: Party[] = [...distributors, { key: vendorKey, name: 'vendor', wallet: host.till }]
  const notes = new Map<string, Before>()
  for (const party of [...devices, ...sellers]) notes.set(party.key, await before(party.wallet))
  const earlier = (key: string): Before => {
    const found = notes.get(key)
    if (found === undefined) throw new Error(`Nobody looked at the wallet of ${key} before the release.`)
    return found
  }

  async function judgeNow(release: Release, seed?: Seed): Promise<Verdict> {
    const status = host.vendor.status.get()
    const view = viewOf(host, release)
    if (status.tag !== 'ready' || view === undefined) throw new Error('The vendor engine lost the release.')
    const devicesDone = view.devices.flatMap((row) => {
      const device = devices.find(({ key }) => key === row.device)
      if (device === undefined) return []
      return deviceOutcome({
        device,
        row,
        release,
        relayUrl: options.relayUrl,
        vendor: status.vendor,
        before: earlier(device.key),
        fundedMsat: funded(device.key),
      })
    })
    // Distributors may buy their first copy from one another: that is not what devices paid.
    const ledgers = await Promise.all(
      sellers.map(async ({ key, wallet }) => {
        const rows = (await settled(wallet)).filter(
          ({ paymentHash }) => !earlier(key).payments.has(paymentHash),
        )
        return [key, rows] as const
      }),
    )
    const paidBySellers = new Set(
      ledgers.flatMap(([, rows]) =>
        rows.filter(({ direction }) => direction === 'out').map(({ paymentHash }) => paymentHash),
      ),
    )
    const sellersDone = ledgers.map(([key, rows]) => {
      const sold = view.edges.filter((edge) => edge.seller === key).reduce((sum, edge) => sum + edge.bytes, 0)
      return {
        id: key,
        name: sellers.find((seller) => seller.key === key)?.name ?? key,
        earnedMsat: rows
          .filter(({ direction, paymentHash }) => direction === 'in' && !paidBySellers.has(paymentHash))
          .reduce((sum, { amount }) => sum + amount, 0),
        uploadedBytes: key === vendorKey && seed ? seed.shop.get().uploadedBytes : sold,
      }
    })
    return judge({
      release: {
        name: release.product,
        version: release.version,
        sha256: release.sha256,
        bytes: release.bytes,
      },
      devices: await Promise.all(devicesDone),
      sellers: sellersDone,
      ...(options.htlcs && { htlcs: await options.htlcs() }),
    })
  }

  return {
    judge: judgeNow,
    async balanced(release, seed, signal) {
      const end = performance.now() + SETTLE_TIMEOUT_MS
      for (;;) {
        const verdict = await judgeNow(release, seed)
        if (verdict.ok || performance.now() > end || signal?.aborted) return verdict
        await delay(AGAIN_MS)
      }
    },
  }
}
