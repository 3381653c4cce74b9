/**
 * Double entry. A movement takes from one account and gives to another, and the routing fee to a third, in one database
 * transaction; each line carries the account's balance after it. Nothing but `move` changes a balance. `audit.ts`
 * recomputes all.
 */
import { chmodSync, existsSync } from 'node:fs'
import type { Msat } from '../../web/core/money/msat.ts'
import { Nip47Refusal } from '../../web/core/wallet/nip47.ts'
import { openDatabase, type Database } from './database.ts'
import { MIGRATIONS, SCHEMA, SCHEMA_VERSION } from './schema.ts'

/** Where play money comes from: minus what was ever granted. */
export const MINT = 'mint'
/** What unsettled holds hold. */
export const LOCKED = 'locked'
/** Routing fees; over a real node, what the network took. */
export const FEES = 'fees'
/** The Lightning node: minus what the accounts have of its sats. */
export const NODE = 'node'

export type MovementKind =
  'grant' | 'fund' | 'isolate' | 'return' | 'pay' | 'lock' | 'settle' | 'release' | 'receive'

export interface Ledger {
  readonly db: Database
  balance(account: string): Msat
  openAccount(account: { id: string; name: string; parent?: string; at: number }): void
  /**
   * `from` gives `amount` and `fee`, `to` gets `amount`. A closed account passes on to its parent what it gets.
   * @throws Nip47Refusal INSUFFICIENT_BALANCE
   */
  move(movement: {
    kind: MovementKind
    reference: string
    from: string
    to: string
    amount: number
    fee?: number
    at: number
  }): void
  /** From now on, what the account has and gets goes to its parent. */
  closeAccount(account: string, at: number): void
  close(): void
}

/**
 * Opens the ledger at `path`, making it if it is not there. A ledger is of one kind of money for ever: `owner` names it.
 * @throws Error for a ledger of a newer program, or of another owner
 */
export function openLedger(path: string, owner = ''): Ledger {
  const db = openDatabase(path)
  const version = db.transaction(() => migrate(db))
  if (version !== SCHEMA_VERSION) {
    db.close()
    throw new Error(
      `The wallet's ledger ${path} has format ${version}, this program reads ${SCHEMA_VERSION}. ` +
        'Start the version that wrote it; nothing has been changed.',
    )
  }
  const owned = db.get('SELECT value FROM meta WHERE name = ?', 'owner')
  if (owned === undefined) db.run('INSERT INTO meta (name, value) VALUES (?, ?)', 'owner', owner)
  else if (owned['value'] !== owner) {
    db.close()
    throw new Error(
      `The ledger ${path} is of the Lightning node ${String(owned['value'])}, not of ${owner}. Give that node's address, or another data directory; nothing has been changed.`,
    )
  }
  for (const side of [`${path}-wal`, `${path}-shm`]) if (existsSync(side)) chmodSync(side, 0o600)
  let lastMovement = Number(db.get('SELECT COALESCE(MAX(id), 0) AS id FROM movements')?.['id'])

  const open = (id: string, kind: string, name: string, parent: string | null, at: number): void =>
    db.run(
      `INSERT INTO accounts (id, kind, name, parent, balance, lines, created_at)
       VALUES (?, ?, ?, ?, 0, 0, ?) ON CONFLICT (id) DO NOTHING`,
      ...[id, kind, name, parent, at],
    )
  const balance = (account: string): Msat => {
    const row = db.get('SELECT balance FROM accounts WHERE id = ?', account)
    if (!row) throw new Error(`no account ${account}`)
    return Number(row['balance']) as Msat
  }
  const line = (account: string, movement: number, amount: number): void => {
    db.run('UPDATE accounts SET balance = balance + ?, lines = lines + 1 WHERE id = ?', amount, account)
    db.run(
      `INSERT INTO lines (account, seq, movement, amount, balance)
       SELECT id, lines, ?, ?, balance FROM accounts WHERE id = ?`,
      ...[movement, amount, account],
    )
  }
  open(MINT, 'mint', 'where play money comes from', null, 0)
  open(LOCKED, 'locked', 'locked by unsettled holds', null, 0)
  open(FEES, 'fees', 'routing fees', null, 0)
  open(NODE, 'node', 'the Lightning node', null, 0)

  const move: Ledger['move'] = ({ kind, reference, from, to, amount, fee = 0, at }) =>
    db.within(() => {
      const total = amount + fee
      if (!Number.isSafeInteger(total) || amount <= 0 || fee < 0)
        throw new Error(`not an amount to move: ${amount} and ${fee}`)
      const has = balance(from)
      if (from !== MINT && from !== NODE && has < total) {
        const fees = fee > 0 ? ` (${fee / 1000} of it for routing)` : ''
        throw new Nip47Refusal(
          'INSUFFICIENT_BALANCE',
          `The wallet has ${has / 1000} sats; ${total / 1000} are needed${fees}. Add ${(total - has) / 1000}.`,
        )
      }
      const id = ++lastMovement
      db.run('INSERT INTO movements (id, kind, reference, at) VALUES (?, ?, ?, ?)', id, kind, reference, at)
      line(from, id, -total)
      line(to, id, amount)
      if (fee > 0) line(FEES, id, fee)
      passOn(to, at)
    })
  /** What a closed account has goes to its parent; every hop is a movement of its own. */
  const passOn = (account: string, at: number): void => {
    const row = db.get('SELECT parent, balance, closed FROM accounts WHERE id = ?', account)
    if (!row) throw new Error(`no account ${account}`)
    const amount = Number(row['balance'])
    if (row['closed'] !== 1 || typeof row['parent'] !== 'string' || amount === 0) return
    db.run('UPDATE connections SET given = given - ? WHERE account = ? AND isolated = 1', amount, account)
    move({ kind: 'return', reference: account, from: account, to: row['parent'], amount, at })
  }

  return {
    db,
    balance,
    openAccount: ({ id, name, parent, at }) => open(id, 'person', name, parent ?? null, at),
    move,
    closeAccount: (account, at) =>
      db.transaction(() => {
        db.run('UPDATE accounts SET closed = 1 WHERE id = ?', account)
        passOn(account, at)
      }),
    close: () => db.close(),
  }
}

/** Makes the tables or brings them up to date; gives the version that they have then. */
function migrate(db: Database): number {
  db.run('CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)')
  const found = db.get('SELECT value FROM meta WHERE name = ?', 'schema')
  let version = found === undefined ? SCHEMA_VERSION : Number(found['value'])
  for (let steps = MIGRATIONS[version]; steps; steps = MIGRATIONS[++version])
    for (const sql of steps) db.run(sql)
  if (version !== SCHEMA_VERSION) return version
  for (const sql of SCHEMA.split(';')) if (sql.trim()) db.run(sql)
  db.run(
    'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = ?',
    ...['schema', `${version}`, `${version}`],
  )
  return version
}
