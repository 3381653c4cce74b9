import { describe, expect, test } from 'vitest'
import { concat, toHex, type Bytes, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { msat, type Msat } from '../money/msat.ts'
import { decode, encode, type BDict } from './bencode.ts'
import {
  decodeQuote,
  encodeQuote,
  MAX_QUOTE_BYTES,
  MAX_WINDOW_PIECES,
  openQuote,
  receiptOf,
  refuseQuote,
  verifyReceipt,
  type Quote,
  type QuoteExpectation,
} from './quote.ts'
import { artifact, BLOCK, bytes32, MONEY, NOW_S, party, PRICE, sell } from './sample.ts'

const parties = { buyer: party('buyer'), seller: party('seller') }
const other = party('other')
const release = artifact({ length: 5 * BLOCK + 100, pieceLength: 2 * BLOCK })
const sold = sell(release, [0, 2], parties)
const { quote, bytes, sig } = sold.signed
const hash = (name: string) => toHex(bytes32(name)) as Sha256Hex

describe('a quote', () => {
  test('is read back from its one encoding, and opened by the seller’s signature', () => {
    expect(decodeQuote(bytes)).toEqual(quote)
    expect(openQuote(bytes, sig)?.quote).toEqual(quote)
  })

  test('signed by another key, or changed in one bit, is not opened', () => {
    const stolen = sell(release, [0, 2], { ...parties, seller: { ...other, key: parties.seller.key } })
    expect(openQuote(stolen.signed.bytes, stolen.signed.sig)).toBeUndefined()
    for (let bit = 0; bit < bytes.length * 8; bit += 61) {
      const bent = bytes.slice()
      bent[bit >> 3] = (bent[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(openQuote(bent, sig)).toBeUndefined()
    }
    for (let at = 0; at < 64; at++) {
      const bent = sig.slice()
      bent[at] = (bent[at] ?? 0) ^ 0x80
      expect(openQuote(bytes, bent)).toBeUndefined()
    }
    expect(openQuote(bytes, sig.slice(1))).toBeUndefined()
  })

  const dict = decode(bytes) as BDict
  const without = (key: string): BDict =>
    Object.fromEntries(Object.entries(dict).filter(([name]) => name !== key))
  test.each<[string, Bytes]>([
    ['another version', encode({ ...dict, v: 2 })],
    ['one key more', encode({ ...dict, extra: 1 })],
    ...Object.keys(dict).map((key): [string, Bytes] => [`no ${key}`, encode(without(key))]),
    ['pieces that do not ascend', encode({ ...dict, pieces: [2, 0] })],
    ['no pieces', encode({ ...dict, pieces: [] })],
    [
      'too many pieces',
      encode({ ...dict, pieces: Array.from({ length: MAX_WINDOW_PIECES + 1 }, (_, i) => i) }),
    ],
    ['a negative amount', encode({ ...dict, amount: -1 })],
    ['a short id', encode({ ...dict, id: new Uint8Array(31) })],
    ['unknown money', encode({ ...dict, money: 'gold' })],
    ['an invoice that is not UTF-8', encode({ ...dict, invoice: new Uint8Array([0xff]) })],
    ['bytes behind', concat(bytes, new Uint8Array(1))],
    ['a list', encode([1])],
    ['nothing', new Uint8Array()],
    ['too many bytes', encode({ ...dict, invoice: 'x'.repeat(MAX_QUOTE_BYTES) })],
  ])('%s is not a quote', (_, given) => {
    expect(decodeQuote(given)).toBeUndefined()
  })

  test('as many pieces as a window may have are read', () => {
    const pieces = Array.from({ length: MAX_WINDOW_PIECES }, (_, i) => i)
    expect(decodeQuote(encodeQuote({ ...quote, pieces }))?.pieces).toHaveLength(MAX_WINDOW_PIECES)
  })
})

const want: QuoteExpectation = {
  buyer: parties.buyer.key,
  seller: parties.seller.key,
  root: release.root,
  shape: release.shape,
  pieces: [0, 2],
  cipherRoot: quote.cipherRoot,
  money: MONEY,
  offered: PRICE,
  cap: PRICE,
  nowMs: NOW_S * 1000,
  invoice: { paymentHash: quote.paymentHash, amount: quote.amount, expiresAtMs: (NOW_S + 120) * 1000 },
}
const invoice = want.invoice as Exclude<QuoteExpectation['invoice'], undefined | 'unreadable'>

describe('what a buyer checks before it pays', () => {
  test('an honest quote is paid', () => {
    expect(refuseQuote(quote, want)).toBeUndefined()
  })

  test.each<[string, Partial<Quote>, Partial<QuoteExpectation>]>([
    ['not the key of this wire', { seller: other.key }, {}],
    ['made out to another buyer', { buyer: other.key }, {}],
    ['for another release', { root: hash('x') }, {}],
    ['for another release', { shape: { ...release.shape, length: release.shape.length + 1 } }, {}],
    ['for another release', { shape: { ...release.shape, pieceLength: BLOCK } }, {}],
    ['for other pieces', { pieces: [0] }, {}],
    ['for other pieces', { pieces: [0, 1] }, {}],
    ['for other pieces', { pieces: [0, 1, 2] }, {}],
    ['ciphertext off its root', { cipherRoot: hash('x') }, {}],
    ['above the offered price', { amount: msat(quote.amount + 1) }, { cap: msat(PRICE * 2) }],
    ['above the price cap', {}, { cap: msat(PRICE / 2) }],
    ['in another mode', { mode: 'credit' }, {}],
    ['in another mode', {}, { mode: 'credit' }],
    ['in other money', { money: 'bitcoin' }, {}],
    ['expired', { expiry: NOW_S }, {}],
    ['expires too late', { expiry: NOW_S + 3601 }, {}],
    ['invoice unreadable', {}, { invoice: undefined }],
    ['invoice unreadable', {}, { invoice: 'unreadable' }],
    ['invoice for another hash', {}, { invoice: { ...invoice, paymentHash: hash('x') } }],
    ['invoice for another amount', {}, { invoice: { ...invoice, amount: quote.amount + 1 } }],
    ['invoice for another amount', { amount: msat(quote.amount - 1) }, {}],
    ['invoice expired', {}, { invoice: { ...invoice, expiresAtMs: NOW_S * 1000 } }],
    ['invoice that outlives it', { expiry: NOW_S + 59 }, {}],
  ])('%s: refused', (why, change, expectation) => {
    expect(refuseQuote({ ...quote, ...change }, { ...want, ...expectation })).toBe(why)
  })

  test('the bounds themselves are paid', () => {
    expect(refuseQuote({ ...quote, expiry: NOW_S + 3600 }, want)).toBeUndefined()
    expect(refuseQuote({ ...quote, expiry: NOW_S + 60 }, want)).toBeUndefined()
    const soon = { ...invoice, expiresAtMs: (NOW_S + 1) * 1000 }
    expect(refuseQuote({ ...quote, expiry: NOW_S + 1 }, { ...want, invoice: soon })).toBeUndefined()
  })

  test('over Lightning a window below its price cap costs a sat, and no more', () => {
    const dear = { ...quote, amount: msat(1000), money: 'bitcoin' as const }
    const over = { ...want, money: dear.money, offered: msat(1), cap: msat(2) }
    expect(refuseQuote(dear, { ...over, invoice: { ...invoice, amount: 1000 } })).toBeUndefined()
    expect(refuseQuote({ ...dear, amount: msat(1001) }, over)).toBe('above the offered price')
    expect(refuseQuote({ ...dear, amount: msat(1001) }, { ...over, offered: over.cap })).toBe(
      'above the price cap',
    )
    expect(refuseQuote({ ...dear, money: MONEY }, { ...over, money: MONEY })).toBe('above the offered price')
  })

  test('a gift needs no invoice, no money and no time, but everything else', () => {
    const gift = { ...quote, amount: 0 as Msat, invoice: '', expiry: 0, money: 'bitcoin' as const }
    const free = { ...want, invoice: undefined, offered: 0 as Msat }
    expect(refuseQuote(gift, free)).toBeUndefined()
    expect(refuseQuote({ ...gift, cipherRoot: hash('x') }, free)).toBe('ciphertext off its root')
    expect(refuseQuote({ ...gift, amount: 1 as Msat }, free)).toBe('above the offered price')
  })
})

describe('a receipt', () => {
  const receipt = receiptOf(sold.signed, toHex(sold.secret))
  const against = { root: release.root, shape: release.shape, cap: PRICE, buyer: parties.buyer.key }

  test('checks, and its hash names it', () => {
    const check = verifyReceipt(receipt, against)
    expect(check).toMatchObject({ ok: true, quote })
    expect(verifyReceipt({ ...receipt, sig: receipt.sig.toUpperCase() })).toEqual(verifyReceipt(receipt))
  })

  const beyond = sell(release, [0, 3], parties)
  const wideShape = artifact({ length: 5 * BLOCK + 100, pieceLength: BLOCK })
  test.each<[string, string, () => Parameters<typeof verifyReceipt>]>([
    ['unreadable', 'a quote that is not hex', () => [{ ...receipt, quote: 'xx' }]],
    ['unreadable', 'a quote that is none', () => [{ ...receipt, quote: '00' }]],
    ['unreadable', 'a short preimage', () => [{ ...receipt, preimage: receipt.preimage.slice(2) }]],
    ['bad signature', 'a signature of another quote', () => [{ ...receipt, sig: '00'.repeat(64) }]],
    ['bad signature', 'a short signature', () => [{ ...receipt, sig: receipt.sig.slice(2) }]],
    ['preimage does not fit', 'another preimage', () => [{ ...receipt, preimage: 'ab'.repeat(32) }]],
    ['not of this release', 'another root', () => [receipt, { ...against, root: hash('x') }]],
    ['not of this release', 'another piece length', () => [receipt, { ...against, shape: wideShape.shape }]],
    [
      'not of this release',
      'a piece past the end',
      () => [receiptOf(beyond.signed, toHex(beyond.secret)), against],
    ],
    [
      'made out to another buyer',
      'another buyer',
      () => [receipt, { ...against, buyer: other.key as PartyKey }],
    ],
    ['above the price cap', 'too dear', () => [receipt, { ...against, cap: msat(PRICE / 2) }]],
  ])('%s: %s is refused', (why, _, given) => {
    expect(verifyReceipt(...given())).toEqual({ ok: false, why })
  })
})
