/**
 * Signatures, ciphers and hashes. `realPorts` are the product's own, down to the bytes of each frame; `cheapPorts` keep
 * their meaning and nothing of their cost: a piece is one word, a quote is passed by reference.
 */
import { createCipheriv, createHash } from 'node:crypto'
import {
  concat,
  equal,
  toHex,
  utf8,
  type Bytes,
  type InfoHash,
  type PartyKey,
  type Sha256Hex,
} from '../../web/core/bytes.ts'
import { paymentHashOf, quoteSecret, windowKey } from '../../web/core/exchange/cipher.ts'
import { checkProof, decodeProof, encodeProof } from '../../web/core/exchange/fraud.ts'
import {
  decodeMessage,
  encodeMessage,
  FRAME,
  MessageError,
  type Message,
} from '../../web/core/exchange/message.ts'
import { parseEvent, readOffer, signOffer, type Offer } from '../../web/core/exchange/offer.ts'
import {
  openQuote,
  receiptOf,
  signQuote,
  type Quote,
  type SignedQuote,
} from '../../web/core/exchange/quote.ts'
import type { Receipt } from '../../web/core/exchange/receipt.ts'
import { publicKey, type SecretKey } from '../../web/core/nostr/event.ts'
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
} from '../../web/core/swarm/merkle.ts'
import type { Random } from './random.ts'

export type Party = Readonly<{ key: PartyKey; secret: SecretKey }>

/** What travels: the product's messages, and the bitfield messages of an ordinary wire. */
export type Frame =
  | Message
  | Readonly<{ t: 'have'; pieces: readonly number[] }>
  | Readonly<{ t: 'light data'; id: number; at: number; size: number; bytes: Bytes }>
  | Readonly<{ t: 'light quote'; id: number; signed: SignedQuote }>
  | Readonly<{ t: 'light offer'; offer: Offer; gift: boolean }>
  | Readonly<{ t: 'raw'; bytes: Bytes }>

/** The frame of this kind. */
export type FrameOf<T extends Frame['t']> = Extract<Frame, { t: T }>

export type Sealed = Readonly<{ cipher: Bytes; cipherRoot: Sha256Hex }>

export interface Ports {
  readonly shape: Shape
  readonly root: Sha256Hex
  readonly infoHash: InfoHash
  party(random: Random): Party
  id(random: Random): Sha256Hex
  /** The release's bytes of a piece, and bytes that are not. */
  genuine(piece: number): Bytes
  spoilt(piece: number): Bytes
  leavesOf(parts: readonly Bytes[]): Bytes
  leavesLength(pieces: readonly number[]): number
  leavesProve(leaves: Bytes, pieces: readonly number[]): boolean
  secretOf(sellerKey: Bytes, id: Sha256Hex): Bytes
  hashOf(secret: Bytes): Sha256Hex
  seal(secret: Bytes, id: Sha256Hex, parts: readonly Bytes[]): Sealed
  cipherRoot(cipher: Bytes, pieces: readonly number[]): Sha256Hex
  unseal(secret: Bytes, id: Sha256Hex, cipher: Bytes, pieces: readonly number[]): Bytes[]
  /** Whether a piece proves into the release. */
  proves(piece: number, bytes: Bytes): boolean
  offer(offer: Omit<Offer, 'seller'>, by: Party, gift: boolean, nowS: number): Frame
  readOffer(frame: Frame): { offer: Offer; gift: boolean } | undefined
  quote(quote: Quote, by: Party): SignedQuote
  quoteFrame(id: number, signed: SignedQuote): Frame
  openQuote(frame: Frame): SignedQuote | undefined
  /** A window's ciphertext in frames, `size` of them on the wire. */
  data(id: number, cipher: Bytes, bytes: number): Generator<{ frame: Frame; size: number }>
  receipt(signed: SignedQuote, secret: Bytes): Receipt
  /** A fraud proof that everybody accepts; `undefined` when there is nothing to prove. */
  proof(
    signed: SignedQuote,
    secret: Bytes,
    cipher: Bytes,
    leaves: Bytes,
    parts: readonly Bytes[],
  ): Bytes | undefined
  accused(proof: Bytes): PartyKey | undefined
  /** To the wire and from it: what the other end cannot read, it never sees. */
  pack(frame: Frame): { frame: Frame; size: number }
  unpack(frame: Frame): Frame | 'bad' | undefined
}

const AUX = new Uint8Array(32)
const sha256 = (bytes: Uint8Array): Bytes => new Uint8Array(createHash('sha256').update(bytes).digest())
const NO_COUNTER = new Uint8Array(16)

const leavesOfPart = (part: Uint8Array): Bytes => {
  const leaves = new Uint8Array(blocksIn(part.length) * HASH)
  for (let block = 0; block * BLOCK < part.length; block++)
    leaves.set(sha256(part.subarray(block * BLOCK, (block + 1) * BLOCK)), block * HASH)
  return leaves
}

export function realPorts(shape: Shape, random: Random): Ports {
  const bytes = random.bytes(shape.length)
  const count = piecesOf(shape)
  const partOf = (piece: number): Bytes =>
    bytes.slice(piece * shape.pieceLength, piece * shape.pieceLength + pieceBytes(shape, piece))
  const layer = concat(
    ...Array.from({ length: count }, (_, piece) => pieceRoot(leavesOfPart(partOf(piece)), shape)),
  )
  const root = toHex(rootOfLayer(layer, shape)) as Sha256Hex
  const infoHash = toHex(random.bytes(20)) as InfoHash
  const release = { root, shape }
  const proves = (piece: number, leaves: Uint8Array): boolean =>
    equal(pieceRoot(leaves, shape), entry(layer, piece))
  /** The same signed text means the same to everybody. */
  const offers = new Map<string, Offer | undefined>()
  const crypt = (secret: Bytes, id: Sha256Hex, text: Uint8Array): Bytes => {
    const cipher = createCipheriv('aes-256-ctr', windowKey(secret, id), NO_COUNTER)
    return new Uint8Array(cipher.update(text))
  }
  const split = (whole: Bytes, pieces: readonly number[]): Bytes[] => {
    let at = 0
    return pieces.map((piece) => whole.slice(at, (at += pieceBytes(shape, piece))))
  }
  const ownLeaves = (leaves: Bytes, pieces: readonly number[]): Bytes[] => {
    let at = 0
    return pieces.map((piece) => leaves.slice(at, (at += blocksIn(pieceBytes(shape, piece)) * HASH)))
  }
  return {
    shape,
    root,
    infoHash,
    party(from) {
      const secret = from.bytes(32)
      secret[0] = 1
      return { key: publicKey(secret), secret }
    },
    id: (from) => toHex(from.bytes(32)) as Sha256Hex,
    genuine: partOf,
    spoilt(piece) {
      const part = partOf(piece)
      part[part.length >> 1]! ^= 1
      return part
    },
    leavesOf: (parts) => concat(...parts.map(leavesOfPart)),
    leavesLength: (pieces) =>
      pieces.reduce((total, piece) => total + blocksIn(pieceBytes(shape, piece)) * HASH, 0),
    leavesProve: (leaves, pieces) =>
      ownLeaves(leaves, pieces).every((own, i) => proves(pieces[i] as number, own)),
    secretOf: quoteSecret,
    hashOf: paymentHashOf,
    seal(secret, id, parts) {
      const cipher = crypt(secret, id, concat(...parts))
      return { cipher, cipherRoot: toHex(rootOfLeaves(leavesOfPart(cipher))) as Sha256Hex }
    },
    cipherRoot: (cipher) => toHex(rootOfLeaves(leavesOfPart(cipher))) as Sha256Hex,
    unseal: (secret, id, cipher, pieces) => split(crypt(secret, id, cipher), pieces),
    proves: (piece, part) => part.length === pieceBytes(shape, piece) && proves(piece, leavesOfPart(part)),
    offer: (offer, by, gift, nowS) => ({
      t: 'offer',
      event: JSON.stringify(signOffer(offer, by.secret, AUX, nowS)),
      gift,
    }),
    readOffer(frame) {
      if (frame.t !== 'offer') return undefined
      if (!offers.has(frame.event)) {
        const event = parseEvent(frame.event)
        offers.set(frame.event, event === undefined ? undefined : readOffer(event, infoHash))
      }
      const offer = offers.get(frame.event)
      return offer === undefined ? undefined : { offer, gift: frame.gift }
    },
    quote: (quote, by) => signQuote(quote, by.secret, AUX),
    quoteFrame: (id, signed) => ({ t: 'quote', id, quote: signed.bytes, sig: signed.sig }),
    openQuote: (frame) => (frame.t === 'quote' ? openQuote(frame.quote, frame.sig) : undefined),
    *data(id, cipher) {
      for (let at = 0; at < cipher.length; at += FRAME) {
        const frame: Frame = { t: 'data', id, at, bytes: cipher.slice(at, at + FRAME) }
        yield { frame, size: frame.bytes.length + 32 }
      }
    },
    receipt: (signed, secret) => receiptOf(signed, toHex(secret)),
    proof(signed, secret, cipher, leaves, parts) {
      const { pieces } = signed.quote
      const claimed = ownLeaves(leaves, pieces)
      let index = 0
      for (const [i, piece] of pieces.entries()) {
        const found = leavesOfPart(parts[i] as Bytes)
        const own = claimed[i] as Bytes
        for (let block = 0; block * HASH < found.length; block++, index++) {
          if (equal(entry(found, block), entry(own, block))) continue
          return encodeProof({
            receipt: receiptOf(signed, toHex(secret)),
            piece,
            block,
            ciphertext: cipher.slice(index * BLOCK, (index + 1) * BLOCK),
            cipherPath: windowPath(leavesOfPart(cipher), index),
            leaf: entry(own, block),
            releasePath: releasePath(own, layer, shape, piece, block),
          })
        }
      }
      return undefined
    },
    accused(bytesOf) {
      const proof = decodeProof(bytesOf)
      if (proof === undefined) return undefined
      const verdict = checkProof(proof, release)
      return verdict.ok ? verdict.seller : undefined
    },
    pack(frame) {
      if (frame.t === 'have') return { frame, size: 9 * frame.pieces.length }
      if (isLight(frame)) throw new Error('a light frame in a real world')
      const packed = encodeMessage(frame)
      return { frame: { t: 'raw', bytes: packed }, size: packed.length }
    },
    unpack(frame) {
      if (frame.t !== 'raw') return frame
      try {
        return decodeMessage(frame.bytes)
      } catch (error) {
        if (error instanceof MessageError) return 'bad'
        throw error
      }
    },
  }
}

const isLight = (
  frame: Frame,
): frame is Extract<Frame, { t: 'light data' | 'light quote' | 'light offer' | 'raw' }> =>
  frame.t === 'light data' || frame.t === 'light quote' || frame.t === 'light offer' || frame.t === 'raw'

/** Frames of a light world: larger than real ones, since each costs two events. Where lines are slow they are a lane's. */
const LIGHT_FRAME = 256 * 1024
const NONE = new Uint8Array(0)

const words = (bytes: Bytes): Uint32Array =>
  new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
const word = (value: number): Bytes => new Uint8Array(Uint32Array.of(value).buffer)

export function cheapPorts(shape: Shape, lightFrame = LIGHT_FRAME): Ports {
  let made = 0
  const hash = (text: string): number => {
    let h = 0x811c9dc5
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619)
    return h >>> 0
  }
  const crypt = (secret: Bytes, cipher: Bytes): Bytes => {
    const out = cipher.slice()
    const key = words(secret)[0] as number
    words(out).forEach((value, i, all) => (all[i] = (value ^ key) >>> 0))
    return out
  }
  const joined = (parts: readonly Bytes[]): Bytes => concat(...parts)
  const rootOf = (cipher: Bytes): Sha256Hex => `c${words(cipher).join('.')}` as Sha256Hex
  return {
    shape,
    root: 'root' as Sha256Hex,
    infoHash: 'torrent' as InfoHash,
    party(from) {
      const secret = from.bytes(4)
      return { key: `k${++made}.${words(secret)[0]}` as PartyKey, secret }
    },
    id: (from) => `q${++made}.${from.u32()}` as Sha256Hex,
    genuine: (piece) => word(piece + 1),
    spoilt: (piece) => word((piece + 1) | 0x80000000),
    leavesOf: joined,
    leavesLength: (pieces) => 4 * pieces.length,
    leavesProve: (leaves, pieces) => pieces.every((piece, i) => words(leaves)[i] === piece + 1),
    secretOf: (sellerKey, id) => word((hash(id) ^ (words(sellerKey)[0] as number)) >>> 0),
    hashOf: (secret) => `h${words(secret)[0]}` as Sha256Hex,
    seal(secret, _id, parts) {
      const cipher = crypt(secret, joined(parts))
      return { cipher, cipherRoot: rootOf(cipher) }
    },
    cipherRoot: rootOf,
    unseal(secret, _id, cipher, pieces) {
      const plain = words(crypt(secret, cipher))
      return pieces.map((_, i) => word(plain[i] as number))
    },
    proves: (piece, part) => words(part)[0] === piece + 1,
    offer: (offer, by, gift) => ({ t: 'light offer', offer: { ...offer, seller: by.key }, gift }),
    readOffer: (frame) => (frame.t === 'light offer' ? frame : undefined),
    quote: (quote) => ({ quote, bytes: NONE, sig: NONE }),
    quoteFrame: (id, signed) => ({ t: 'light quote', id, signed }),
    openQuote: (frame) => (frame.t === 'light quote' ? frame.signed : undefined),
    *data(id, cipher, bytes) {
      for (let at = 0; at < bytes; at += lightFrame) {
        const size = Math.min(lightFrame, bytes - at)
        yield {
          frame: { t: 'light data', id, at, size, bytes: at + size === bytes ? cipher : NONE },
          size: size + 32,
        }
      }
    },
    receipt: () => ({ quote: '', sig: '', preimage: '' }),
    proof(signed) {
      return utf8(signed.quote.seller)
    },
    accused: (proof) => new TextDecoder().decode(proof) as PartyKey,
    pack: (frame) => ({ frame, size: sizeOf(frame) }),
    unpack: (frame) => frame,
  }
}

function sizeOf(frame: Frame): number {
  switch (frame.t) {
    case 'light data':
      return frame.size + 32
    case 'light quote':
      return 1100
    case 'light offer':
      return 700
    case 'have':
      return 9 * frame.pieces.length
    default:
      return 100
  }
}
