/** Judges a device's report: is it about what the vendor signed, do its receipts carry its sums, is it new? */
import type { Msat } from '../money/msat.ts'
import type { PartyKey } from '../bytes.ts'

export type ReportRefusal =
  | 'not-enrolled'
  | 'other-vendor'
  | 'unknown-release'
  | 'other-bytes' // SHA-256, Merkle root or version is not what the vendor signed
  | 'replayed' // a later report for the same release, or another device's receipts
  | 'receipts-missing' // the blob is not there, or not what its hash says
  | 'receipts-other' // its Merkle root or count is not the reported one
  | 'receipt-invalid'
  | 'sums-differ'

export type ReportVerdict =
  | { tag: 'accepted'; receipts: number; paidMsat: Msat; earned: ReadonlyMap<PartyKey, Msat> }
  /** Its receipts are still being fetched. */
  | { tag: 'checking' }
  | { tag: 'refused'; why: ReportRefusal; text: string }
