/** Judges a device's report: is it about what the vendor signed, do its receipts carry its sums, is it the first? */
import type { PartyKey, Sha256Hex } from '../bytes.ts'
import { fromHex, toHex } from '../bytes.ts'
import { verifyReceipt as verifyReceiptOf, type ReceiptCheck } from '../exchange/quote.ts'
import type { Receipt } from '../exchange/receipt.ts'
import { msat, type Msat } from '../money/msat.ts'
import type { Release } from '../release/target.ts'
import { HASH, rootOfLeaves } from '../swarm/merkle.ts'
import type { Addendum, Report } from './messages.ts'

export type ReportRefusal =
  | 'other-vendor'
  | 'unknown-release'
  | 'other-bytes' // SHA-256, Merkle root or targets version is not what the vendor signed
  | 'replayed' // another report for the same release by the same device came before
  | 'receipts-missing' // the blob is not there, or not what its hash says
  | 'receipts-other' // its Merkle root or count is not the reported one
  | 'receipt-invalid'
  | 'sums-differ'

export type ReportVerdict =
  /** `earned`: what the checked receipts give each seller. `payments`: their payment hashes. */
  | Readonly<{
      tag: 'accepted'
      receipts: number
      paidMsat: Msat
      earned: ReadonlyMap<PartyKey, Msat>
      payments: ReadonlySet<string>
    }>
  /** Its receipts are still being fetched. */
  | Readonly<{ tag: 'checking' }>
  | Readonly<{ tag: 'refused'; why: ReportRefusal; text: string }>

export type FinalVerdict = Exclude<ReportVerdict, { tag: 'checking' }>
type Refused = Extract<ReportVerdict, { tag: 'refused' }>

const refused = (why: ReportRefusal, text: string): Refused => ({ tag: 'refused', why, text })

/** `report.receiptsRoot`: a BEP 52 tree over the receipts' hashes in the blob's order; all zero when there is none. */
export function receiptsRoot(hashes: readonly Sha256Hex[]): Sha256Hex {
  if (hashes.length === 0) return '0'.repeat(64) as Sha256Hex
  const leaves = new Uint8Array(hashes.length * HASH)
  hashes.forEach((hash, i) => leaves.set(fromHex(hash), i * HASH))
  return toHex(rootOfLeaves(leaves)) as Sha256Hex
}

export type VerifyReceipt = (
  receipt: Receipt,
  against?: Parameters<typeof verifyReceiptOf>[1],
) => ReceiptCheck

export type ReportContext = Readonly<{
  vendor: Sha256Hex
  /** The release that the report's path names, as the vendor signed it; withdrawn ones too. */
  release: Release | undefined
  /** The device: author of the rumour. */
  author: PartyKey
  verifyReceipt?: VerifyReceipt
}>

/** What can be judged without the receipts; `undefined`: nothing wrong so far. */
export function refuseReport(report: Report, { vendor, release }: ReportContext): Refused | undefined {
  if (report.vendor !== vendor)
    return refused('other-vendor', 'The report is about another vendor’s release.')
  if (!release || release.path !== report.path) {
    return refused('unknown-release', 'The report is about a release that was never signed.')
  }
  if (report.sha256 !== release.sha256 || report.piecesRoot !== release.piecesRoot) {
    return refused('other-bytes', 'The report names other bytes than the vendor signed.')
  }
  if (report.receipts > 0 && !report.blob) {
    return refused('receipts-missing', `The report speaks of ${report.receipts} receipts and shows none.`)
  }
  return undefined
}

/** The whole judgement, with the receipts from the report's blob, in its order. */
export function checkReport(
  report: Report,
  receipts: readonly Receipt[],
  context: ReportContext,
): FinalVerdict {
  const early = refuseReport(report, context)
  const { release, author, verifyReceipt = verifyReceiptOf } = context
  if (early) return early
  if (!release) throw new RangeError('refuseReport lets no report pass without its release')
  if (receipts.length !== report.receipts) {
    const text = `The report speaks of ${report.receipts} receipts; ${receipts.length} came.`
    return refused('receipts-other', text)
  }
  const against = {
    root: release.piecesRoot,
    shape: { length: release.bytes, pieceLength: release.pieceLength },
    cap: release.priceCapMsat,
    buyer: author,
  }
  const hashes: Sha256Hex[] = []
  const payments = new Set<string>()
  const earned = new Map<PartyKey, Msat>()
  let total = 0
  for (const [i, receipt] of receipts.entries()) {
    const check = verifyReceipt(receipt, against)
    const fail = (why: string) => refused('receipt-invalid', `Receipt ${i + 1} does not count: ${why}.`)
    if (!check.ok) return fail(check.why)
    const { paymentHash, seller, amount } = check.quote
    if (payments.has(paymentHash)) return fail('its payment was counted before')
    payments.add(paymentHash)
    hashes.push(check.hash)
    total += amount
    earned.set(seller, msat((earned.get(seller) ?? 0) + amount))
  }
  if (receiptsRoot(hashes) !== report.receiptsRoot) {
    return refused('receipts-other', 'The receipts are not those that the report signed for.')
  }
  const difference = sumsDiffer(report, total, earned)
  if (difference) return refused('sums-differ', difference)
  return { tag: 'accepted', receipts: receipts.length, paidMsat: msat(total), earned, payments }
}

function sumsDiffer(report: Report, total: number, earned: ReadonlyMap<PartyKey, Msat>): string | undefined {
  if (report.paidMsat !== total) {
    return `The report says ${report.paidMsat} msat were paid; its receipts say ${total} msat.`
  }
  const said = new Map<PartyKey, number>()
  for (const { seller, paidMsat } of report.sellers) said.set(seller, (said.get(seller) ?? 0) + paidMsat)
  for (const seller of new Set([...said.keys(), ...earned.keys()])) {
    const [a, b] = [said.get(seller) ?? 0, earned.get(seller) ?? 0]
    if (a !== b) return `The report says ${a} msat went to ${seller.slice(0, 8)}; its receipts say ${b} msat.`
  }
  return undefined
}

/** A payment that settled after the report: counts when its receipt does and the report had not counted it. */
export function checkAddendum(
  addendum: Addendum,
  counted: ReadonlySet<string>,
  context: ReportContext,
):
  | Readonly<{ tag: 'accepted'; seller: PartyKey; paymentHash: string; paidMsat: Msat }>
  | Readonly<{ tag: 'refused'; text: string }> {
  const { release, author, vendor, verifyReceipt = verifyReceiptOf } = context
  if (addendum.vendor !== vendor || !release || release.path !== addendum.path) {
    return { tag: 'refused', text: 'The addendum is about a release that was never signed.' }
  }
  const check = verifyReceipt(addendum.receipt, {
    root: release.piecesRoot,
    shape: { length: release.bytes, pieceLength: release.pieceLength },
    cap: release.priceCapMsat,
    buyer: author,
  })
  if (!check.ok) return { tag: 'refused', text: `Its receipt does not count: ${check.why}.` }
  const { paymentHash, seller, amount } = check.quote
  if (counted.has(paymentHash)) return { tag: 'refused', text: 'Its payment was counted before.' }
  if (amount !== addendum.amountMsat) return { tag: 'refused', text: 'Its amount is not the receipt’s.' }
  return { tag: 'accepted', seller, paymentHash, paidMsat: amount }
}
