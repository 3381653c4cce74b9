import { describe, expect, test } from 'vitest'
import { sha256Hex, toHex, type Sha256Hex } from '../../core/bytes.ts'
import { decryptBlock, quoteSecret, windowKey } from '../../core/exchange/cipher.ts'
import { BLOCK, entry, HASH } from '../../core/swarm/merkle.ts'
import { arrivingHashes, cryptHashed, cryptWindow, hashOf, leafHashes, sealHashed } from './window-cipher.ts'

const id = 'a1'.repeat(32) as Sha256Hex
const secret = quoteSecret(new Uint8Array(32).fill(5), id)
const plain = Uint8Array.from({ length: 5 * BLOCK + 1234 }, (_, i) => i * 31)

describe('whole windows', () => {
  test('are enciphered as the proofs decipher them, at every block', async () => {
    const ciphertext = await cryptWindow(secret, id, plain)
    const key = windowKey(secret, id)
    for (let block = 0; block <= 5; block++) {
      const part = (of: Uint8Array) => of.slice(block * BLOCK, (block + 1) * BLOCK)
      expect(toHex(decryptBlock(key, block, part(ciphertext)))).toBe(toHex(part(plain)))
    }
  })

  test('come back by the same call, with the right secret and quote only', async () => {
    const ciphertext = await cryptWindow(secret, id, plain)
    const hash = sha256Hex(plain)
    expect(sha256Hex(await cryptWindow(secret, id, ciphertext))).toBe(hash)
    expect(sha256Hex(await cryptWindow(secret, 'b2'.repeat(32) as Sha256Hex, ciphertext))).not.toBe(hash)
    expect(sha256Hex(await cryptWindow(new Uint8Array(32), id, ciphertext))).not.toBe(hash)
  })

  test.each([5, 8, 19])(
    '%i blocks and a part of one: in place the same, with the hashes of what came out',
    async (blocks) => {
      const some = Uint8Array.from({ length: blocks * BLOCK + 17 }, (_, i) => i * 37)
      const ciphertext = await cryptWindow(secret, id, some)
      const { bytes, leaves } = await cryptHashed(secret, id, some)
      expect(bytes.buffer).toBe(some.buffer)
      expect(sha256Hex(bytes)).toBe(sha256Hex(ciphertext))
      expect(toHex(leaves)).toBe(toHex(await leafHashes(ciphertext)))
    },
  )

  test.each([5, 8, 19])(
    '%i blocks and a part of one: sealed, with the hashes of before and after',
    async (blocks) => {
      const some = Uint8Array.from({ length: blocks * BLOCK + 17 }, (_, i) => i * 41)
      const before = await leafHashes(some)
      const ciphertext = await cryptWindow(secret, id, some)
      const { bytes, plain: hashes, leaves } = await sealHashed(secret, id, some)
      expect(bytes.buffer).toBe(some.buffer)
      expect(sha256Hex(bytes)).toBe(sha256Hex(ciphertext))
      expect(toHex(hashes)).toBe(toHex(before))
      expect(toHex(leaves)).toBe(toHex(await leafHashes(ciphertext)))
    },
  )

  test.each([1, 4])('hashed as they come, %i blocks at a time, have the same hashes', async (blocks) => {
    const hashes = arrivingHashes(plain.length)
    for (let at = 0; at < plain.length; at += blocks * BLOCK)
      hashes.arrived(plain.subarray(at, at + blocks * BLOCK), at)
    expect(toHex(await hashes.leaves(plain))).toBe(toHex(await leafHashes(plain)))
  })

  test('have one hash for each 16 KiB, the last as long as it is', async () => {
    const leaves = await leafHashes(plain)
    expect(leaves.length).toBe(6 * HASH)
    for (let block = 0; block < 6; block++)
      expect(toHex(entry(leaves, block))).toBe(sha256Hex(plain.subarray(block * BLOCK, (block + 1) * BLOCK)))
    expect(toHex(await hashOf('SHA-1', new Uint8Array()))).toBe('da39a3ee5e6b4b0d3255bfef95601890afd80709')
  })
})
