/**
 * A quote: the seller's binding price and invoice for one window, signed; and the receipt that it becomes
 * with the preimage. Canonical bencoding under a BIP 340 tagged hash. Specified in PROTOCOL.md.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import {
  concat,
  equal,
  fromHex,
  fromUtf8,
  toHex,
  utf8,
  type Bytes,
  type PartyKey,
  type Sha256Hex,
} from '../bytes.ts'
import { parseMoney, windowPrice, type Money, type Msat } from '../money/msat.ts'
import type { SecretKey } from '../nostr/event.ts'
import { secp } from '../secp.ts'
import { pieceBytes, piecesOf, type Shape } from '../swarm/merkle.ts'
import { BencodeError, decode, encode } from './bencode.ts'
import type { Receipt } from './receipt.ts'

export type Quote = Readonly<{
  id: Sha256Hex
  buyer: PartyKey
  seller: PartyKey
  /** The release root that the window's blocks prove into. */
  root: Sha256Hex
  /**
   * The artifact's length and piece length, bytes: a piece's number means a place only with them. Without them
   * a vendor could sign the same bytes with other pieces and turn an honest receipt into a proof of fraud.
   */
  shape: Shape
  /** Pieces of the window, ascending. */
  pieces: readonly number[]
  /** Merkle root over the 16 KiB blocks of what was sent (plain on credit), each piece's last block as long as it is. */
  cipherRoot: Sha256Hex
  paymentHash: Sha256Hex
  amount: Msat
  money: Money
  /** The pieces came in the clear and are owed for; absent: the payment's preimage is the key to them. */
  mode?: 'credit'
  /** Unix seconds: nobody pays it later. */
  expiry: number
  /** BOLT11; empty for a gift. */
  invoice: string
}>

export type SignedQuote = Readonly<{ quote: Quote; bytes: Bytes; sig: Bytes }>

export const MAX_QUOTE_BYTES = 24_576
export const MAX_WINDOW_PIECES = 1024
export const MAX_WINDOW_BYTES = 16 * 1024 * 1024

/** BIP 340's tagged hash. */
export function taggedHash(tag: string, message: Uint8Array): Bytes {
  const mark = sha256(utf8(tag))
  return sha256(concat(mark, mark, message)) as Bytes
}

export function encodeQuote(quote: Quote): Bytes {
  return encode({
    amount: quote.amount,
    buyer: fromHex(quote.buyer),
    cipher: fromHex(quote.cipherRoot),
    expiry: quote.expiry,
    hash: fromHex(quote.paymentHash),
    id: fromHex(quote.id),
    invoice: quote.invoice,
    length: quote.shape.length,
    ...(quote.mode === undefined ? {} : { mode: quote.mode }),
    money: quote.money,
    'piece length': quote.shape.pieceLength,
    pieces: [...quote.pieces],
    root: fromHex(quote.root),
    seller: fromHex(quote.seller),
    v: 1,
  })
}

/** `undefined` for anything that is not exactly one quote of version 1. */
export function decodeQuote(bytes: Uint8Array): Quote | undefined {
  if (bytes.length > MAX_QUOTE_BYTES) return undefined
  try {
    const dict = decode(bytes)
    if (typeof dict !== 'object' || Array.isArray(dict) || dict instanceof Uint8Array) return undefined
    if (dict['v'] !== 1) return undefined
    const hex = (key: string): string => {
      const value = dict[key]
      if (!(value instanceof Uint8Array) || value.length !== 32)
        throw new BencodeError(`${key} is not 32 bytes`)
      return toHex(value)
    }
    const integer = (key: string): number => {
      const value = dict[key]
      if (typeof value !== 'number' || value < 0) throw new BencodeError(`${key} is not a number`)
      return value
    }
    const text = (key: string): string => {
      const value = dict[key]
      if (!(value instanceof Uint8Array)) throw new BencodeError(`${key} is not a text`)
      return fromUtf8(value)
    }
    const pieces = dict['pieces']
    if (!Array.isArray(pieces) || pieces.length < 1 || pieces.length > MAX_WINDOW_PIECES) return undefined
    if (!ascending(pieces)) return undefined
    const money = parseMoney(text('money'))
    if (money === undefined) return undefined
    if (dict['mode'] !== undefined && text('mode') !== 'credit') return undefined
    const quote: Quote = {
      id: hex('id') as Sha256Hex,
      buyer: hex('buyer') as PartyKey,
      seller: hex('seller') as PartyKey,
      root: hex('root') as Sha256Hex,
      shape: { length: integer('length'), pieceLength: integer('piece length') },
      pieces,
      cipherRoot: hex('cipher') as Sha256Hex,
      paymentHash: hex('hash') as Sha256Hex,
      amount: integer('amount') as Msat,
      money,
      ...(dict['mode'] === undefined ? {} : { mode: 'credit' as const }),
      expiry: integer('expiry'),
      invoice: text('invoice'),
    }
    return equal(encodeQuote(quote), bytes) ? quote : undefined
  } catch {
    return undefined
  }
}

function ascending(pieces: readonly unknown[]): pieces is number[] {
  let previous = -1
  for (const piece of pieces) {
    if (typeof piece !== 'number' || piece <= previous) return false
    previous = piece
  }
  return true
}

const digestOf = (bytes: Uint8Array): Bytes => taggedHash('satpatch/quote', bytes)

export function signQuote(quote: Quote, secret: SecretKey, aux: Uint8Array): SignedQuote {
  const bytes = encodeQuote(quote)
  return { quote, bytes, sig: secp.sign(digestOf(bytes), secret, aux) }
}

/** Parsed and signed by the seller that it names, or `undefined`. */
export function openQuote(bytes: Uint8Array, sig: Uint8Array): SignedQuote | undefined {
  const quote = decodeQuote(bytes)
  if (quote === undefined || sig.length !== 64) return undefined
  if (!secp.verify(sig, digestOf(bytes), fromHex(quote.seller))) return undefined
  return { quote, bytes: bytes.slice() as Bytes, sig: sig.slice() as Bytes }
}

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.pieceLength === b.pieceLength

/** Bytes of a window's pieces. */
export const windowBytes = (shape: Shape, pieces: readonly number[]): number =>
  pieces.reduce((total, piece) => total + pieceBytes(shape, piece), 0)

export type QuoteRefusal =
  | 'not the key of this wire'
  | 'made out to another buyer'
  | 'for another release'
  | 'for other pieces'
  | 'in another mode'
  | 'ciphertext off its root'
  | 'in other money'
  | 'above the offered price'
  | 'above the price cap'
  | 'expired'
  | 'expires too late'
  | 'invoice for another hash'
  | 'invoice for another amount'
  | 'invoice expired'
  | 'invoice that outlives it'
  | 'invoice unreadable'

export type QuoteExpectation = Readonly<{
  buyer: PartyKey
  seller: PartyKey
  root: Sha256Hex
  shape: Shape
  pieces: readonly number[]
  cipherRoot: Sha256Hex
  money: Money
  mode?: 'credit' | undefined
  /** msat per MiB */
  offered: Msat
  cap: Msat
  nowMs: number
  /** Decoded by `money/bolt11.ts`; `undefined` for a gift, `'unreadable'` for garbage. */
  invoice: Readonly<{ paymentHash: string; amount: number; expiresAtMs: number }> | 'unreadable' | undefined
}>

const LONGEST_QUOTE_S = 3600
/** An invoice is paid late by a slow wallet as long as it lives: not much longer than the buyer waits for its end. */
const LONGEST_OVERLAP_MS = 60_000

/** Everything a buyer checks before it pays. `undefined`: pay. */
export function refuseQuote(quote: Quote, want: QuoteExpectation): QuoteRefusal | undefined {
  if (quote.seller !== want.seller) return 'not the key of this wire'
  if (quote.buyer !== want.buyer) return 'made out to another buyer'
  if (quote.root !== want.root || !sameShape(quote.shape, want.shape)) return 'for another release'
  if (quote.pieces.length !== want.pieces.length || quote.pieces.some((piece, i) => piece !== want.pieces[i]))
    return 'for other pieces'
  if (quote.mode !== want.mode) return 'in another mode'
  if (quote.cipherRoot !== want.cipherRoot) return 'ciphertext off its root'
  const bytes = windowBytes(want.shape, want.pieces)
  // What a seller offers has no bound of its own: above the cap it may be more than an amount can be.
  if (want.offered < want.cap && quote.amount > windowPrice(bytes, want.offered, quote.money))
    return 'above the offered price'
  if (quote.amount > windowPrice(bytes, want.cap, quote.money)) return 'above the price cap'
  if (quote.amount === 0) return undefined
  if (quote.money !== want.money) return 'in other money'
  const nowS = want.nowMs / 1000
  if (quote.expiry <= nowS) return 'expired'
  if (quote.expiry > nowS + LONGEST_QUOTE_S) return 'expires too late'
  const invoice = want.invoice
  if (invoice === undefined || invoice === 'unreadable') return 'invoice unreadable'
  if (invoice.paymentHash !== quote.paymentHash) return 'invoice for another hash'
  if (invoice.amount !== quote.amount) return 'invoice for another amount'
  if (invoice.expiresAtMs <= want.nowMs) return 'invoice expired'
  if (invoice.expiresAtMs > quote.expiry * 1000 + LONGEST_OVERLAP_MS) return 'invoice that outlives it'
  return undefined
}

export const receiptOf = (signed: SignedQuote, preimage: string): Receipt => ({
  quote: toHex(signed.bytes),
  sig: toHex(signed.sig),
  preimage,
})

export type ReceiptCheck =
  | { ok: true; quote: Quote; hash: Sha256Hex }
  | {
      ok: false
      why:
        | 'unreadable'
        | 'bad signature'
        | 'preimage does not fit'
        | 'not of this release'
        | 'above the price cap'
        | 'made out to another buyer'
    }

/** A receipt whose quote reads and whose preimage fits it; the seller's signature has not been looked at. */
export function readReceipt(
  receipt: Receipt,
): Readonly<{ quote: Quote; bytes: Bytes; sig: Bytes; preimage: Bytes }> | undefined {
  try {
    const { bytes, sig, preimage } = partsOf(receipt)
    const quote = decodeQuote(bytes)
    if (quote === undefined || preimage.length !== 32) return undefined
    return toHex(sha256(preimage)) === quote.paymentHash ? { quote, bytes, sig, preimage } : undefined
  } catch {
    return undefined
  }
}

/** @throws when something is not hex */
const partsOf = (receipt: Receipt) => ({
  bytes: fromHex(receipt.quote),
  sig: fromHex(receipt.sig),
  preimage: fromHex(receipt.preimage),
})

/** Checks one receipt; with `against`, also that it is about that release and buyer. `hash` names the receipt in the report's tree. */
export function verifyReceipt(
  receipt: Receipt,
  against?: { root: Sha256Hex; shape: Shape; cap: Msat; buyer: PartyKey },
): ReceiptCheck {
  let parts: ReturnType<typeof partsOf>
  try {
    parts = partsOf(receipt)
  } catch {
    return { ok: false, why: 'unreadable' }
  }
  const { bytes, sig, preimage } = parts
  if (decodeQuote(bytes) === undefined || preimage.length !== 32) return { ok: false, why: 'unreadable' }
  const signed = openQuote(bytes, sig)
  if (signed === undefined) return { ok: false, why: 'bad signature' }
  const { quote } = signed
  if (toHex(sha256(preimage)) !== quote.paymentHash) return { ok: false, why: 'preimage does not fit' }
  if (against !== undefined) {
    const last = quote.pieces.at(-1) ?? 0
    if (
      quote.root !== against.root ||
      !sameShape(quote.shape, against.shape) ||
      last >= piecesOf(against.shape)
    )
      return { ok: false, why: 'not of this release' }
    if (quote.buyer !== against.buyer) return { ok: false, why: 'made out to another buyer' }
    if (quote.amount > windowPrice(windowBytes(against.shape, quote.pieces), against.cap, quote.money))
      return { ok: false, why: 'above the price cap' }
  }
  return { ok: true, quote, hash: toHex(sha256(concat(bytes, sig, preimage))) as Sha256Hex }
}
