import { bech32 } from '@scure/base'
import bolt11 from 'bolt11'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { toHex } from '../bytes.ts'
import {
  decodeInvoice,
  encodeInvoice,
  explainRefusal,
  MAX_DESCRIPTION_BYTES,
  MAX_INVOICE_LENGTH,
  prefixOf,
  type InvoiceTemplate,
  type Prefix,
} from './bolt11.ts'
import vectors from './bolt11.vectors.json' with { type: 'json' }
import type { Msat } from './msat.ts'

const secret = new Uint8Array(32).fill(7)
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex)
const anyTemplate: fc.Arbitrary<InvoiceTemplate> = fc.record({
  prefix: fc.constantFrom<Prefix>('lnbc', 'lntb', 'lntbs', 'lnbcrt'),
  amount: fc.oneof(
    fc.integer({ min: 1, max: 5000 }),
    fc.maxSafeInteger().filter((n) => n > 0),
  ) as fc.Arbitrary<Msat>,
  paymentHash: bytes32 as fc.Arbitrary<InvoiceTemplate['paymentHash']>,
  paymentSecret: bytes32,
  description: fc.string({ unit: 'grapheme', maxLength: 60 }),
  createdAtMs: fc.integer({ min: 0, max: 2 ** 35 - 1 }).map((s) => s * 1000),
  expirySeconds: fc.integer({ min: 0, max: 10_000_000 }),
  minFinalCltv: fc.integer({ min: 0, max: 5000 }),
})
const sample: InvoiceTemplate = {
  prefix: 'lnbcrt',
  amount: 1001 as Msat,
  paymentHash: 'ab'.repeat(32) as InvoiceTemplate['paymentHash'],
  paymentSecret: 'cd'.repeat(32),
  description: 'one window',
  createdAtMs: 1_700_000_000_000,
  expirySeconds: 600,
}

describe('BOLT 11 vectors', () => {
  test.each(vectors.accepted)('accepted: $name', ({ text }) => {
    expect(decodeInvoice(text)).toEqual({
      ok: true,
      invoice: {
        text,
        prefix: 'lnbc',
        amount: 2_500_000_000,
        paymentHash: '0001020304050607080900010203040506070809000102030405060708090102',
        paymentSecret: '11'.repeat(32),
        description: 'coffee beans',
        payee: vectors.payee,
        createdAtMs: 1_496_314_658_000,
        expiresAtMs: 1_496_318_258_000,
        minFinalCltv: 18,
      },
    })
  })
  test.each(vectors.refused)('refused: $name', ({ text, why }) => {
    const decoded = decodeInvoice(text)
    expect(decoded).toEqual({ ok: false, why })
    if (!decoded.ok) expect(explainRefusal(decoded.why).length).toBeGreaterThan(10)
  })
})

test('what was written is what is read, for any amount, text and time', () => {
  fc.assert(
    fc.property(anyTemplate, (template) => {
      const text = encodeInvoice(template, secret)
      const { prefix, amount, paymentHash, paymentSecret, description, createdAtMs, minFinalCltv } = template
      const decoded = decodeInvoice(text)
      expect(decoded).toMatchObject({
        ok: true,
        invoice: { text, prefix, amount, paymentHash, paymentSecret, description, createdAtMs, minFinalCltv },
      })
      expect(decoded.ok && decoded.invoice.expiresAtMs - createdAtMs).toBe(template.expirySeconds * 1000)
    }),
    { numRuns: 60 },
  )
})

test('another implementation reads the same out of our invoices', () => {
  const regtest = { bech32: 'bcrt', pubKeyHash: 0x6f, scriptHash: 0xc4, validWitnessVersions: [0, 1] }
  const payable = fc.tuple(anyTemplate, fc.integer({ min: 1, max: 2_000_000_000 }))
  fc.assert(
    fc.property(payable, ([template, amount]) => {
      const text = encodeInvoice({ ...template, prefix: 'lnbcrt', amount: amount as Msat }, secret)
      const theirs = bolt11.decode(text, regtest)
      const ours = decodeInvoice(text)
      if (!ours.ok) throw new Error(ours.why.tag)
      expect(theirs.payeeNodeKey).toBe(ours.invoice.payee)
      expect(theirs.millisatoshis).toBe(String(amount))
      expect(theirs.timestamp).toBe(template.createdAtMs / 1000)
      expect(theirs.tagsObject).toMatchObject({
        payment_hash: template.paymentHash,
        payment_secret: template.paymentSecret,
        description: template.description,
        min_final_cltv_expiry: template.minFinalCltv,
      })
    }),
    { numRuns: 30 },
  )
})

test('any one changed character is noticed', () => {
  const text = encodeInvoice(sample, secret)
  fc.assert(
    fc.property(
      fc.nat(text.length - 1),
      fc.constantFrom(...'qpzry9x8gf2tvdw0s3jn54khce6mua7l1'),
      (at, char) => {
        fc.pre(text[at] !== char)
        expect(decodeInvoice(text.slice(0, at) + char + text.slice(at + 1)).ok).toBe(false)
      },
    ),
    { numRuns: 100 },
  )
})

test('a changed word under a fresh checksum does not keep the payee', () => {
  const text = encodeInvoice(sample, secret)
  const honest = decodeInvoice(text)
  const { prefix, words } = bech32.decode(text as `${string}1${string}`, false)
  const forged = bech32.encode(prefix.replace('10010p', '20020p'), words, false)
  const decoded = decodeInvoice(forged)
  expect(decoded.ok && honest.ok && decoded.invoice.payee === honest.invoice.payee).toBe(false)
})

test('money decides the prefix, and another prefix is refused by name', () => {
  expect(prefixOf('bitcoin')).toBe('lnbc')
  expect(prefixOf('testnet')).toBe('lntb')
  expect(prefixOf('sandbox:ab')).toBe('lnbcrt')
  const text = encodeInvoice(sample, secret)
  expect(decodeInvoice(text, { prefix: 'lnbc' })).toEqual({
    ok: false,
    why: { tag: 'wrong-prefix', found: 'lnbcrt', expected: 'lnbc' },
  })
  const address = bech32.encode('bc', [1, 2, 3])
  expect(decodeInvoice(address)).toEqual({ ok: false, why: { tag: 'wrong-prefix', found: 'bc' } })
})

test('length is bounded, at the bound and one past it', () => {
  const over = 'lnbc1' + 'q'.repeat(MAX_INVOICE_LENGTH - 4)
  expect(decodeInvoice(over)).toEqual({ ok: false, why: { tag: 'too-long', max: MAX_INVOICE_LENGTH } })
  expect(decodeInvoice(over.slice(1))).toEqual({ ok: false, why: { tag: 'not-bech32' } })
  const longest = { ...sample, description: 'x'.repeat(MAX_DESCRIPTION_BYTES) }
  expect(decodeInvoice(encodeInvoice(longest, secret)).ok).toBe(true)
  expect(() =>
    encodeInvoice({ ...sample, description: 'x'.repeat(MAX_DESCRIPTION_BYTES + 1) }, secret),
  ).toThrow(RangeError)
})

test('arbitrary text never throws', () => {
  fc.assert(fc.property(fc.string(), (text) => void decodeInvoice(text)))
  const words = fc.array(fc.nat(31), { maxLength: 300 })
  fc.assert(fc.property(words, (data) => void decodeInvoice(bech32.encode('lnbcrt10n', data, false))))
})
