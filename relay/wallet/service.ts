/**
 * The relay's wallet service (NIP-47): play money with real invoices, holds and budgets, for any NWC client, or accounts
 * with sats of a Lightning node. A request
 * and what it changes are one database transaction, so it happens once however often it is sent or the process dies.
 * An answer is sent when its transaction is on the disk (WAL, fsync at each commit), never before.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { toHex, type PartyKey } from '../../web/core/bytes.ts'
import type { Money } from '../../web/core/money/msat.ts'
import { publicKey, type NostrEvent, type SecretKey } from '../../web/core/nostr/event.ts'
import * as kinds from '../../web/core/nostr/kinds.ts'
import { composeConnection } from '../../web/core/wallet/connection.ts'
import { NOTIFICATIONS } from '../../web/core/wallet/nip47.ts'
import type { Filter } from '../../web/edge/nostr/filter.ts'
import { createAnswering, REQUEST_WINDOW_MS } from './answering.ts'
import { audit, checkSums, type AuditReport } from './audit.ts'
import { nodeBackend, sandboxBackend } from './backend.ts'
import { createBatch } from './batch.ts'
import { createConnections } from './connections.ts'
import { NODE_LEDGER, PLAY_LEDGER } from './files.ts'
import { MINT, NODE, openLedger } from './ledger.ts'
import { createLimits, type Limits } from './limits.ts'
import { createManaging } from './managing.ts'
import { methodsOf } from './methods.ts'
import { createNews } from './news.ts'
import { createNodeBooks } from './node-books.ts'
import { createNodeDriver, type NodeDriver } from './node-driver.ts'
import type { LightningNode, NodeStatus } from './node.ts'
import { openOwner, OWNER } from './owner.ts'
import { createOutbox } from './outbox.ts'
import { createPayments } from './payments.ts'

export type WalletLog = Readonly<
  Record<'debug' | 'info' | 'warn' | 'error', (data: object, message: string) => void>
>

export type WalletServiceOptions = Readonly<{
  /** The ledger lives here, in `wallet.sqlite`, or `wallet-node.sqlite` behind a node. */
  dataDir: string
  relaySecret: SecretKey
  nostr: {
    publish(event: NostrEvent): unknown
    /** Events given to `fn` have been verified. */
    subscribe(filters: readonly Filter[], fn: (event: NostrEvent) => void): () => void
  }
  /** What clients connect to; asked when a connection is handed out. */
  nostrUrl: () => string
  /** Play money's name. */
  money: Money
  /** A real node behind the service, with its first word; the service closes it. */
  lightning?: Readonly<{ node: LightningNode; status: NodeStatus }>
  log: WalletLog
  /** Unix ms. */
  now?: () => number
  /** An unsettled hold goes back to its payer after this. */
  holdLimitMs?: number
  /** Play money's routing fee, parts per million of what is paid. */
  feePpm?: number
  /** What one connection may ask. */
  limits?: Limits
  /** Runs its argument soon; what was asked until then is one commit. `setImmediate` without it. */
  schedule?: (run: () => void) => void
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
  /** The node behind it, as it last spoke, and what is wrong with it. */
  lightning(): (NodeStatus & { trouble?: string }) | undefined
  /** What all accounts have together, locked payments included, msat. */
  owed(): number
  /**
   * The account of whoever owns the node: its connection is in `owner-wallet.txt`. Of the node's sats it has been given
   * `totalMsat` in all: more than before moves the difference in; nothing is moved without it.
   * @throws Error when that is less than it was given before, or more than the node can send
   */
  endow(totalMsat?: number): void
  /** Recomputes the ledger from its first line. */
  audit(): AuditReport
  stop(): Promise<void>
}

export { REQUEST_WINDOW_MS } from './answering.ts'
export const DEFAULT_HOLD_LIMIT_MS = 10 * 60_000
const REQUEST_MEMORY_MS = 4 * REQUEST_WINDOW_MS
/** Old requests forgotten in one transaction. */
const FORGET = 500
const MAX_NAME_LENGTH = 100
/** Holds returned in one transaction. */
const SWEEP = 100
const LONGEST_TIMER_MS = 60_000
/** After trouble with the database. */
const SWEEP_AGAIN_MS = 5_000

/** Starts the service: publishes what it can (13194), then answers until `stop`. */
export function createWalletService(options: WalletServiceOptions): WalletService {
  const { dataDir, relaySecret, nostr, nostrUrl, money, lightning, log } = options
  const now = options.now ?? Date.now
  mkdirSync(dataDir, { recursive: true })
  const name = lightning ? NODE_LEDGER : PLAY_LEDGER
  const file = join(dataDir, name)
  const ledger = openLedger(file, lightning?.status.pubkey)
  const [wrong] = checkSums(file)
  if (wrong !== undefined) {
    ledger.close()
    throw new Error(`the ledger ${name} does not add up (${wrong}); "satpatch audit" says all that is wrong`)
  }
  const { db } = ledger
  let driver: NodeDriver | undefined
  const backend = lightning
    ? nodeBackend(lightning.node, lightning.status, () => driver?.status() ?? lightning.status)
    : sandboxBackend({ money, nodeSecret: relaySecret, feePpm: options.feePpm ?? 0 })
  const connections = createConnections(ledger)
  const managing = createManaging({ ledger, connections, feePpm: backend.feePpm, baseFees: backend.baseFees })
  const holdLimitMs = options.holdLimitMs ?? DEFAULT_HOLD_LIMIT_MS
  const nodeBooks = lightning && createNodeBooks({ ledger, connections, holdLimitMs })
  const payments = createPayments({
    ...{ ledger, connections, backend, holdLimitMs },
    ...(nodeBooks && { nodeBooks }),
  })
  const walletPubkey = publicKey(relaySecret)
  let trouble: string | undefined
  let stopped = false
  const inTrouble = (error: unknown, what: string): void => {
    trouble = String(error)
    log.error({ error: trouble }, what)
  }

  const outbox = createOutbox({
    ...{ relaySecret, now, publish: (event) => nostr.publish(event) },
    onRefused: (kind, error) =>
      log.warn({ kind, error: String(error) }, 'the relay did not take a wallet message'),
  })
  const batch = createBatch({
    db,
    ...(options.schedule && { schedule: options.schedule }),
    // The database: nothing was committed, the client asks again or looks up.
    onError: (error) => inTrouble(error, 'the wallet could not answer'),
    onCommit: () => {
      trouble = undefined
      plan()
    },
  })
  const news = createNews({
    ...{ connections, managing, outbox, now },
    onError: (error) => inTrouble(error, 'the wallet could not tell of a change'),
  })
  const theDriver = (): NodeDriver => {
    if (!driver) throw new Error('there is no node behind this service')
    return driver
  }
  const answering = createAnswering({
    context: {
      ...{ ledger, connections, managing, payments, backend, walletPubkey },
      relays: () => [nostrUrl()],
      ...(nodeBooks && { node: { books: nodeBooks, driver: theDriver } }),
    },
    ...{ db, relaySecret, batch, outbox, news, now, beforePay: options.beforePay },
    limits: options.limits ?? createLimits(),
    onFailure: (error) => log.error({ error: String(error) }, 'a wallet request failed'),
  })

  let timer: NodeJS.Timeout | undefined
  let plannedFor: number | undefined
  const nextDeadline = (): number | undefined => {
    try {
      return payments.nextDeadline()
    } catch (error) {
      inTrouble(error, 'the wallet could not read its holds')
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
      const replies = db.transaction(() =>
        answering.answerWaiting(payments.returnOverdue(now(), SWEEP).decided),
      )
      for (const one of replies) {
        outbox.reply(one)
        for (const layer of connections.layers(one.client)) news.changed(layer.client)
      }
    } catch (error) {
      inTrouble(error, 'the wallet could not return overdue holds')
      atLeastMs = SWEEP_AGAIN_MS
    }
    plan(atLeastMs)
  }
  const forget = (): void => {
    if (stopped) return
    try {
      const old = 'FROM requests WHERE at < ? AND response IS NOT NULL'
      const before = now() - REQUEST_MEMORY_MS
      db.run(`DELETE FROM requests WHERE id IN (SELECT id ${old} ORDER BY at LIMIT ?)`, before, FORGET)
      // In small pieces: payments wait meanwhile.
      if (db.get(`SELECT 1 ${old} LIMIT 1`, before)) setTimeout(forget, 0).unref()
    } catch (error) {
      inTrouble(error, 'the wallet could not forget old requests')
    }
  }

  forget()
  const forgetting = setInterval(forget, REQUEST_WINDOW_MS)
  forgetting.unref()
  const unsubscribe = nostr.subscribe(
    [{ kinds: [kinds.NWC_REQUEST], '#p': [walletPubkey] }],
    (event: NostrEvent) => {
      if (stopped) return
      try {
        answering.take(event)
      } catch (error) {
        inTrouble(error, 'the wallet could not answer')
      }
    },
  )
  const abilities = [
    ['encryption', 'nip44_v2 nip04'],
    ['notifications', NOTIFICATIONS.join(' ')],
  ]
  outbox.publish(kinds.NWC_INFO, abilities, [...methodsOf(backend), 'notifications'].join(' '))
  sweep()
  if (backend.tag === 'node' && nodeBooks)
    driver = createNodeDriver({
      ...{ backend, books: nodeBooks, now },
      write: (run) => {
        if (!stopped) answering.write(run)
      },
      read: (run) => {
        if (stopped) return undefined
        try {
          return run()
        } catch (error) {
          inTrouble(error, 'the wallet could not read its ledger')
          return undefined
        }
      },
      log: (level, data, message) => log[level](data, message),
    })
  const methods = methodsOf(backend)
  const owed = (): number =>
    Number(
      db.get("SELECT COALESCE(SUM(balance), 0) AS sum FROM accounts WHERE kind IN ('person', 'locked')")?.[
        'sum'
      ],
    )

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
        connections.open({ client, account, name: title, methods, at })
        // Sats of a real node are given by its owner.
        if (grantMsat > 0 && backend.tag === 'play')
          ledger.move({ kind: 'grant', reference: account, from: MINT, to: account, amount: grantMsat, at })
      })
      const connection = composeConnection({
        wallet: walletPubkey,
        relays: [nostrUrl()],
        secret: toHex(secret),
      })
      return { connection, balanceMsat: backend.tag === 'play' ? grantMsat : 0 }
    },
    lightning() {
      if (!driver) return undefined
      const trouble = driver.trouble()
      return { ...driver.status(), ...(trouble !== undefined && { trouble }) }
    },
    owed,
    endow: (totalMsat) =>
      db.transaction(() => {
        const at = now()
        const client = openOwner(dataDir, walletPubkey, nostrUrl())
        ledger.openAccount({ id: OWNER, name: OWNER, at })
        if (!connections.find(client)) {
          // Its file was moved away: what was in it opens nothing any more.
          db.run('UPDATE connections SET revoked_at = ? WHERE account = ? AND parent IS NULL', at, OWNER)
          connections.open({ client, account: OWNER, name: OWNER, methods, at })
        }
        const given = Number(
          db.get(
            "SELECT COALESCE(SUM(l.amount), 0) AS sum FROM movements m JOIN lines l ON l.movement = m.id WHERE m.kind = 'fund' AND l.account = ?",
            OWNER,
          )?.['sum'],
        )
        if (totalMsat === undefined || totalMsat === given) return
        if (totalMsat < given)
          throw new Error(
            `the owner's account has been given ${given / 1000} sats already; pay them out of it instead`,
          )
        const spendable = driver?.status().spendableMsat ?? 0
        if (owed() + totalMsat - given > spendable)
          throw new Error(
            `with it, all accounts would have ${(owed() + totalMsat - given) / 1000} sats, and the node's channels can send ${spendable / 1000}`,
          )
        ledger.move({ kind: 'fund', reference: OWNER, from: NODE, to: OWNER, amount: totalMsat - given, at })
      }),
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
      unsubscribe()
      driver?.stop()
      batch.stop()
      stopped = true
      clearTimeout(timer)
      clearInterval(forgetting)
      news.stop()
      ledger.close()
    },
  }
}
