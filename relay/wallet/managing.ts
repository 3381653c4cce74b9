/**
 * What makers of connections do with them while they are in use (our extension of NIP-47): see, change, revoke. A key
 * that was not cut from the asking connection, directly or over others, does not exist for it.
 */
import { renewsAt } from '../../web/core/wallet/budget.ts'
import {
  Nip47Refusal,
  type Nip47ConnectionState,
  type UpdateConnection,
} from '../../web/core/wallet/nip47.ts'
import { fromRow, type Connection, type Connections } from './connections.ts'
import { largestPayment } from './fee.ts'
import type { Ledger } from './ledger.ts'

/** Of one answer: with 60,000 bytes to an event, long names included. */
export const STATES_PER_PAGE = 40
/** How many below a changed connection hear of it at once; the others see it when they look. */
const TOLD_BELOW = 200

export interface Managing {
  state(connection: Connection, at: number): Nip47ConnectionState
  list(
    connection: Connection,
    options: { limit?: number | undefined; offset?: number | undefined },
    at: number,
  ): { connections: Nip47ConnectionState[]; total: number }
  /** @throws Nip47Refusal NOT_FOUND, INSUFFICIENT_BALANCE, QUOTA_EXCEEDED, OTHER */
  update(maker: Connection, request: UpdateConnection, at: number): Nip47ConnectionState
  /** @throws Nip47Refusal NOT_FOUND */
  revoke(maker: Connection, client: string, at: number): void
  /** Client keys of those that were cut from this one, and from those; at most `TOLD_BELOW`. */
  below(client: string): string[]
}

const BELOW = `WITH RECURSIVE below (client) AS (SELECT client FROM connections WHERE parent = ?
  UNION ALL SELECT c.client FROM connections c JOIN below b ON c.parent = b.client)`
const LIVING = 'FROM connections c JOIN below b ON c.client = b.client WHERE c.revoked_at IS NULL'

export function createManaging({
  ledger,
  connections,
  feePpm,
  baseFees = 0,
}: {
  ledger: Ledger
  connections: Connections
  feePpm: number
  baseFees?: number
}): Managing {
  const { db } = ledger

  const stateOf = (connection: Connection, at: number): Nip47ConnectionState['state'] => {
    const lines = connections.lineage(connection)
    if (lines.some(({ revokedAtMs }) => revokedAtMs !== undefined)) return 'revoked'
    if (lines.some(({ expiresAtMs }) => expiresAtMs !== undefined && expiresAtMs <= at)) return 'expired'
    return lines.some(({ paused }) => paused) ? 'paused' : 'active'
  }
  /** In payments of this connection, and of those whose payments it counts. */
  const locked = ({ client, account }: Connection): number => {
    let sum = 0
    const rows = db.all(
      "SELECT client, amount + fees AS amount FROM payments WHERE account = ? AND state = 'pending'",
      account,
    )
    for (const row of rows)
      if (connections.layers(String(row['client'])).some((layer) => layer.client === client))
        sum += Number(row['amount'])
    return sum
  }
  const state = (connection: Connection, at: number): Nip47ConnectionState => {
    const { client, source, name, isolated, methods, renewal, budgetMsat, givenMsat } = connection
    const now = stateOf(connection, at)
    const balance = ledger.balance(connection.account)
    const left = connections
      .layers(client)
      .map((layer) => (layer.budgetMsat ?? Infinity) - connections.used(layer, at))
    const spendable = now === 'active' && methods.has('pay_invoice') ? Math.min(balance, ...left) : 0
    const limit = isolated ? givenMsat : budgetMsat
    const renews = renewsAt(renewal, at)
    return {
      pubkey: client,
      parent: source ?? client,
      name,
      state: now,
      request_methods: [...methods],
      isolated,
      max_amount: limit === undefined ? undefined : Math.max(0, limit),
      used_budget: connections.used(connection, at),
      locked: locked(connection),
      balance: isolated ? balance : undefined,
      available: largestPayment(Math.max(0, spendable), feePpm, baseFees),
      budget_renewal: renewal,
      renews_at: renews === undefined ? undefined : renews / 1000,
      expires_at: connection.expiresAtMs === undefined ? undefined : connection.expiresAtMs / 1000,
      created_at: Math.floor(connection.createdAtMs / 1000),
    }
  }
  const owned = (maker: Connection, client: string): Connection => {
    const found = connections.find(client)
    const above = found ? connections.lineage(found).slice(1) : []
    if (!found || found.revokedAtMs !== undefined || !above.some((one) => one.client === maker.client))
      throw new Nip47Refusal('NOT_FOUND', 'No connection of this key was made from this one.')
    return found
  }

  /** An isolated one's limit: gives the difference, or takes back what is still there of it. */
  const setGiven = (child: Connection, wanted: number, at: number): void => {
    const given = Math.max(0, child.givenMsat)
    if (wanted >= given) return connections.give(child, wanted - given, at)
    connections.give(child, -Math.min(given - wanted, ledger.balance(child.account)), at)
  }

  const update: Managing['update'] = (maker, request, at) => {
    const child = owned(maker, request.pubkey)
    const { name, max_amount: limit, budget_renewal: renewal, expires_at: expiry, paused } = request
    if (child.isolated && renewal !== undefined && renewal !== 'never')
      throw new Nip47Refusal(
        'OTHER',
        'An isolated connection has a balance of its own, which cannot renew itself.',
      )
    if (expiry !== undefined && expiry !== 0 && expiry * 1000 <= at)
      throw new Nip47Refusal('OTHER', 'The expiry is in the past; to end a connection, delete it.')
    const set = (column: string, value: string | number | null): void =>
      db.run(`UPDATE connections SET ${column} = ? WHERE client = ?`, value, child.client)
    if (limit !== undefined && child.isolated) setGiven(child, limit, at)
    if (limit !== undefined && !child.isolated) set('budget', limit)
    if (name !== undefined) set('name', name)
    if (renewal !== undefined && renewal !== child.renewal) connections.renew(child, renewal, at)
    if (expiry !== undefined) set('expires_at', expiry === 0 ? null : expiry * 1000)
    if (paused !== undefined) set('paused', paused ? 1 : 0)
    return state(connections.find(child.client) ?? child, at)
  }

  const revoke: Managing['revoke'] = (maker, client, at) => {
    const child = owned(maker, client)
    const rows = db.all(`${BELOW} SELECT c.* ${LIVING}`, client)
    for (const one of [...rows.map(fromRow), child]) {
      db.run('UPDATE connections SET revoked_at = ? WHERE client = ?', at, one.client)
      if (one.isolated) ledger.closeAccount(one.account, at)
    }
  }

  return {
    state,
    update,
    revoke,
    list(connection, { limit, offset }, at) {
      const most = Math.min(limit ?? STATES_PER_PAGE, STATES_PER_PAGE)
      const rows = db.all(
        `${BELOW} SELECT c.* ${LIVING} ORDER BY c.created_at, c.client LIMIT ? OFFSET ?`,
        ...[connection.client, most, offset ?? 0],
      )
      const total = Number(db.get(`${BELOW} SELECT COUNT(*) AS n ${LIVING}`, connection.client)?.['n'])
      return { connections: rows.map((row) => state(fromRow(row), at)), total }
    },
    below: (client) =>
      db
        .all(`${BELOW} SELECT c.client ${LIVING} LIMIT ?`, client, TOLD_BELOW)
        .map((row) => String(row['client'])),
  }
}
