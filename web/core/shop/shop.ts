/**
 * A shop: what its list of goods and its messages hold (ARCHITECTURE.md "Shop"). Amounts are msat. Everything is
 * NIP-44 encrypted: the list to whoever has the shop's code, messages between the shop's key and a buyer's.
 */
import { base64, bech32 } from '@scure/base'
import * as v from 'valibot'
import { fromHex, fromUtf8, parsePartyKey, toHex, type Bytes, type PartyKey } from '../bytes.ts'
import { decode, encode } from '../exchange/bencode.ts'
import { MAX_INVOICE_LENGTH } from '../money/bolt11.ts'
import { parseMoney, type Money } from '../money/msat.ts'
import { msatSchema, sha256HexSchema } from '../release/target.ts'
import type { SecretKey } from '../nostr/event.ts'

export const KINDS = ['opinion', 'file', 'release'] as const
export type GoodKind = (typeof KINDS)[number]

export const MAX_GOODS = 40
/** Of a list as JSON, so that it fits one message encrypted. */
export const MAX_LISTING_BYTES = 30_000
/** Larger things go as releases through the swarm. */
export const MAX_GOOD_BYTES = 1024 * 1024
/** Bytes of one message's part: with base64 and encryption it stays below NIP-44's 65,535 and a relay's 64 KiB. */
export const PART_BYTES = 24 * 1024
/** A list is told anew so often, and counts as the shop's word for so long. */
export const TELL_EVERY_MS = 60_000
export const LISTING_LIFE_S = 150

const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const id = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/))
const count = (most: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(most))

export const goodSchema = v.object({
  /** 16 hex digits. */
  id,
  kind: v.picklist(KINDS),
  title: v.pipe(text(100), v.minLength(1)),
  about: text(300),
  priceMsat: v.pipe(
    msatSchema,
    v.check((price) => price > 0, 'a price'),
  ),
  bytes: v.pipe(count(MAX_GOOD_BYTES), v.minValue(1)),
  /** Of the good itself: what was bought is checked against it. */
  sha256: sha256HexSchema,
  /** Absent for an opinion, which is text to be read. */
  fileName: v.optional(text(200)),
  /** Releases only: who signed the file, and as what. The buyer checks it with the vendor's metadata. */
  version: v.optional(text(60)),
  vendor: v.optional(sha256HexSchema),
})
export type Good = Readonly<v.InferOutput<typeof goodSchema>>

export const listingSchema = v.object({
  v: v.literal(1),
  name: text(100),
  money: v.custom<Money>((x) => typeof x === 'string' && parseMoney(x) !== undefined),
  open: v.boolean(),
  goods: v.pipe(
    v.array(goodSchema),
    v.maxLength(MAX_GOODS),
    v.check((goods) => new Set(goods.map(({ id }) => id)).size === goods.length, 'each good once'),
  ),
})
export type Listing = Readonly<v.InferOutput<typeof listingSchema>>

/** An order: SHA-256 of the buyer's key and 16 random bytes, so that nobody else can have it. */
const order = sha256HexSchema
export const toShopSchema = v.variant('tag', [
  v.object({ tag: v.literal('order'), order, good: id, priceMsat: msatSchema }),
  v.object({ tag: v.literal('part'), order, index: count(MAX_GOOD_BYTES) }),
  v.object({ tag: v.literal('claim'), order, preimage: sha256HexSchema }),
])
export type ToShop = v.InferOutput<typeof toShopSchema>

export const REFUSALS = ['closed', 'gone', 'price', 'wallet', 'busy', 'unpaid'] as const
export const toBuyerSchema = v.variant('tag', [
  /** `key`: the payment's preimage opens the good. `claim`: the shop gives the key against the preimage. */
  v.object({
    tag: v.literal('invoice'),
    order,
    bolt11: text(MAX_INVOICE_LENGTH),
    opensWith: v.picklist(['key', 'claim']),
  }),
  v.object({
    tag: v.literal('part'),
    order,
    index: count(MAX_GOOD_BYTES),
    data: v.pipe(text(Math.ceil(PART_BYTES / 3) * 4), v.base64()),
  }),
  v.object({ tag: v.literal('key'), order, key: sha256HexSchema }),
  v.object({
    tag: v.literal('refused'),
    order,
    why: v.picklist(REFUSALS),
    /** The price now, for `price`. */
    priceMsat: v.optional(msatSchema),
    message: text(300),
  }),
])
export type ToBuyer = v.InferOutput<typeof toBuyerSchema>

export const partsOf = (bytes: number): number => Math.ceil(bytes / PART_BYTES)
export const partAt = (sealed: Bytes, index: number): Bytes =>
  sealed.slice(index * PART_BYTES, (index + 1) * PART_BYTES)
export const toText = (bytes: Bytes): string => base64.encode(bytes)
export const fromText = (data: string): Bytes => base64.decode(data) as Bytes

/** What a shop's code carries: who it is, where, and the key that reads its list. */
export type StoreCode = Readonly<{ shop: PartyKey; relay: string; visitor: SecretKey }>

const PREFIX = 'spstore'
const MAX_CODE_CHARS = 1000
const MAX_RELAY_BYTES = 300

/** `spstore1…`: bech32 of bencoded `{p: the shop's key, r: relay (ws or wss), v: the visitors' secret key}`. */
export function encodeStoreCode({ shop, relay, visitor }: StoreCode): string {
  const value = { p: fromHex(shop), r: relay, v: visitor }
  return bech32.encode(PREFIX, bech32.toWords(encode(value)), false)
}

/** Reads a pasted code, or the link that carries one; undefined when it is none, or damaged. */
export function decodeStoreCode(pasted: string): StoreCode | undefined {
  const code = /spstore1[a-z0-9]+/.exec(pasted.trim().toLowerCase())?.[0]
  if (code === undefined || code.length > MAX_CODE_CHARS) return undefined
  const raw = bech32.decodeUnsafe(code as `${string}1${string}`, false)
  if (!raw) return undefined
  try {
    const fields = decode(bech32.fromWords(raw.words))
    const { p, r, v: visitor } = fields as Record<string, unknown>
    if (!(p instanceof Uint8Array && r instanceof Uint8Array && visitor instanceof Uint8Array))
      return undefined
    const shop = parsePartyKey(toHex(p))
    if (!shop || visitor.length !== 32 || r.length > MAX_RELAY_BYTES) return undefined
    const relay = new URL(fromUtf8(r))
    if (relay.protocol !== 'ws:' && relay.protocol !== 'wss:') return undefined
    return { shop, relay: relay.href, visitor: new Uint8Array(visitor) }
  } catch {
    return undefined
  }
}
