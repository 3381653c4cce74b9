/**
 * Goods under the key that a payment hands over. The secret of an order is an HMAC of the shop's key, so a shop that
 * restarts has it again; as a payment's preimage it opens the good the moment that is settled.
 */
import { ctr } from '@noble/ciphers/aes.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'
import {
  concat,
  fromHex,
  sha256Hex,
  toHex,
  utf8,
  type Bytes,
  type PartyKey,
  type Sha256Hex,
} from '../bytes.ts'
import { decodeInvoice, prefixOf } from '../money/bolt11.ts'
import { unitOf, type Money, type Msat } from '../money/msat.ts'
import type { Good } from './shop.ts'

/** `nonce` is 16 fresh random bytes. */
export const orderId = (buyer: PartyKey, nonce: Uint8Array): Sha256Hex =>
  sha256Hex(concat(utf8('satpatch/order'), fromHex(buyer), nonce))

/** 64 hex digits; `shopKey` is the shop's secret. */
export const orderSecret = (shopKey: Uint8Array, order: Sha256Hex): string =>
  toHex(hmac(sha256, shopKey, concat(utf8('satpatch/shop'), fromHex(order))))

export const hashOfSecret = (secret: string): Sha256Hex => sha256Hex(fromHex(secret))

/** AES-256-CTR from 0 with a key of its own per order: the same call seals and opens. */
export function crypt(secret: string, order: Sha256Hex, bytes: Bytes): Bytes {
  const key = hkdf(sha256, fromHex(secret), fromHex(order), utf8('satpatch/good'), 32)
  return ctr(key, new Uint8Array(16)).encrypt(bytes) as Bytes
}

/** The good itself, or undefined when it is not what the list promised. */
export function openGood(secret: string, order: Sha256Hex, sealed: Bytes, good: Good): Bytes | undefined {
  const opened = crypt(secret, order, sealed)
  return opened.length === good.bytes && sha256Hex(opened) === good.sha256 ? opened : undefined
}

export type Payable =
  { ok: true; paymentHash: Sha256Hex; expiresAtMs: number } | { ok: false; message: string }

/** Whether an invoice is for this price in this money and still valid; the words say what is wrong. */
export function checkInvoice(bolt11: string, priceMsat: Msat, money: Money, nowMs: number): Payable {
  const read = decodeInvoice(bolt11, { prefix: prefixOf(money) })
  if (!read.ok)
    return { ok: false, message: `The shop's invoice is not one for ${unitOf(money)}. Nothing was paid.` }
  const { amount, paymentHash, expiresAtMs } = read.invoice
  if (amount !== priceMsat)
    return { ok: false, message: 'The shop asks another amount than its list says. Nothing was paid.' }
  if (expiresAtMs <= nowMs)
    return { ok: false, message: 'The shop’s invoice has expired. Nothing was paid; order again.' }
  return { ok: true, paymentHash, expiresAtMs }
}
