/**
 * Who may do what with which account. A connection is told by its client key; one cut from another (an allowance)
 * either has an account of its own (isolated) or spends from its parent's, counting against every layer's budget.
 */
import { periodStart, renewsAt } from '../../web/core/wallet/budget.ts'
import {
  METHODS,
  Nip47Refusal,
  type CreateConnection,
  type Method,
  type Renewal,
} from '../../web/core/wallet/nip47.ts'
import type { Row } from './database.ts'
import type { Ledger } from './ledger.ts'

export type Encryption = 'nip44_v2' | 'nip04'

export type Connection = Readonly<{
  client: string
  account: string
  /** The connection that this one was cut from. */
  source?: string
  /** Has an account of its own; otherwise its payments count against its source's budget too. */
  isolated: boolean
  name: string
  methods: ReadonlySet<string>
  budgetMsat?: number
  renewal: Renewal
  usedMsat: number
  periodStart: number
  /** Isolated: what the source has given in all, less what went back. */
  givenMsat: number
  expiresAtMs?: number
  paused: boolean
  revokedAtMs?: number
  createdAtMs: number
  /** What the client's last request used. */
  encryption?: Encryption
}>

/** Allowances of allowances: more layers are refused. */
export const MAX_LAYERS = 32
/** So long a connection that has ended may look up its own payments. */
export const LOOKS_BACK_MS = 7 * 86_400_000
export const MAX_CONNECTIONS_CUT = 10_000

/** Few different sets are granted: each is read once. */
const grants = new Map<string, ReadonlySet<string>>()
function methodsOf(text: string): ReadonlySet<string> {
  let found = grants.get(text)
  if (!found) {
    if (grants.size > 1000) grants.clear()
    grants.set(text, (found = new Set(text.split(' '))))
  }
  return found
}

export const fromRow = (row: Row): Connection => ({
  client: String(row['client']),
  account: String(row['account']),
  ...(row['parent'] !== null && { source: row['parent'] as string }),
  isolated: row['isolated'] === 1,
  name: String(row['name']),
  methods: methodsOf(String(row['methods'])),
  ...(row['budget'] !== null && { budgetMsat: Number(row['budget']) }),
  renewal: row['renewal'] as Renewal,
  usedMsat: Number(row['used']),
  periodStart: Number(row['period_start']),
  givenMsat: Number(row['given']),
  ...(row['expires_at'] !== null && { expiresAtMs: Number(row['expires_at']) }),
  paused: row['paused'] === 1,
  ...(row['revoked_at'] !== null && { revokedAtMs: Number(row['revoked_at']) }),
  createdAtMs: Number(row['created_at']),
  ...(row['encryption'] !== null && { encryption: row['encryption'] as Encryption }),
})

export interface Connections {
  /** There is, or was, such a connection. */
  knows(client: string): boolean
  find(client: string): Connection | undefined
  /** The connection and those whose budgets it also spends, nearest first; empty for an unknown client. */
  layers(client: string): readonly Connection[]
  /** The connection and all that it was cut from, whether they share an account or not. */
  lineage(connection: Connection): readonly Connection[]
  /** Remembers how a client encrypts, so that notifications are sent in the form it reads. */
  noteEncryption(client: string, encryption: Encryption): void
  /** A connection with every permission, to an account of its own. */
  open(options: {
    client: string
    account: string
    name: string
    methods?: readonly Method[]
    at: number
  }): void
  /** NIP-47 `create_connection`. Asked again with the same words it changes nothing. @throws Nip47Refusal */
  cut(parent: Connection, request: CreateConnection, at: number): void
  /** `starts`: something new begins, which a pause forbids. @throws Nip47Refusal also when one it was cut from stands still */
  checkAlive(connection: Connection, starts: boolean, at: number): void
  /** It was revoked or ran out, and not long ago: it may still learn how its own payments ended. */
  ended(connection: Connection, at: number): boolean
  /** Counts a payment against every layer. @throws Nip47Refusal QUOTA_EXCEEDED, nothing counted */
  spend(connection: Connection, amount: number, reference: string, at: number): void
  /** Takes back what `spend` counted at `spentAt`, where nothing was counted in a later period. */
  unspend(client: string, amount: number, reference: string, spentAt: number): void
  /** What was counted in the period of `at`. */
  used(connection: Connection, at: number): number
  /** Another renewal, from now on; what was counted in the running period counts in the new one. */
  renew(connection: Connection, renewal: Renewal, at: number): void
  /** Counts what went to, or came back from, an isolated connection. */
  give(child: Connection, amount: number, at: number): void
  /** What it may spend in this period, every layer considered; `undefined` without any limit. */
  budget(
    connection: Connection,
    at: number,
  ): { usedMsat: number; totalMsat: number; renewsAtMs?: number } | undefined
}

export function createConnections(ledger: Ledger): Connections {
  const { db } = ledger
  const find = (client: string): Connection | undefined => {
    const row = db.get('SELECT * FROM connections WHERE client = ?', client)
    return row && fromRow(row)
  }
  const lineage = (connection: Connection): Connection[] => {
    const found = [connection]
    for (let next = connection.source; next !== undefined && found.length <= MAX_LAYERS;) {
      const layer = find(next)
      if (!layer) break
      found.push(layer)
      next = layer.source
    }
    return found
  }
  const layersOf = (connection: Connection): Connection[] => {
    const layers = [connection]
    for (let last = connection; !last.isolated && last.source !== undefined && layers.length <= MAX_LAYERS;) {
      const layer = find(last.source)
      if (!layer) break
      layers.push(layer)
      last = layer
    }
    return layers
  }
  const usedNow = (layer: Connection, at: number): number =>
    layer.periodStart === periodStart(layer.renewal, at) ? layer.usedMsat : 0
  const count = (layer: Connection, amount: number, reference: string, at: number): void => {
    const period = periodStart(layer.renewal, at)
    const used = usedNow(layer, at) + amount
    db.run(
      'UPDATE connections SET used = ?, period_start = ?, spends = spends + 1 WHERE client = ?',
      ...[used, period, layer.client],
    )
    db.run(
      `INSERT INTO spends (client, seq, reference, amount, period_start, used)
       SELECT client, spends, ?, ?, ?, ? FROM connections WHERE client = ?`,
      ...[reference, amount, period, used, layer.client],
    )
  }
  const insert = (row: {
    client: string
    account: string
    parent: string | null
    isolated: boolean
    name: string
    methods: readonly string[]
    budget: number | null
    renewal: Renewal
    expiresAt: number | null
    request: string
    at: number
  }): void =>
    db.run(
      `INSERT INTO connections (client, account, parent, isolated, name, methods, budget, renewal, used, period_start,
         spends, expires_at, encryption, request, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, ?, NULL, ?, ?)`,
      ...[row.client, row.account, row.parent, row.isolated ? 1 : 0, row.name, row.methods.join(' ')],
      ...[row.budget, row.renewal, periodStart(row.renewal, row.at), row.expiresAt, row.request, row.at],
    )
  const checkAlive = (connection: Connection, starts: boolean, at: number): void => {
    for (const { expiresAtMs, revokedAtMs, paused, name } of lineage(connection)) {
      if (revokedAtMs !== undefined)
        throw new Nip47Refusal('UNAUTHORIZED', `The connection "${name}" was revoked. Ask for a new one.`)
      if (expiresAtMs !== undefined && expiresAtMs <= at)
        throw new Nip47Refusal(
          'UNAUTHORIZED',
          `The connection "${name}" expired on ${new Date(expiresAtMs).toISOString()}. Ask for a new one.`,
        )
      if (paused && starts)
        throw new Nip47Refusal('RESTRICTED', `The connection "${name}" is paused by whoever made it.`)
    }
  }
  const spend = (connection: Connection, amount: number, reference: string, at: number): void => {
    const layers = layersOf(connection)
    for (const layer of layers) {
      const left = layer.budgetMsat === undefined ? Infinity : layer.budgetMsat - usedNow(layer, at)
      if (amount > left)
        throw new Nip47Refusal(
          'QUOTA_EXCEEDED',
          `The allowance "${layer.name}" has ${Math.max(0, left) / 1000} sats left; ${amount / 1000} are needed.`,
        )
    }
    for (const layer of layers) count(layer, amount, reference, at)
  }

  const cut = (parent: Connection, request: CreateConnection, at: number): void => {
    const methods = [...new Set<Method>(['get_info', ...request.request_methods])]
    const words = JSON.stringify([parent.client, { ...request, request_methods: methods.toSorted() }])
    const existing = db.get('SELECT request FROM connections WHERE client = ?', request.pubkey)
    if (existing) {
      if (existing['request'] === words) return
      throw new Nip47Refusal(
        'OTHER',
        'This client key has a connection already; make a fresh key for another one.',
      )
    }
    const missing = methods.filter((method) => !parent.methods.has(method))
    if (missing.length > 0)
      throw new Nip47Refusal(
        'RESTRICTED',
        `This connection may not ${missing.join(', ')}, so it cannot pass that on.`,
      )
    const expiresAt = request.expires_at === undefined ? null : request.expires_at * 1000
    if (expiresAt !== null && expiresAt <= at) throw new Nip47Refusal('OTHER', 'The expiry is in the past.')
    const renewal = request.budget_renewal ?? 'never'
    if (request.isolated && renewal !== 'never')
      throw new Nip47Refusal(
        'OTHER',
        'An isolated connection has a balance of its own, which cannot renew itself.',
      )
    if (lineage(parent).length >= MAX_LAYERS)
      throw new Nip47Refusal('OTHER', `No more than ${MAX_LAYERS} allowances can be cut from one another.`)
    const siblings = db.get('SELECT COUNT(*) AS n FROM connections WHERE parent = ?', parent.client)
    if (Number(siblings?.['n']) >= MAX_CONNECTIONS_CUT)
      throw new Nip47Refusal('OTHER', `No more than ${MAX_CONNECTIONS_CUT} connections can be cut from one.`)

    let account = parent.account
    if (request.isolated) {
      account = `person:${request.pubkey}`
      ledger.openAccount({ id: account, name: request.name, parent: parent.account, at })
    }
    insert({
      client: request.pubkey,
      account,
      parent: parent.client,
      isolated: request.isolated ?? false,
      name: request.name,
      methods,
      budget: request.isolated ? null : (request.max_amount ?? null),
      renewal,
      expiresAt,
      request: words,
      at,
    })
    const child = request.isolated && find(request.pubkey)
    if (child && request.max_amount) give(child, request.max_amount, at)
  }
  const give = (child: Connection, amount: number, at: number): void => {
    const source = child.source === undefined ? undefined : find(child.source)
    if (!source || amount === 0) return
    const { account } = child
    if (amount > 0) {
      spend(source, amount, account, at)
      ledger.move({ kind: 'isolate', reference: account, from: source.account, to: account, amount, at })
    } else {
      ledger.move({
        kind: 'return',
        reference: account,
        from: account,
        to: source.account,
        amount: -amount,
        at,
      })
      giveBack(source, -amount, account, at)
    }
    db.run('UPDATE connections SET given = given + ? WHERE client = ?', amount, child.client)
  }
  /** What came back may be spent again, except from a budget whose period it was not counted in for sure. */
  const giveBack = (source: Connection, amount: number, reference: string, at: number): void => {
    for (const layer of layersOf(source)) {
      const back = layer.renewal === 'never' ? Math.min(amount, usedNow(layer, at)) : 0
      if (back > 0) count(layer, -back, reference, at)
    }
  }

  return {
    knows: (client) => db.get('SELECT 1 FROM connections WHERE client = ?', client) !== undefined,
    find,
    lineage,
    used: usedNow,
    give,
    layers: (client) => {
      const connection = find(client)
      return connection ? layersOf(connection) : []
    },
    noteEncryption: (client, encryption) =>
      db.run('UPDATE connections SET encryption = ? WHERE client = ?', encryption, client),
    open: ({ client, account, name, methods = METHODS, at }) =>
      insert({
        ...{ client, account, name, at, parent: null, isolated: true, methods },
        ...{ budget: null, renewal: 'never', expiresAt: null, request: '' },
      }),
    cut,
    checkAlive,
    ended: (connection, at) =>
      lineage(connection).some(({ expiresAtMs = Infinity, revokedAtMs = Infinity }) => {
        const end = Math.min(expiresAtMs, revokedAtMs)
        return end <= at && at - end < LOOKS_BACK_MS
      }),
    spend,
    unspend: (client, amount, reference, spentAt) => {
      const connection = find(client)
      if (!connection) return
      for (const layer of layersOf(connection)) {
        const back = Math.min(amount, layer.usedMsat)
        if (back > 0 && periodStart(layer.renewal, spentAt) === layer.periodStart)
          count(layer, -back, reference, spentAt)
      }
    },
    renew: (connection, renewal, at) => {
      const { client } = connection
      const [used, period] = [usedNow(connection, at), periodStart(renewal, at)]
      db.run('UPDATE connections SET renewal = ? WHERE client = ?', renewal, client)
      if (period === connection.periodStart) return
      db.run('UPDATE connections SET used = 0, period_start = ? WHERE client = ?', period, client)
      const renewed = find(client)
      if (renewed && used > 0) count(renewed, used, 'renewal', at)
    },
    budget: (connection, at) => {
      const left = layersOf(connection).map((layer) => (layer.budgetMsat ?? Infinity) - usedNow(layer, at))
      const least = Math.max(0, Math.min(...left))
      if (least === Infinity) return undefined
      const renewsAtMs = renewsAt(connection.renewal, at)
      const usedMsat = usedNow(connection, at)
      return {
        usedMsat,
        totalMsat: Math.min(connection.budgetMsat ?? Infinity, usedMsat + least),
        ...(renewsAtMs !== undefined && { renewsAtMs }),
      }
    },
  }
}
