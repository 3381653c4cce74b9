import fc from 'fast-check'
import { nip44 } from 'nostr-tools'
import { expect, test } from 'vitest'
import { fromHex, toHex } from '../../core/bytes.ts'
import { publicKey } from '../../core/nostr/event.ts'
import { decrypt, encrypt, getConversationKey, paddedLength } from './nip44-node.ts'

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
const anyText = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 700 }),
  fc.integer({ min: 1, max: 3000 }).map((length) => 'x'.repeat(length)),
)

test('vectors of the standard', () => {
  const [one, two] = ['01', '02'].map((last) => fromHex(last.padStart(64, '0')))
  if (!one || !two) throw new Error('two keys')
  const key = getConversationKey(one, publicKey(two))
  expect(toHex(key)).toBe('c41c775356fd92eadc63ff5a0dc1da211b268cbea22316767095b2871ea1412d')
  const payload = encrypt('a', key, one)
  expect(payload).toBe(
    'AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABee0G5VSK0/9YypIObAtDKfYEAjD35uVkHyB0F4DwrcNaCXlCWZKaArsGrY6M9wnuTMxWfp1RTN9Xga8no+kF5Vsb',
  )
  expect(decrypt(payload, key)).toBe('a')
  const lengths = [16, 32, 33, 64, 65, 100, 256, 320, 383, 384, 400, 500, 515, 1000, 65_536]
  expect(lengths.map(paddedLength)).toEqual([
    32, 32, 64, 64, 96, 128, 256, 320, 384, 384, 448, 512, 640, 1024, 65_536,
  ])
})

test('says the same as nostr-tools, byte for byte, both ways', () => {
  fc.assert(
    fc.property(bytes32, bytes32, anyText, (key, nonce, text) => {
      const payload = encrypt(text, key, new Uint8Array(nonce))
      expect(payload).toBe(nip44.encrypt(text, key, nonce))
      expect(decrypt(payload, key)).toBe(nip44.decrypt(payload, key))
    }),
  )
  for (const length of [65_535, 65_536, 70_000]) {
    const [key, text] = [new Uint8Array(32).fill(7), 'y'.repeat(length)]
    expect(nip44.decrypt(encrypt(text, key), key)).toBe(text)
    expect(decrypt(nip44.encrypt(text, key), key)).toBe(text)
  }
})

test('conversation keys are those of nostr-tools, from both ends', () => {
  fc.assert(
    fc.property(bytes32, bytes32, (a, b) => {
      const [one, two] = [new Uint8Array(a), new Uint8Array(b)]
      one[0] = two[0] = 1 // below the order, and not zero
      const key = toHex(getConversationKey(one, publicKey(two)))
      expect(key).toBe(toHex(nip44.getConversationKey(one, publicKey(two))))
      expect(key).toBe(toHex(getConversationKey(two, publicKey(one))))
    }),
    { numRuns: 10 },
  )
  expect(() => getConversationKey(new Uint8Array(32).fill(1), 'ff'.repeat(32))).toThrow()
  expect(() => getConversationKey(new Uint8Array(32), publicKey(new Uint8Array(32).fill(1)))).toThrow()
})

test('refuses whatever was changed', () => {
  const key = new Uint8Array(32).fill(9)
  const payload = encrypt('pay nothing', key)
  const raw = Buffer.from(payload, 'base64')
  for (const at of [0, 1, 33, 34, raw.length - 33, raw.length - 1]) {
    const changed = Buffer.from(raw)
    changed[at] = (changed[at] ?? 0) ^ 1
    expect(() => decrypt(changed.toString('base64'), key)).toThrow()
  }
  for (const text of ['', '#2', payload.slice(4), `${payload}AAAA`, `${payload.slice(0, -4)}!!!!`])
    expect(() => decrypt(text, key)).toThrow()
  expect(() => encrypt('', key)).toThrow()
})
