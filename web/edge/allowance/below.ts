/**
 * NIP-47 `create_connection` and the methods that manage what it made, over an allowance: its holder cuts deeper layers,
 * which the same keeper runs, so that they work while the holder's own page is closed.
 */
import * as v from 'valibot'
import { standingOf } from '../../core/allowance/state.ts'
import { parsePartyKey, type PartyKey } from '../../core/bytes.ts'
import { msat } from '../../core/money/msat.ts'
import * as nip47 from '../../core/wallet/nip47.ts'
import {
  Nip47Refusal,
  type Method,
  type Nip47Code,
  type Nip47ConnectionState,
} from '../../core/wallet/nip47.ts'
import { AllowanceError, type AllowanceChange, type AllowanceErrorCode, type NewAllowance } from './api.ts'
import { connectionState, fitting } from './methods.ts'
import type { Meta } from './records.ts'
import type { Running } from './running.ts'

/** Cut by a holder: `parent` is the client key of the layer right above. */
export type CutOff = Readonly<{ running: Running; parent: PartyKey }>

/** What the keeper does for the holder of one allowance. All reject with `AllowanceError`. */
export interface Below {
  /** The same client key gets the same answer again. */
  cut(
    wanted: Pick<NewAllowance, 'name' | 'limit' | 'renewal' | 'expiresAtMs' | 'may'>,
    client: PartyKey,
  ): Promise<Meta>
  /** What this holder has cut, and what was cut from that, oldest first. */
  list(): readonly CutOff[]
  change(
    of: CutOff,
    change: AllowanceChange & Readonly<{ limit?: NewAllowance['limit']; paused?: boolean }>,
  ): Promise<void>
  revoke(of: CutOff): Promise<void>
}

export const CUTTING: readonly Method[] = ['create_connection', ...nip47.MANAGING]

const CODES: Readonly<Partial<Record<AllowanceErrorCode, Nip47Code>>> = {
  'not-found': 'NOT_FOUND',
  revoked: 'UNAUTHORIZED',
  'not-offered': 'NOT_IMPLEMENTED',
  storage: 'INTERNAL',
}

/** Answers one of `CUTTING`. @throws Nip47Refusal */
export async function cutting(
  running: Running,
  method: string,
  params: Record<string, unknown>,
): Promise<unknown> {
  const { below } = running
  if (!below) throw new Nip47Refusal('NOT_IMPLEMENTED', 'No deeper layer can be cut from this allowance.')
  try {
    switch (method) {
      case 'create_connection':
        return await create(running, below, parse(nip47.createConnectionParams, params))
      case 'list_connections':
        return list(below, parse(nip47.listConnectionsParams, params))
      case 'update_connection':
        return await update(below, parse(nip47.updateConnectionParams, params))
      default:
        await below.revoke(find(below, parse(nip47.deleteConnectionParams, params).pubkey))
        return {}
    }
  } catch (error) {
    if (!(error instanceof AllowanceError)) throw error
    throw new Nip47Refusal(CODES[error.code] ?? 'OTHER', error.message)
  }
}

async function create(
  running: Running,
  below: Below,
  asked: v.InferOutput<typeof nip47.createConnectionParams>,
): Promise<unknown> {
  const { terms } = running.state
  const client = parsePartyKey(asked.pubkey)
  if (!client) throw new Nip47Refusal('OTHER', 'The public key is none.')
  if (asked.isolated === true)
    throw new Nip47Refusal('NOT_IMPLEMENTED', 'An allowance sets no money aside: ask without "isolated".')
  const may = {
    pay: asked.request_methods.includes('pay_invoice'),
    receive:
      asked.request_methods.includes('make_invoice') || asked.request_methods.includes('make_hold_invoice'),
  }
  for (const what of ['pay', 'receive'] as const)
    if (may[what] && !terms.may[what])
      throw new Nip47Refusal('RESTRICTED', `This allowance may not ${what}, so nothing cut from it may.`)
  const made = await below.cut(
    {
      ...{ name: asked.name, may, renewal: asked.budget_renewal ?? 'never' },
      limit: asked.max_amount === undefined ? terms.limit : msat(asked.max_amount),
      ...(asked.expires_at !== undefined && { expiresAtMs: asked.expires_at * 1000 }),
    },
    client,
  )
  return { wallet_pubkey: made.service, relays: made.relays }
}

function list(
  below: Below,
  { offset = 0, limit = nip47.MAX_LIST }: v.InferOutput<typeof nip47.listConnectionsParams>,
): unknown {
  const living = below.list().filter(({ running }) => standingOf(running.state, running.nowMs) !== 'revoked')
  const page = living.slice(offset, offset + Math.min(limit, nip47.MAX_LIST))
  return { connections: fitting(page.map(stateOf)), total: living.length }
}

async function update(
  below: Below,
  asked: v.InferOutput<typeof nip47.updateConnectionParams>,
): Promise<unknown> {
  const found = find(below, asked.pubkey)
  const { name, max_amount, budget_renewal, expires_at, paused } = asked
  await below.change(found, {
    ...(name !== undefined && { name }),
    ...(max_amount !== undefined && { limit: msat(max_amount) }),
    ...(budget_renewal !== undefined && { renewal: budget_renewal }),
    ...(expires_at !== undefined && {
      expiresAtMs: expires_at === 0 ? ('never' as const) : expires_at * 1000,
    }),
    ...(paused !== undefined && { paused }),
  })
  return stateOf(found)
}

function find(below: Below, client: string): CutOff {
  const found = below.list().find(({ running }) => running.meta.client === client)
  if (found && standingOf(found.running.state, found.running.nowMs) !== 'revoked') return found
  throw new Nip47Refusal('NOT_FOUND', 'Nothing with that key was cut from this allowance.')
}

/** As its holder above sees it. */
export const stateOf = ({ running, parent }: CutOff): Nip47ConnectionState => ({
  ...connectionState(running),
  parent,
})

function parse<const S extends v.GenericSchema>(schema: S, params: unknown): v.InferOutput<S> {
  const parsed = v.safeParse(schema, params)
  if (parsed.success) return parsed.output
  throw new Nip47Refusal('OTHER', `The request cannot be read: ${parsed.issues[0].message}`)
}
