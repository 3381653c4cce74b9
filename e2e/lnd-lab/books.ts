/** A service's ledger against its node: every payment and every invoice, one by one, and the sums. */
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { audit } from '../../relay/wallet/audit.ts'
import { NODE_LEDGER } from '../../relay/wallet/files.ts'
import type { LabNode } from './nodes.ts'

export type Books = Readonly<{
  text: string
  paid: number
  paidMsat: number
  received: number
  receivedMsat: number
}>

type Told = { payment_hash: string; status: string; value_msat: string; fee_msat: string }
type Invoice = { r_hash: string; state: string; amt_paid_msat: string; is_keysend?: boolean }
const MOST = 100_000

/** What payments have cost by the word of the nodes at their two ends, by payment hash; msat. */
export type Htlcs = Readonly<{
  sent: ReadonlyMap<string, Readonly<{ amount: number; fee: number }>>
  received: ReadonlyMap<string, number>
}>

/** All settled HTLCs that left one node, and all that came to another. */
export async function htlcsBetween(from: LabNode, to: LabNode): Promise<Htlcs> {
  const [payments, received] = await Promise.all([paymentsOf(from), settledInvoices(to)])
  const sent = payments
    .filter(({ status }) => status === 'SUCCEEDED')
    .map((one) => [one.payment_hash, { amount: Number(one.value_msat), fee: Number(one.fee_msat) }] as const)
  return { sent: new Map(sent), received }
}

async function paymentsOf(node: LabNode): Promise<Told[]> {
  const told = await node.ask(`/v1/payments?include_incomplete=true&max_payments=${MOST}`)
  return (told as { payments: Told[] }).payments
}

async function settledInvoices(node: LabNode): Promise<Map<string, number>> {
  const { invoices } = (await node.ask(`/v1/invoices?num_max_invoices=${MOST}`)) as { invoices: Invoice[] }
  return new Map(
    invoices
      // Sats that came without an invoice are the node's, nobody's account.
      .filter((one) => one.state === 'SETTLED' && one.is_keysend !== true)
      .map((one) => [Buffer.from(one.r_hash, 'base64').toString('hex'), Number(one.amt_paid_msat)]),
  )
}

/** @throws Error naming what differs */
export async function booksAgree({ node, dataDir }: { node: LabNode; dataDir: string }): Promise<Books> {
  const file = path.join(dataDir, NODE_LEDGER)
  const report = audit(file)
  if (!report.ok) throw new Error(`${node.name}: the audit finds ${report.problems.join('; ')}`)
  const db = new DatabaseSync(file, { readOnly: true })
  const rows = (sql: string): Record<string, unknown>[] => db.prepare(sql).all()

  const ours = new Map(
    rows("SELECT payment_hash, amount, fees FROM payments WHERE state = 'settled' AND route = 'node'").map(
      (row) => [String(row['payment_hash']), Number(row['amount']) + Number(row['fees'])],
    ),
  )
  const payments = await paymentsOf(node)
  const held = rows("SELECT payment_hash FROM payments WHERE state = 'pending'").map(
    (row) => row['payment_hash'],
  )
  const inFlight = payments.filter(({ status }) => status === 'IN_FLIGHT').map((one) => one.payment_hash)
  if (held.toSorted().join() !== inFlight.toSorted().join())
    throw new Error(`${node.name}: ${inFlight.length} payments are in flight, ${held.length} are locked`)
  const theirs = new Map(
    payments
      .filter(({ status }) => status === 'SUCCEEDED')
      .map((one) => [one.payment_hash, Number(one.value_msat) + Number(one.fee_msat)]),
  )
  const paidMsat = same(node.name, 'payments', ours, theirs)

  const credited = new Map(
    rows(
      "SELECT m.reference AS hash, l.amount FROM movements m JOIN lines l ON l.movement = m.id WHERE m.kind = 'receive' AND l.amount > 0",
    ).map((row) => [String(row['hash']), Number(row['amount'])]),
  )
  db.close()
  const receivedMsat = same(node.name, 'invoices', credited, await settledInvoices(node))
  const text = `${node.name}: ${ours.size} payments of ${paidMsat / 1000} sats, ${credited.size} invoices of ${receivedMsat / 1000} sats, ${held.length} in flight; ledger and node agree`
  return { text, paid: ours.size, paidMsat, received: credited.size, receivedMsat }
}

function same(
  name: string,
  what: string,
  ledger: ReadonlyMap<string, number>,
  node: ReadonlyMap<string, number>,
): number {
  let sum = 0
  for (const [hash, amount] of node)
    if (ledger.get(hash) !== amount)
      throw new Error(`${name}: ${what} ${hash}: the node says ${amount}, the ledger ${ledger.get(hash)}`)
  for (const [hash, amount] of ledger) {
    sum += amount
    if (!node.has(hash)) throw new Error(`${name}: ${what} ${hash} stands in the ledger only`)
  }
  return sum
}
