import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { PartyKey, VendorId } from '../bytes.ts'
import { toHex } from '../bytes.ts'
import { decodeJoinCode, deviceCode, encodeJoinCode, relayBaseUrl } from './join.ts'

const hex = (bytes: number) => fc.uint8Array({ minLength: bytes, maxLength: bytes }).map(toHex)
const anyCode = fc.record({
  vendor: hex(32) as fc.Arbitrary<VendorId>,
  nostr: hex(32) as fc.Arbitrary<PartyKey>,
  relay: fc.constantFrom('http://localhost:8787', 'https://relay.example', 'https://relay.example/satpatch'),
  secret: hex(16),
})

test('a join code says the same after it was read back, in lower or upper case', () => {
  fc.assert(
    fc.property(anyCode, fc.boolean(), (code, upper) => {
      const text = encodeJoinCode(code)
      expect(text.startsWith('spjoin1')).toBe(true)
      expect(decodeJoinCode(` ${upper ? text.toUpperCase() : text}\n`)).toEqual({ tag: 'ok', code })
    }),
  )
})

test('one changed character is noticed', () => {
  const code = {
    vendor: 'aa'.repeat(32) as VendorId,
    nostr: 'bb'.repeat(32) as PartyKey,
    relay: 'http://h:1',
    secret: 'cc'.repeat(16),
  }
  const text = encodeJoinCode(code)
  for (let at = 7; at < text.length; at++) {
    const wrong = text.slice(0, at) + (text[at] === 'q' ? 'p' : 'q') + text.slice(at + 1)
    expect(decodeJoinCode(wrong)).toMatchObject({ tag: 'refused', why: 'damaged' })
  }
})

test('anything else is refused in words', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((s) => `spjoin1${s}`),
      ),
      (text) => {
        expect(decodeJoinCode(text).tag).toBe('refused')
      },
    ),
  )
  expect(decodeJoinCode('nostr+walletconnect://x')).toMatchObject({ why: 'not-a-join-code' })
})

test('a relay address has one spelling and carries no secrets', () => {
  expect(relayBaseUrl('HTTP://Host:80/')).toBe('http://host')
  expect(relayBaseUrl('https://user:pw@host')).toBeUndefined()
  expect(relayBaseUrl('javascript:alert(1)')).toBeUndefined()
})

test('a device code is eight Crockford characters in two groups', () => {
  expect(deviceCode('00'.repeat(32) as PartyKey)).toBe('2G6B-JNKN')
})
