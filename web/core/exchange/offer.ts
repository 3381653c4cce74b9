/** A seller's standing price: a signed, expiring Nostr event (kind OFFER), shown on the wire and on relays. */
import * as v from 'valibot'
import type { InfoHash, PartyKey } from '../bytes.ts'
import { parseMoney, type Money, type Msat } from '../money/msat.ts'
import { signEvent, tagValue, verifyEvent, type NostrEvent, type SecretKey } from '../nostr/event.ts'
import { OFFER } from '../nostr/kinds.ts'
import { msatSchema } from '../release/target.ts'

export const modes = ['atomic', 'credit', 'free'] as const
export type Mode = (typeof modes)[number]

export type Offer = Readonly<{
  seller: PartyKey
  infoHash: InfoHash
  money: Money
  /** msat per MiB */
  price: Msat
  modes: readonly Mode[]
  maxWindowBytes: number
  expiresAtS: number
}>

const contentSchema = v.object({
  v: v.literal(1),
  money: v.custom<Money>((x) => typeof x === 'string' && parseMoney(x) !== undefined),
  priceMsat: msatSchema,
  modes: v.pipe(v.array(v.picklist(modes)), v.minLength(1), v.maxLength(3)),
  maxWindowBytes: v.pipe(v.number(), v.safeInteger(), v.minValue(16_384)),
})

export const nostrEventSchema = v.object({
  id: v.string(),
  pubkey: v.custom<PartyKey>((x) => typeof x === 'string' && /^[0-9a-f]{64}$/.test(x)),
  created_at: v.pipe(v.number(), v.safeInteger()),
  kind: v.pipe(v.number(), v.safeInteger()),
  tags: v.array(v.array(v.string())),
  content: v.string(),
  sig: v.string(),
})

/** A whole event from JSON text, signature checked; `undefined` for anything else. */
export function parseEvent(json: string): NostrEvent | undefined {
  try {
    const event = v.parse(nostrEventSchema, JSON.parse(json))
    return verifyEvent(event) ? event : undefined
  } catch {
    return undefined
  }
}

export function signOffer(
  offer: Omit<Offer, 'seller'>,
  secret: SecretKey,
  aux: Uint8Array,
  nowS: number,
): NostrEvent {
  const { infoHash, money, price, modes: offered, maxWindowBytes, expiresAtS } = offer
  return signEvent(
    {
      kind: OFFER,
      created_at: nowS,
      tags: [
        ['d', infoHash],
        ['expiration', String(expiresAtS)],
      ],
      content: JSON.stringify({ v: 1, money, priceMsat: price, modes: offered, maxWindowBytes }),
    },
    secret,
    aux,
  )
}

/** The offer in a verified event, or `undefined` when it is another kind, for another torrent or not parsable. */
export function readOffer(event: NostrEvent, infoHash: InfoHash): Offer | undefined {
  if (event.kind !== OFFER || tagValue(event, 'd') !== infoHash) return undefined
  const expiresAtS = Number(tagValue(event, 'expiration'))
  if (!Number.isSafeInteger(expiresAtS)) return undefined
  try {
    const content = v.parse(contentSchema, JSON.parse(event.content))
    return {
      seller: event.pubkey,
      infoHash,
      money: content.money,
      price: content.priceMsat,
      modes: content.modes,
      maxWindowBytes: content.maxWindowBytes,
      expiresAtS,
    }
  } catch {
    return undefined
  }
}
