import fc from 'fast-check'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { openDatabase, type Database } from './database.ts'
import { listTransactions, MAX_OFFSET, type ListOptions } from './listing.ts'
import { SCHEMA } from './schema.ts'

/** A connection and what was cut from it, in the same account; an isolated one in its own; and a stranger. */
const PARENTS = { owner: undefined, child: 'owner', grandchild: 'child', isolated: 'child', other: undefined }
type Client = keyof typeof PARENTS
const clients = Object.keys(PARENTS) as Client[]
const accountOf = (client: Client): string =>
  client === 'isolated' ? 'apart' : client === 'other' ? 'strange' : 'shared'
const isBelow = (client: Client | undefined, top: Client): boolean =>
  client !== undefined && (client === top || isBelow(PARENTS[client] as Client | undefined, top))

type Row = { side: 'invoices' | 'payments'; client: Client; settled: boolean; at: number }

const directory = mkdtempSync(join(tmpdir(), 'satpatch-listing-'))
const db: Database = openDatabase(join(directory, 'wallet.sqlite'))
for (const sql of SCHEMA.split(';')) if (sql.trim()) db.run(sql)
db.transaction(() => {
  for (const client of clients)
    db.run(
      `INSERT INTO connections (client, account, parent, isolated, name, methods, renewal, used, period_start, spends, request, created_at)
       VALUES (?, ?, ?, 0, '', '', 'never', 0, 0, 0, '', 0)`,
      ...[client, accountOf(client), PARENTS[client] ?? null],
    )
})
beforeEach(() => clear())
afterAll(() => {
  db.close()
  rmSync(directory, { recursive: true })
})
function clear(): void {
  for (const side of ['invoices', 'payments']) db.run(`DELETE FROM ${side}`)
}

const hashOf = (row: Row): string => `${row.side} ${row.at}`
function put(rows: readonly Row[]): void {
  db.transaction(() => {
    for (const row of rows) {
      const common = [
        hashOf(row),
        accountOf(row.client),
        row.client,
        row.settled ? 'settled' : 'open',
        row.at,
      ]
      if (row.side === 'invoices')
        db.run(
          `INSERT INTO invoices (payment_hash, account, client, state, created_at, bolt11, amount, description, hold, expires_at)
           VALUES (?, ?, ?, ?, ?, '', 0, '', 0, 0)`,
          ...common,
        )
      else
        db.run(
          `INSERT INTO payments (payment_hash, account, client, state, created_at, amount, fees) VALUES (?, ?, ?, ?, ?, 0, 0)`,
          ...common,
        )
    }
  })
}

/** What should be listed: all of it looked through. */
function expected(rows: readonly Row[], options: ListOptions, top: Client | undefined): string[] {
  const { from = 0, until = Infinity, limit = 50, offset = 0, unpaid = false, type } = options
  return rows
    .filter(({ client }) => accountOf(client) === 'shared' && (top === undefined || isBelow(client, top)))
    .filter(({ side }) => type === undefined || (type === 'incoming') === (side === 'invoices'))
    .filter(({ settled, at }) => (unpaid || settled) && at >= from * 1000 && at <= until * 1000 + 999)
    .toSorted((a, b) => b.at - a.at)
    .slice(offset, offset + limit)
    .map(hashOf)
}
const listed = (options: ListOptions, top: Client | undefined): string[] =>
  listTransactions(db, 'shared', options, top).map(({ hash }) => hash)

test('whatever is asked for, it is what looking through everything finds', () => {
  const times = fc.integer({ min: 0, max: 90_000 })
  const row = fc.record<Omit<Row, 'at'>>({
    side: fc.constantFrom('invoices', 'payments'),
    client: fc.constantFrom(...clients),
    settled: fc.boolean(),
  })
  const seconds = fc.option(fc.integer({ min: 0, max: 90 }), { nil: undefined })
  const options = fc.record({
    from: seconds,
    until: seconds,
    limit: fc.option(fc.integer({ min: 1, max: 60 }), { nil: undefined }),
    offset: fc.option(fc.integer({ min: 0, max: 80 }), { nil: undefined }),
    unpaid: fc.boolean(),
    type: fc.constantFrom(undefined, 'incoming' as const, 'outgoing' as const),
  })
  const top = fc.constantFrom(undefined, 'owner' as const, 'child' as const, 'grandchild' as const)
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(times, row), { maxLength: 120, size: 'max', selector: ([at]) => at }),
      fc.array(fc.tuple(options, top), { minLength: 1, maxLength: 8 }),
      (drawn, asked) => {
        clear()
        const rows = drawn.map(([at, rest]) => ({ ...rest, at }))
        put(rows)
        for (const [options, top] of asked) expect(listed(options, top)).toEqual(expected(rows, options, top))
      },
    ),
    { numRuns: 25 },
  )
})

test('what one connection did long ago is found behind whatever others did since', () => {
  const rows = Array.from({ length: 25_000 }, (_, at): Row => ({
    ...{ side: 'payments', settled: true, at },
    client: at < 60 ? 'grandchild' : 'owner',
  }))
  put(rows)
  expect(listed({ limit: 20, offset: 30 }, 'grandchild')).toEqual(
    expected(rows, { limit: 20, offset: 30 }, 'grandchild'),
  )
  expect(listed({ limit: 5, offset: 24_990 }, undefined)).toHaveLength(5)
  expect(listed({ offset: 25_000 }, 'owner')).toEqual([])
})

test('an offset that is too far is refused, not answered with another page', () => {
  put([{ side: 'payments', client: 'owner', settled: true, at: 1 }])
  expect(listed({ offset: MAX_OFFSET }, undefined)).toEqual([])
  expect(() => listed({ offset: MAX_OFFSET + 1 }, undefined)).toThrow(/until/)
})
