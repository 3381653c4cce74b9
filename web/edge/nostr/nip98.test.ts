import { expect, test } from 'vitest'
import { sha256Hex } from '../../core/bytes.ts'
import { publicKey, type SecretKey } from '../../core/nostr/event.ts'
import { httpAuth, MAX_SKEW_S, verifyHttpAuth } from './nip98.ts'

const secret: SecretKey = new Uint8Array(32).fill(7)
const url = 'https://relay.example/v/x/blobs/y'
const body = new Uint8Array([1, 2, 3])
const nowMs = 1_700_000_000_000
const header = httpAuth(url, 'put', body, secret, nowMs)
const expected = { url, method: 'PUT', bodySha256: sha256Hex(body), nowMs }

test('a request signed by a key is accepted as that key', () => {
  expect(verifyHttpAuth(header, expected)).toMatchObject({ tag: 'ok', key: publicKey(secret) })
  const early = { ...expected, nowMs: nowMs + MAX_SKEW_S * 1000 }
  expect(verifyHttpAuth(header, early).tag).toBe('ok')
})

test.each([
  ['nothing signed', undefined, expected, 'auth-missing'],
  ['no Nostr token', 'Bearer x', expected, 'auth-invalid'],
  ['another address', header, { ...expected, url: `${url}z` }, 'auth-invalid'],
  ['another method', header, { ...expected, method: 'DELETE' }, 'auth-invalid'],
  ['other bytes', header, { ...expected, bodySha256: sha256Hex(new Uint8Array([1])) }, 'auth-invalid'],
  ['a body where none was signed', httpAuth(url, 'PUT', undefined, secret, nowMs), expected, 'auth-invalid'],
  ['a clock too far off', header, { ...expected, nowMs: nowMs + MAX_SKEW_S * 1000 + 1000 }, 'clock-off'],
])('refuses %s', (_, given, want, code) => {
  expect(verifyHttpAuth(given, want)).toMatchObject({ tag: 'refused', code })
})
