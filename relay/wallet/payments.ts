/**
 * Invoices and what happens to them: paid at once where the secret is here, locked first where it is not. Every
 * function runs inside the caller's transaction and says who is to be told.
 */
import { randomBytes } from 'node:crypto'
import { sha256Hex, fromHex, toHex, type Sha256Hex } from '../../web/core/bytes.ts'
import {
  DEFAULT_EXPIRY_SECONDS,
  decodeInvoice,
  explainRefusal,
  MAX_DESCRIPTION_BYTES,
  peekInvoice,
  prefixOf,
} from '../../web/core/money/bolt11.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { MAX_LIST, Nip47Refusal, type NotificationType } from '../../web/core/wallet/nip47.ts'
import type { Backend } from './backend.ts'
import type { Connection, Connections } from './connections.ts'
import type { Row } from './database.ts'
import { feeOf } from './fee.ts'
import { LOCKED, type Ledger } from './ledger.ts'
import { tellInvoice, tellPayment, type Invoice, type Payment, type Told } from './telling.ts'

const DEFAULT_LIST = 50
/** A page further back than this is empty: `until` reaches it at less cost. */
const MAX_OFFSET = 100_000

/** For the connection that paid, or made the invoice, and those that it was cut from. */
export type Notice = Readonly<{ client: string; type: NotificationType; transaction: Told }>
/** What a change leads to: people to tell, and payments that were waited for. */
export type Outcome = Readonly<{ notices: readonly Notice[]; decided: readonly Decided[] }>
export type Decided = Readonly<{ paymentHash: string; preimage?: string; fees: number }>

export type NewInvoice = Readonly<{
  amount: number
  description?: string | undefined
  descriptionHash?: string | undefined
  expirySeconds?: number | undefined
  /** The receiver's secret; the sandbox draws one if there is neither this nor a hash. */
  preimage?: string | undefined
  /** A hold invoice: only the hash is known here. */
  paymentHash?: string | undefined
}>

export type PaymentOptions = Readonly<{
  ledger: Ledger
  connections: Connections
  backend: Backend
  holdLimitMs: number
}>

export interface Payments {
  makeInvoice(connection: Connection, request: NewInvoice, at: number): Told
  /** `preimage` when paid at once; otherwise the payment is locked until it is decided. */
  pay(
    connection: Connection,
    text: string,
    amount: number | undefined,
    at: number,
  ): Outcome & { paymentHash: string; preimage?: string; fees?: number }
  settle(account: string, preimage: string, at: number): Outcome
  cancel(account: string, paymentHash: string, at: number): Outcome
  lookUp(account: string, paymentHash: string, at: number): Told | undefined
  list(account: string, options: ListOptions, at: number): Told[]
  /** Returns what has been locked until `at`; at most `limit` at a time. */
  returnOverdue(at: number, limit: number): Outcome
  nextDeadline(): number | undefined
}

export type ListOptions = Readonly<{
  from?: number | undefined
  until?: number | undefined
  limit?: number | undefined
  offset?: number | undefined
  unpaid?: boolean | undefined
  type?: 'incoming' | 'outgoing' | undefined
}>

export function createPayments({ ledger, connections, backend, holdLimitMs }: PaymentOptions): Payments {
  const { db } = ledger
  const prefix = prefixOf(backend.money)
  const invoiceOf = (hash: string): Invoice | undefined =>
    db.get('SELECT * FROM invoices WHERE payment_hash = ?', hash) as Invoice | undefined
  const paymentOf = (hash: string): Payment | undefined =>
    db.get('SELECT * FROM payments WHERE payment_hash = ?', hash) as Payment | undefined
  const notice = (type: NotificationType, invoice: Invoice, payment: Payment, at: number): Notice =>
    type === 'payment_sent'
      ? { client: payment.client, type, transaction: tellPayment(invoice, payment) }
      : { client: invoice.client, type, transaction: tellInvoice(invoice, at) }
  const failed = (message: string): Nip47Refusal => new Nip47Refusal('PAYMENT_FAILED', message)

  const makeInvoice = (connection: Connection, request: NewInvoice, at: number): Told => {
    const { account, client } = connection
    const description = request.description ?? ''
    if (new TextEncoder().encode(description).length > MAX_DESCRIPTION_BYTES)
      throw new Nip47Refusal(
        'OTHER',
        `The description is longer than ${MAX_DESCRIPTION_BYTES} bytes; shorten it.`,
      )
    const hold = request.paymentHash !== undefined
    const preimage = hold ? null : (request.preimage ?? toHex(randomBytes(32)))
    const hash = request.paymentHash ?? sha256Hex(fromHex(preimage ?? ''))
    const existing = invoiceOf(hash)
    if (existing) {
      const same =
        existing.account === account && existing.amount === request.amount && existing.hold === (hold ? 1 : 0)
      // A seller that lost our answer asks again: the same invoice is the right one.
      if (
        same &&
        existing.description === description &&
        existing.state === 'open' &&
        existing.expires_at > at
      )
        return tellInvoice(existing, at)
      throw new Nip47Refusal(
        'OTHER',
        'There is an invoice for this payment hash already; a secret is used once.',
      )
    }
    const expirySeconds = request.expirySeconds ?? DEFAULT_EXPIRY_SECONDS
    const bolt11 = backend.sign({
      prefix,
      ...(request.amount > 0 && { amount: request.amount as Msat }),
      paymentHash: hash as Sha256Hex,
      paymentSecret: toHex(randomBytes(32)),
      description: request.descriptionHash ? { hash: request.descriptionHash as Sha256Hex } : description,
      createdAtMs: at,
      expirySeconds,
    })
    const expiresAt = (Math.floor(at / 1000) + expirySeconds) * 1000
    db.run(
      `INSERT INTO invoices (payment_hash, account, client, bolt11, amount, description, description_hash, preimage, hold, state,
         created_at, expires_at, settled_at, settle_by, received)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, NULL, NULL, NULL)`,
      ...[
        hash,
        account,
        client,
        bolt11,
        request.amount,
        description,
        request.descriptionHash ?? null,
        preimage,
      ],
      ...[hold ? 1 : 0, at, expiresAt],
    )
    return tellInvoice(invoiceOf(hash) as Invoice, at)
  }

  /** Our own invoice that this text is, or why it is none. */
  const readOwn = (text: string): Invoice => {
    const hash = peekInvoice(text)?.paymentHash
    const invoice = hash && invoiceOf(hash)
    if (invoice && invoice.bolt11 === text.toLowerCase()) return invoice
    const decoded = decodeInvoice(text, { prefix })
    if (!decoded.ok) throw failed(`${explainRefusal(decoded.why)} Nothing was paid.`)
    throw failed(
      'This invoice was made by another wallet service. Play money cannot leave this one; nothing was paid.',
    )
  }

  const settleInvoice = (invoice: Invoice, payment: Payment, preimage: string, at: number): Outcome => {
    db.run(
      "UPDATE invoices SET state = 'settled', preimage = ?, settled_at = ? WHERE payment_hash = ?",
      ...[preimage, at, invoice.payment_hash],
    )
    db.run(
      "UPDATE payments SET state = 'settled', settled_at = ? WHERE payment_hash = ?",
      at,
      invoice.payment_hash,
    )
    const paid: Invoice = { ...invoice, state: 'settled', preimage, settled_at: at }
    const sent: Payment = { ...payment, state: 'settled', settled_at: at }
    return {
      notices: [notice('payment_received', paid, sent, at), notice('payment_sent', paid, sent, at)],
      decided: [{ paymentHash: invoice.payment_hash, preimage, fees: payment.fees }],
    }
  }
  const release = (invoice: Invoice, at: number): Outcome => {
    const { payment_hash: hash } = invoice
    db.run("UPDATE invoices SET state = 'cancelled', settled_at = NULL WHERE payment_hash = ?", hash)
    const payment = paymentOf(hash)
    if (payment?.state !== 'pending') return { notices: [], decided: [] }
    const { account, client, created_at } = payment
    const amount = payment.amount + payment.fees
    db.run("UPDATE payments SET state = 'returned' WHERE payment_hash = ?", hash)
    ledger.move({ kind: 'release', reference: hash, from: LOCKED, to: account, amount, at })
    connections.unspend(client, amount, hash, created_at)
    return { notices: [], decided: [{ paymentHash: hash, fees: 0 }] }
  }

  /** What is to be paid: the invoice's amount, or the payer's where it has none. */
  const amountOf = (invoice: Invoice, asked: number | undefined): number => {
    const { amount } = invoice
    if (amount === 0 && !asked)
      throw new Nip47Refusal('OTHER', 'The invoice has no amount: say how much to pay. Nothing was paid.')
    if (amount !== 0 && asked !== undefined && asked !== amount)
      throw new Nip47Refusal('OTHER', `The invoice is over ${amount} msat, not ${asked}; nothing was paid.`)
    return amount === 0 ? (asked ?? 0) : amount
  }

  const held = (account: string, hash: string): Invoice => {
    const invoice = invoiceOf(hash)
    if (!invoice?.hold || invoice.account !== account)
      throw new Nip47Refusal('NOT_FOUND', 'This wallet has no hold invoice with that payment hash.')
    return invoice
  }

  return {
    makeInvoice,

    pay(connection, text, asked, at) {
      const invoice = readOwn(text)
      const { payment_hash: hash } = invoice
      const { account, client } = connection
      const amount = amountOf(invoice, asked)
      const earlier = paymentOf(hash)
      if (earlier?.state === 'pending' && earlier.account === account)
        return { paymentHash: hash, notices: [], decided: [] }
      if (earlier)
        throw failed('This invoice has been paid already; nothing was paid now. Look it up for its preimage.')
      if (invoice.state !== 'open') throw failed('The seller has cancelled this invoice; nothing was paid.')
      if (invoice.expires_at <= at)
        throw failed('This invoice has expired; nothing was paid. Ask for a new one.')
      if (invoice.account === account) throw failed('A wallet cannot pay its own invoice; nothing was paid.')

      const fees = feeOf(amount, backend.feePpm)
      connections.spend(connection, amount + fees, hash, at)
      const movement = { reference: hash, from: account, at }
      if (invoice.hold) ledger.move({ ...movement, kind: 'lock', to: LOCKED, amount: amount + fees })
      else ledger.move({ ...movement, kind: 'pay', to: invoice.account, amount, fee: fees })
      const payment: Payment = {
        ...{ payment_hash: hash, account, client, amount, fees },
        ...{ state: 'pending', created_at: at, settled_at: null },
      }
      db.run(
        `INSERT INTO payments (payment_hash, account, client, amount, fees, state, created_at, settled_at)
         VALUES (?, ?, ?, ?, ?, 'pending', ?, NULL)`,
        ...[hash, account, client, amount, fees, at],
      )
      db.run('UPDATE invoices SET received = ? WHERE payment_hash = ?', amount, hash)
      const taken: Invoice = { ...invoice, received: amount }
      if (!invoice.hold && invoice.preimage) {
        const { preimage } = invoice
        const { notices } = settleInvoice(taken, payment, preimage, at)
        return { paymentHash: hash, preimage, fees, notices, decided: [] }
      }
      const settleBy = at + holdLimitMs
      db.run("UPDATE invoices SET state = 'accepted', settle_by = ? WHERE payment_hash = ?", settleBy, hash)
      const accepted: Invoice = { ...taken, state: 'accepted', settle_by: settleBy }
      return {
        paymentHash: hash,
        notices: [notice('hold_invoice_accepted', accepted, payment, at)],
        decided: [],
      }
    },

    settle(account, preimage, at) {
      const invoice = held(account, sha256Hex(fromHex(preimage)))
      if (invoice.state === 'settled') return { notices: [], decided: [] }
      const payment = paymentOf(invoice.payment_hash)
      if (invoice.state !== 'accepted' || !payment)
        throw new Nip47Refusal('OTHER', `Nothing is locked for this invoice (it is ${invoice.state}).`)
      if (invoice.settle_by !== null && invoice.settle_by <= at)
        throw new Nip47Refusal(
          'OTHER',
          'The time to settle this invoice is over; the payer has the sats back.',
        )
      const { amount, fees: fee } = payment
      const reference = invoice.payment_hash
      ledger.move({ kind: 'settle', reference, from: LOCKED, to: account, amount, fee, at })
      return settleInvoice(invoice, payment, preimage, at)
    },

    cancel(account, hash, at) {
      const invoice = held(account, hash)
      if (invoice.state === 'settled')
        throw new Nip47Refusal('OTHER', 'This invoice has been settled; it cannot be cancelled.')
      return invoice.state === 'cancelled' ? { notices: [], decided: [] } : release(invoice, at)
    },

    lookUp(account, hash, at) {
      const invoice = invoiceOf(hash)
      if (!invoice) return undefined
      if (invoice.account === account) return tellInvoice(invoice, at)
      const payment = paymentOf(hash)
      return payment?.account === account ? tellPayment(invoice, payment) : undefined
    },

    list(account, options, at) {
      const limit = Math.min(options.limit ?? DEFAULT_LIST, MAX_LIST)
      const offset = Math.min(options.offset ?? 0, MAX_OFFSET)
      const [from, until] = [(options.from ?? 0) * 1000, (options.until ?? 2 ** 40) * 1000 + 999]
      const decided = options.unpaid ? '' : "AND state = 'settled'"
      // The newest of each side come in order from an index, so the cost does not grow with what was before.
      const side = (table: 'invoices' | 'payments'): Row[] =>
        db.all(
          `SELECT payment_hash AS hash, created_at AS at, '${table}' AS side FROM ${table}
           WHERE account = ? AND created_at BETWEEN ? AND ? ${decided} ORDER BY created_at DESC LIMIT ?`,
          ...[account, from, until, limit + offset],
        )
      const rows = [
        ...(options.type === 'outgoing' ? [] : side('invoices')),
        ...(options.type === 'incoming' ? [] : side('payments')),
      ].toSorted((a, b) => Number(b['at']) - Number(a['at']))
      return rows.slice(offset, offset + limit).flatMap(({ side, hash }) => {
        const invoice = invoiceOf(String(hash))
        const payment = side === 'payments' ? paymentOf(String(hash)) : undefined
        if (!invoice) return []
        return [payment ? tellPayment(invoice, payment) : tellInvoice(invoice, at)]
      })
    },

    returnOverdue(at, limit) {
      const rows = db.all(
        "SELECT * FROM invoices WHERE state = 'accepted' AND settle_by <= ? ORDER BY settle_by LIMIT ?",
        ...[at, limit],
      )
      const outcomes = rows.map((row) => release(row as Invoice, at))
      return { notices: [], decided: outcomes.flatMap(({ decided }) => decided) }
    },

    nextDeadline() {
      const row = db.get("SELECT MIN(settle_by) AS at FROM invoices WHERE state = 'accepted'")
      return typeof row?.['at'] === 'number' ? row['at'] : undefined
    },
  }
}
