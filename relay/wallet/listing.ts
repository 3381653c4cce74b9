/** NIP-47 `list_transactions`: which ones, newest first. */
import { MAX_LIST, Nip47Refusal } from '../../web/core/wallet/nip47.ts'
import type { Database } from './database.ts'

const DEFAULT_LIST = 50
/** What is skipped is read: `until` reaches further back at no cost. */
export const MAX_OFFSET = 100_000
/** Rows that are read of each list at first; each time more are needed, twice as many. */
const FIRST_READ = 8

/** `from` and `until` are Unix seconds. */
export type ListOptions = Readonly<{
  from?: number | undefined
  until?: number | undefined
  limit?: number | undefined
  offset?: number | undefined
  unpaid?: boolean | undefined
  type?: 'incoming' | 'outgoing' | undefined
}>
type Side = 'invoices' | 'payments'
type Line = { side: Side; hash: string; at: number }
type Whose = Readonly<{ column: 'account' | 'client'; value: string }>

/**
 * `client`: only what this connection and those cut from it, at any depth, made and paid. Reads what it skips and lists,
 * whatever the history. @throws Nip47Refusal for an offset above `MAX_OFFSET`
 */
export function listTransactions(
  db: Database,
  account: string,
  options: ListOptions,
  client?: string,
): { side: Side; hash: string }[] {
  const limit = Math.min(options.limit ?? DEFAULT_LIST, MAX_LIST)
  const offset = options.offset ?? 0
  if (offset > MAX_OFFSET)
    throw new Nip47Refusal('OTHER', `An offset is at most ${MAX_OFFSET}; reach further back with until.`)
  const whose: readonly Whose[] =
    client === undefined
      ? [{ column: 'account', value: account }]
      : withBelow(db, account, client).map((value) => ({ column: 'client', value }))
  const sides: readonly Side[] =
    options.type === undefined
      ? ['invoices', 'payments']
      : [options.type === 'incoming' ? 'invoices' : 'payments']
  const lists = sides.flatMap((side) => whose.map((of) => newest(db, side, of, options)))
  return merged(lists, offset, limit).map(({ side, hash }) => ({ side, hash }))
}

/** Connections that share the account; an isolated one has its own. */
function withBelow(db: Database, account: string, client: string): readonly string[] {
  const rows = db.all(
    `WITH RECURSIVE own (client) AS (SELECT CAST(? AS TEXT)
       UNION ALL SELECT c.client FROM connections c JOIN own ON c.parent = own.client WHERE c.account = ?)
     SELECT client FROM own`,
    ...[client, account],
  )
  return rows.map((row) => String(row['client']))
}

function* newest(db: Database, side: Side, { column, value }: Whose, options: ListOptions): Generator<Line> {
  const [from, until] = [(options.from ?? 0) * 1000, (options.until ?? 2 ** 40) * 1000 + 999]
  const decided = options.unpaid ? '' : "AND state = 'settled'"
  const sql = `SELECT payment_hash AS hash, created_at AS at FROM ${side}
    WHERE ${column} = ? AND created_at BETWEEN ? AND ? ${decided} ORDER BY created_at DESC LIMIT ? OFFSET ?`
  for (let read = 0, size = FIRST_READ; ; read += size, size *= 2) {
    const rows = db.all(sql, value, from, until, size, read)
    for (const row of rows) yield { side, hash: String(row['hash']), at: Number(row['at']) }
    if (rows.length < size) return
  }
}

type Head = { line: Line; rest: Iterator<Line> }

/** The newest of all lists, each of which has its newest first. */
function merged(lists: readonly Iterator<Line>[], offset: number, limit: number): Line[] {
  const heap = lists.flatMap((rest): Head[] => {
    const first = rest.next()
    return first.done ? [] : [{ line: first.value, rest }]
  })
  heap.sort((a, b) => b.line.at - a.line.at) // in order, so a heap
  const found: Line[] = []
  for (let at = 0; at < offset + limit; at++) {
    const [top] = heap
    if (!top) break
    if (at >= offset) found.push(top.line)
    const next = top.rest.next()
    const head = next.done ? heap.pop() : { line: next.value, rest: top.rest }
    if (head && heap.length > 0) sink(heap, head)
  }
  return found
}

/** Puts `head` in the place of the first, and the heap in order again. */
function sink(heap: Head[], head: Head): void {
  let at = 0
  for (;;) {
    const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]]
    const later = right && left && right.line.at > left.line.at ? right : left
    if (!later || later.line.at <= head.line.at) break
    heap[at] = later
    at = 2 * at + (later === right ? 2 : 1)
  }
  heap[at] = head
}
