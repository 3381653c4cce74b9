/** The product's own signatures, ciphers and hashes, down to the bytes of each frame. */
import { createCipheriv, createHash } from 'node:crypto'
import { concat, toHex, type Bytes, type InfoHash, type Sha256Hex } from '../../web/core/bytes.ts'
import { counterAt, paymentHashOf, quoteSecret, windowKey } from '../../web/core/exchange/cipher.ts'
import { checkProof, decodeProof, encodeProof } from '../../web/core/exchange/fraud.ts'
import { decodeMessage, encodeMessage, FRAME, MessageError } from '../../web/core/exchange/message.ts'
import { parseEvent, readOffer, signOffer, type Offer } from '../../web/core/exchange/offer.ts'
import { openQuote, receiptOf, signQuote } from '../../web/core/exchange/quote.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
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
import { leavesProve, sortPieces } from '../../web/edge/swarm/window-proof.ts'
import { HEADER, type Frame, type FrameOf, type Ports } from './ports.ts'
import type { Random } from './random.ts'

const AUX = new Uint8Array(32)
const sha256 = (bytes: Uint8Array): Bytes => new Uint8Array(createHash('sha256').update(bytes).digest())

const leavesOfPart = (part: Uint8Array): Bytes => {
  const leaves = new Uint8Array(blocksIn(part.length) * HASH)
  for (let block = 0; block * BLOCK < part.length; block++)
    leaves.set(sha256(part.subarray(block * BLOCK, (block + 1) * BLOCK)), block * HASH)
  return leaves
}

const leavesOf = (parts: readonly Bytes[]): Bytes => concat(...parts.map(leavesOfPart))

export function realPorts(shape: Shape, random: Random): Ports {
  const bytes = random.bytes(shape.length)
  const partOf = (piece: number): Bytes =>
    bytes.slice(piece * shape.pieceLength, piece * shape.pieceLength + pieceBytes(shape, piece))
  const layer = concat(
    ...Array.from({ length: piecesOf(shape) }, (_, piece) => pieceRoot(leavesOfPart(partOf(piece)), shape)),
  )
  const root = toHex(rootOfLayer(layer, shape)) as Sha256Hex
  const infoHash = toHex(random.bytes(20)) as InfoHash
  const release = { root, shape }
  const meta = { ...shape, layer }
  /** The same signed text means the same to everybody. */
  const offers = new Map<string, Offer | undefined>()
  const crypt = (secret: Bytes, id: Sha256Hex, text: Uint8Array): Bytes => {
    const cipher = createCipheriv('aes-256-ctr', windowKey(secret, id), counterAt(0))
    return new Uint8Array(cipher.update(text))
  }
  const split = (whole: Bytes, pieces: readonly number[]): Bytes[] => {
    let at = 0
    return pieces.map((piece) => whole.slice(at, (at += pieceBytes(shape, piece))))
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
    leavesOf,
    leavesLength: (pieces) =>
      pieces.reduce((total, piece) => total + blocksIn(pieceBytes(shape, piece)) * HASH, 0),
    leavesProve: (leaves, pieces) => leavesProve(leaves, pieces, meta),
    secretOf: quoteSecret,
    hashOf: paymentHashOf,
    seal(secret, id, parts) {
      const cipher = crypt(secret, id, concat(...parts))
      return { cipher, cipherRoot: toHex(rootOfLeaves(leavesOfPart(cipher))) as Sha256Hex }
    },
    cipherRoot: (cipher) => toHex(rootOfLeaves(leavesOfPart(cipher))) as Sha256Hex,
    unseal: (secret, id, cipher, pieces) => split(crypt(secret, id, cipher), pieces),
    proves: (piece, part) =>
      part.length === pieceBytes(shape, piece) && leavesProve(leavesOfPart(part), [piece], meta),
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
        yield { frame, size: frame.bytes.length + HEADER }
      }
    },
    proof(signed, secret, cipher, leaves, parts) {
      const { wrong } = sortPieces(
        { bytes: concat(...parts), leaves: leavesOf(parts) },
        leaves,
        signed.quote.pieces,
        meta,
      )
      if (wrong === undefined) return undefined
      const { piece, block, index } = wrong
      const first = index - block
      const own = leaves.slice(first * HASH, (first + blocksIn(pieceBytes(shape, piece))) * HASH)
      return encodeProof({
        receipt: receiptOf(signed, toHex(secret)),
        piece,
        block,
        ciphertext: cipher.slice(index * BLOCK, (index + 1) * BLOCK),
        cipherPath: windowPath(leavesOfPart(cipher), index),
        leaf: entry(own, block),
        releasePath: releasePath(own, layer, shape, piece, block),
      })
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

const isLight = (frame: Frame): frame is FrameOf<'light data' | 'light quote' | 'light offer' | 'raw'> =>
  frame.t === 'light data' || frame.t === 'light quote' || frame.t === 'light offer' || frame.t === 'raw'
