/** NIP-98 HTTP authorisation: a signed event that names URL, method and body. Both sides of it. */
import { base64 } from '@scure/base'
import type { PartyKey } from '../../core/bytes.ts'
import { fromUtf8, sha256Hex, utf8 } from '../../core/bytes.ts'
import { signEvent, tagValue, verifyEvent, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import { HTTP_AUTH } from '../../core/nostr/kinds.ts'
import { parseEvent } from './wire.ts'

/** Difference of clocks that is let pass. Wider than NIP-98 suggests: each event is bound to its body. */
export const MAX_SKEW_S = 600
const MAX_HEADER_CHARS = 4096

/** The `Authorization` header for one request. */
export function httpAuth(
  url: string,
  method: string,
  body: Uint8Array | undefined,
  secret: SecretKey,
  nowMs = Date.now(),
): string {
  const tags = [
    ['u', url],
    ['method', method.toUpperCase()],
  ]
  if (body) tags.push(['payload', sha256Hex(body)])
  const template = { kind: HTTP_AUTH, created_at: Math.floor(nowMs / 1000), tags, content: '' }
  const event = signEvent(template, secret, crypto.getRandomValues(new Uint8Array(32)))
  return `Nostr ${base64.encode(utf8(JSON.stringify(event)))}`
}

export type HttpAuthVerdict =
  | { tag: 'ok'; key: PartyKey; id: string }
  | { tag: 'refused'; code: 'auth-missing' | 'auth-invalid' | 'clock-off'; message: string }

export type HttpAuthExpectation = Readonly<{
  /** The signed URL must be this, or satisfy this (a relay is reached by several names). */
  url: string | ((url: string) => boolean)
  method: string
  /** Of the body that came; undefined without one. */
  bodySha256: string | undefined
  nowMs: number
}>

/** Checks a request's `Authorization` header. A body that was sent must be the one that was signed. */
export function verifyHttpAuth(
  header: string | null | undefined,
  expected: HttpAuthExpectation,
): HttpAuthVerdict {
  const invalid = (message: string): HttpAuthVerdict => ({ tag: 'refused', code: 'auth-invalid', message })
  if (!header) {
    const message = 'This request needs an Authorization header with a signed Nostr event (NIP-98).'
    return { tag: 'refused', code: 'auth-missing', message }
  }
  const event = parseHeader(header)
  if (!event) return invalid('The Authorization header is not a NIP-98 event.')
  const url = tagValue(event, 'u') ?? ''
  const right = typeof expected.url === 'string' ? url === expected.url : expected.url(url)
  if (!right) return invalid('The authorisation was signed for another address.')
  if (tagValue(event, 'method') !== expected.method)
    return invalid('The authorisation was signed for another method.')
  if (expected.bodySha256 !== undefined && tagValue(event, 'payload') !== expected.bodySha256) {
    return invalid('The authorisation was signed for other bytes than were sent.')
  }
  if (!verifyEvent(event)) return invalid("The authorisation's signature is wrong.")
  const skewS = event.created_at - Math.floor(expected.nowMs / 1000)
  if (Math.abs(skewS) > MAX_SKEW_S) {
    const words = `${Math.abs(skewS)} s ${skewS < 0 ? 'behind' : 'ahead of'}`
    const message = `Your clock is ${words} the relay's; set it and send again. Nothing was stored.`
    return { tag: 'refused', code: 'clock-off', message }
  }
  return { tag: 'ok', key: event.pubkey, id: event.id }
}

function parseHeader(header: string): NostrEvent | undefined {
  const [scheme, token] = header.split(' ')
  if (scheme?.toLowerCase() !== 'nostr' || !token || header.length > MAX_HEADER_CHARS) return undefined
  try {
    const event = parseEvent(JSON.parse(fromUtf8(base64.decode(token))))
    return event?.kind === HTTP_AUTH ? event : undefined
  } catch {
    return undefined
  }
}
