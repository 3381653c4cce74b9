/** For tests: NIP-47 requests written by hand, straight into the relay's core, well-formed or not. */
import { randomBytes } from 'node:crypto'
import { nip04 } from 'nostr-tools'
import {
  publicKey,
  signEvent,
  tagValue,
  type NostrEvent,
  type SecretKey,
} from '../../web/core/nostr/event.ts'
import { parseConnection } from '../../web/core/wallet/connection.ts'
import { decryptFrom, encryptTo } from '../../web/edge/nostr/nip44.ts'
import type { PartyKey } from '../../web/core/bytes.ts'
import type { TestService } from './harness.ts'

export type RawReply = {
  result_type: string
  error: { code: string; message: string } | null
  result: Record<string, unknown> | null
}

export type RawClient = {
  secret: SecretKey
  key: PartyKey
  /** A signed request; `tags` and `created_at` replace what is usual. */
  event(
    body: unknown,
    options?: { encryption?: 'nip44_v2' | 'nip04'; tags?: string[][]; createdAt?: number; content?: string },
  ): NostrEvent
  /** Sends an event and gives what was answered before `send` returned: the service answers at once or later. */
  send(event: NostrEvent): RawReply[]
  ask(method: string, params?: object): RawReply
  /** Answers to one request from now on. */
  onReply(id: string): Promise<RawReply>
  notifications: { kind: number; body: unknown }[]
}

export function rawClient(service: TestService, connection: string | SecretKey): RawClient {
  let secret: SecretKey
  if (typeof connection === 'string') {
    const parsed = parseConnection(connection)
    if (!parsed.ok) throw new Error(parsed.message)
    secret = parsed.connection.secret
  } else secret = connection
  const key = publicKey(secret)
  const wallet = service.wallet.walletPubkey
  const notifications: RawClient['notifications'] = []
  const waiting = new Map<string, (reply: RawReply) => void>()
  let collected: { id: string; reply: RawReply }[] = []
  const read = (event: NostrEvent, encryption: string): unknown =>
    JSON.parse(
      encryption === 'nip44_v2'
        ? decryptFrom(secret, wallet, event.content)
        : nip04.decrypt(secret, wallet, event.content),
    )
  service.core.subscribe([{ kinds: [23195, 23196, 23197], authors: [wallet], '#p': [key] }], (event) => {
    if (event.kind !== 23195) {
      notifications.push({ kind: event.kind, body: read(event, event.kind === 23197 ? 'nip44_v2' : 'nip04') })
      return
    }
    const reply = read(event, tagValue(event, 'encryption') ?? 'nip04') as RawReply
    const id = tagValue(event, 'e') ?? ''
    collected.push({ id, reply })
    waiting.get(id)?.(reply)
  })
  const client: RawClient = {
    secret,
    key,
    notifications,
    event(body, { encryption = 'nip44_v2', tags, createdAt, content } = {}) {
      const text = typeof body === 'string' ? body : JSON.stringify(body)
      return signEvent(
        {
          kind: 23194,
          created_at: createdAt ?? Math.floor(service.now() / 1000),
          tags: tags ?? [
            ['p', wallet],
            ['encryption', encryption],
          ],
          content:
            content ??
            (encryption === 'nip44_v2'
              ? encryptTo(secret, wallet, text)
              : nip04.encrypt(secret, wallet, text)),
        },
        secret,
        randomBytes(32),
      )
    },
    send(event) {
      collected = []
      service.core.publish(event)
      return collected.filter(({ id }) => id === event.id).map(({ reply }) => reply)
    },
    ask(method, params = {}) {
      const [reply] = client.send(client.event({ method, params }))
      if (!reply) throw new Error(`no answer to ${method}`)
      return reply
    },
    onReply: (id) => new Promise((resolve) => waiting.set(id, resolve)),
  }
  return client
}
