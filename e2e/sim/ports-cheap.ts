/** What keeps the meaning of signatures, ciphers and hashes and nothing of their cost: a piece is one word, a quote goes by reference. */
import {
  concat,
  utf8,
  type Bytes,
  type InfoHash,
  type PartyKey,
  type Sha256Hex,
} from '../../web/core/bytes.ts'
import type { Shape } from '../../web/core/swarm/merkle.ts'
import { HEADER, type Frame, type Ports } from './ports.ts'

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
          size: size + HEADER,
        }
      }
    },
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
      return frame.size + HEADER
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
