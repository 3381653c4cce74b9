/**
 * Stored Nostr events (NIP-01 replaceable and addressable kinds, NIP-09 deletion, NIP-40 expiry) in SQLite.
 * All SQL of the Nostr relay is in this file.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { tagValue, type NostrEvent } from '../../web/core/nostr/event.ts'
import { tagNames, type Filter } from '../../web/edge/nostr/filter.ts'

export type KindClass = 'regular' | 'replaceable' | 'ephemeral' | 'addressable'

/** NIP-01 "Kinds". */
export function classOf(kind: number): KindClass {
  if (kind === 0 || kind === 3 || (kind >= 10_000 && kind < 20_000)) return 'replaceable'
  if (kind >= 20_000 && kind < 30_000) return 'ephemeral'
  if (kind >= 30_000 && kind < 40_000) return 'addressable'
  return 'regular'
}

const DELETION = 5

/** Unix seconds of NIP-40 `expiration`; undefined when there is none that is a number. */
export function expiryOf(event: NostrEvent): number | undefined {
  const text = tagValue(event, 'expiration')
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

export type Added = 'stored' | 'duplicate' | 'older' | 'deleted'

export interface EventStore {
  add(event: NostrEvent): Added
  /** Row numbers of matching events, newest first, at most `filter.limit` and `cap`. */
  find(filter: Filter, nowS: number, cap: number): number[]
  /** The event's JSON; undefined when it has gone meanwhile. */
  json(row: number): string | undefined
  /** Deletes what has expired; gives how many. */
  sweep(nowS: number): number
  close(): void
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    pubkey TEXT NOT NULL,
    kind INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    -- the slot that only one event may hold: kind:pubkey:d of replaceable and addressable kinds
    address TEXT UNIQUE,
    expires_at INTEGER,
    json TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS events_author ON events (pubkey, kind, created_at);
  CREATE INDEX IF NOT EXISTS events_kind ON events (kind, created_at);
  CREATE INDEX IF NOT EXISTS events_time ON events (created_at);
  CREATE INDEX IF NOT EXISTS events_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;
  CREATE TABLE IF NOT EXISTS tags (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    seq INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    PRIMARY KEY (name, value, seq)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS tags_event ON tags (seq);
`
/** Prepared statements of filter shapes that are kept. */
const MAX_SHAPES = 200

const addressOf = (event: NostrEvent): string | undefined => {
  const kindClass = classOf(event.kind)
  if (kindClass === 'replaceable') return `${event.kind}:${event.pubkey}:`
  if (kindClass === 'addressable') return `${event.kind}:${event.pubkey}:${tagValue(event, 'd') ?? ''}`
  return undefined
}

export function openEventStore(path: string): EventStore {
  const db = new DatabaseSync(path)
  db.exec('PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 2000;')
  db.exec(SCHEMA)
  const sql = {
    has: db.prepare('SELECT 1 FROM events WHERE id = ?'),
    atAddress: db.prepare('SELECT seq, id, created_at FROM events WHERE address = ?'),
    remove: db.prepare('DELETE FROM events WHERE seq = ?'),
    insert: db.prepare(
      'INSERT INTO events (id, pubkey, kind, created_at, address, expires_at, json) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING seq',
    ),
    insertTag: db.prepare('INSERT INTO tags (name, value, seq) VALUES (?, ?, ?) ON CONFLICT DO NOTHING'),
    deletedBy: db.prepare(
      `SELECT MAX(e.created_at) AS at FROM tags t JOIN events e ON e.seq = t.seq
       WHERE t.name = ? AND t.value = ? AND e.kind = ${DELETION} AND e.pubkey = ?`,
    ),
    removeOwn: db.prepare(`DELETE FROM events WHERE id = ? AND pubkey = ? AND kind <> ${DELETION}`),
    removeAddress: db.prepare('DELETE FROM events WHERE address = ? AND created_at <= ?'),
    json: db.prepare('SELECT json FROM events WHERE seq = ?'),
    sweep: db.prepare('DELETE FROM events WHERE expires_at <= ?'),
  }
  const shapes = new Map<string, StatementSync>()
  let durable = true

  /** Replaceable state is sent again soon; what is sent once (reports) must outlive a power cut. */
  function sync(full: boolean): void {
    if (full === durable) return
    db.exec(`PRAGMA synchronous = ${full ? 'FULL' : 'NORMAL'}`)
    durable = full
  }

  function isDeleted(event: NostrEvent, address: string | undefined): boolean {
    if (sql.deletedBy.get('e', event.id, event.pubkey)?.['at'] != null) return true
    if (address === undefined) return false
    const at = sql.deletedBy.get('a', address, event.pubkey)?.['at']
    return typeof at === 'number' && at >= event.created_at
  }

  /** NIP-09: an author deletes its own events, by id or by address. */
  function applyDeletion(event: NostrEvent): void {
    for (const [name, value] of event.tags) {
      if (value === undefined) continue
      if (name === 'e') sql.removeOwn.run(value, event.pubkey)
      if (name === 'a' && value.split(':')[1] === event.pubkey) sql.removeAddress.run(value, event.created_at)
    }
  }

  function insert(event: NostrEvent): Added {
    if (sql.has.get(event.id)) return 'duplicate'
    const address = addressOf(event)
    if (isDeleted(event, address)) return 'deleted'
    if (address !== undefined) {
      const holder = sql.atAddress.get(address) as { seq: number; id: string; created_at: number } | undefined
      if (holder) {
        // NIP-01: of two with the same time the lower id stays.
        const { created_at: at } = holder
        if (at > event.created_at || (at === event.created_at && holder.id < event.id)) return 'older'
        sql.remove.run(holder.seq)
      }
    }
    if (event.kind === DELETION) applyDeletion(event)
    const { id, pubkey, kind, created_at, tags, content, sig } = event
    const json = JSON.stringify({ id, pubkey, kind, created_at, tags, content, sig })
    const row = sql.insert.get(id, pubkey, kind, created_at, address ?? null, expiryOf(event) ?? null, json)
    const seq = row!['seq'] as number
    for (const [name, value] of tags) {
      if (name?.length === 1 && value !== undefined) sql.insertTag.run(name, value, seq)
    }
    return 'stored'
  }

  return {
    add(event) {
      sync(addressOf(event) === undefined)
      db.exec('BEGIN IMMEDIATE')
      try {
        const added = insert(event)
        db.exec('COMMIT')
        return added
      } catch (error) {
        if (db.isTransaction) db.exec('ROLLBACK')
        throw error
      }
    },
    find(filter, nowS, cap) {
      const limit = Math.min(filter.limit ?? cap, cap)
      if (limit === 0) return []
      const query = toSql(filter, nowS)
      let statement = shapes.get(query.text)
      if (!statement) {
        if (shapes.size >= MAX_SHAPES) shapes.clear()
        shapes.set(query.text, (statement = db.prepare(query.text)))
      }
      return statement.all(...query.values, limit).map((row) => row['seq'] as number)
    },
    json: (row) => sql.json.get(row)?.['json'] as string | undefined,
    sweep: (nowS) => Number(sql.sweep.run(nowS).changes),
    close: () => db.close(),
  }
}

function toSql(filter: Filter, nowS: number): { text: string; values: SQLInputValue[] } {
  const conditions = ['(e.expires_at IS NULL OR e.expires_at > ?)']
  const values: SQLInputValue[] = [nowS]
  const oneOf = (list: readonly SQLInputValue[]) => {
    values.push(...list)
    return `IN (${list.map(() => '?').join(',')})`
  }
  if (filter.ids) conditions.push(`e.id ${oneOf(filter.ids)}`)
  if (filter.authors) conditions.push(`e.pubkey ${oneOf(filter.authors)}`)
  if (filter.kinds) conditions.push(`e.kind ${oneOf(filter.kinds)}`)
  for (const name of tagNames(filter)) {
    values.push(name)
    conditions.push(
      `e.seq IN (SELECT seq FROM tags WHERE name = ? AND value ${oneOf(filter[`#${name}`] ?? [])})`,
    )
  }
  if (filter.since !== undefined) {
    conditions.push('e.created_at >= ?')
    values.push(filter.since)
  }
  if (filter.until !== undefined) {
    conditions.push('e.created_at <= ?')
    values.push(filter.until)
  }
  const text = `SELECT e.seq FROM events e WHERE ${conditions.join(' AND ')} ORDER BY e.created_at DESC, e.id LIMIT ?`
  return { text, values }
}
