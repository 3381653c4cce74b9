/**
 * Signatures, ciphers and hashes, and the frames that travel. `ports-real.ts` has the product's own, down to the bytes of
 * each frame; `ports-cheap.ts` keeps their meaning and nothing of their cost.
 */
import type { Bytes, InfoHash, PartyKey, Sha256Hex } from '../../web/core/bytes.ts'
import type { Message } from '../../web/core/exchange/message.ts'
import type { Offer } from '../../web/core/exchange/offer.ts'
import type { Quote, SignedQuote } from '../../web/core/exchange/quote.ts'
import type { SecretKey } from '../../web/core/nostr/event.ts'
import type { Shape } from '../../web/core/swarm/merkle.ts'
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

/** What a frame of data has beside its data, bytes. */
export const HEADER = 32

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
  cipherRoot(cipher: Bytes): Sha256Hex
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
