/** The device's receipts for a release: what the journal holds, what the vendor has been told, the encrypted blob. */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { concat, toHex, utf8, type Bytes, type PartyKey, type Sha256Hex } from '../../web/core/bytes.ts'
import { verifyReceipt } from '../../web/core/exchange/quote.ts'
import type { Receipt } from '../../web/core/exchange/receipt.ts'
import { sum, ZERO, type Msat } from '../../web/core/money/msat.ts'
import {
  partyKeySchema,
  releaseSchema,
  sha256HexSchema,
  type Release,
} from '../../web/core/release/target.ts'
import { receiptsBlobSchema, type SellerSum, type WindowRow } from '../../web/core/rollout/messages.ts'
import { receiptsRoot } from '../../web/core/rollout/report.ts'
import type { Journal } from '../../web/edge/swarm/api.ts'
import { decodePaid, type PaidRecord } from '../../web/edge/swarm/records.ts'
import { writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'

/** What `satpatch verify-receipts` reads: the blob's content and what it is about. */
export const receiptsFileSchema = v.object({
  v: v.literal(1),
  vendor: sha256HexSchema,
  device: partyKeySchema,
  release: releaseSchema,
  ...receiptsBlobSchema.entries,
})
export type ReceiptsFile = v.InferOutput<typeof receiptsFileSchema>

/** Everything that the journal knows to be paid for a release, in order of payment. */
export async function paidRecords(
  journal: Pick<Journal, 'get' | 'keys'>,
  release: Release,
): Promise<PaidRecord[]> {
  const records: PaidRecord[] = []
  for (const key of await journal.keys(`receipt/${release.infoHash}/`)) {
    const record = decodePaid(await journal.get(key))
    if (record !== undefined) records.push(record)
  }
  return records.sort((a, b) => a.row.paidAt - b.row.paidAt || (a.receipt.quote < b.receipt.quote ? -1 : 1))
}

export const receiptsPath = (dataDir: string, release: Release): string =>
  join(dataDir, 'receipts', `${release.product}-${release.version}-${release.sha256.slice(0, 8)}.json`)

export async function readReceiptsFile(path: string): Promise<ReceiptsFile | undefined> {
  try {
    return v.parse(receiptsFileSchema, JSON.parse(await readFile(path, 'utf8'))) as ReceiptsFile
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw storageError(error, path)
  }
}

export async function writeReceiptsFile(dataDir: string, file: ReceiptsFile): Promise<void> {
  await mkdir(join(dataDir, 'receipts'), { recursive: true, mode: 0o700 })
  await writeDurably(receiptsPath(dataDir, file.release), `${JSON.stringify(file)}\n`)
}

/** Receipts of the journal that the vendor has not been told of. */
export function untold(records: readonly PaidRecord[], file: ReceiptsFile | undefined): PaidRecord[] {
  const told = new Set(file?.receipts.map((receipt) => receipt.quote))
  return records.filter((record) => !told.has(record.receipt.quote))
}

/** AES-256-GCM under a fresh key, the 12-byte nonce first (`reportSchema.blob`). */
export async function sealBlob(
  content: { receipts: readonly Receipt[]; windows: readonly WindowRow[] },
  randomBytes: (length: number) => Bytes,
): Promise<{ bytes: Bytes; key: Sha256Hex }> {
  const secret = randomBytes(32)
  const nonce = randomBytes(12)
  const key = await crypto.subtle.importKey('raw', secret, 'AES-GCM', false, ['encrypt'])
  const plain = utf8(JSON.stringify({ receipts: content.receipts, windows: content.windows }))
  const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv: nonce }, key, plain))
  return { bytes: concat(nonce, sealed), key: toHex(secret) as Sha256Hex }
}

/** The Merkle root that the report names, in the file's order. */
export function rootOfReceipts(receipts: readonly Receipt[]): Sha256Hex {
  return receiptsRoot(
    receipts.flatMap((receipt) => {
      const check = verifyReceipt(receipt)
      return check.ok ? [check.hash] : []
    }),
  )
}

export const paidSum = (rows: readonly WindowRow[]): Msat => sum(rows.map((row) => row.amountMsat))
export const feesSum = (rows: readonly WindowRow[]): Msat => sum(rows.map((row) => row.feesMsat))

/** Sellers that fit in a report beside everything else. */
const MAX_SELLERS = 100

/** Who was paid what: sums from the rows; free pieces, rates and drops from what the download saw. */
export function sellerSums(rows: readonly WindowRow[], seen: readonly SellerSum[]): SellerSum[] {
  const sums = new Map<PartyKey, SellerSum>()
  for (const seller of seen) sums.set(seller.seller, { ...seller, paidMsat: ZERO, feesMsat: ZERO })
  const bought = new Map<PartyKey, { pieces: number; bytes: number }>()
  for (const row of rows) {
    const of = sums.get(row.seller) ?? {
      seller: row.seller,
      pieces: 0,
      bytes: 0,
      paidMsat: ZERO,
      feesMsat: ZERO,
      rateBps: 0,
    }
    const so = bought.get(row.seller) ?? { pieces: 0, bytes: 0 }
    const total = { pieces: so.pieces + row.pieces.length, bytes: so.bytes + row.bytes }
    bought.set(row.seller, total)
    sums.set(row.seller, {
      ...of,
      pieces: Math.max(of.pieces, total.pieces),
      bytes: Math.max(of.bytes, total.bytes),
      paidMsat: (of.paidMsat + row.amountMsat) as Msat,
      feesMsat: (of.feesMsat + row.feesMsat) as Msat,
    })
  }
  return [...sums.values()].sort((a, b) => b.paidMsat - a.paidMsat || b.bytes - a.bytes).slice(0, MAX_SELLERS)
}
