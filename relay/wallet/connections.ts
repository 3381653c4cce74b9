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
  /** Whose budget this one's payments also count against. */
  parent?: string
  name: string
  methods: ReadonlySet<string>
  budgetMsat?: number
  renewal: Renewal
  usedMsat: number
  periodStart: number
  expiresAtMs?: number
  /** What the client's last request used. */
  encryption?: Encryption
}>

/** Allowances of allowances: more layers are refused. */
export const MAX_LAYERS = 16
export const MAX_CONNECTIONS_CUT = 10_000

const fromRow = (row: Row): Connection => ({
  client: String(row['client']),
  account: String(row['account']),
  ...(row['parent'] !== null && row['isolated'] === 0 && { parent: String(row['parent'] as string) }),
  name: String(row['name']),
  methods: new Set(String(row['methods']).split(' ')),
  ...(row['budget'] !== null && { budgetMsat: Number(row['budget']) }),
  renewal: row['renewal'] as Renewal,
  usedMsat: Number(row['used']),
  periodStart: Number(row['period_start']),
  ...(row['expires_at'] !== null && { expiresAtMs: Number(row['expires_at']) }),
  ...(row['encryption'] !== null && { encryption: row['encryption'] as Encryption }),
})

export interface Connections {
  find(client: string): Connection | undefined
  /** The connection and those it spends from, nearest first; empty for an unknown client. */
  layers(client: string): readonly Connection[]
  /** Remembers how a client encrypts, so that notifications are sent in the form it reads. */
  noteEncryption(client: string, encryption: Encryption): void
  /** A connection with every permission, to an account of its own. */
  open(options: { client: string; account: string; name: string; at: number }): void
  /** NIP-47 `create_connection`. Asked again with the same words it changes nothing. @throws Nip47Refusal */
  cut(parent: Connection, request: CreateConnection, at: number): void
  /** @throws Nip47Refusal when the connection, or one it was cut from, has expired */
  checkAlive(connection: Connection, at: number): void
  /** Counts a payment against every layer. @throws Nip47Refusal QUOTA_EXCEEDED, nothing counted */
  spend(connection: Connection, amount: number, reference: string, at: number): void
  /** Takes back what `spend` counted at `spentAt`, where nothing was counted in a later period. */
  unspend(client: string, amount: number, reference: string, spentAt: number): void
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
  const layersOf = (connection: Connection): Connection[] => {
    const layers = [connection]
    for (let next = connection.parent; next !== undefined && layers.length <= MAX_LAYERS;) {
      const layer = find(next)
      if (!layer) break
      layers.push(layer)
      next = layer.parent
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
  const checkAlive = (connection: Connection, at: number): void => {
    for (const { expiresAtMs, name } of layersOf(connection))
      if (expiresAtMs !== undefined && expiresAtMs <= at)
        throw new Nip47Refusal(
          'UNAUTHORIZED',
          `The connection "${name}" expired on ${new Date(expiresAtMs).toISOString()}. Ask for a new one.`,
        )
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
    if (!request.isolated && layersOf(parent).length >= MAX_LAYERS)
      throw new Nip47Refusal('OTHER', `No more than ${MAX_LAYERS} allowances can be cut from one another.`)
    const siblings = db.get('SELECT COUNT(*) AS n FROM connections WHERE parent = ?', parent.client)
    if (Number(siblings?.['n']) >= MAX_CONNECTIONS_CUT)
      throw new Nip47Refusal('OTHER', `No more than ${MAX_CONNECTIONS_CUT} connections can be cut from one.`)

    let account = parent.account
    if (request.isolated) {
      account = `person:${request.pubkey}`
      ledger.openAccount({ id: account, name: request.name, parent: parent.account, at })
      const amount = request.max_amount ?? 0
      if (amount > 0) {
        spend(parent, amount, account, at)
        ledger.move({ kind: 'isolate', reference: account, from: parent.account, to: account, amount, at })
      }
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
  }

  return {
    find,
    layers: (client) => {
      const connection = find(client)
      return connection ? layersOf(connection) : []
    },
    noteEncryption: (client, encryption) =>
      db.run('UPDATE connections SET encryption = ? WHERE client = ?', encryption, client),
    open: ({ client, account, name, at }) =>
      insert({
        ...{ client, account, name, at, parent: null, isolated: true, methods: METHODS },
        ...{ budget: null, renewal: 'never', expiresAt: null, request: '' },
      }),
    cut,
    checkAlive,
    spend,
    unspend: (client, amount, reference, spentAt) => {
      const connection = find(client)
      if (!connection) return
      for (const layer of layersOf(connection))
        if (periodStart(layer.renewal, spentAt) === layer.periodStart)
          count(layer, -amount, reference, spentAt)
    },
    budget: (connection, at) => {
      if (connection.budgetMsat === undefined) return undefined
      const renewsAtMs = renewsAt(connection.renewal, at)
      return {
        usedMsat: usedNow(connection, at),
        totalMsat: connection.budgetMsat,
        ...(renewsAtMs !== undefined && { renewsAtMs }),
      }
    },
  }
}
