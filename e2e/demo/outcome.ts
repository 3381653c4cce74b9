/** Gathers what the judge needs, each from its own source: wallets, disks, and the reports' receipts. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { fromHex, type PartyKey, type VendorId } from '../../web/core/bytes.ts'
import { verifyReceipt } from '../../web/core/exchange/quote.ts'
import { openBlob, type ReceiptsBlob } from '../../web/core/rollout/report-blob.ts'
import type { DeviceRelease } from '../../web/core/rollout/fleet.ts'
import type { Release } from '../../web/core/release/target.ts'
import { fetchBlob } from '../../web/edge/release/mirror.ts'
import type { Transaction, Wallet } from '../../web/edge/wallet/wallet.ts'
import { installedFile, type DeviceHandle } from '../support/house.ts'
import type { DeviceOutcome, SellerOutcome } from './verdict.ts'

const HISTORY_PAGE = 200
const MAX_PAGES = 500

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

export type DeviceSources = Readonly<{
  device: DeviceHandle
  row: DeviceRelease
  release: Release
  relayUrl: string
  vendor: VendorId
  before: Before
  /** Paid to the device's account in between, so that it could go on. */
  fundedMsat: number
}>

export async function deviceOutcome(sources: DeviceSources): Promise<DeviceOutcome> {
  const { device, row, release } = sources
  const blob = await receiptsOf(sources.relayUrl, sources.vendor, row.report)
  const [balance, all] = await Promise.all([device.wallet.balance(), settled(device.wallet)])
  const payments = all.filter(
    ({ direction, paymentHash }) => direction === 'out' && !sources.before.payments.has(paymentHash),
  )
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
            paymentHash: check.quote.paymentHash,
            valid: true,
          }
        : { seller: '', amountMsat: 0, paymentHash: '', valid: false }
    }),
    paymentHashes: payments.map(({ paymentHash }) => paymentHash),
    piecesBoughtTwice: bought.length - new Set(bought).size,
  }
}

export async function sellerOutcome(
  seller: Readonly<{ key: PartyKey; name: string; wallet: Wallet }>,
  earlier: Before,
  uploadedBytes: number,
  /** Moved out of the account for other reasons. */
  movedOutMsat: number,
): Promise<SellerOutcome> {
  const balance = await seller.wallet.balance()
  return {
    id: seller.key,
    name: seller.name,
    earnedMsat: balance + movedOutMsat - earlier.balance,
    uploadedBytes,
  }
}
