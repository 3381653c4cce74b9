import { expect, test } from 'vitest'
import type { VendorId } from '../bytes.ts'
import type { SecretKey } from '../nostr/event.ts'
import { checkJoinSecret, JOIN_CODE_DAYS, makeJoinSecret } from './join-secret.ts'

const DAY = 86_400_000
const now = 20_000 * DAY
const vendor = 'ab'.repeat(32) as VendorId
const secret = new Uint8Array(32).fill(1) as SecretKey
const code = makeJoinSecret(vendor, secret, now, new Uint8Array(6).fill(9))

test('a join secret is recognised by whoever holds the key, for as long as it holds', () => {
  expect(code).toMatch(/^[0-9a-f]{32}$/)
  expect(checkJoinSecret(code, vendor, secret, now)).toBe(true)
  expect(checkJoinSecret(code, vendor, secret, now + JOIN_CODE_DAYS * DAY)).toBe(true)
  expect(checkJoinSecret(code, vendor, secret, now + (JOIN_CODE_DAYS + 1) * DAY)).toBe(false)
  expect(checkJoinSecret(code, vendor, secret, now - 2 * DAY)).toBe(false)
})

test('another vendor, another key or one changed digit is not', () => {
  expect(checkJoinSecret(code, 'cd'.repeat(32) as VendorId, secret, now)).toBe(false)
  expect(checkJoinSecret(code, vendor, new Uint8Array(32).fill(2) as SecretKey, now)).toBe(false)
  for (let at = 0; at < 32; at++) {
    const wrong = code.slice(0, at) + (code[at] === '0' ? '1' : '0') + code.slice(at + 1)
    expect(checkJoinSecret(wrong, vendor, secret, now)).toBe(false)
  }
  expect(checkJoinSecret('', vendor, secret, now)).toBe(false)
})
