/** NIP-59 gift wraps: a rumour (unsigned event) in a seal by its author in a wrap by a throw-away key. */
import * as v from 'valibot'
import type { PartyKey } from '../../core/bytes.ts'
import {
  eventId,
  publicKey,
  signEvent,
  verifyEvent,
  type EventTemplate,
  type NostrEvent,
  type SecretKey,
} from '../../core/nostr/event.ts'
import { GIFT_WRAP } from '../../core/nostr/kinds.ts'
import { decryptFrom, encryptTo } from './nip44.ts'
import { eventSchema, parseEvent } from './wire.ts'

const SEAL = 13
/** How far into the past seal and wrap are dated, so that their times tell nothing. */
const MAX_BACKDATE_S = 2 * 24 * 3600
const rumourSchema = v.omit(eventSchema, ['sig'])

export type Rumour = Readonly<EventTemplate & { id: string; pubkey: PartyKey }>
export type WrapOptions = Readonly<{ nowS?: number }>

const randomBytes = (count: number): SecretKey => crypto.getRandomValues(new Uint8Array(count))

/** Encrypts `template`, authored by `secret`, so that only `recipient` reads it and nobody else learns the author. */
export function wrap(
  template: EventTemplate,
  secret: SecretKey,
  recipient: PartyKey,
  options: WrapOptions = {},
): NostrEvent {
  const nowS = options.nowS ?? Math.floor(Date.now() / 1000)
  const { kind, created_at, tags, content } = template
  const unsigned = { kind, created_at, tags, content, pubkey: publicKey(secret) }
  const rumour: Rumour = { ...unsigned, id: eventId(unsigned) }
  const backdated = () => nowS - Math.floor((randomBytes(1)[0]! / 256) * MAX_BACKDATE_S)
  const sealTemplate = {
    kind: SEAL,
    created_at: backdated(),
    tags: [],
    content: encryptTo(secret, recipient, JSON.stringify(rumour)),
  }
  const seal = signEvent(sealTemplate, secret, randomBytes(32))
  const throwAway = randomBytes(32)
  const wrapTemplate = {
    kind: GIFT_WRAP,
    created_at: backdated(),
    tags: [['p', recipient]],
    content: encryptTo(throwAway, recipient, JSON.stringify(seal)),
  }
  return signEvent(wrapTemplate, throwAway, randomBytes(32))
}

/** The rumour inside, its author proven by the seal; undefined when any layer is not what it must be. */
export function unwrap(event: NostrEvent, secret: SecretKey): Rumour | undefined {
  if (event.kind !== GIFT_WRAP) return undefined
  try {
    const seal = parseEvent(JSON.parse(decryptFrom(secret, event.pubkey, event.content)))
    if (!seal || seal.kind !== SEAL || !verifyEvent(seal)) return undefined
    const parsed = v.safeParse(rumourSchema, JSON.parse(decryptFrom(secret, seal.pubkey, seal.content)))
    if (!parsed.success) return undefined
    const rumour = parsed.output
    // Without this anyone could put another's name on a rumour of their own.
    if (rumour.pubkey !== seal.pubkey || eventId(rumour) !== rumour.id) return undefined
    return rumour
  } catch {
    return undefined
  }
}
