/**
 * NIP-47 requests, pipelined: one standing subscription takes all answers and notifications, keys are derived once, and
 * a request without an answer is sent again, with the same id, when a relay comes back. `@getalby/sdk`'s client opens
 * a subscription per request, derives the key anew each time, sets no expiration and loses a reply that it cannot
 * decrypt; it stays what our wallet service is tested against, and makes the links in `authorize.ts`.
 */
import * as nip04 from 'nostr-tools/nip04'
import * as v from 'valibot'
import { liveCell, type Live } from '../../core/live.ts'
import { publicKey, signEvent, tagValue, type NostrEvent } from '../../core/nostr/event.ts'
import * as kinds from '../../core/nostr/kinds.ts'
import type { WalletConnection } from '../../core/wallet/connection.ts'
import { notificationSchema, responseSchema, type Method } from '../../core/wallet/nip47.ts'
import { decryptFrom, encryptTo } from '../nostr/nip44.ts'
import { createPool, PublishError, type Pool } from '../nostr/pool.ts'
import { LATEST_START_MS } from './wallet.ts'

/** `sent` false: nothing reached a relay. Otherwise nobody knows whether the wallet acted. */
export type Reply =
  | { tag: 'result'; result: unknown }
  | { tag: 'refused'; code: string; message: string }
  | { tag: 'no-answer'; sent: boolean; message: string }

export interface NwcTransport {
  readonly status: Live<{ connected: boolean; trouble?: string }>
  request(method: Method, params: object, timeoutMs: number): Promise<Reply>
  onNotification(run: (type: string, notification: unknown) => void): () => void
  close(): void
}

export type NwcTransportOptions = Readonly<{ pool?: Pool; nowMs?: () => number }>

type Encryption = 'nip44_v2' | 'nip04'
type Pending = {
  event: NostrEvent
  encryption: Encryption
  finish: (reply: Reply) => void
  sent: boolean
  sentAtMs: number
  /** A payment takes as long as Lightning does. */
  measures: boolean
}

/** Requests without an answer; one more is refused at once. */
export const MAX_IN_FLIGHT = 500
const EXPIRATION_S = LATEST_START_MS / 1000
/** What the wallet says about itself (13194) is waited for this long; then the newer encryption is tried. */
const INFO_WAIT_MS = 3000

export function createNwcTransport(
  connection: WalletConnection,
  options: NwcTransportOptions = {},
): NwcTransport {
  const { wallet, secret } = connection
  const nowMs = options.nowMs ?? Date.now
  const client = publicKey(secret)
  const pool = options.pool ?? createPool(connection.relays)
  const pending = new Map<string, Pending>()
  const listeners = new Set<(type: string, notification: unknown) => void>()
  const status = liveCell<{ connected: boolean; trouble?: string }>({ connected: false })
  let closed = false
  /** The last answer's way there and back: told with the next request, so that both ends can show it. */
  let roundTripMs: number | undefined

  let known: Encryption | undefined
  let tellKnown: (encryption: Encryption) => void = () => undefined
  const firstKnown = new Promise<Encryption>((resolve) => {
    const timer = setTimeout(() => resolve('nip44_v2'), INFO_WAIT_MS)
    tellKnown = (encryption) => {
      clearTimeout(timer)
      resolve(encryption)
    }
  })

  const decrypt = (text: string, encryption: Encryption): unknown => {
    try {
      const clear =
        encryption === 'nip44_v2' ? decryptFrom(secret, wallet, text) : nip04.decrypt(secret, wallet, text)
      return JSON.parse(clear) as unknown
    } catch {
      return undefined
    }
  }
  const onInfo = (event: NostrEvent): void => {
    const offered = (tagValue(event, 'encryption') ?? 'nip04').split(/[ ,]+/)
    known = offered.includes('nip44_v2') ? 'nip44_v2' : 'nip04'
    tellKnown(known)
    // It is published when a wallet starts: whatever came while nobody was there is lost. The id makes it harmless.
    for (const one of pending.values()) if (one.sent) publish(one, RESEND_TIMEOUT_MS)
  }
  const onResponse = (event: NostrEvent): void => {
    const waiting = pending.get(tagValue(event, 'e') ?? '')
    if (!waiting) return
    const parsed = v.safeParse(responseSchema, decrypt(event.content, waiting.encryption))
    if (!parsed.success)
      return waiting.finish({
        tag: 'no-answer',
        sent: true,
        message: "The wallet's answer could not be read.",
      })
    if (waiting.measures) roundTripMs = Math.max(0, nowMs() - waiting.sentAtMs)
    const { error, result } = parsed.output
    waiting.finish(
      error ? { tag: 'refused', code: error.code, message: error.message } : { tag: 'result', result },
    )
  }
  const onNotification = (event: NostrEvent): void => {
    const encryption = event.kind === kinds.NWC_NOTIFICATION ? 'nip44_v2' : 'nip04'
    // A wallet that speaks both tells everything twice; once is enough.
    if (encryption !== (known ?? 'nip44_v2')) return
    const parsed = v.safeParse(notificationSchema, decrypt(event.content, encryption))
    if (!parsed.success) return
    const { notification_type, notification } = parsed.output
    for (const run of [...listeners]) run(notification_type, notification)
  }

  const messages = [kinds.NWC_RESPONSE, kinds.NWC_NOTIFICATION, kinds.NWC_NOTIFICATION_NIP04]
  const unsubscribe = pool.subscribe(
    [
      // Answers are ephemeral: of a relay that keeps them all the same, one old one is plenty.
      { kinds: messages, authors: [wallet], '#p': [client], limit: 1 },
      { kinds: [kinds.NWC_INFO], authors: [wallet], limit: 1 },
    ],
    (event) => {
      if (event.kind === kinds.NWC_INFO) onInfo(event)
      else if (event.kind === kinds.NWC_RESPONSE) onResponse(event)
      else onNotification(event)
    },
    { onEose: () => tellKnown(known ?? 'nip44_v2') },
  )

  const publish = (one: Pending, timeoutMs: number): void => {
    void pool.publish(one.event, { timeoutMs }).then(
      () => (one.sent = true),
      (error: unknown) => {
        const sent = one.sent || !(error instanceof PublishError) || error.sent
        if (sent) one.sent = true
        else one.finish({ tag: 'no-answer', sent: false, message: trouble(error) })
      },
    )
  }
  let wasConnected = new Set<string>()
  const unwatch = pool.status.subscribe((relays) => {
    const connected = new Set(relays.filter((relay) => relay.connected).map(({ url }) => url))
    const back = [...connected].some((url) => !wasConnected.has(url))
    wasConnected = connected
    const why = relays.find((relay) => relay.trouble)?.trouble
    status.set({
      connected: connected.size > 0,
      ...(connected.size === 0 && why !== undefined && { trouble: why }),
    })
    // The relay may have restarted after taking the request: answers are not kept for us. The id makes it harmless.
    if (back) for (const one of pending.values()) if (one.sent) publish(one, RESEND_TIMEOUT_MS)
  })

  return {
    status,
    async request(method, params, timeoutMs) {
      if (closed) return { tag: 'no-answer', sent: false, message: 'This wallet connection has been closed.' }
      const startedMs = nowMs()
      const encryption = known ?? (await firstKnown)
      if (pending.size >= MAX_IN_FLIGHT)
        return {
          tag: 'refused',
          code: 'RATE_LIMITED',
          message: `${MAX_IN_FLIGHT} requests are waiting already.`,
        }
      const text = JSON.stringify({ method, params, rtt_ms: roundTripMs })
      const createdAt = Math.floor(nowMs() / 1000)
      const event = signEvent(
        {
          kind: kinds.NWC_REQUEST,
          created_at: createdAt,
          tags: [
            ['p', wallet],
            ['encryption', encryption],
            ['expiration', String(createdAt + EXPIRATION_S)],
          ],
          content:
            encryption === 'nip44_v2' ? encryptTo(secret, wallet, text) : nip04.encrypt(secret, wallet, text),
        },
        secret,
        crypto.getRandomValues(new Uint8Array(32)),
      )
      return await new Promise<Reply>((resolve) => {
        const leftMs = Math.max(1, timeoutMs - (nowMs() - startedMs))
        const timer = setTimeout(() => {
          const { sent } = one
          const what = sent
            ? 'The wallet has not answered in time.'
            : 'The wallet could not be reached in time.'
          one.finish({ tag: 'no-answer', sent: true, message: what })
        }, leftMs + GRACE_MS)
        const one: Pending = {
          event,
          encryption,
          sent: false,
          sentAtMs: nowMs(),
          measures: method !== 'pay_invoice',
          finish: (reply) => {
            clearTimeout(timer)
            if (pending.delete(event.id)) resolve(reply)
          },
        }
        pending.set(event.id, one)
        publish(one, leftMs)
      })
    },
    onNotification(run) {
      listeners.add(run)
      return () => listeners.delete(run)
    },
    close() {
      if (closed) return
      closed = true
      tellKnown('nip44_v2')
      unsubscribe()
      unwatch()
      if (!options.pool) pool.close()
      for (const one of [...pending.values()])
        one.finish({ tag: 'no-answer', sent: true, message: 'The wallet connection was closed.' })
      status.set({ connected: false, trouble: 'This wallet connection has been closed.' })
    },
  }
}

const RESEND_TIMEOUT_MS = 15_000
/** The publication's own time limit comes first: it knows whether anything was sent. */
const GRACE_MS = 100

const trouble = (error: unknown): string =>
  error instanceof Error ? error.message : 'The relay cannot be reached.'
