import { expect, test } from 'vitest'
import { sha256Hex, toHex, utf8, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { receiptOf, signQuote, verifyReceipt } from '../exchange/quote.ts'
import type { Receipt } from '../exchange/receipt.ts'
import { msat, type Money } from '../money/msat.ts'
import { publicKey, type SecretKey } from '../nostr/event.ts'
import type { Release } from '../release/target.ts'
import { testEntry } from '../release/test-repository.ts'
import type { Report } from './messages.ts'
import { openBlob, sealBlob } from './report-blob.ts'
import { checkAddendum, checkReport, receiptsRoot } from './report.ts'

const entry = testEntry('1.0')
const release: Release = {
  ...entry.custom,
  path: entry.path,
  bytes: 300_000,
  sha256: entry.sha256 as Sha256Hex,
  targetsVersion: 2,
}
const shape = { length: release.bytes, pieceLength: release.pieceLength }
const [alice, bob] = [3, 4].map((n) => new Uint8Array(32).fill(n) as SecretKey)
const author = 'dd'.repeat(32) as PartyKey
const vendor = 'ab'.repeat(32) as Sha256Hex

function receipt(
  n: number,
  amount: number,
  seller = alice!,
  buyer = author,
  root = release.piecesRoot,
): Receipt {
  const preimage = new Uint8Array(32).fill(n)
  const quote = {
    id: sha256Hex(utf8(`q${n}`)),
    buyer,
    seller: publicKey(seller),
    root,
    shape,
    pieces: [0],
    cipherRoot: sha256Hex(utf8('c')),
    paymentHash: sha256Hex(preimage),
    amount: msat(amount),
    money: 'sandbox:x' as Money,
    expiry: 2_000_000_000,
    invoice: 'lnbcrt',
  }
  return receiptOf(signQuote(quote, seller, new Uint8Array(32)), toHex(preimage))
}
const hashOf = (one: Receipt): Sha256Hex => {
  const check = verifyReceipt(one)
  if (!check.ok) throw new Error(check.why)
  return check.hash
}
const sums = (seller: SecretKey, paidMsat: number) => ({
  seller: publicKey(seller),
  pieces: 1,
  bytes: 1,
  paidMsat: msat(paidMsat),
  feesMsat: msat(0),
  rateBps: 0,
})
const receipts = [receipt(1, 100), receipt(2, 50), receipt(3, 25, bob)]
const report: Report = {
  v: 1,
  vendor,
  path: release.path,
  sha256: release.sha256,
  piecesRoot: release.piecesRoot,
  targetsVersion: 2,
  outcome: 'healthy',
  announcedAt: 1,
  startedAt: 2,
  verifiedAt: 3,
  finishedAt: 4,
  paidMsat: msat(175),
  feesMsat: msat(1),
  sellers: [sums(alice!, 150), sums(bob!, 25)],
  receipts: 3,
  receiptsRoot: receiptsRoot(receipts.map(hashOf)),
  blob: { sha256: vendor, key: vendor },
}
const context = { vendor, release, author }
const judge = (more: Partial<Report> = {}, shown: readonly Receipt[] = receipts, about = context) => {
  const verdict = checkReport({ ...report, ...more }, shown, about)
  return verdict.tag === 'refused' ? verdict.why : verdict
}

test('a true report is accepted with what each seller earned', () => {
  expect(judge()).toMatchObject({ tag: 'accepted', receipts: 3, paidMsat: 175 })
  const verdict = checkReport(report, receipts, context)
  expect(verdict.tag === 'accepted' && [...verdict.earned]).toEqual([
    [publicKey(alice!), 150],
    [publicKey(bob!), 25],
  ])
})

test('a report without receipts is accepted when nothing was paid', () => {
  const { blob: _, ...rest } = report
  const free: Report = {
    ...rest,
    paidMsat: msat(0),
    sellers: [],
    receipts: 0,
    receiptsRoot: receiptsRoot([]),
  }
  expect(checkReport(free, [], context).tag).toBe('accepted')
  expect(checkReport({ ...free, paidMsat: msat(1) }, [], context)).toMatchObject({ why: 'sums-differ' })
})

test('each lie has its refusal', () => {
  expect(judge({ vendor: 'cd'.repeat(32) as Sha256Hex })).toBe('other-vendor')
  expect(judge({ path: 'pump/9/x' })).toBe('unknown-release')
  expect(judge({ sha256: vendor })).toBe('other-bytes')
  expect(judge({ piecesRoot: vendor })).toBe('other-bytes')
  const { blob: _, ...blobless } = report
  expect(checkReport(blobless, receipts, context)).toMatchObject({ why: 'receipts-missing' })
  expect(judge({}, receipts.slice(1))).toBe('receipts-other')
  expect(judge({}, receipts.toReversed())).toBe('receipts-other')
  expect(judge({ receiptsRoot: vendor })).toBe('receipts-other')
  expect(judge({ paidMsat: msat(176) })).toBe('sums-differ')
  expect(judge({ sellers: [sums(alice!, 149), sums(bob!, 26)] })).toBe('sums-differ')
  expect(judge({}, [receipts[0]!, receipts[0]!, receipts[2]!])).toBe('receipt-invalid')
  expect(judge({}, receipts, { ...context, author: 'ee'.repeat(32) as PartyKey })).toBe('receipt-invalid')
  expect(judge({}, [receipts[0]!, receipts[1]!, { ...receipts[2]!, preimage: '00'.repeat(32) }])).toBe(
    'receipt-invalid',
  )
  expect(judge({}, [receipts[0]!, receipts[1]!, receipt(3, 25, bob!, author, vendor)])).toBe(
    'receipt-invalid',
  )
  expect(judge({}, [receipts[0]!, receipts[1]!, receipt(3, 25_000, bob!)])).toBe('receipt-invalid')
  expect(judge({}, [receipts[0]!, receipts[1]!, { quote: 'zz', sig: '', preimage: '' }])).toBe(
    'receipt-invalid',
  )
})

test('an addendum counts once, with its own receipt', () => {
  const late = receipt(9, 10)
  const addendum = {
    v: 1 as const,
    vendor,
    path: release.path,
    receipt: late,
    amountMsat: msat(10),
    feesMsat: msat(0),
  }
  expect(checkAddendum(addendum, new Set(), context)).toMatchObject({ tag: 'accepted', paidMsat: 10 })
  const hash = sha256Hex(new Uint8Array(32).fill(9))
  expect(checkAddendum(addendum, new Set([hash]), context).tag).toBe('refused')
  expect(checkAddendum({ ...addendum, amountMsat: msat(11) }, new Set(), context).tag).toBe('refused')
  expect(checkAddendum(addendum, new Set(), { ...context, release: undefined }).tag).toBe('refused')
})

test('a blob opens with its key alone, unchanged', () => {
  const [key, nonce] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2)]
  const blob = { receipts, windows: [] }
  const sealed = sealBlob(blob, key, nonce)
  expect(openBlob(sealed, key)).toEqual(blob)
  expect(openBlob(sealed, new Uint8Array(32))).toBeUndefined()
  expect(
    openBlob(
      sealed.map((byte, i) => (i === 40 ? byte ^ 1 : byte)),
      key,
    ),
  ).toBeUndefined()
  expect(openBlob(new Uint8Array(5), key)).toBeUndefined()
})
