/** For tests: NIP-47 requests to an allowance, written by hand and sent as often as one likes. */
import { randomBytes } from 'node:crypto'
import { nip04 } from 'nostr-tools'
import { publicKey, signEvent, tagValue, type NostrEvent } from '../../web/core/nostr/event.ts'
import { parseConnection } from '../../web/core/wallet/connection.ts'
import { decryptFrom, encryptTo } from '../../web/edge/nostr/nip44.ts'
import type { TestService } from '../../relay/wallet/harness.ts'

export type RawReply = Readonly<{
  error: { code: string; message: string } | null
  result: Record<string, unknown> | null
}>

export function rawHolder(service: TestService, uri: string) {
  const parsed = parseConnection(uri)
  if (!parsed.ok) throw new Error(parsed.message)
  const { secret, wallet } = parsed.connection
  const answers: { id: string; reply: RawReply }[] = []
  const waiting = new Map<string, (reply: RawReply) => void>()
  service.core.subscribe([{ kinds: [23195], authors: [wallet], '#p': [publicKey(secret)] }], (event) => {
    const text =
      tagValue(event, 'encryption') === 'nip04'
        ? nip04.decrypt(secret, wallet, event.content)
        : decryptFrom(secret, wallet, event.content)
    const reply = JSON.parse(text) as RawReply
    const id = tagValue(event, 'e') ?? ''
    answers.push({ id, reply })
    waiting.get(id)?.(reply)
  })
  return {
    answers,
    /** The wallet's next notification: by then it hears requests. */
    heard: () =>
      new Promise<void>((resolve) => {
        const stop = service.core.subscribe([{ kinds: [23196, 23197], authors: [wallet] }], () => {
          stop()
          resolve()
        })
      }),
    event(
      body: unknown,
      more: {
        encryption?: 'nip44_v2' | 'nip04'
        expiresInS?: number
        agoS?: number
        secret?: typeof secret
      } = {},
    ): NostrEvent {
      const { encryption = 'nip44_v2', expiresInS, agoS = 0 } = more
      const text = JSON.stringify(body)
      const created_at = Math.floor(service.now() / 1000) - agoS
      const tags = [
        ['p', wallet],
        ['encryption', encryption],
        ...(expiresInS === undefined ? [] : [['expiration', String(created_at + expiresInS)]]),
      ]
      const by = more.secret ?? secret
      const content =
        encryption === 'nip44_v2' ? encryptTo(by, wallet, text) : nip04.encrypt(by, wallet, text)
      return signEvent({ kind: 23194, created_at, tags, content }, by, randomBytes(32))
    },
    /** Sends it, again or for the first time, and waits for the answer. */
    send(event: NostrEvent): Promise<RawReply> {
      return new Promise((resolve) => {
        waiting.set(event.id, resolve)
        service.core.publish(event)
      })
    },
  }
}
