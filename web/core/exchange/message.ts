/**
 * The frames of the `satpatch` extension (BEP 10): one bencoded dict, then for `leaves` and `data` a payload.
 * Specified byte by byte in PROTOCOL.md. A frame that does not fit is a `MessageError`: the peer is dropped.
 */
import { concat, fromHex, fromUtf8, toHex, type Bytes, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { BencodeError, decodePrefix, encode, type Decoded } from './bencode.ts'
import { MAX_QUOTE_BYTES, MAX_WINDOW_BYTES, MAX_WINDOW_PIECES } from './quote.ts'
import { BLOCK, HASH } from '../swarm/merkle.ts'

export const EXTENSION = 'satpatch'
/** A data frame's payload: whole blocks, below the 256 KiB that kill a data channel. */
export const FRAME = 4 * BLOCK
const MAX_FRAME = FRAME + 1024
const MAX_EVENT = 8192

/** Why a seller does not serve a request. `busy` and `unpaid` may be asked again; the others stand until something changes. */
export const refusals = ['busy', 'missing', 'unpaid', 'barred', 'closed', 'too large', 'wallet'] as const
export type RefusalCode = (typeof refusals)[number]

/** What a party is in this swarm; both sides sign it. */
export const roles = ['vendor', 'distributor', 'device'] as const
export type Role = (typeof roles)[number]

export type Message =
  /** First on each side: who, for which release, and the newest vendor-signed RELEASE event. */
  | {
      t: 'hello'
      key: PartyKey
      nonce: Bytes
      role: Role
      root: Sha256Hex
      floor?: string
      /** The longest message that it takes on a lane (`lane.ts`); absent: it has none. */
      lane?: number
    }
  /** BIP 340 over the transcript. */
  | { t: 'prove'; sig: Bytes }
  /** A seller's signed OFFER event; `gift`: this peer gets it free. */
  | { t: 'offer'; event: string; gift: boolean }
  /** A buyer's: one window. `id` counts up on this wire. */
  | { t: 'request'; id: number; pieces: readonly number[] }
  | { t: 'refuse'; id: number; code: RefusalCode }
  /** Hashes of the plain blocks, before the ciphertext: what the seller stands for. */
  | { t: 'leaves'; id: number; leaves: Bytes }
  | { t: 'data'; id: number; at: number; bytes: Bytes }
  | { t: 'quote'; id: number; quote: Bytes; sig: Bytes }
  /** The secret of a settled (or given) quote. */
  | { t: 'key'; quote: Sha256Hex; secret: Bytes }
  /** The buyer gives a window up before paying. */
  | { t: 'cancel'; id: number }
  /** All ciphertext of the window is here: the seller's line is free for others. */
  | { t: 'got'; id: number }
  /** A seller's that has everything: what it sends to somebody else for the first time. Others ask better for what is rarer. */
  | { t: 'sending'; pieces: readonly number[] }
  /** A seller's that gives credit: unpaid bytes that this buyer may have. */
  | { t: 'credit'; bytes: number }
  /** A buyer's, on credit: the preimage that shows the quote as paid. */
  | { t: 'paid'; quote: Sha256Hex; preimage: Bytes }
  /** A buyer's: the invoice of what it owes has lapsed, it wants another. `id` as of a request. */
  | { t: 'renew'; id: number; quote: Sha256Hex }

export class MessageError extends Error {
  override readonly name = 'MessageError'
}

export function encodeMessage(message: Message): Bytes {
  switch (message.t) {
    case 'hello':
      return encode({
        t: 'hello',
        v: 1,
        key: fromHex(message.key),
        nonce: message.nonce,
        role: message.role,
        root: fromHex(message.root),
        ...(message.floor === undefined ? {} : { floor: message.floor }),
        ...(message.lane === undefined ? {} : { lane: message.lane }),
      })
    case 'prove':
      return encode({ t: 'prove', sig: message.sig })
    case 'offer':
      return encode({ t: 'offer', event: message.event, gift: message.gift ? 1 : 0 })
    case 'request':
      return encode({ t: 'request', id: message.id, pieces: [...message.pieces] })
    case 'refuse':
      return encode({ t: 'refuse', id: message.id, code: message.code })
    case 'leaves':
      return concat(encode({ t: 'leaves', id: message.id }), message.leaves)
    case 'data':
      return concat(encode({ t: 'data', id: message.id, at: message.at }), message.bytes)
    case 'quote':
      return encode({ t: 'quote', id: message.id, quote: message.quote, sig: message.sig })
    case 'key':
      return encode({ t: 'key', quote: fromHex(message.quote), secret: message.secret })
    case 'cancel':
      return encode({ t: 'cancel', id: message.id })
    case 'got':
      return encode({ t: 'got', id: message.id })
    case 'sending':
      return encode({ t: 'sending', pieces: [...message.pieces] })
    case 'credit':
      return encode({ t: 'credit', bytes: message.bytes })
    case 'paid':
      return encode({ t: 'paid', quote: fromHex(message.quote), preimage: message.preimage })
    case 'renew':
      return encode({ t: 'renew', id: message.id, quote: fromHex(message.quote) })
  }
}

/** @throws MessageError with the reason; `undefined` for a type of a later version, which is passed over. */
export function decodeMessage(frame: Uint8Array): Message | undefined {
  if (frame.length > MAX_FRAME) throw new MessageError('frame too long')
  const [dict, payload] = split(frame)
  const type = textOf(dict, 't', 16)
  if (payload.length > 0 && type !== 'leaves' && type !== 'data')
    throw new MessageError(`${type} has a payload`)
  switch (type) {
    case 'hello': {
      if (integerOf(dict, 'v', 0, 1000) < 1) throw new MessageError('version 0')
      const floor = dict['floor'] === undefined ? undefined : textOf(dict, 'floor', MAX_EVENT)
      const lane =
        dict['lane'] === undefined ? undefined : integerOf(dict, 'lane', 0, Number.MAX_SAFE_INTEGER)
      return {
        t: 'hello',
        key: toHex(bytesOf(dict, 'key', 32)) as PartyKey,
        nonce: bytesOf(dict, 'nonce', 32),
        role: roleOf(dict),
        root: toHex(bytesOf(dict, 'root', 32)) as Sha256Hex,
        ...(floor === undefined ? {} : { floor }),
        ...(lane === undefined ? {} : { lane }),
      }
    }
    case 'prove':
      return { t: 'prove', sig: bytesOf(dict, 'sig', 64) }
    case 'offer':
      return {
        t: 'offer',
        event: textOf(dict, 'event', MAX_EVENT),
        gift: integerOf(dict, 'gift', 0, 1) === 1,
      }
    case 'request':
      return { t: 'request', id: idOf(dict), pieces: piecesOf(dict) }
    case 'refuse': {
      const code = textOf(dict, 'code', 16)
      return { t: 'refuse', id: idOf(dict), code: refusals.find((known) => known === code) ?? 'closed' }
    }
    case 'leaves':
      if (payload.length === 0 || payload.length % HASH !== 0)
        throw new MessageError('leaves are not whole hashes')
      if (payload.length > (MAX_WINDOW_BYTES / BLOCK) * HASH) throw new MessageError('too many leaves')
      return { t: 'leaves', id: idOf(dict), leaves: payload }
    case 'data':
      if (payload.length === 0 || payload.length > FRAME) throw new MessageError('data of a wrong length')
      return { t: 'data', id: idOf(dict), at: integerOf(dict, 'at', 0, MAX_WINDOW_BYTES), bytes: payload }
    case 'quote': {
      const quote = dict['quote']
      if (!(quote instanceof Uint8Array) || quote.length > MAX_QUOTE_BYTES) throw new MessageError('no quote')
      return { t: 'quote', id: idOf(dict), quote, sig: bytesOf(dict, 'sig', 64) }
    }
    case 'key':
      return {
        t: 'key',
        quote: toHex(bytesOf(dict, 'quote', 32)) as Sha256Hex,
        secret: bytesOf(dict, 'secret', 32),
      }
    case 'cancel':
      return { t: 'cancel', id: idOf(dict) }
    case 'got':
      return { t: 'got', id: idOf(dict) }
    case 'sending':
      return { t: 'sending', pieces: piecesOf(dict) }
    case 'credit':
      return { t: 'credit', bytes: integerOf(dict, 'bytes', 0, Number.MAX_SAFE_INTEGER) }
    case 'paid':
      return {
        t: 'paid',
        quote: toHex(bytesOf(dict, 'quote', 32)) as Sha256Hex,
        preimage: bytesOf(dict, 'preimage', 32),
      }
    case 'renew':
      return { t: 'renew', id: idOf(dict), quote: toHex(bytesOf(dict, 'quote', 32)) as Sha256Hex }
    default:
      return undefined
  }
}

function roleOf(dict: Dict): Role {
  const name = textOf(dict, 'role', 16)
  const role = roles.find((known) => known === name)
  if (role === undefined) throw new MessageError('unknown role')
  return role
}

type Dict = { [key: string]: Decoded }

function split(frame: Uint8Array): [Dict, Bytes] {
  try {
    const [value, end] = decodePrefix(frame)
    if (typeof value !== 'object' || Array.isArray(value) || value instanceof Uint8Array)
      throw new MessageError('not a dict')
    return [value, frame.slice(end) as Bytes]
  } catch (error) {
    if (error instanceof BencodeError) throw new MessageError(error.message)
    throw error
  }
}

function bytesOf(dict: Dict, key: string, length: number): Bytes {
  const value = dict[key]
  if (!(value instanceof Uint8Array) || value.length !== length)
    throw new MessageError(`${key} is not ${length} bytes`)
  return value
}

function textOf(dict: Dict, key: string, max: number): string {
  const value = dict[key]
  if (!(value instanceof Uint8Array) || value.length > max)
    throw new MessageError(`${key} is no text of at most ${max} bytes`)
  try {
    return fromUtf8(value)
  } catch {
    throw new MessageError(`${key} is not UTF-8`)
  }
}

function integerOf(dict: Dict, key: string, min: number, max: number): number {
  const value = dict[key]
  if (typeof value !== 'number' || value < min || value > max)
    throw new MessageError(`${key} is not in ${min}..${max}`)
  return value
}

const idOf = (dict: Dict): number => integerOf(dict, 'id', 0, 2 ** 31 - 1)

function piecesOf(dict: Dict): number[] {
  const list = dict['pieces']
  if (!Array.isArray(list) || list.length < 1 || list.length > MAX_WINDOW_PIECES)
    throw new MessageError('no window of pieces')
  let previous = -1
  return list.map((piece) => {
    if (typeof piece !== 'number' || piece <= previous) throw new MessageError('pieces do not ascend')
    return (previous = piece)
  })
}
