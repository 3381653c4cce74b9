/** Encrypted, signed messages between a shop and a buyer over Nostr: ephemeral, so no relay keeps them. */
import * as v from 'valibot'
import type { PartyKey } from '../../core/bytes.ts'
import { publicKey, signEvent, tagValue, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import { STORE_TALK } from '../../core/nostr/kinds.ts'
import { decryptFrom, encryptTo } from '../nostr/nip44.ts'
import type { Pool } from '../nostr/pool.ts'

/** Older ones were meant for a page that is gone. */
const FRESH_S = 120
const SEND_TIMEOUT_MS = 10_000

export interface Talk {
  /** Rejects (`PublishError`) when no relay takes it in time. */
  say(to: PartyKey, message: object): Promise<void>
  close(): void
}

/** Hears what is said to `secret`'s key, parsed by `schema`; what is not is dropped. */
export function openTalk<const S extends v.GenericSchema>(
  pool: Pool,
  secret: SecretKey,
  schema: S,
  onSaid: (from: PartyKey, said: v.InferOutput<S>) => void,
  nowMs: () => number = Date.now,
): Talk {
  const me = publicKey(secret)
  const sinceS = Math.floor(nowMs() / 1000) - FRESH_S

  function hear(event: NostrEvent): void {
    if (tagValue(event, 'p') !== me) return
    let json: unknown
    try {
      json = JSON.parse(decryptFrom(secret, event.pubkey, event.content))
    } catch {
      return // not for this shop, or not from one that can write
    }
    const parsed = v.safeParse(schema, json)
    if (parsed.success) onSaid(event.pubkey, parsed.output)
  }
  const end = pool.subscribe([{ kinds: [STORE_TALK], '#p': [me], since: sinceS }], hear)

  return {
    async say(to, message) {
      const event = signEvent(
        {
          kind: STORE_TALK,
          created_at: Math.floor(nowMs() / 1000),
          tags: [['p', to]],
          content: encryptTo(secret, to, JSON.stringify(message)),
        },
        secret,
        crypto.getRandomValues(new Uint8Array(32)),
      )
      await pool.publish(event, { timeoutMs: SEND_TIMEOUT_MS })
    },
    close: end,
  }
}
