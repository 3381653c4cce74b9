import { createCipheriv, createHmac, hkdfSync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { fromHex, sha256Hex, toHex, utf8, type Sha256Hex } from '../bytes.ts'
import { BLOCK } from '../swarm/merkle.ts'
import { counterAt, decryptBlock, paymentHashOf, quoteSecret, windowKey } from './cipher.ts'
import { bytes32 } from './sample.ts'

const id = toHex(bytes32('quote')) as Sha256Hex
const other = toHex(bytes32('other quote')) as Sha256Hex
const sellerKey = bytes32('seller key')

describe('secrets and keys of a window', () => {
  test('the secret is an HMAC of the seller’s key and the quote: another for each quote', () => {
    const expected = createHmac('sha256', sellerKey)
      .update(Buffer.concat([utf8('satpatch/secret'), fromHex(id)]))
      .digest('hex')
    expect(toHex(quoteSecret(sellerKey, id))).toBe(expected)
    expect(toHex(quoteSecret(sellerKey, other))).not.toBe(expected)
    expect(paymentHashOf(quoteSecret(sellerKey, id))).toBe(sha256Hex(fromHex(expected)))
  })

  test('the key is HKDF-SHA-256 of the secret, salted with the quote', () => {
    const secret = quoteSecret(sellerKey, id)
    const expected = Buffer.from(hkdfSync('sha256', secret, fromHex(id), utf8('satpatch/window'), 32))
    expect(toHex(windowKey(secret, id))).toBe(expected.toString('hex'))
  })

  test('each block decrypts by itself out of AES-256-CTR over the whole window', () => {
    const key = windowKey(quoteSecret(sellerKey, id), id)
    const plain = Uint8Array.from({ length: 3 * BLOCK + 77 }, (_, i) => i * 7)
    const ciphertext = createCipheriv('aes-256-ctr', key, new Uint8Array(16)).update(plain)
    for (let block = 0; block < 4; block++) {
      const part = (of: Uint8Array) => of.subarray(block * BLOCK, (block + 1) * BLOCK)
      expect(toHex(decryptBlock(key, block, part(ciphertext)))).toBe(toHex(part(plain)))
    }
    expect(toHex(decryptBlock(key, 1, ciphertext.subarray(0, BLOCK)))).not.toBe(
      toHex(plain.subarray(0, BLOCK)),
    )
  })

  test('the counter counts AES blocks, big-endian, past 2^32', () => {
    expect(toHex(counterAt(0))).toBe('00'.repeat(16))
    expect(toHex(counterAt(BLOCK))).toBe(`${'00'.repeat(14)}0400`)
    expect(toHex(counterAt(2 ** 37))).toBe(`${'00'.repeat(11)}0200000000`)
  })
})
