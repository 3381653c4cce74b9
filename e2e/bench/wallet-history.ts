/** Past payments for the wallet bench: written straight into the ledger, as the service would have left them. */
import { DatabaseSync } from 'node:sqlite'

/** Msat of each payment. */
const AMOUNT = 1000
const HEX = '0123456789abcdef'

/** Spread over the whole range, as hashes are, and different for each `n`. */
function hashLike(n: number): string {
  let state = (n + 1) * 0x9e3779b1
  let text = ''
  for (let i = 0; i < 56; i++) {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + i) >>> 0
    text += HEX[state >>> 28]
  }
  return text + (n >>> 0).toString(16).padStart(8, '0')
}

/** `count` settled payments from the clients in turn to `payee`, before `untilMs`. The audit finds them in order. */
export function writeHistory(
  file: string,
  options: { payers: readonly string[]; payee: string; count: number; untilMs: number },
): void {
  const { payers, payee, count, untilMs } = options
  const db = new DatabaseSync(file)
  db.exec('PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; BEGIN')
  const insert = (table: string, columns: string) =>
    db.prepare(`INSERT INTO ${table} (${columns}) VALUES (${columns.replace(/\w+/g, '?')})`)
  const movements = insert('movements', 'id, kind, reference, at')
  const lines = insert('lines', 'account, seq, movement, amount, balance')
  const spends = insert('spends', 'client, seq, reference, amount, period_start, used')
  const invoices = insert(
    'invoices',
    `payment_hash, account, client, bolt11, amount, description, preimage, hold, state, created_at, expires_at,
     settled_at, received`,
  )
  const payments = insert(
    'payments',
    'payment_hash, account, client, amount, fees, state, created_at, settled_at',
  )
  const account = (client: string) => {
    const row = db
      .prepare(
        `SELECT a.id, a.balance, a.lines, c.used, c.spends FROM accounts a JOIN connections c ON c.account = a.id
        WHERE c.client = ?`,
      )
      .get(client) as { id: string; balance: number; lines: number; used: number; spends: number }
    return { client, ...row }
  }
  const from = payers.map(account)
  const to = account(payee)
  let movement = Number(Object.values(db.prepare('SELECT MAX(id) FROM movements').get() ?? {})[0])
  const bolt11 = `lnbcrt10n1${'q'.repeat(260)}`
  for (let i = 0; i < count; i++) {
    const payer = from[i % from.length] as (typeof from)[number]
    const hash = hashLike(i)
    const at = untilMs - (count - i) * 1000
    payer.balance -= AMOUNT
    payer.used += AMOUNT
    to.balance += AMOUNT
    movements.run(++movement, 'pay', hash, at)
    lines.run(payer.id, ++payer.lines, movement, -AMOUNT, payer.balance)
    lines.run(to.id, ++to.lines, movement, AMOUNT, to.balance)
    spends.run(payer.client, ++payer.spends, hash, AMOUNT, 0, payer.used)
    invoices.run(
      ...[hash, to.id, payee, bolt11, AMOUNT, 'past', hash, 0, 'settled', at, at + 3_600_000, at, AMOUNT],
    )
    payments.run(hash, payer.id, payer.client, AMOUNT, 0, 'settled', at, at)
  }
  const keep = db.prepare('UPDATE accounts SET balance = ?, lines = ? WHERE id = ?')
  for (const one of [...from, to]) keep.run(one.balance, one.lines, one.id)
  for (const one of from)
    db.prepare('UPDATE connections SET used = ?, spends = ? WHERE client = ?').run(
      ...[one.used, one.spends, one.client],
    )
  db.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)')
  db.close()
}
