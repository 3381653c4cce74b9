import { describe, expect, test } from 'vitest'
import { concat, toHex, type Bytes, type Sha256Hex } from '../bytes.ts'
import type { Msat } from '../money/msat.ts'
import { entry, releaseHeight, windowPath } from '../swarm/merkle.ts'
import { decode, encode, type BDict } from './bencode.ts'
import { checkProof, decodeProof, encodeProof, MAX_PROOF_BYTES, type FraudProof } from './fraud.ts'
import { MAX_QUOTE_BYTES, receiptOf, signQuote } from './quote.ts'
import { artifact, BLOCK, bytes32, HASH, party, proofOf, sell } from './sample.ts'

const parties = { buyer: party('buyer'), seller: party('seller') }
const of = artifact({ length: 11 * BLOCK + 100, pieceLength: 4 * BLOCK })
const release = { root: of.root, shape: of.shape }
/** One wrong bit in block 2 of piece 2, which is block 6 of the window. */
const spoil = (plain: Bytes) => void (plain[6 * BLOCK + 50] = (plain[6 * BLOCK + 50] ?? 0) ^ 1)
const sold = sell(of, [0, 2], parties, { spoil })
const proof = proofOf(of, sold, 2, 2)

describe('a fraud proof', () => {
  test('convicts the seller of a wrong block, and survives its encoding', () => {
    expect(checkProof(proof, release)).toMatchObject({ ok: true, seller: parties.seller.key })
    const back = decodeProof(encodeProof(proof))
    expect(back).toEqual(proof)
    expect(checkProof(back as FraudProof, release).ok).toBe(true)
  })

  test('convicts for the short last block too', () => {
    const cheat = sell(of, [2], parties, { spoil: (plain) => void (plain[3 * BLOCK] = 1) })
    expect(checkProof(proofOf(of, cheat, 2, 3), release).ok).toBe(true)
  })

  test('never convicts for a genuine block, not even out of a window with a wrong one', () => {
    const honest = sell(of, [0, 1, 2], parties)
    for (let piece = 0; piece < 3; piece++)
      for (let block = 0; block < 4; block++) {
        expect(checkProof(proofOf(of, honest, piece, block), release)).toEqual({
          ok: false,
          why: 'block is genuine',
        })
      }
    expect(checkProof(proofOf(of, sold, 2, 1), release)).toEqual({ ok: false, why: 'block is genuine' })
  })

  const receipt = proof.receipt
  const gift = signQuote({ ...sold.signed.quote, amount: 0 as Msat }, parties.seller.secret, bytes32('a'))
  const elsewhere = proofOf(of, sold, 0, 1)
  test.each<[string, string, Partial<FraudProof>]>([
    ['receipt', 'another preimage', { receipt: { ...receipt, preimage: '00'.repeat(32) } }],
    ['receipt', 'no signature', { receipt: { ...receipt, sig: '00'.repeat(64) } }],
    ['nothing was paid', 'a gift', { receipt: receiptOf(gift, receipt.preimage) }],
    ['not in the window', 'a piece that was not sold', { piece: 1 }],
    ['not in the window', 'a block past its piece', { block: 4 }],
    ['not in the window', 'a piece past the end', { piece: 3 }],
    ['ciphertext path', 'another block', { block: 1 }],
    ['ciphertext path', 'another ciphertext', { ciphertext: new Uint8Array(BLOCK) }],
    ['ciphertext path', 'a longer path', { cipherPath: [...proof.cipherPath, new Uint8Array(32)] }],
    ['ciphertext path', 'a path of another block', { cipherPath: elsewhere.cipherPath }],
    ['release path', 'another leaf', { leaf: bytes32('x') }],
    ['release path', 'a leaf of another block', { leaf: elsewhere.leaf }],
    [
      'release path',
      'another block’s leaf and path',
      { leaf: elsewhere.leaf, releasePath: elsewhere.releasePath },
    ],
    ['release path', 'a shorter path', { releasePath: proof.releasePath.slice(1) }],
  ])('%s: %s is refused', (why, _, change) => {
    expect(checkProof({ ...proof, ...change }, release)).toEqual({ ok: false, why })
  })

  test('no change of any byte of it convicts', () => {
    const bytes = encodeProof(proof)
    const step = 7
    for (let at = 0; at < bytes.length; at += at < 200 || at > BLOCK + 400 ? step : 997) {
      const bent = bytes.slice()
      bent[at] = (bent[at] ?? 0) ^ 0x04
      const read = decodeProof(bent)
      expect(read !== undefined && checkProof(read, release).ok, `byte ${at}`).toBe(false)
    }
  })

  test('against a root that was not signed for this release is refused', () => {
    const other = artifact({ length: 11 * BLOCK + 99, pieceLength: 4 * BLOCK })
    expect(checkProof(proof, { root: other.root, shape: other.shape })).toEqual({
      ok: false,
      why: 'not of this release',
    })
    expect(checkProof(proof, { ...release, root: toHex(bytes32('x')) as Sha256Hex }).ok).toBe(false)
  })

  test('a vendor who signs the same bytes in other pieces does not frame an honest seller', () => {
    // Piece 1 is blocks 2 and 3 in pieces of two, but 4 and 5 in pieces of four: both trees are one level high.
    const two = artifact({ length: 6 * BLOCK, pieceLength: 2 * BLOCK })
    const four = artifact({ length: 6 * BLOCK, pieceLength: 4 * BLOCK })
    expect(two.root).toBe(four.root)
    const honest = sell(two, [1], parties)
    const framed: FraudProof = {
      ...proofOf(four, honest, 1, 0),
      ciphertext: honest.ciphertext.slice(0, BLOCK),
    }
    expect(checkProof(framed, { root: four.root, shape: four.shape })).toEqual({
      ok: false,
      why: 'not of this release',
    })
  })

  test('two hashes of the ciphertext’s tree do not pass for a block', () => {
    // The same bytes under a lie about their length, in which block 1 of the window has 64 bytes.
    const lie = { length: 9 * BLOCK + 64, pieceLength: 4 * BLOCK }
    const honest = sell(of, [2], parties, { change: { shape: lie } })
    const true4 = proofOf(of, honest, 2, 1)
    const inner = concat(entry(honest.cipherLeaves, 2), entry(honest.cipherLeaves, 3))
    const framed = { ...true4, ciphertext: inner, cipherPath: windowPath(honest.cipherLeaves, 2).slice(1) }
    expect(checkProof(framed, release)).toEqual({ ok: false, why: 'not of this release' })
    expect(checkProof({ ...true4, ciphertext: inner }, release).ok).toBe(false)
    // Not even where the seller signed that lie: the block has a length of its own.
    const longer = { ...lie, length: 9 * BLOCK + 100 }
    const signed = sell(of, [2], parties, { change: { shape: longer } })
    const receipt = receiptOf(signed.signed, toHex(signed.secret))
    expect(checkProof({ ...framed, receipt }, { root: of.root, shape: longer })).toEqual({
      ok: false,
      why: 'ciphertext path',
    })
  })

  test.each<[string, BDict]>([
    ['another version', { v: 2 }],
    ['a path that is no list', { cipherPath: 1 }],
    ['a path of 41', { releasePath: Array.from({ length: 41 }, () => new Uint8Array(32)) }],
    ['a negative piece', { piece: -1 }],
    ['a leaf that is a number', { leaf: 1 }],
    ['more than 48 KiB', { ciphertext: new Uint8Array(MAX_PROOF_BYTES) }],
  ])('%s is not a proof', (_, change) => {
    expect(decodeProof(encode({ ...(decode(encodeProof(proof)) as BDict), ...change }))).toBeUndefined()
  })

  test('the largest that there can be is under 48 KiB: a 4 GiB artifact and the longest quote', () => {
    const shape = { length: 4 * 1024 ** 3, pieceLength: 2 * 1024 ** 2 }
    const uncles = (count: number) => Array.from({ length: count }, () => new Uint8Array(HASH))
    const largest = encodeProof({
      receipt: { quote: '00'.repeat(MAX_QUOTE_BYTES), sig: '00'.repeat(64), preimage: '00'.repeat(32) },
      piece: 2 ** 31 - 1,
      block: 127,
      ciphertext: new Uint8Array(BLOCK),
      cipherPath: uncles(10),
      leaf: new Uint8Array(HASH),
      releasePath: uncles(releaseHeight(shape)),
    })
    expect(releaseHeight(shape)).toBe(18)
    expect(largest.length).toBeLessThan(MAX_PROOF_BYTES)
    expect(decodeProof(largest)).toBeDefined()
  })
})
