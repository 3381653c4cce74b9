/**
 * The books of payments over a real node. A payment's amount and its fee reserve move to the locked account before the
 * node hears of it; the node's last word moves them on, once. Sats that come in move from the node's account. Every
 * function runs inside the caller's transaction.
 */
import type { Bolt11 } from '../../web/core/money/bolt11.ts'
import { LEAST_ON_LIGHTNING } from '../../web/core/money/msat.ts'
import { Nip47Refusal } from '../../web/core/wallet/nip47.ts'
import type { Connection, Connections } from './connections.ts'
import { nodeReserve } from './fee.ts'
import { LOCKED, NODE, type Ledger } from './ledger.ts'
import type { NodeInvoice, OutgoingPayment, Paid, Target } from './node.ts'
import type { Outcome } from './payments.ts'
import { tellInvoice, tellNodePayment, type Invoice, type Payment } from './telling.ts'

export type NodeBooks = Readonly<{
  /** Locks what the payment may cost. @throws Nip47Refusal nothing is locked */
  lock(connection: Connection, wanted: NodeWanted, at: number): void
  /** What the node is to be told; `undefined` when it is decided. `again`: the same hash has failed before. */
  inFlight(paymentHash: string): (OutgoingPayment & { lockedAtMs: number; again: boolean }) | undefined
  /** Hashes of all payments without the node's last word, oldest first. */
  allInFlight(): string[]
  /** The node's last word; heard twice, it counts once. */
  decide(paymentHash: string, word: Paid, at: number): Outcome
  /** What the node says of an invoice of ours; heard twice, it counts once. */
  heard(paymentHash: string, said: NodeInvoice | undefined, at: number): Outcome
  /** Invoices that the node may still be paid for, or that it holds a payment of. */
  openAtNode(): { hash: string; hold: boolean }[]
  /** Of these, at most `limit` that expired before `at` unpaid: the node's last word is missing. */
  expiredAtNode(at: number, limit: number): string[]
  /** Hold invoices whose time to settle is over. */
  overdueAtNode(at: number): string[]
}>

export type NodeWanted = Readonly<{
  paymentHash: string
  target: Target
  amount: number
  description?: string | undefined
  expiresAtMs?: number | undefined
  metadata?: string | undefined
}>

const NOTHING: Outcome = { notices: [], decided: [] }

export function createNodeBooks(options: {
  ledger: Ledger
  connections: Connections
  holdLimitMs: number
}): NodeBooks {
  const { ledger, connections, holdLimitMs } = options
  const { db } = ledger
  const paymentOf = (hash: string): Payment | undefined =>
    db.get("SELECT * FROM payments WHERE payment_hash = ? AND route = 'node'", hash) as Payment | undefined
  const invoiceOf = (hash: string): Invoice | undefined =>
    db.get('SELECT * FROM invoices WHERE payment_hash = ?', hash) as Invoice | undefined

  /** How often a hash was tried in vain; the last try makes room for the next. */
  const setAside = (hash: string): number => {
    const before = Number(
      db.get(
        'SELECT COUNT(*) AS n FROM payments WHERE payment_hash >= ? AND payment_hash < ?',
        ...[`${hash}/`, `${hash}0`],
      )?.['n'],
    )
    if (!paymentOf(hash)) return before
    db.run('UPDATE payments SET payment_hash = ? WHERE payment_hash = ?', `${hash}/${before + 1}`, hash)
    return before + 1
  }

  const settled = (invoice: Invoice, received: number, preimage: string, at: number): Outcome => {
    const { payment_hash: hash, account, client } = invoice
    ledger.move({ kind: 'receive', reference: hash, from: NODE, to: account, amount: received, at })
    db.run(
      `UPDATE invoices SET state = 'settled', preimage = ?, settled_at = ?, received = ?, settle_by = NULL, node = 2
       WHERE payment_hash = ?`,
      ...[preimage, at, received, hash],
    )
    const transaction = tellInvoice(invoiceOf(hash) as Invoice, at)
    return { notices: [{ client, type: 'payment_received', transaction }], decided: [] }
  }

  return {
    lock(connection, { paymentHash, target, amount, description, expiresAtMs, metadata }, at) {
      if (amount < LEAST_ON_LIGHTNING)
        throw new Nip47Refusal(
          'PAYMENT_FAILED',
          `Lightning channels carry no less than 1 sat; ${amount} msat were asked for. Nothing was paid.`,
        )
      const tries = setAside(paymentHash)
      const reference = tries === 0 ? paymentHash : `${paymentHash}#${tries + 1}`
      const reserve = nodeReserve(amount)
      const { account, client } = connection
      connections.spend(connection, amount + reserve, reference, at)
      ledger.move({ kind: 'lock', reference, from: account, to: LOCKED, amount: amount + reserve, at })
      db.run(
        `INSERT INTO payments (payment_hash, account, client, amount, fees, state, created_at, settled_at, route, reserve,
           reference, target, description, expires_at, metadata)
         VALUES (?, ?, ?, ?, ?, 'pending', ?, NULL, 'node', ?, ?, ?, ?, ?, ?)`,
        ...[paymentHash, account, client, amount, reserve, at, reserve, reference],
        ...[JSON.stringify(target), description ?? null, expiresAtMs ?? null, metadata ?? null],
      )
    },

    inFlight(paymentHash) {
      const payment = paymentOf(paymentHash)
      if (payment?.state !== 'pending') return undefined
      const target = JSON.parse(payment.target ?? '') as Target
      const again = payment.reference !== paymentHash
      return { paymentHash, target, maxFee: payment.reserve, lockedAtMs: payment.created_at, again }
    },

    allInFlight: () =>
      db
        .all(
          "SELECT payment_hash FROM payments WHERE state = 'pending' AND route = 'node' ORDER BY created_at",
        )
        .map((row) => String(row['payment_hash'])),

    decide(hash, word, at) {
      const payment = paymentOf(hash)
      if (payment?.state !== 'pending') return NOTHING
      const { account, client, amount, reserve, created_at } = payment
      const reference = payment.reference ?? hash
      // A node that took more than the limit it was given would be broken; the books can charge what is locked.
      const fee = word.tag === 'paid' ? Math.min(word.fee, reserve) : 0
      const back = word.tag === 'paid' ? reserve - fee : amount + reserve
      if (word.tag === 'paid')
        ledger.move({ kind: 'settle', reference, from: LOCKED, to: NODE, amount, fee, at })
      if (back > 0) {
        ledger.move({ kind: 'release', reference, from: LOCKED, to: account, amount: back, at })
        connections.unspend(client, back, reference, created_at)
      }
      const [state, preimage, why, settledAt] =
        word.tag === 'paid' ? ['settled', word.preimage, null, at] : ['returned', null, word.why, null]
      db.run(
        'UPDATE payments SET state = ?, fees = ?, preimage = ?, why = ?, settled_at = ? WHERE payment_hash = ?',
        ...[state, fee, preimage, why, settledAt, hash],
      )
      if (word.tag === 'failed')
        return { notices: [], decided: [{ paymentHash: hash, fees: 0, why: word.why }] }
      const transaction = tellNodePayment(paymentOf(hash) as Payment)
      return {
        notices: [{ client, type: 'payment_sent', transaction }],
        decided: [{ paymentHash: hash, preimage: word.preimage, fees: fee }],
      }
    },

    heard(hash, said, at) {
      const invoice = invoiceOf(hash)
      if (invoice?.node !== 1) return NOTHING
      if (said === undefined || said.tag === 'cancelled') {
        const state = invoice.hold ? 'cancelled' : invoice.state
        db.run('UPDATE invoices SET node = 2, state = ? WHERE payment_hash = ?', state, hash)
        return NOTHING
      }
      if (said.tag === 'settled') return settled(invoice, said.received, said.preimage, at)
      if (said.tag === 'open' || invoice.state !== 'open') return NOTHING
      db.run(
        "UPDATE invoices SET state = 'accepted', received = ?, settle_by = ? WHERE payment_hash = ?",
        ...[said.received, at + holdLimitMs, hash],
      )
      const transaction = tellInvoice(invoiceOf(hash) as Invoice, at)
      return {
        notices: [{ client: invoice.client, type: 'hold_invoice_accepted', transaction }],
        decided: [],
      }
    },

    openAtNode: () =>
      db
        .all('SELECT payment_hash, hold FROM invoices WHERE node = 1')
        .map((row) => ({ hash: String(row['payment_hash']), hold: row['hold'] === 1 })),

    expiredAtNode: (at, limit) =>
      db
        .all(
          "SELECT payment_hash FROM invoices WHERE node = 1 AND state = 'open' AND expires_at < ? LIMIT ?",
          ...[at, limit],
        )
        .map((row) => String(row['payment_hash'])),

    overdueAtNode: (at) =>
      db
        .all("SELECT payment_hash FROM invoices WHERE state = 'accepted' AND node = 1 AND settle_by <= ?", at)
        .map((row) => String(row['payment_hash'])),
  }
}

/** What the payer's wallet may know of an invoice that is somebody else's. */
export const wantedOf = (invoice: Bolt11, amount: number, metadata: string | undefined): NodeWanted => ({
  paymentHash: invoice.paymentHash,
  target: {
    tag: 'invoice',
    bolt11: invoice.text,
    ...(invoice.amount === undefined && { amount }),
  },
  amount,
  description: invoice.description,
  expiresAtMs: invoice.expiresAtMs,
  metadata,
})
