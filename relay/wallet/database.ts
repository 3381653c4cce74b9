/** `node:sqlite` behind four verbs: statements are prepared once, a transaction nests as a savepoint. */
import { chmodSync, closeSync, openSync } from 'node:fs'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'

export type Row = Record<string, unknown>
export type Param = string | number | null

export interface Database {
  get(sql: string, ...params: Param[]): Row | undefined
  all(sql: string, ...params: Param[]): Row[]
  run(sql: string, ...params: Param[]): void
  /** All of `work` or nothing of it; what it throws is passed on. */
  transaction<T>(work: () => T): T
  /** `work` as a part of the transaction that runs, which undoes it if it throws; without one, in one of its own. */
  within<T>(work: () => T): T
  close(): void
}

const CACHE_KIB = 64 * 1024

/** Opens or makes a database that survives kill -9 and power loss: WAL, fsync at each commit. Only the owner may read it. */
export function openDatabase(path: string, options: { readOnly?: boolean } = {}): Database {
  if (!options.readOnly) {
    closeSync(openSync(path, 'a', 0o600))
    chmodSync(path, 0o600)
  }
  const db = new DatabaseSync(path, { readOnly: options.readOnly ?? false, timeout: 5000 })
  if (!options.readOnly) {
    // Keys are random: with a million past payments the 2 MB of SQLite's own default are read anew all the time.
    db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -${CACHE_KIB}`)
  }
  const prepared = new Map<string, StatementSync>()
  const statement = (sql: string): StatementSync => {
    let found = prepared.get(sql)
    if (!found) prepared.set(sql, (found = db.prepare(sql)))
    return found
  }
  const step = (sql: string): void => void statement(sql).run()
  let depth = 0
  const transaction = <T>(work: () => T): T => {
    const [begin, commit, undo] = depth
      ? [`SAVEPOINT s${depth}`, `RELEASE s${depth}`, `ROLLBACK TO s${depth}`]
      : ['BEGIN IMMEDIATE', 'COMMIT', 'ROLLBACK']
    step(begin)
    depth++
    try {
      const value = work()
      step(commit)
      return value
    } catch (error) {
      step(undo)
      if (depth > 1) step(commit)
      throw error
    } finally {
      depth--
    }
  }
  return {
    get: (sql, ...params) => statement(sql).get(...(params as SQLInputValue[])),
    all: (sql, ...params) => statement(sql).all(...(params as SQLInputValue[])),
    run: (sql, ...params) => void statement(sql).run(...(params as SQLInputValue[])),
    transaction,
    within: (work) => (depth > 0 ? work() : transaction(work)),
    close: () => db.close(),
  }
}
