import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as v from 'valibot'
import { sha256Hex, utf8, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { encodeInvoice } from '../money/bolt11.ts'
import { msat } from '../money/msat.ts'
import { publicKey } from '../nostr/event.ts'
import { checkInvoice, crypt, hashOfSecret, openGood, orderId, orderSecret } from './seal.ts'
import {
  decodeStoreCode,
  encodeStoreCode,
  listingSchema,
  MAX_GOOD_BYTES,
  partAt,
  PART_BYTES,
  partsOf,
} from './shop.ts'
import type { Good } from './shop.ts'

const secret = new Uint8Array(32).fill(7)
const shop = publicKey(secret)
const order = orderId('ab'.repeat(32) as PartyKey, new Uint8Array(16))
const good = (content: string): Good => ({
  id: '0123456789abcdef',
  kind: 'opinion',
  title: 'On tea',
  about: '',
  priceMsat: msat(5_000),
  bytes: utf8(content).length,
  sha256: sha256Hex(utf8(content)),
})

describe('a shop’s code', () => {
  test('is read again, also out of the link that carries it', () => {
    const code = encodeStoreCode({ shop, relay: 'ws://localhost:8787/nostr', visitor: secret })
    expect(decodeStoreCode(` ${code}\n`)).toEqual({
      shop,
      relay: 'ws://localhost:8787/nostr',
      visitor: secret,
    })
    expect(decodeStoreCode(`http://localhost:8787/shop#store=${code}`)?.shop).toBe(shop)
  })
  test('that is damaged, names a page, or is none, is not', () => {
    const code = encodeStoreCode({ shop, relay: 'wss://a.example', visitor: secret })
    for (let i = 8; i < code.length; i += 7) {
      const other = code[i] === 'q' ? 'p' : 'q'
      expect(decodeStoreCode(code.slice(0, i) + other + code.slice(i + 1))).toBeUndefined()
    }
    expect(
      decodeStoreCode(encodeStoreCode({ shop, relay: 'https://a.example', visitor: secret })),
    ).toBeUndefined()
    for (const text of ['', 'spstore1', 'spjoin1qqqq', 'spstore1'.padEnd(2000, 'q')])
      expect(decodeStoreCode(text)).toBeUndefined()
  })
})

test('a good opens with its order’s secret alone, and only if it is what was promised', () => {
  const content = 'Darjeeling, second flush.'
  const key = orderSecret(secret, order)
  const sealed = crypt(key, order, utf8(content))
  expect(openGood(key, order, sealed, good(content))).toEqual(utf8(content))
  expect(openGood(key, order, sealed, good('Something else entirely.'))).toBeUndefined()
  expect(openGood('00'.repeat(32), order, sealed, good(content))).toBeUndefined()
  expect(orderSecret(secret, sha256Hex(utf8('another')))).not.toBe(key)
  expect(hashOfSecret(key)).toMatch(/^[0-9a-f]{64}$/)
})

test('parts together are the whole, and none is longer than a message holds', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 * PART_BYTES }), (length) => {
      const whole = new Uint8Array(length).map((_, i) => i % 251)
      const parts = Array.from({ length: partsOf(length) }, (_, i) => partAt(whole, i))
      expect(parts.every((part) => part.length > 0 && part.length <= PART_BYTES)).toBe(true)
      expect(parts.reduce((sum, part) => sum + part.length, 0)).toBe(length)
      expect(parts[0]?.[0]).toBe(0)
    }),
  )
})

test('an invoice for another amount, other money or too late is not paid', () => {
  const now = Date.UTC(2026, 10, 3)
  const invoice = (amount: number, prefix: 'lnbc' | 'lnbcrt' = 'lnbcrt'): string =>
    encodeInvoice(
      {
        prefix,
        amount: msat(amount),
        paymentHash: sha256Hex(utf8('x')),
        paymentSecret: '00'.repeat(32),
        description: 'tea',
        createdAtMs: now,
        expirySeconds: 60,
      },
      secret,
    )
  const check = (bolt11: string, at = now) => checkInvoice(bolt11, msat(5_000), 'sandbox:x', at)
  expect(check(invoice(5_000))).toMatchObject({ ok: true, paymentHash: sha256Hex(utf8('x')) })
  expect(check(invoice(5_001))).toMatchObject({
    ok: false,
    message: expect.stringMatching(/another amount/) as string,
  })
  expect(check(invoice(5_000, 'lnbc'))).toMatchObject({ ok: false })
  expect(check(invoice(5_000), now + 61_000)).toMatchObject({ ok: false })
})

test('a list is refused when a good costs nothing, is too large, stands there twice, or there are too many', () => {
  const listing = (goods: readonly unknown[]): unknown => ({
    v: 1,
    name: 'Tea',
    money: 'bitcoin',
    open: true,
    goods,
  })
  const one = good('x')
  expect(v.is(listingSchema, listing([one]))).toBe(true)
  for (const bad of [
    { ...one, priceMsat: 0 },
    { ...one, priceMsat: 1.5 },
    { ...one, bytes: MAX_GOOD_BYTES + 1 },
    { ...one, sha256: 'x' as Sha256Hex },
    { ...one, kind: 'service' },
  ])
    expect(v.is(listingSchema, listing([bad]))).toBe(false)
  const goods = Array.from({ length: 41 }, (_, i) => ({ ...one, id: i.toString(16).padStart(16, '0') }))
  expect(v.is(listingSchema, listing(goods.slice(1)))).toBe(true)
  expect(v.is(listingSchema, listing(goods))).toBe(false)
  expect(v.is(listingSchema, listing([one, one]))).toBe(false)
})
