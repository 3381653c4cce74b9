/** What the wallet service says: events of NIP-47, encrypted for one client and signed. */
import { randomBytes } from 'node:crypto'
import { nip04 } from 'nostr-tools'
import { parsePartyKey, type PartyKey } from '../../web/core/bytes.ts'
import { signEvent, type NostrEvent, type SecretKey } from '../../web/core/nostr/event.ts'
import * as kinds from '../../web/core/nostr/kinds.ts'
import type { NotificationType } from '../../web/core/wallet/nip47.ts'
import { encryptTo } from '../../web/edge/nostr/nip44.ts'
import type { Connection, Encryption } from './connections.ts'

/** The answer to the request of this id. */
export type Reply = { id: string; client: PartyKey; encryption: Encryption; response: string }

export interface Outbox {
  publish(kind: number, tags: string[][], content: string): void
  reply(reply: Reply): void
  notify(connection: Connection, type: NotificationType, notification: object): void
}

export type OutboxOptions = Readonly<{
  relaySecret: SecretKey
  publish: (event: NostrEvent) => unknown
  now: () => number
  onRefused: (kind: number, error: unknown) => void
}>

export function createOutbox({ relaySecret, publish, now, onRefused }: OutboxOptions): Outbox {
  const send = (kind: number, tags: string[][], content: string): void => {
    const created_at = Math.floor(now() / 1000)
    const event = signEvent({ kind, created_at, tags, content }, relaySecret, randomBytes(32))
    void Promise.resolve(publish(event)).catch((error: unknown) => onRefused(kind, error))
  }
  const encrypt = (client: PartyKey, encryption: Encryption, text: string): string =>
    encryption === 'nip44_v2'
      ? encryptTo(relaySecret, client, text)
      : nip04.encrypt(relaySecret, client, text)
  return {
    publish: send,
    reply({ id, client, encryption, response }) {
      const tags = [
        ['p', client],
        ['e', id],
        ['encryption', encryption],
      ]
      send(kinds.NWC_RESPONSE, tags, encrypt(client, encryption, response))
    },
    notify({ client: key, encryption }, type, notification) {
      const client = key as PartyKey
      const text = JSON.stringify({ notification_type: type, notification })
      // Until a client has asked something, nobody knows which of the two it reads.
      if (encryption !== 'nip04')
        send(kinds.NWC_NOTIFICATION, [['p', client]], encrypt(client, 'nip44_v2', text))
      if (encryption !== 'nip44_v2')
        send(kinds.NWC_NOTIFICATION_NIP04, [['p', client]], encrypt(client, 'nip04', text))
    },
  }
}

/** A reply from its row in `requests`. */
export const replyFields = (row: Record<string, unknown>): Omit<Reply, 'response'> => ({
  id: String(row['id']),
  client: parsePartyKey(String(row['client'])) as PartyKey,
  encryption: row['encryption'] as Encryption,
})
