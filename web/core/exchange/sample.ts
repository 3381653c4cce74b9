/** A small artifact and windows sold from it, for tests and for the script that makes the vectors. */
import { ctr } from '@noble/ciphers/aes.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { concat, toHex, utf8, type Bytes, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { msat, priceOf, type Money, type Msat } from '../money/msat.ts'
import { publicKey, type SecretKey } from '../nostr/event.ts'
import {
  BLOCK,
  blocksIn,
  entry,
  HASH,
  pieceBytes,
  pieceRoot,
  piecesOf,
  releasePath,
  rootOfLayer,
  rootOfLeaves,
  windowPath,
  type Shape,
} from '../swarm/merkle.ts'
import { counterAt, paymentHashOf, quoteSecret, windowKey } from './cipher.ts'
import type { FraudProof } from './fraud.ts'
import { receiptOf, signQuote, windowBytes, type Quote, type SignedQuote } from './quote.ts'

/** 32 bytes that follow from a name: nothing in a test is random. */
export const bytes32 = (name: string): Bytes => sha256(utf8(name)) as Bytes

export type Party = Readonly<{ key: PartyKey; secret: SecretKey }>
export function party(name: string): Party {
  const secret = bytes32(`secret of ${name}`)
  return { key: publicKey(secret), secret }
}

export const leavesOf = (bytes: Uint8Array): Bytes =>
  concat(
    ...Array.from({ length: blocksIn(bytes.length) }, (_, i) =>
      sha256(bytes.subarray(i * BLOCK, (i + 1) * BLOCK)),
    ),
  )

export type Artifact = Readonly<{ shape: Shape; bytes: Bytes; layer: Bytes; root: Sha256Hex }>

/** `length` bytes that differ from block to block: byte i is the low byte of i * 167 + (i >> 8) * 13. */
export function artifact(shape: Shape): Artifact {
  const bytes = Uint8Array.from({ length: shape.length }, (_, i) => i * 167 + (i >> 8) * 13)
  const layer = concat(
    ...Array.from({ length: piecesOf(shape) }, (_, piece) => {
      const at = piece * shape.pieceLength
      return pieceRoot(leavesOf(bytes.subarray(at, at + pieceBytes(shape, piece))), shape)
    }),
  )
  return { shape, bytes, layer, root: toHex(rootOfLayer(layer, shape)) as Sha256Hex }
}

export type Sold = Readonly<{
  signed: SignedQuote
  secret: Bytes
  plain: Bytes
  ciphertext: Bytes
  cipherLeaves: Bytes
}>

export const MONEY: Money = 'sandbox:test'
export const PRICE: Msat = msat(1000)
export const NOW_S = 1_800_000_000

/** A window as an honest seller sells it; `spoil` changes the plain bytes before they are encrypted. */
export function sell(
  of: Artifact,
  pieces: readonly number[],
  parties: { buyer: Party; seller: Party },
  options: { spoil?: (plain: Bytes) => void; change?: Partial<Quote> } = {},
): Sold {
  const id = toHex(bytes32(`quote ${pieces.join()}`)) as Sha256Hex
  const secret = quoteSecret(bytes32('seller’s persisted key'), id)
  const plain = concat(
    ...pieces.map((piece) => {
      const at = piece * of.shape.pieceLength
      return of.bytes.subarray(at, at + pieceBytes(of.shape, piece))
    }),
  )
  options.spoil?.(plain)
  const ciphertext = ctr(windowKey(secret, id), counterAt(0)).encrypt(plain) as Bytes
  const cipherLeaves = leavesOf(ciphertext)
  const quote: Quote = {
    id,
    buyer: parties.buyer.key,
    seller: parties.seller.key,
    root: of.root,
    shape: of.shape,
    pieces,
    cipherRoot: toHex(rootOfLeaves(cipherLeaves)) as Sha256Hex,
    paymentHash: paymentHashOf(secret),
    amount: priceOf(windowBytes(of.shape, pieces), PRICE),
    money: MONEY,
    expiry: NOW_S + 120,
    invoice: 'lnbcrt1',
    ...options.change,
  }
  const signed = signQuote(quote, parties.seller.secret, bytes32('aux'))
  return { signed, secret, plain, ciphertext, cipherLeaves }
}

/** The proof about one block of a sold window; it holds only if that block is wrong. */
export function proofOf(of: Artifact, sold: Sold, piece: number, block: number): FraudProof {
  const { pieces } = sold.signed.quote
  let index = block
  for (const at of pieces) if (at < piece) index += blocksIn(pieceBytes(of.shape, at))
  const at = piece * of.shape.pieceLength
  const leaves = leavesOf(of.bytes.subarray(at, at + pieceBytes(of.shape, piece)))
  return {
    receipt: receiptOf(sold.signed, toHex(sold.secret)),
    piece,
    block,
    ciphertext: sold.ciphertext.slice(index * BLOCK, (index + 1) * BLOCK),
    cipherPath: windowPath(sold.cipherLeaves, index),
    leaf: entry(leaves, block),
    releasePath: releasePath(leaves, of.layer, of.shape, piece, block),
  }
}

export { BLOCK, HASH }
