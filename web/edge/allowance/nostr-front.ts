/**
 * Serves one allowance to its holder as a NIP-47 wallet: publishes what it can (13194), answers each request once,
 * tells of payments and of every change of limit or balance (`connection_updated`) within a second.
 */
import { nip04 } from 'nostr-tools'
import * as v from 'valibot'
import type { Bytes, PartyKey } from '../../core/bytes.ts'
import type { RequestId } from '../../core/allowance/state.ts'
import { publicKey, signEvent, tagValue, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import * as kinds from '../../core/nostr/kinds.ts'
import { NOTIFICATIONS, requestSchema, type Nip47Code } from '../../core/wallet/nip47.ts'
import { decryptFrom, encryptTo } from '../nostr/nip44.ts'
import type { Pool } from '../nostr/pool.ts'
import type { WalletEvent } from '../wallet/wallet.ts'
import { stateOf } from './below.ts'
import { connectionState, execute, methodsOf, tellTransaction } from './methods.ts'
import type { Front, Response, Running } from './running.ts'

export type NostrFrontOptions = Readonly<{
  running: Running
  /** The service's key; the holder's is `running.meta.client`. */
  secret: SecretKey
  pool: Pool
  random: (length: number) => Bytes
  /** It lost its relays or has one again, or its holder was heard. */
  onChange: () => void
  log: (event: string, detail: Readonly<Record<string, unknown>>) => void
}>

export interface NostrFront {
  /** Whether the holder can reach it through any relay. */
  readonly connected: boolean
  /** When the holder was last heard, and the round trip that its client measured. */
  readonly heardAtMs: number | undefined
  readonly holderMs: number | undefined
  stop(): void
}

type Encryption = 'nip44_v2' | 'nip04'
const heardSchema = v.object({ ...requestSchema.entries, rtt_ms: v.optional(v.number()) })

/** Requests made further than this from our clock are refused, so that their ids need not be kept for ever. */
const REQUEST_WINDOW_MS = 60 * 60_000
const MAX_REQUEST_CHARS = 64 * 1024
/** Requests being answered; one more is refused at once. */
const MAX_AT_ONCE = 128
/** Many changes are told as one. */
const TELL_AFTER_MS = 100
/** Asked for from before the start: relays that keep requests have those that came while nobody was here. */
const CATCH_UP_S = 300
const PUBLISH_TIMEOUT_MS = 30_000
const MAX_RTT_MS = 600_000

export function serveOverNostr(options: NostrFrontOptions): NostrFront {
  const { running, secret, pool, random, log } = options
  const client = running.meta.client
  const working = new Set<RequestId>()
  /** How each request that waits for its answer was encrypted. */
  const encryptions = new Map<RequestId, Encryption>()
  const methods = new Map<RequestId, string>()
  let encryption: Encryption | undefined
  let heardAtMs: number | undefined
  let holderMs: number | undefined
  let told = ''
  /** The same of those that the holder cut, by client key; those that may be others now. */
  const toldBelow = new Map<PartyKey, string>()
  const changedBelow = new Set<PartyKey>()
  let abilities = ''
  let infoS = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  let stopped = false

  const nowS = (): number => Math.floor(running.nowMs / 1000)
  const publish = (kind: number, tags: string[][], content: string, created_at = nowS()): void => {
    const event = signEvent({ kind, created_at, tags, content }, secret, random(32))
    pool
      .publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS })
      .catch((error: unknown) => log('no relay took a wallet message', { kind, error: String(error) }))
  }
  /** To the holder. What cannot be said to it stops nothing else. */
  const say = (kind: number, tags: string[][], text: string, how: Encryption): void => {
    try {
      publish(
        kind,
        tags,
        how === 'nip44_v2' ? encryptTo(secret, client, text) : nip04.encrypt(secret, client, text),
      )
    } catch (error) {
      log('a wallet message cannot be encrypted', { kind, error: String(error) })
    }
  }
  const decrypt = (text: string, how: Encryption): string =>
    how === 'nip44_v2' ? decryptFrom(secret, client, text) : nip04.decrypt(secret, client, text)

  const respond = (request: RequestId, how: Encryption, method: string, response: Response): void => {
    const body = 'result' in response ? { error: null, ...response } : { ...response, result: null }
    const tags = [
      ['p', client],
      ['e', request],
      ['encryption', how],
    ]
    say(kinds.NWC_RESPONSE, tags, JSON.stringify({ result_type: method, ...body }), how)
  }
  const notify = (type: string, notification: unknown): void => {
    const text = JSON.stringify({ notification_type: type, notification })
    // Until the holder has asked something, nobody knows which of the two it reads.
    if (encryption !== 'nip04') say(kinds.NWC_NOTIFICATION, [['p', client]], text, 'nip44_v2')
    if (encryption !== 'nip44_v2') say(kinds.NWC_NOTIFICATION_NIP04, [['p', client]], text, 'nip04')
  }
  const publishInfo = (): void => {
    abilities = methodsOf(running).join(' ')
    const tags = [
      ['encryption', 'nip44_v2 nip04'],
      ['notifications', NOTIFICATIONS.join(' ')],
    ]
    // It is replaceable: of two from the same second, relays keep either, also of one by whoever ran it before.
    infoS = Math.max(nowS(), infoS + 1)
    publish(kinds.NWC_INFO, tags, `${abilities} notifications`, infoS)
  }
  const tellChange = (): void => {
    timer = undefined
    if (stopped) return
    if (subscribed && methodsOf(running).join(' ') !== abilities) publishInfo()
    tellBelow()
    const state = connectionState(running)
    const text = JSON.stringify(state)
    if (text === told) return
    told = text
    notify('connection_updated', state)
  }
  const tellBelow = (): void => {
    for (const cutOff of running.below?.list() ?? []) {
      const { client } = cutOff.running.meta
      if (!changedBelow.has(client)) continue
      const state = stateOf(cutOff)
      const text = JSON.stringify(state)
      if (text === toldBelow.get(client)) continue
      toldBelow.set(client, text)
      notify('connection_updated', state)
    }
    changedBelow.clear()
  }

  const answer = async (event: NostrEvent): Promise<void> => {
    const asked = tagValue(event, 'encryption') ?? 'nip04'
    const how: Encryption = asked === 'nip44_v2' ? 'nip44_v2' : 'nip04'
    let method = 'unknown'
    const refuse = (code: Nip47Code, message: string): void =>
      respond(event.id, how, method, { error: { code, message } })
    if (asked !== how) return refuse('UNSUPPORTED_ENCRYPTION', 'Use nip44_v2 or nip04.')
    const aheadMs = event.created_at * 1000 - running.nowMs
    if (Math.abs(aheadMs) > REQUEST_WINDOW_MS) {
      const which = aheadMs > 0 ? 'ahead of' : 'behind'
      const minutes = Math.round(Math.abs(aheadMs) / 60_000)
      return refuse(
        'OTHER',
        `Your clock is ${minutes} minutes ${which} the wallet's. Nothing was done; set it.`,
      )
    }
    let text: string
    try {
      text = decrypt(event.content, how)
    } catch {
      return refuse('OTHER', 'The request could not be decrypted.')
    }
    const parsed = v.safeParse(heardSchema, parseJson(text))
    if (!parsed.success) return refuse('OTHER', 'The request is not a NIP-47 request.')
    const { params = {}, rtt_ms } = parsed.output
    method = parsed.output.method
    encryption = how
    heardAtMs = running.nowMs
    if (rtt_ms !== undefined && rtt_ms >= 0 && rtt_ms < MAX_RTT_MS) holderMs = Math.round(rtt_ms)
    encryptions.set(event.id, how)
    methods.set(event.id, method)
    options.onChange()
    const response = await execute(running, event.id, method, params)
    if (response) front.answered(event.id, response)
  }

  const onEvent = (event: NostrEvent): void => {
    if (event.kind === kinds.NWC_INFO) {
      infoS = Math.max(infoS, event.created_at)
      return
    }
    if (stopped || working.has(event.id) || event.content.length > MAX_REQUEST_CHARS) return
    // NIP-40: what its sender no longer waits for is not executed.
    const expiration = tagValue(event, 'expiration')
    if (expiration !== undefined && !(Number(expiration) * 1000 > running.nowMs)) return
    const how = tagValue(event, 'encryption') === 'nip44_v2' ? 'nip44_v2' : 'nip04'
    if (working.size >= MAX_AT_ONCE)
      return respond(event.id, how, 'unknown', {
        error: {
          code: 'RATE_LIMITED',
          message: `${MAX_AT_ONCE} requests are being answered; ask again later.`,
        },
      })
    working.add(event.id)
    answer(event)
      .catch((error: unknown) => {
        log('a wallet request failed', { error: String(error) })
        const message = 'The wallet failed; nothing was changed. Try again.'
        respond(event.id, how, methods.get(event.id) ?? 'unknown', { error: { code: 'INTERNAL', message } })
      })
      .finally(() => working.delete(event.id))
  }

  const front: Front = {
    answered(request, response) {
      // Requests of before a restart: the event's id is what there is, and pay_invoice what takes long.
      if (!/^[0-9a-f]{64}$/.test(request)) return
      respond(
        request,
        encryptions.get(request) ?? encryption ?? 'nip44_v2',
        methods.get(request) ?? 'pay_invoice',
        response,
      )
      encryptions.delete(request)
      methods.delete(request)
    },
    told(event) {
      notify(typeOf(event), notificationOf(event))
    },
    changed() {
      timer ??= setTimeout(tellChange, TELL_AFTER_MS)
    },
    belowChanged(client) {
      changedBelow.add(client)
      front.changed()
    },
    // The holder's client says "unknown" by itself; an answer now would be taken for a failure.
    unknown: () => undefined,
  }
  running.fronts.add(front)
  const since = Math.floor(running.nowMs / 1000) - CATCH_UP_S
  const service = publicKey(secret)
  const filters = [
    { kinds: [kinds.NWC_REQUEST], authors: [client], '#p': [service], since },
    { kinds: [kinds.NWC_INFO], authors: [service], limit: 1 },
  ]
  /** Says that this layer is here: holders send again what was not answered, and look up what they do not know. */
  const tellBack = (): void => {
    publishInfo()
    told = ''
    front.changed()
  }
  /** The relays have taken the subscription: from now on requests arrive. */
  let subscribed = false
  const onEose = (): void => {
    subscribed = true
    options.onChange()
    tellBack()
  }
  const unsubscribe = pool.subscribe(filters, onEvent, { onEose })
  let connected = new Set<string>()
  const unwatch = pool.status.subscribe((relays) => {
    const now = new Set(relays.filter((relay) => relay.connected).map(({ url }) => url))
    const back = [...now].some((url) => !connected.has(url))
    if ((now.size === 0) !== (connected.size === 0)) options.onChange()
    connected = now
    if (back && subscribed) tellBack()
  })
  return {
    get connected() {
      return subscribed && connected.size > 0
    },
    get heardAtMs() {
      return heardAtMs
    },
    get holderMs() {
      return holderMs
    },
    stop() {
      stopped = true
      clearTimeout(timer)
      running.fronts.delete(front)
      unsubscribe()
      unwatch()
    },
  }
}

const typeOf = (event: WalletEvent): string => {
  if (event.tag === 'sent') return 'payment_sent'
  return event.tag === 'received' ? 'payment_received' : 'hold_invoice_accepted'
}

const notificationOf = (event: WalletEvent): unknown => ({
  ...tellTransaction(event.transaction, undefined),
  ...(event.tag === 'hold-accepted' && { settle_deadline: Math.floor(event.settleByMs / 1000) }),
})

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
