/**
 * The relay's wallet service (NIP-47): play money with real invoices, holds and budgets, for any NWC client. A request
 * and what it changes are one database transaction, so it happens once however often it is sent or the process dies.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { nip04 } from 'nostr-tools'
import * as v from 'valibot'
import { parsePartyKey, toHex, type PartyKey } from '../../web/core/bytes.ts'
import type { Money } from '../../web/core/money/msat.ts'
import {
  publicKey,
  signEvent,
  tagValue,
  type NostrEvent,
  type SecretKey,
} from '../../web/core/nostr/event.ts'
import * as kinds from '../../web/core/nostr/kinds.ts'
import { composeConnection } from '../../web/core/wallet/connection.ts'
import { METHODS, Nip47Refusal, NOTIFICATIONS, requestSchema } from '../../web/core/wallet/nip47.ts'
import { decryptFrom, encryptTo } from '../../web/edge/nostr/nip44.ts'
import type { Filter } from '../../web/edge/nostr/filter.ts'
import { audit, type AuditReport } from './audit.ts'
import { createConnections, type Encryption } from './connections.ts'
import { MINT, openLedger } from './ledger.ts'
import { CHANGES, execute, isMethod, type Done, type MethodContext } from './methods.ts'
import { createPayments, type Decided, type Notice } from './payments.ts'

export type WalletLog = Readonly<
  Record<'debug' | 'info' | 'warn' | 'error', (data: object, message: string) => void>
>

export type WalletServiceOptions = Readonly<{
  /** The ledger lives here, in `wallet.sqlite`. */
  dataDir: string
  relaySecret: SecretKey
  nostr: {
    publish(event: NostrEvent): unknown
    /** Events given to `fn` have been verified. */
    subscribe(filters: readonly Filter[], fn: (event: NostrEvent) => void): () => void
  }
  /** What clients connect to; asked when a connection is handed out. */
  nostrUrl: () => string
  money: Money
  log: WalletLog
  /** Unix ms. */
  now?: () => number
  /** An unsettled hold goes back to its payer after this. */
  holdLimitMs?: number
  /** Called with each payment asked for; it is made when `pay` is called. At once without it. */
  beforePay?: BeforePay
}>

/** Lightning takes seconds: play money can be made to take as long. */
export type BeforePay = (pay: () => void) => void

export type WalletHealth = { ok: true } | { ok: false; why: string }

export interface WalletService {
  readonly walletPubkey: PartyKey
  /** A new play-money account; the connection holds its secret, which is kept nowhere here. */
  openAccount(options: {
    name?: string
    grantMsat: number
  }): Promise<{ connection: string; balanceMsat: number }>
  health(): WalletHealth
  /** Recomputes the ledger from its first line. */
  audit(): AuditReport
  stop(): Promise<void>
}

export const DEFAULT_HOLD_LIMIT_MS = 10 * 60_000
/** A request made further than this from our clock is refused, so its id need not be remembered for ever. */
export const REQUEST_WINDOW_MS = 60 * 60_000
const REQUEST_MEMORY_MS = 4 * REQUEST_WINDOW_MS
const MAX_REQUEST_BYTES = 64 * 1024
const MAX_NAME_LENGTH = 100
/** Holds returned in one transaction. */
const SWEEP = 100
const LONGEST_TIMER_MS = 60_000
/** After trouble with the database. */
const SWEEP_AGAIN_MS = 5_000
/** Answers to keys that have no connection: enough to be told, too few to be a burden. */
const STRANGERS_PER_MINUTE = 60

type Reply = { id: string; client: PartyKey; encryption: Encryption; response: string }

/** Starts the service: publishes what it can (13194), then answers until `stop`. */
export function createWalletService(options: WalletServiceOptions): WalletService {
  const { dataDir, relaySecret, nostr, nostrUrl, money, log } = options
  const now = options.now ?? Date.now
  mkdirSync(dataDir, { recursive: true })
  const file = join(dataDir, 'wallet.sqlite')
  const ledger = openLedger(file)
  const { db } = ledger
  const connections = createConnections(ledger)
  const holdLimitMs = options.holdLimitMs ?? DEFAULT_HOLD_LIMIT_MS
  const payments = createPayments({ ledger, connections, money, nodeSecret: relaySecret, holdLimitMs })
  const walletPubkey = publicKey(relaySecret)
  const context: MethodContext = {
    ...{ ledger, connections, payments, money, walletPubkey },
    nodePubkey: toHex(secp256k1.getPublicKey(relaySecret)),
    relays: () => [nostrUrl()],
  }
  let trouble: string | undefined
  let stopped = false

  const publish = (kind: number, tags: string[][], content: string): void => {
    const created_at = Math.floor(now() / 1000)
    const event = signEvent({ kind, created_at, tags, content }, relaySecret, randomBytes(32))
    void Promise.resolve(nostr.publish(event)).catch((error: unknown) =>
      log.warn({ kind, error: String(error) }, 'the relay did not take a wallet message'),
    )
  }
  const encrypt = (client: PartyKey, encryption: Encryption, text: string): string =>
    encryption === 'nip44_v2'
      ? encryptTo(relaySecret, client, text)
      : nip04.encrypt(relaySecret, client, text)
  const reply = ({ id, client, encryption, response }: Reply): void => {
    const tags = [
      ['p', client],
      ['e', id],
      ['encryption', encryption],
    ]
    publish(kinds.NWC_RESPONSE, tags, encrypt(client, encryption, response))
  }
  const notify = ({ client: from, type, transaction }: Notice): void => {
    const text = JSON.stringify({ notification_type: type, notification: transaction })
    for (const connection of connections.layers(from)) {
      const client = connection.client as PartyKey
      // Until a client has asked something, nobody knows which of the two it reads.
      if (connection.encryption !== 'nip04')
        publish(kinds.NWC_NOTIFICATION, [['p', client]], encrypt(client, 'nip44_v2', text))
      if (connection.encryption !== 'nip44_v2')
        publish(kinds.NWC_NOTIFICATION_NIP04, [['p', client]], encrypt(client, 'nip04', text))
    }
  }

  /** Writes the answers of those who waited for these payments; they are sent after the commit. */
  const answerWaiting = (decided: readonly Decided[]): Reply[] =>
    decided.flatMap(({ paymentHash, preimage }) => {
      const refused = {
        code: 'PAYMENT_FAILED',
        message: 'The seller did not take the payment; the sats are back.',
      }
      const response = JSON.stringify(
        preimage === undefined
          ? { result_type: 'pay_invoice', error: refused, result: null }
          : { result_type: 'pay_invoice', error: null, result: { preimage, fees_paid: 0 } },
      )
      const waiting = db.all(
        'SELECT * FROM requests WHERE payment_hash = ? AND response IS NULL',
        paymentHash,
      )
      db.run(
        'UPDATE requests SET response = ? WHERE payment_hash = ? AND response IS NULL',
        response,
        paymentHash,
      )
      return waiting.map((row) => ({ ...replyFields(row), response }))
    })

  const answer = (event: NostrEvent, mayPay = options.beforePay === undefined): void => {
    const at = now()
    const { id, pubkey: client } = event
    const asked = tagValue(event, 'encryption') ?? 'nip04'
    const encryption: Encryption = asked === 'nip44_v2' ? 'nip44_v2' : 'nip04'
    let resultType = 'unknown'
    const respond = (value: { result?: unknown; error?: { code: string; message: string } }): string =>
      JSON.stringify({ result_type: resultType, error: value.error ?? null, result: value.result ?? null })
    const refuse = (code: Nip47Refusal['code'], message: string): void =>
      reply({ id, client, encryption, response: respond({ error: { code, message } }) })

    if (event.content.length > MAX_REQUEST_BYTES) return
    const connection = connections.find(client)
    if (!connection) {
      if (strangers.take(at))
        refuse('UNAUTHORIZED', 'No wallet is connected to this key. Ask for a new connection.')
      return
    }
    if (asked !== encryption) return refuse('UNSUPPORTED_ENCRYPTION', 'Use nip44_v2 or nip04.')
    const aheadMs = event.created_at * 1000 - at
    if (Math.abs(aheadMs) > REQUEST_WINDOW_MS) {
      const minutes = Math.round(Math.abs(aheadMs) / 60_000)
      const which = aheadMs > 0 ? 'ahead of' : 'behind'
      return refuse(
        'OTHER',
        `Your clock is ${minutes} minutes ${which} the wallet's. Nothing was done; set it.`,
      )
    }
    let text: string
    try {
      text =
        encryption === 'nip44_v2'
          ? decryptFrom(relaySecret, client, event.content)
          : nip04.decrypt(relaySecret, client, event.content)
    } catch {
      return refuse('OTHER', 'The request could not be decrypted.')
    }
    const parsed = v.safeParse(requestSchema, parseJson(text))
    if (!parsed.success) return refuse('OTHER', 'The request is not a NIP-47 request.')
    const { method, params = {} } = parsed.output
    resultType = method
    if (!isMethod(method)) return refuse('NOT_IMPLEMENTED', `This wallet does not know ${method}.`)
    if (method === 'pay_invoice' && !mayPay) return options.beforePay?.(() => onEvent(event, true))
    if (connection.encryption !== encryption) connections.noteEncryption(client, encryption)

    if (!CHANGES.has(method)) {
      const run = (): string => {
        const { answer: done } = execute(context, connection, method, params, at)
        return respond(done.tag === 'result' ? { result: done.result } : {})
      }
      reply({ id, client, encryption, response: caught(run, respond) })
      return
    }
    const effects = db.transaction(() => {
      const seen = db.get('SELECT * FROM requests WHERE id = ?', id)
      if (seen) {
        const response = seen['response']
        return {
          notices: [],
          replies: typeof response === 'string' ? [{ ...replyFields(seen), response }] : [],
        }
      }
      const remember = (response: string | null, paymentHash: string | null): void =>
        db.run(
          `INSERT INTO requests (id, client, method, encryption, payment_hash, response, at)
           VALUES (?, ?, ?, ?, ?, ?, ?)`,
          ...[id, client, method, encryption, paymentHash, response, at],
        )
      let done: Done | undefined
      const response = caught(() => {
        done = db.transaction(() => execute(context, connection, method, params, at))
        return done.answer.tag === 'result' ? respond({ result: done.answer.result }) : ''
      }, respond)
      if (!done) {
        remember(response, null)
        return { notices: [], replies: [{ id, client, encryption, response }] }
      }
      const replies = answerWaiting(done.decided)
      if (done.answer.tag === 'waiting') remember(null, done.answer.paymentHash)
      else {
        remember(response, null)
        replies.push({ id, client, encryption, response })
      }
      return { notices: done.notices, replies }
    })
    for (const one of effects.replies) reply(one)
    for (const notice of effects.notices) notify(notice)
    plan()
  }

  /** A refusal is an answer; anything else is our fault, said without its details. */
  const caught = (
    run: () => string,
    respond: (value: { error: { code: string; message: string } }) => string,
  ): string => {
    try {
      return run()
    } catch (error) {
      if (error instanceof Nip47Refusal)
        return respond({ error: { code: error.code, message: error.message } })
      log.error({ error: String(error) }, 'a wallet request failed')
      return respond({
        error: { code: 'INTERNAL', message: 'The wallet failed; nothing was changed. Try again.' },
      })
    }
  }

  const onEvent = (event: NostrEvent, mayPay?: true): void => {
    if (stopped) return
    try {
      answer(event, mayPay)
      trouble = undefined
    } catch (error) {
      // The database: nothing was committed, the client asks again or looks up.
      trouble = String(error)
      log.error({ error: trouble }, 'the wallet could not answer')
    }
  }

  let timer: NodeJS.Timeout | undefined
  let plannedFor: number | undefined
  const nextDeadline = (): number | undefined => {
    try {
      return payments.nextDeadline()
    } catch (error) {
      trouble = String(error)
      log.error({ error: trouble }, 'the wallet could not read its holds')
      return now() + LONGEST_TIMER_MS
    }
  }
  const plan = (atLeastMs = 0): void => {
    const due = nextDeadline()
    if (due === plannedFor && timer) return
    clearTimeout(timer)
    timer = undefined
    plannedFor = due
    if (due === undefined || stopped) return
    timer = setTimeout(sweep, Math.min(Math.max(due - now(), atLeastMs), LONGEST_TIMER_MS))
    timer.unref()
  }
  const sweep = (): void => {
    timer = undefined
    let atLeastMs = 0
    try {
      const replies = db.transaction(() => answerWaiting(payments.returnOverdue(now(), SWEEP).decided))
      for (const one of replies) reply(one)
    } catch (error) {
      trouble = String(error)
      log.error({ error: trouble }, 'the wallet could not return overdue holds')
      atLeastMs = SWEEP_AGAIN_MS
    }
    plan(atLeastMs)
  }
  const forget = (): void => {
    try {
      db.run('DELETE FROM requests WHERE at < ? AND response IS NOT NULL', now() - REQUEST_MEMORY_MS)
    } catch (error) {
      trouble = String(error)
      log.error({ error: trouble }, 'the wallet could not forget old requests')
    }
  }

  const strangers = perMinute(STRANGERS_PER_MINUTE)
  forget()
  const forgetting = setInterval(forget, REQUEST_WINDOW_MS)
  forgetting.unref()
  const unsubscribe = nostr.subscribe([{ kinds: [kinds.NWC_REQUEST], '#p': [walletPubkey] }], (event) =>
    onEvent(event),
  )
  const abilities = [
    ['encryption', 'nip44_v2 nip04'],
    ['notifications', NOTIFICATIONS.join(' ')],
  ]
  publish(kinds.NWC_INFO, abilities, [...METHODS, 'notifications'].join(' '))
  sweep()

  return {
    walletPubkey,
    async openAccount({ name, grantMsat }) {
      const secret = randomBytes(32)
      const client = publicKey(new Uint8Array(secret))
      const account = `person:${client}`
      const title = (name ?? 'wallet').slice(0, MAX_NAME_LENGTH)
      const at = now()
      db.transaction(() => {
        ledger.openAccount({ id: account, name: title, at })
        connections.open({ client, account, name: title, at })
        if (grantMsat > 0)
          ledger.move({ kind: 'grant', reference: account, from: MINT, to: account, amount: grantMsat, at })
      })
      const connection = composeConnection({
        wallet: walletPubkey,
        relays: [nostrUrl()],
        secret: toHex(secret),
      })
      return { connection, balanceMsat: grantMsat }
    },
    health() {
      if (stopped) return { ok: false, why: 'stopped' }
      try {
        db.get('SELECT balance FROM accounts WHERE id = ?', MINT)
      } catch (error) {
        return { ok: false, why: String(error) }
      }
      return trouble === undefined ? { ok: true } : { ok: false, why: trouble }
    },
    audit: () => audit(file),
    async stop() {
      if (stopped) return
      stopped = true
      unsubscribe()
      clearTimeout(timer)
      clearInterval(forgetting)
      ledger.close()
    },
  }
}

const replyFields = (row: Record<string, unknown>): Omit<Reply, 'response'> => ({
  id: String(row['id']),
  client: parsePartyKey(String(row['client'])) as PartyKey,
  encryption: row['encryption'] as Encryption,
})

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

function perMinute(limit: number): { take(at: number): boolean } {
  let minute = 0
  let count = 0
  return {
    take(at) {
      const current = Math.floor(at / 60_000)
      if (current !== minute) [minute, count] = [current, 0]
      return ++count <= limit
    },
  }
}
