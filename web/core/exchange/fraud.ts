/**
 * A fraud proof: a receipt, one block of ciphertext with its path into the quote's ciphertext root, and the
 * hash that the release has at that place with its path into the release root. Anyone who knows the release
 * can check it; under 48 KiB whatever the file's size.
 */
import { equal, fromHex, toHex, type Bytes, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { sha256 } from '@noble/hashes/sha2.js'
import {
  BLOCK,
  blocksIn,
  log2Ceil,
  pieceBytes,
  provesInto,
  releaseHeight,
  releaseIndex,
  type Shape,
} from '../swarm/merkle.ts'
import { BencodeError, decode, encode, type Decoded } from './bencode.ts'
import { decryptBlock, windowKey } from './cipher.ts'
import { openQuote, readReceipt, sameShape, type Quote } from './quote.ts'
import type { Receipt } from './receipt.ts'

export const MAX_PROOF_BYTES = 48 * 1024

export type FraudProof = Readonly<{
  receipt: Receipt
  /** Piece, and block within the piece. */
  piece: number
  block: number
  ciphertext: Bytes
  cipherPath: readonly Bytes[]
  /** What the release has there. */
  leaf: Bytes
  releasePath: readonly Bytes[]
}>

export function encodeProof(proof: FraudProof): Bytes {
  return encode({
    block: proof.block,
    cipherPath: [...proof.cipherPath],
    ciphertext: proof.ciphertext,
    leaf: proof.leaf,
    piece: proof.piece,
    preimage: fromHex(proof.receipt.preimage),
    quote: fromHex(proof.receipt.quote),
    releasePath: [...proof.releasePath],
    sig: fromHex(proof.receipt.sig),
    v: 1,
  })
}

export function decodeProof(bytes: Uint8Array): FraudProof | undefined {
  if (bytes.length > MAX_PROOF_BYTES) return undefined
  try {
    const dict = decode(bytes)
    if (typeof dict !== 'object' || Array.isArray(dict) || dict instanceof Uint8Array || dict['v'] !== 1)
      return undefined
    const blob = (key: string): Bytes => asBytes(dict[key])
    const path = (key: string): Bytes[] => {
      const list = dict[key]
      if (!Array.isArray(list) || list.length > 40) throw new BencodeError('no path')
      return list.map(asBytes)
    }
    const integer = (key: string): number => {
      const value = dict[key]
      if (typeof value !== 'number' || value < 0) throw new BencodeError('no number')
      return value
    }
    return {
      receipt: { quote: toHex(blob('quote')), sig: toHex(blob('sig')), preimage: toHex(blob('preimage')) },
      piece: integer('piece'),
      block: integer('block'),
      ciphertext: blob('ciphertext'),
      cipherPath: path('cipherPath'),
      leaf: blob('leaf'),
      releasePath: path('releasePath'),
    }
  } catch (error) {
    if (error instanceof BencodeError) return undefined
    throw error
  }
}

function asBytes(value: Decoded | undefined): Bytes {
  if (value instanceof Uint8Array) return value
  throw new BencodeError('no bytes')
}

export type ProofCheck =
  | { ok: true; seller: PartyKey; quote: Quote }
  | {
      ok: false
      why:
        | 'receipt'
        | 'nothing was paid'
        | 'bought on credit'
        | 'not of this release'
        | 'not in the window'
        | 'ciphertext path'
        | 'release path'
        | 'block is genuine'
    }

/** Height of a window's ciphertext tree and the place of a block in it: each piece starts on a block of its own. */
export function windowPlace(
  shape: Shape,
  pieces: readonly number[],
  piece: number,
  block: number,
): { index: number; height: number } | undefined {
  let index: number | undefined
  let count = 0
  for (const at of pieces) {
    const blocks = blocksIn(pieceBytes(shape, at))
    if (at === piece && block < blocks) index = count + block
    count += blocks
  }
  return index === undefined ? undefined : { index, height: log2Ceil(count) }
}

/** True for everybody or for nobody: depends on the proof and the signed release only. What costs most comes last. */
export function checkProof(proof: FraudProof, release: { root: Sha256Hex; shape: Shape }): ProofCheck {
  const receipt = readReceipt(proof.receipt)
  if (receipt === undefined) return { ok: false, why: 'receipt' }
  const { quote } = receipt
  if (quote.amount === 0) return { ok: false, why: 'nothing was paid' }
  // Its pieces came in the clear: "deciphered" they would convict an honest seller.
  if (quote.mode === 'credit') return { ok: false, why: 'bought on credit' }
  if (quote.root !== release.root || !sameShape(quote.shape, release.shape))
    return { ok: false, why: 'not of this release' }
  const place = windowPlace(release.shape, quote.pieces, proof.piece, proof.block)
  if (place === undefined) return { ok: false, why: 'not in the window' }
  // A whole block and nothing else: 64 bytes of inner hashes would prove into the root as well.
  const left = pieceBytes(release.shape, proof.piece) - proof.block * BLOCK
  if (proof.ciphertext.length !== Math.min(BLOCK, left)) return { ok: false, why: 'ciphertext path' }
  const cipherLeaf = sha256(proof.ciphertext)
  if (!provesInto(cipherLeaf, place.index, proof.cipherPath, place.height, fromHex(quote.cipherRoot)))
    return { ok: false, why: 'ciphertext path' }
  const index = releaseIndex(release.shape, proof.piece, proof.block)
  const height = releaseHeight(release.shape)
  if (
    proof.leaf.length !== 32 ||
    !provesInto(proof.leaf, index, proof.releasePath, height, fromHex(release.root))
  )
    return { ok: false, why: 'release path' }
  const key = windowKey(receipt.preimage, quote.id)
  const plain = decryptBlock(key, place.index, proof.ciphertext)
  if (equal(sha256(plain), proof.leaf)) return { ok: false, why: 'block is genuine' }
  if (openQuote(receipt.bytes, receipt.sig) === undefined) return { ok: false, why: 'receipt' }
  return { ok: true, seller: quote.seller, quote }
}
