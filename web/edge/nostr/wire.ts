/** What Nostr relays and clients say to each other (NIP-01), parsed. */
import * as v from 'valibot'
import { partyKeySchema } from '../../core/release/target.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'

/** Bytes of one frame, either way (NIP-11 `max_message_length`). */
export const MAX_FRAME_BYTES = 64 * 1024
export const MAX_TAGS = 2000

const hex = (digits: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${digits}}$`)))

/** Shape only: id and signature are checked by `verifyEvent`. Unknown fields are dropped. */
export const eventSchema = v.object({
  id: hex(64),
  pubkey: partyKeySchema,
  created_at: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  kind: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535)),
  tags: v.pipe(v.array(v.array(v.string())), v.maxLength(MAX_TAGS)),
  content: v.string(),
  sig: hex(128),
})

/** An event from outside, shape only; undefined for anything else. */
export function parseEvent(value: unknown): NostrEvent | undefined {
  const parsed = v.safeParse(eventSchema, value)
  return parsed.success ? parsed.output : undefined
}

const subscriptionId = v.pipe(v.string(), v.minLength(1), v.maxLength(64))

export type RelayMessage =
  | { tag: 'event'; subscription: string; event: NostrEvent }
  | { tag: 'eose'; subscription: string }
  | { tag: 'ok'; id: string; accepted: boolean; reason: string }
  | { tag: 'closed'; subscription: string; reason: string }
  | { tag: 'notice'; text: string }
  | { tag: 'auth'; challenge: string }

const textAt = (message: readonly unknown[], at: number): string => {
  const text = message[at]
  return typeof text === 'string' ? text.slice(0, 500) : ''
}

/** A frame from a relay; undefined when it is not one. */
export function parseRelayMessage(frame: string): RelayMessage | undefined {
  let json: unknown
  try {
    json = JSON.parse(frame)
  } catch {
    return undefined
  }
  if (!Array.isArray(json)) return undefined
  const message: readonly unknown[] = json
  switch (message[0]) {
    case 'EVENT': {
      const event = parseEvent(message[2])
      if (!event || !v.is(subscriptionId, message[1])) return undefined
      return { tag: 'event', subscription: message[1], event }
    }
    case 'EOSE':
      return v.is(subscriptionId, message[1]) ? { tag: 'eose', subscription: message[1] } : undefined
    case 'OK':
      if (typeof message[1] !== 'string' || typeof message[2] !== 'boolean') return undefined
      return { tag: 'ok', id: message[1], accepted: message[2], reason: textAt(message, 3) }
    case 'CLOSED':
      if (!v.is(subscriptionId, message[1])) return undefined
      return { tag: 'closed', subscription: message[1], reason: textAt(message, 2) }
    case 'NOTICE':
      return { tag: 'notice', text: textAt(message, 1) }
    case 'AUTH':
      return { tag: 'auth', challenge: textAt(message, 1) }
    default:
      return undefined
  }
}
