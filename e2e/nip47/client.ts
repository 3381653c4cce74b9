/**
 * A NIP-47 client of the suite's own, on bare nostr-tools: it shares no code with the clients and services that it
 * judges. Every answer is held to what the standard says of all answers.
 */
import { finalizeEvent, getPublicKey, nip04, nip44, Relay, type Event, type VerifiedEvent } from 'nostr-tools'

/** The wallet did not do as the standard says. */
export class Wrong extends Error {
  override readonly name = 'Wrong'
}
export function must(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Wrong(what)
}

export type Reply = {
  result_type: string
  error: { code: string; message: string } | null
  result: Fields | null
}
export type Fields = Record<string, unknown>
export type Encryption = 'nip44_v2' | 'nip04'
export type Notification = { kind: number; type: string; body: Fields }
export type Info = { methods: string[]; encryptions: string[]; notifications: string[] }

export const ERROR_CODES: ReadonlySet<string> = new Set([
  ...[
    'RATE_LIMITED',
    'NOT_IMPLEMENTED',
    'INSUFFICIENT_BALANCE',
    'QUOTA_EXCEEDED',
    'RESTRICTED',
    'UNAUTHORIZED',
  ],
  ...['INTERNAL', 'UNSUPPORTED_ENCRYPTION', 'PAYMENT_FAILED', 'NOT_FOUND', 'OTHER'],
])

const [INFO, REQUEST, RESPONSE, NOTIFY_NIP04, NOTIFY] = [13194, 23194, 23195, 23196, 23197]
const REPLY_TIMEOUT_MS = 60_000
/** How long "no answer" is waited for over the internet. */
const SILENCE_MS = 3000

export type RequestOptions = { encryption?: Encryption; tags?: string[][]; content?: string }

export interface Client {
  readonly publicKey: string
  readonly walletPubkey: string
  /** How long "no answer" is waited for. */
  readonly silenceMs: number
  /** As announced in the wallet's info event. @throws Wrong when there is none */
  info(): Promise<Info>
  event(method: string, params: object, options?: RequestOptions): VerifiedEvent
  /** `undefined`: no answer within `timeoutMs`. */
  send(event: VerifiedEvent, method: string, timeoutMs?: number): Promise<Reply | undefined>
  /** @throws Wrong without an answer */
  ask(method: string, params?: object, options?: RequestOptions): Promise<Reply>
  /** The result. @throws Wrong for an error */
  get(method: string, params?: object): Promise<Fields>
  /** The error's code. @throws Wrong for a result, or a code that the standard does not know */
  refusal(method: string, params?: object): Promise<string>
  /** The first that fits, told already or within `REPLY_TIMEOUT_MS`. */
  notified(what: string, fits: (one: Notification) => boolean): Promise<Notification>
  /** The same wallet asked by another key. */
  as(secret: Uint8Array): Promise<Client>
  close(): void
}

/** @throws Error for a string that is no connection, or a relay that does not answer */
export async function connect(uri: string, silenceMs = SILENCE_MS): Promise<Client> {
  const url = new URL(uri.trim().replace(/^nostr\+?walletconnect:(\/\/)?/, 'http://'))
  const [relay, secret] = [url.searchParams.get('relay'), url.searchParams.get('secret')]
  if (!relay || !/^[0-9a-f]{64}$/.test(secret ?? '') || !/^[0-9a-f]{64}$/.test(url.hostname))
    throw new Error('This is no wallet connection: nostr+walletconnect://KEY?relay=…&secret=… is needed.')
  return open(
    { relayUrl: relay, wallet: url.hostname, silenceMs },
    Uint8Array.from(Buffer.from(secret ?? '', 'hex')),
  )
}

type Service = Readonly<{ relayUrl: string; wallet: string; silenceMs: number }>

async function open(service: Service, secret: Uint8Array): Promise<Client> {
  const { relayUrl, wallet, silenceMs } = service
  const publicKey = getPublicKey(secret)
  const relay = await Relay.connect(relayUrl)
  const conversation = nip44.getConversationKey(secret, wallet)
  const encrypt = (text: string, how: Encryption): string =>
    how === 'nip04' ? nip04.encrypt(secret, wallet, text) : nip44.encrypt(text, conversation)
  const decrypt = (text: string, how: Encryption): string =>
    how === 'nip04' ? nip04.decrypt(secret, wallet, text) : nip44.decrypt(text, conversation)
  const waiting = new Map<string, (event: Event) => void>()
  const told: Notification[] = []
  const listeners = new Set<() => void>()
  let encryption: Encryption = 'nip44_v2'

  const take = (event: Event): void => {
    if (event.kind === RESPONSE)
      return waiting.get(event.tags.find(([name]) => name === 'e')?.[1] ?? '')?.(event)
    const how = event.kind === NOTIFY ? 'nip44_v2' : 'nip04'
    const body = JSON.parse(decrypt(event.content, how)) as {
      notification_type: string
      notification: Fields
    }
    told.push({ kind: event.kind, type: body.notification_type, body: body.notification })
    for (const look of listeners) look()
  }
  await new Promise<void>((resolve) => {
    relay.subscribe(
      [{ kinds: [RESPONSE, NOTIFY, NOTIFY_NIP04], authors: [wallet], '#p': [publicKey], limit: 0 }],
      { onevent: take, oneose: resolve },
    )
  })

  const read = (event: Event, method: string, how: Encryption): Reply => {
    let reply: Reply
    try {
      reply = JSON.parse(decrypt(event.content, how)) as Reply
    } catch {
      throw new Wrong(`the answer is not encrypted as the request was (${how})`)
    }
    const to = event.tags.find(([name]) => name === 'p')?.[1]
    must(to === publicKey, `the answer's p tag is ${to}, not the client's key`)
    if (method !== '')
      must(reply.result_type === method, `result_type is ${reply.result_type}, not ${method}`)
    if (reply.error === null || reply.error === undefined) {
      must(typeof reply.result === 'object' && reply.result !== null, 'neither an error nor a result')
      return { ...reply, error: null }
    }
    must(ERROR_CODES.has(reply.error.code), `"${reply.error.code}" is no error code of NIP-47`)
    must(typeof reply.error.message === 'string', 'an error without a message')
    return reply
  }

  const client: Client = {
    publicKey,
    walletPubkey: wallet,
    silenceMs,
    async info() {
      const event = await new Promise<Event | undefined>((resolve) => {
        let found: Event | undefined
        const subscription = relay.subscribe([{ kinds: [INFO], authors: [wallet] }], {
          onevent: (one) => (found = one),
          oneose: () => {
            subscription.close()
            resolve(found)
          },
        })
      })
      must(event, 'there is no info event (kind 13194) on the relay')
      const tag = (name: string): string[] =>
        event.tags.find(([first]) => first === name)?.[1]?.split(/[ ,]+/) ?? []
      const encryptions = tag('encryption')
      if (encryptions.length > 0 && !encryptions.includes('nip44_v2')) encryption = 'nip04'
      const methods = event.content.split(/\s+/)
      return {
        methods,
        encryptions: encryptions.length > 0 ? encryptions : ['nip04'],
        notifications: tag('notifications'),
      }
    },
    event(method, params, options = {}) {
      const how = options.encryption ?? encryption
      const tags = options.tags ?? [['p', wallet], ...(how === 'nip44_v2' ? [['encryption', how]] : [])]
      const content = options.content ?? encrypt(JSON.stringify({ method, params }), how)
      return finalizeEvent(
        { kind: REQUEST, created_at: Math.floor(Date.now() / 1000), tags, content },
        secret,
      )
    },
    async send(event, method, timeoutMs = REPLY_TIMEOUT_MS) {
      const how = event.tags.some(([name, value]) => name === 'encryption' && value === 'nip44_v2')
        ? 'nip44_v2'
        : 'nip04'
      let timer: NodeJS.Timeout | undefined
      const answered = new Promise<Event | undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), timeoutMs)
        waiting.set(event.id, resolve)
      })
      // A relay may refuse what has expired; then there is no answer either.
      await relay.publish(event).catch(() => undefined)
      const answer = await answered
      clearTimeout(timer)
      waiting.delete(event.id)
      return answer && read(answer, method, how)
    },
    async ask(method, params = {}, options = {}) {
      const reply = await client.send(client.event(method, params, options), method)
      must(reply, `no answer to ${method} within ${REPLY_TIMEOUT_MS / 1000} s`)
      return reply
    },
    async get(method, params) {
      const { error, result } = await client.ask(method, params)
      must(error === null && result, `${method} was refused: ${error?.code} ${error?.message}`)
      return result
    },
    async refusal(method, params) {
      const { error } = await client.ask(method, params)
      must(error, `${method} was not refused`)
      return error.code
    },
    notified: (what, fits) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = told.find(fits)
          if (!found) return
          listeners.delete(look)
          clearTimeout(timer)
          resolve(found)
        }
        const timer = setTimeout(() => {
          listeners.delete(look)
          reject(new Wrong(`no notification ${what} within ${REPLY_TIMEOUT_MS / 1000} s`))
        }, REPLY_TIMEOUT_MS)
        listeners.add(look)
        look()
      }),
    as: (other) => open(service, other),
    close: () => relay.close(),
  }
  return client
}
