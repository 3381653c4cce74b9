/**
 * Double entry. A movement takes from one account and gives to another in one database transaction; each of its two
 * lines carries the account's balance after it. Nothing but `move` changes a balance. `audit.ts` recomputes all.
 */
import { chmodSync, existsSync } from 'node:fs'
import type { Msat } from '../../web/core/money/msat.ts'
import { Nip47Refusal } from '../../web/core/wallet/nip47.ts'
import { openDatabase, type Database } from './database.ts'
import { SCHEMA, SCHEMA_VERSION } from './schema.ts'

/** Where play money comes from: minus what was ever granted. */
export const MINT = 'mint'
/** What unsettled holds hold. */
export const LOCKED = 'locked'

export type MovementKind = 'grant' | 'isolate' | 'pay' | 'lock' | 'settle' | 'release'

export interface Ledger {
  readonly db: Database
  balance(account: string): Msat
  openAccount(account: { id: string; name: string; parent?: string; at: number }): void
  /** @throws Nip47Refusal INSUFFICIENT_BALANCE */
  move(movement: {
    kind: MovementKind
    reference: string
    from: string
    to: string
    amount: number
    at: number
  }): void
  close(): void
}

/** Opens the ledger at `path`, making it if it is not there. */
export function openLedger(path: string): Ledger {
  const db = openDatabase(path)
  const version = db.transaction(() => {
    for (const sql of SCHEMA.split(';')) if (sql.trim()) db.run(sql)
    db.run(
      'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING',
      'schema',
      `${SCHEMA_VERSION}`,
    )
    return Number(db.get('SELECT value FROM meta WHERE name = ?', 'schema')?.['value'])
  })
  if (version !== SCHEMA_VERSION) {
    db.close()
    throw new Error(
      `The wallet's ledger ${path} has format ${version}, this program reads ${SCHEMA_VERSION}. ` +
        'Start the version that wrote it; nothing has been changed.',
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

  return {
    db,
    balance,
    openAccount: ({ id, name, parent, at }) => open(id, 'person', name, parent ?? null, at),
    move: ({ kind, reference, from, to, amount, at }) =>
      db.transaction(() => {
        if (!Number.isSafeInteger(amount) || amount <= 0) throw new Error(`not an amount to move: ${amount}`)
        const has = balance(from)
        if (from !== MINT && has < amount)
          throw new Nip47Refusal(
            'INSUFFICIENT_BALANCE',
            `The wallet has ${has / 1000} sats; ${amount / 1000} are needed. Add ${(amount - has) / 1000}.`,
          )
        balance(to)
        const id = ++lastMovement
        db.run('INSERT INTO movements (id, kind, reference, at) VALUES (?, ?, ?, ?)', id, kind, reference, at)
        line(from, id, -amount)
        line(to, id, amount)
      }),
    close: () => db.close(),
  }
}
