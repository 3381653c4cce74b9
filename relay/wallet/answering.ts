/** From a request event to its answer: read, limited, executed once, remembered, answered after the commit. */
import { nip04 } from 'nostr-tools'
import * as v from 'valibot'
import type { PartyKey } from '../../web/core/bytes.ts'
import { tagValue, type NostrEvent, type SecretKey } from '../../web/core/nostr/event.ts'
import { Nip47Refusal, requestSchema, type Method } from '../../web/core/wallet/nip47.ts'
import { decryptFrom } from '../../web/edge/nostr/nip44.ts'
import type { After, Batch } from './batch.ts'
import type { Connection, Encryption } from './connections.ts'
import type { Database } from './database.ts'
import { CHANGES, execute, isMethod, type Done, type MethodContext } from './methods.ts'
import type { News } from './news.ts'
import { replyFields, type Outbox, type Reply } from './outbox.ts'
import type { Decided, Notice, Outcome } from './payments.ts'
import { perMinute, type Limits } from './limits.ts'
import { NodeFirst, type Prepared } from './node-first.ts'
import { NodeError } from './node.ts'

/** A request made further than this from our clock is refused, so its id need not be remembered for ever. */
export const REQUEST_WINDOW_MS = 60 * 60_000
const MAX_REQUEST_BYTES = 64 * 1024
/** Answers to keys that have no connection: enough to be told, too few to be a burden. */
const STRANGERS_PER_MINUTE = 60

export type AnsweringOptions = Readonly<{
  context: MethodContext
  db: Database
  relaySecret: SecretKey
  batch: Batch
  outbox: Outbox
  news: News
  limits: Limits
  now: () => number
  /** Delays payments; see `BeforePay`. */
  beforePay?: ((pay: () => void) => void) | undefined
  onFailure: (error: unknown) => void
}>

export interface Answering {
  take(event: NostrEvent): void
  /** Writes the answers of those who waited for these payments; they are sent after the commit. */
  answerWaiting(decided: readonly Decided[]): Reply[]
  /** Something that nobody asked for happened: written down in a transaction of its own, told after the commit. */
  write(run: () => Outcome): void
}

type Refuse = (code: Nip47Refusal['code'], message: string) => void
type Request = Readonly<{
  id: string
  client: PartyKey
  encryption: Encryption
  method: Method
  params: Record<string, unknown>
}>
type Said = { result?: unknown; error?: { code: string; message: string } }

const say = (resultType: string, { result, error }: Said): string =>
  JSON.stringify({ result_type: resultType, error: error ?? null, result: result ?? null })

export function createAnswering(options: AnsweringOptions): Answering {
  const { context, db, relaySecret, batch, outbox, news, limits, now, beforePay, onFailure } = options
  const { connections } = context
  const strangers = perMinute(STRANGERS_PER_MINUTE)

  const decrypt = (client: PartyKey, encryption: Encryption, content: string): string | undefined => {
    try {
      return encryption === 'nip44_v2'
        ? decryptFrom(relaySecret, client, content)
        : nip04.decrypt(relaySecret, client, content)
    } catch {
      return undefined
    }
  }

  /** The request, or its refusal sent. */
  const read = (event: NostrEvent, at: number): Request | undefined => {
    const { id, pubkey: client } = event
    const asked = tagValue(event, 'encryption') ?? 'nip04'
    const encryption: Encryption = asked === 'nip44_v2' ? 'nip44_v2' : 'nip04'
    let resultType = 'unknown'
    const refuse: Refuse = (code, message) => {
      const response = say(resultType, { error: { code, message } })
      outbox.reply({ id, client, encryption, response })
    }
    if (event.content.length > MAX_REQUEST_BYTES) return undefined
    if (!connections.knows(client)) {
      if (strangers.take(at))
        refuse('UNAUTHORIZED', 'No wallet is connected to this key. Ask for a new connection.')
      return undefined
    }
    const allowed = limits.take(client, at)
    if (allowed === 'silent') return undefined
    const no = (code: Nip47Refusal['code'], message: string): undefined => void refuse(code, message)
    if (asked !== encryption) return no('UNSUPPORTED_ENCRYPTION', 'Use nip44_v2 or nip04.')
    const aheadMs = event.created_at * 1000 - at
    if (Math.abs(aheadMs) > REQUEST_WINDOW_MS) {
      const minutes = Math.round(Math.abs(aheadMs) / 60_000)
      const which = aheadMs > 0 ? 'ahead of' : 'behind'
      return no('OTHER', `Your clock is ${minutes} minutes ${which} the wallet's. Nothing was done; set it.`)
    }
    const text = decrypt(client, encryption, event.content)
    if (text === undefined) return no('OTHER', 'The request could not be decrypted.')
    const parsed = v.safeParse(requestSchema, parseJson(text))
    if (!parsed.success) return no('OTHER', 'The request is not a NIP-47 request.')
    const { method, params = {} } = parsed.output
    resultType = method
    if (allowed === 'refused')
      return no(
        'RATE_LIMITED',
        'Too many requests from this connection; nothing was done. Wait a few seconds.',
      )
    if (!isMethod(method, context.backend))
      return no('NOT_IMPLEMENTED', `This wallet does not know ${method}.`)
    return { id, client, encryption, method, params }
  }

  /** A refusal is an answer; anything else is our fault, said without its details. */
  const attempt = (method: string, run: () => Done): { done?: Done; response: string; first?: NodeFirst } => {
    try {
      const done = db.transaction(run)
      return {
        done,
        response: done.answer.tag === 'result' ? say(method, { result: done.answer.result }) : '',
      }
    } catch (error) {
      if (error instanceof NodeFirst) return { response: '', first: error }
      if (error instanceof Nip47Refusal)
        return { response: say(method, { error: { code: error.code, message: error.message } }) }
      onFailure(error)
      const message = 'The wallet failed; nothing was changed. Try again.'
      return { response: say(method, { error: { code: 'INTERNAL', message } }) }
    }
  }

  const answerWaiting: Answering['answerWaiting'] = (decided) =>
    decided.flatMap(({ paymentHash, preimage, fees, why }) => {
      const waiting = db.all(
        'SELECT * FROM requests WHERE payment_hash = ? AND response IS NULL',
        paymentHash,
      )
      if (waiting.length === 0) return []
      const message = why
        ? `${why} The sats are back.`
        : 'The seller did not take the payment; the sats are back.'
      const said: Said =
        preimage === undefined
          ? { error: { code: 'PAYMENT_FAILED', message } }
          : { result: { preimage, fees_paid: fees } }
      return waiting.map((row) => {
        const response = say(String(row['method']), said)
        db.run('UPDATE requests SET response = ? WHERE id = ?', response, String(row['id']))
        return { ...replyFields(row), response }
      })
    })

  /** Inside the transaction; gives what is to be said when it is committed. `prepared`: what the node did, or why not. */
  const carryOut = (request: Request, prepared?: Prepared | Nip47Refusal): After => {
    const { id, client, encryption, method, params } = request
    const at = now()
    const own = (response: string): Reply => ({ id, client, encryption, response })
    // As it is now: it may have been changed by what stood before this in the batch.
    const connection = connections.find(client)
    if (!connection) throw new Error('a connection has vanished')
    if (connection.encryption !== encryption) connections.noteEncryption(client, encryption)
    const run = (): Done => {
      if (prepared instanceof Nip47Refusal) throw prepared
      return execute(context, connection, { method, params }, at, prepared)
    }
    if (!CHANGES.has(method)) {
      const { response } = attempt(method, run)
      return { answer: () => outbox.reply(own(response)) }
    }
    const seen = db.get('SELECT * FROM requests WHERE id = ?', id)
    if (seen) {
      const response = seen['response']
      if (typeof response !== 'string') return {}
      return { answer: () => outbox.reply({ ...replyFields(seen), response }) }
    }
    const { done, response, first } = attempt(method, run)
    if (first) return { answer: () => void nodeFirst(request, first) }
    const waitsFor = done?.answer.tag === 'waiting' ? done.answer.paymentHash : null
    db.run(
      `INSERT INTO requests (id, client, method, encryption, payment_hash, response, at)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      ...[id, client, method, encryption, waitsFor, waitsFor === null ? response : null, at],
    )
    const decided = done?.decided ?? []
    const replies = answerWaiting(decided)
    if (waitsFor === null) replies.push(own(response))
    const notices = done?.notices ?? []
    const changed = done?.changed ?? []
    // A payment that is locked, or came back, changes what its payer has left.
    const spenders = waitsFor !== null || decided.length > 0 ? [client] : []
    const isNews = notices.length + changed.length + spenders.length > 0
    return {
      answer() {
        done?.afterwards?.()
        for (const reply of replies) outbox.reply(reply)
      },
      ...(isNews && {
        tell() {
          tell(notices, spenders)
          for (const key of changed) news.changed(key)
        },
      }),
    }
  }
  /** Requests that the node works for: sent again meanwhile, they are the same. */
  const atNode = new Set<string>()
  const nodeFirst = async (request: Request, first: NodeFirst): Promise<void> => {
    if (atNode.has(request.id)) return
    atNode.add(request.id)
    const prepared = await first.run().catch((error: unknown) => {
      if (!(error instanceof NodeError)) onFailure(error)
      return nodeRefusal(request.method, error)
    })
    batch.add(() => carryOut(request, prepared))
    atNode.delete(request.id)
  }
  /** Notices, and news to all that the money of those concerned counts on: each connection is looked up once. */
  const tell = (notices: readonly Notice[], spenders: readonly string[]): void => {
    const found = new Map<string, readonly Connection[]>()
    for (const client of [...notices.map((notice) => notice.client), ...spenders])
      if (!found.has(client)) found.set(client, connections.layers(client))
    for (const { client, type, transaction } of notices)
      for (const connection of found.get(client) ?? []) outbox.notify(connection, type, transaction)
    for (const layer of [...found.values()].flat()) if (layer.source !== undefined) news.changed(layer.client)
  }

  return {
    answerWaiting,
    write(run) {
      batch.add(() => {
        const { decided, notices } = run()
        const replies = answerWaiting(decided)
        return {
          answer() {
            for (const reply of replies) outbox.reply(reply)
          },
          tell: () =>
            tell(
              notices,
              replies.map(({ client }) => client),
            ),
        }
      })
    },
    take(event) {
      const request = read(event, now())
      if (!request) return
      const start = (): void => batch.add(() => carryOut(request))
      if (request.method === 'pay_invoice' && beforePay) beforePay(start)
      else start()
    },
  }
}

/** Why a request came to nothing at the node. Unless it refused, nobody knows whether it was done. */
function nodeRefusal(method: Method, error: unknown): Nip47Refusal {
  const words = error instanceof Error ? error.message : 'The Lightning node failed.'
  if (error instanceof NodeError && error.code === 'refused')
    return new Nip47Refusal(
      method === 'pay_invoice' ? 'PAYMENT_FAILED' : 'OTHER',
      `The Lightning node refused: ${words}`,
    )
  return new Nip47Refusal('INTERNAL', `${words} It may have been done or not: look it up, then try again.`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}
