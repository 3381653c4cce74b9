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
  type Bolt11,
} from '../../web/core/money/bolt11.ts'
import { LEAST_ON_LIGHTNING, type Msat } from '../../web/core/money/msat.ts'
import { Nip47Refusal, type NotificationType } from '../../web/core/wallet/nip47.ts'
import type { Backend, NodeBackend, PlayBackend } from './backend.ts'
import type { Connection, Connections } from './connections.ts'
import { feeOf } from './fee.ts'
import { LOCKED, type Ledger } from './ledger.ts'
import { listTransactions, type ListOptions } from './listing.ts'
import { issued, NodeFirst, settledAtNode, type Prepared } from './node-first.ts'
import type { InvoiceDraft } from './node.ts'
import { wantedOf, type NodeBooks } from './node-books.ts'
import {
  tellInvoice,
  tellNodePayment,
  tellPayment,
  type Invoice,
  type Payment,
  type Told,
} from './telling.ts'

/** For the connection that paid, or made the invoice, and those that it was cut from. */
export type Notice = Readonly<{ client: string; type: NotificationType; transaction: Told }>
/** What a change leads to: people to tell, and payments that were waited for. */
export type Outcome = Readonly<{ notices: readonly Notice[]; decided: readonly Decided[] }>
export type Decided = Readonly<{ paymentHash: string; preimage?: string; fees: number; why?: string }>

export type NewInvoice = Readonly<{
  amount: number
  description?: string | undefined
  descriptionHash?: string | undefined
  expirySeconds?: number | undefined
  /** The receiver's secret; the sandbox draws one if there is neither this nor a hash. */
  preimage?: string | undefined
  /** A hold invoice: only the hash is known here. */
  paymentHash?: string | undefined
  /** The client's own JSON, given back with the transaction. */
  metadata?: string | undefined
}>
export type ToPay = Readonly<{
  text: string
  /** Where the invoice has none. */
  amount?: number | undefined
  metadata?: string | undefined
}>
/** `send`: locked, and now the node is to be told. */
export type Paying = Outcome & { paymentHash: string; preimage?: string; fees?: number; send?: true }

export type PaymentOptions = Readonly<{
  ledger: Ledger
  connections: Connections
  backend: Backend
  /** Behind a node: the books of what goes over it. */
  nodeBooks?: NodeBooks
  holdLimitMs: number
}>

/** @throws Nip47Refusal, and `NodeFirst` where the node has to do something before; then with what it did. */
export interface Payments {
  makeInvoice(connection: Connection, request: NewInvoice, at: number, prepared?: Prepared): Told
  /** `preimage` when paid at once; otherwise the payment is locked until it is decided. */
  pay(connection: Connection, wanted: ToPay, at: number, prepared?: Prepared): Paying
  settle(account: string, preimage: string, at: number, prepared?: Prepared): Outcome
  cancel(account: string, paymentHash: string, at: number, prepared?: Prepared): Outcome
  /** `onlyOwn`: of this connection, not of others with the same account. */
  lookUp(
    connection: Connection,
    paymentHash: string,
    at: number,
    options?: { onlyOwn: boolean },
  ): Told | undefined
  /** There is an invoice or a payment of this hash. */
  knows(paymentHash: string): boolean
  /** Of the whole account; of one cut from it without an account of its own, what it and those below it did. */
  list(connection: Connection, options: ListOptions, at: number): Told[]
  /** Returns what has been locked until `at`; at most `limit` at a time. */
  returnOverdue(at: number, limit: number): Outcome
  nextDeadline(): number | undefined
}

const failed = (message: string): Nip47Refusal => new Nip47Refusal('PAYMENT_FAILED', message)
const PAID_ALREADY = 'This invoice has been paid already; nothing was paid now. Look it up for its preimage.'
const EXPIRED = 'This invoice has expired; nothing was paid. Ask for a new one.'
const PREFIXES = { mainnet: 'lnbc', testnet: 'lntb', signet: 'lntbs', regtest: 'lnbcrt' } as const
const IN_THE_BOOKS = {
  ...{ route: 'books' as const, reserve: 0, reference: null, target: null, description: null },
  ...{ expires_at: null, preimage: null, why: null },
}

export function createPayments(options: PaymentOptions): Payments {
  const { ledger, connections, backend, nodeBooks, holdLimitMs } = options
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
  const sign = (play: PlayBackend, draft: InvoiceDraft, at: number): string =>
    play.sign({
      prefix,
      ...(draft.amount > 0 && { amount: draft.amount as Msat }),
      paymentHash: draft.paymentHash as Sha256Hex,
      paymentSecret: toHex(randomBytes(32)),
      description: draft.descriptionHash ? { hash: draft.descriptionHash as Sha256Hex } : draft.description,
      createdAtMs: at,
      expirySeconds: draft.expirySeconds,
    })
  /** Nobody may pay it at the node any more. @throws NodeFirst */
  const takeFromNode = ({ node }: NodeBackend, hash: string, prepared: Prepared | undefined): void => {
    if (prepared?.tag !== 'cancelled' || prepared.paymentHash !== hash)
      throw new NodeFirst(async () => {
        await node.cancel(hash)
        return { tag: 'cancelled', paymentHash: hash }
      })
    db.run('UPDATE invoices SET node = 2 WHERE payment_hash = ?', hash)
  }

  const makeInvoice: Payments['makeInvoice'] = (connection, request, at, prepared) => {
    const { account, client } = connection
    const description = request.description ?? ''
    if (new TextEncoder().encode(description).length > MAX_DESCRIPTION_BYTES)
      throw new Nip47Refusal(
        'OTHER',
        `The description is longer than ${MAX_DESCRIPTION_BYTES} bytes; shorten it.`,
      )
    const hold = request.paymentHash !== undefined
    const drawn = prepared?.tag === 'invoice' ? prepared.preimage : undefined
    const preimage = hold ? null : (request.preimage ?? drawn ?? toHex(randomBytes(32)))
    const hash = request.paymentHash ?? sha256Hex(fromHex(preimage ?? ''))
    if (backend.tag === 'node' && request.amount > 0 && request.amount < LEAST_ON_LIGHTNING)
      throw new Nip47Refusal('OTHER', 'Lightning channels carry no less than 1 sat (1000 msat).')
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
    if (backend.tag === 'node' && paymentOf(hash))
      throw new Nip47Refusal('OTHER', 'A payment with this hash was made here; a secret is used once.')
    const draft = {
      ...{ paymentHash: hash, amount: request.amount, description, expirySeconds },
      ...(preimage !== null && { preimage }),
      ...(request.descriptionHash !== undefined && { descriptionHash: request.descriptionHash }),
    }
    const bolt11 = backend.tag === 'node' ? issued(backend, draft, prepared) : sign(backend, draft, at)
    const expiresAt = (Math.floor(at / 1000) + expirySeconds) * 1000
    db.run(
      `INSERT INTO invoices (payment_hash, account, client, bolt11, amount, description, description_hash, preimage, hold, state,
         created_at, expires_at, settled_at, settle_by, received, node, metadata)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, NULL, NULL, NULL, ?, ?)`,
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
      ...[hold ? 1 : 0, at, expiresAt, backend.tag === 'node' ? 1 : 0, request.metadata ?? null],
    )
    return tellInvoice(invoiceOf(hash) as Invoice, at)
  }

  /** Our own invoice that this text is; somebody else's, read, where there is a node to pay it; or why it is neither. */
  const readInvoice = (text: string): { own: Invoice } | { other: Bolt11 } => {
    const hash = peekInvoice(text)?.paymentHash
    const invoice = hash && invoiceOf(hash)
    if (invoice && invoice.bolt11 === text.toLowerCase()) return { own: invoice }
    const decoded = decodeInvoice(text, {
      prefix: backend.tag === 'node' ? PREFIXES[backend.network] : prefix,
    })
    if (!decoded.ok) throw failed(`${explainRefusal(decoded.why)} Nothing was paid.`)
    if (backend.tag === 'play')
      throw failed(
        'This invoice was made by another wallet service. Play money cannot leave this one; nothing was paid.',
      )
    if (invoice) throw failed('Another invoice of this payment hash was made here; nothing was paid.')
    return { other: decoded.invoice }
  }
  /** Over Lightning. A payment that failed may be tried again; one in flight, or settled, is not made twice. */
  const payOther = (connection: Connection, invoice: Bolt11, wanted: ToPay, at: number): Paying => {
    const { paymentHash } = invoice
    const amount = amountOf(invoice.amount ?? 0, wanted.amount)
    const earlier = paymentOf(paymentHash)
    if (earlier?.state === 'pending' && earlier.account === connection.account)
      return { paymentHash, notices: [], decided: [] }
    if (earlier && earlier.state !== 'returned') throw failed(PAID_ALREADY)
    if (invoice.expiresAtMs <= at) throw failed(EXPIRED)
    nodeBooks?.lock(connection, wantedOf(invoice, amount, wanted.metadata), at)
    return { paymentHash, notices: [], decided: [], send: true }
  }

  const bothTold = (paid: Invoice, sent: Payment, at: number): Notice[] => [
    notice('payment_received', paid, sent, at),
    notice('payment_sent', paid, sent, at),
  ]
  const insertPayment = (payment: Payment): void => {
    const {
      payment_hash: hash,
      account,
      client,
      amount,
      fees,
      state,
      created_at,
      settled_at,
      metadata,
    } = payment
    db.run(
      `INSERT INTO payments (payment_hash, account, client, amount, fees, state, created_at, settled_at, metadata)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ...[hash, account, client, amount, fees, state, created_at, settled_at, metadata],
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
      notices: bothTold(paid, sent, at),
      decided: [{ paymentHash: invoice.payment_hash, preimage, fees: payment.fees }],
    }
  }
  const release = (invoice: Invoice, at: number): Outcome => {
    const { payment_hash: hash } = invoice
    db.run("UPDATE invoices SET state = 'cancelled', settled_at = NULL WHERE payment_hash = ?", hash)
    const payment = paymentOf(hash)
    if (payment?.state !== 'pending' || payment.route !== 'books') return { notices: [], decided: [] }
    const { account, client, created_at } = payment
    const amount = payment.amount + payment.fees
    db.run("UPDATE payments SET state = 'returned' WHERE payment_hash = ?", hash)
    ledger.move({ kind: 'release', reference: hash, from: LOCKED, to: account, amount, at })
    connections.unspend(client, amount, hash, created_at)
    return { notices: [], decided: [{ paymentHash: hash, fees: 0 }] }
  }

  /** What is to be paid: the invoice's amount, or the payer's where it has none. */
  const amountOf = (amount: number, asked: number | undefined): number => {
    if (amount === 0 && !asked)
      throw new Nip47Refusal('OTHER', 'The invoice has no amount: say how much to pay. Nothing was paid.')
    if (amount !== 0 && asked !== undefined && asked !== amount)
      throw new Nip47Refusal('OTHER', `The invoice is over ${amount} msat, not ${asked}; nothing was paid.`)
    return amount === 0 ? (asked ?? 0) : amount
  }

  const told = (payment: Payment, invoice: Invoice | undefined): Told | undefined =>
    payment.route === 'node' ? tellNodePayment(payment) : invoice && tellPayment(invoice, payment)

  const held = (account: string, hash: string): Invoice => {
    const invoice = invoiceOf(hash)
    if (!invoice?.hold || invoice.account !== account)
      throw new Nip47Refusal('NOT_FOUND', 'This wallet has no hold invoice with that payment hash.')
    return invoice
  }

  return {
    makeInvoice,

    pay(connection, wanted, at, prepared) {
      const read = readInvoice(wanted.text)
      if ('other' in read) return payOther(connection, read.other, wanted, at)
      const invoice = read.own
      const { payment_hash: hash } = invoice
      const { account, client } = connection
      const amount = amountOf(invoice.amount, wanted.amount)
      const earlier = paymentOf(hash)
      if (earlier?.state === 'pending' && earlier.account === account)
        return { paymentHash: hash, notices: [], decided: [] }
      if (earlier) throw failed(PAID_ALREADY)
      if (invoice.state === 'settled' || invoice.state === 'accepted') throw failed(PAID_ALREADY)
      if (invoice.state !== 'open') throw failed('The seller has cancelled this invoice; nothing was paid.')
      if (invoice.expires_at <= at) throw failed(EXPIRED)
      if (invoice.account === account) throw failed('A wallet cannot pay its own invoice; nothing was paid.')

      const fees = backend.tag === 'play' ? feeOf(amount, backend.feePpm) : 0
      connections.spend(connection, amount + fees, hash, at)
      if (backend.tag === 'node' && invoice.node === 1) takeFromNode(backend, hash, prepared)
      const movement = { reference: hash, from: account, at }
      const payment: Payment = {
        ...{ payment_hash: hash, account, client, amount, fees, metadata: wanted.metadata ?? null },
        ...{ state: 'pending', created_at: at, settled_at: null, ...IN_THE_BOOKS },
      }
      const preimage = invoice.hold ? null : invoice.preimage
      if (preimage !== null) {
        ledger.move({ ...movement, kind: 'pay', to: invoice.account, amount, fee: fees })
        const sent: Payment = { ...payment, state: 'settled', settled_at: at }
        insertPayment(sent)
        db.run(
          "UPDATE invoices SET state = 'settled', received = ?, settled_at = ? WHERE payment_hash = ?",
          ...[amount, at, hash],
        )
        const paid: Invoice = { ...invoice, state: 'settled', received: amount, settled_at: at }
        return { paymentHash: hash, preimage, fees, notices: bothTold(paid, sent, at), decided: [] }
      }
      ledger.move({ ...movement, kind: 'lock', to: LOCKED, amount: amount + fees })
      insertPayment(payment)
      const settleBy = at + holdLimitMs
      db.run(
        "UPDATE invoices SET state = 'accepted', received = ?, settle_by = ? WHERE payment_hash = ?",
        ...[amount, settleBy, hash],
      )
      const accepted: Invoice = { ...invoice, state: 'accepted', received: amount, settle_by: settleBy }
      return {
        paymentHash: hash,
        notices: [notice('hold_invoice_accepted', accepted, payment, at)],
        decided: [],
      }
    },

    settle(account, preimage, at, prepared) {
      const invoice = held(account, sha256Hex(fromHex(preimage)))
      if (invoice.state === 'settled') return { notices: [], decided: [] }
      if (backend.tag === 'node' && invoice.node === 1 && nodeBooks) {
        const said = settledAtNode(backend, invoice, preimage, prepared)
        return nodeBooks.heard(invoice.payment_hash, { ...said, preimage, atMs: at }, at)
      }
      const payment = paymentOf(invoice.payment_hash)
      if (invoice.state !== 'accepted' || payment?.route !== 'books')
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

    cancel(account, hash, at, prepared) {
      const invoice = held(account, hash)
      if (invoice.state === 'settled')
        throw new Nip47Refusal('OTHER', 'This invoice has been settled; it cannot be cancelled.')
      if (backend.tag === 'node' && invoice.node === 1) takeFromNode(backend, hash, prepared)
      return invoice.state === 'cancelled' ? { notices: [], decided: [] } : release(invoice, at)
    },

    lookUp({ account, client }, hash, at, { onlyOwn } = { onlyOwn: false }) {
      const mine = (one: Invoice | Payment | undefined): boolean =>
        one?.account === account && (!onlyOwn || one.client === client)
      const invoice = invoiceOf(hash)
      if (invoice && mine(invoice)) return tellInvoice(invoice, at)
      const payment = paymentOf(hash)
      return payment && mine(payment) ? told(payment, invoice) : undefined
    },

    knows: (hash) => (invoiceOf(hash) ?? paymentOf(hash)) !== undefined,

    list: ({ account, client, source, isolated }, options, at) =>
      listTransactions(db, account, options, source === undefined || isolated ? undefined : client).flatMap(
        ({ side, hash }) => {
          const invoice = invoiceOf(hash)
          const payment = side === 'payments' ? paymentOf(hash) : undefined
          const one = payment ? told(payment, invoice) : invoice && tellInvoice(invoice, at)
          return one ? [one] : []
        },
      ),

    returnOverdue(at, limit) {
      const rows = db.all(
        "SELECT * FROM invoices WHERE state = 'accepted' AND node <> 1 AND settle_by <= ? ORDER BY settle_by LIMIT ?",
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
