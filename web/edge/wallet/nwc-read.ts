/** What a NIP-47 wallet tells, in the port's words. */
import * as v from 'valibot'
import { isHex32, type Sha256Hex } from '../../core/bytes.ts'
import { msat, parseMoney, type Money } from '../../core/money/msat.ts'
import * as nip47 from '../../core/wallet/nip47.ts'
import {
  LOCKTIME_THRESHOLD,
  type Nip47ConnectionState,
  type Nip47Transaction,
} from '../../core/wallet/nip47.ts'
import type { ConnectionState, Transaction, WalletEvent } from './wallet.ts'

/** For wallets that give no time by which to settle: soon. */
const DEFAULT_SETTLE_MS = 60_000

export function toTransaction(told: Nip47Transaction): Transaction {
  const { preimage, description, settled_at } = told
  return {
    direction: told.type === 'incoming' ? 'in' : 'out',
    // Wallets that name no state settle what has a time of settling.
    state: told.state ?? (settled_at === undefined ? 'pending' : 'settled'),
    paymentHash: told.payment_hash as Sha256Hex,
    amount: msat(told.amount),
    fees: msat(told.fees_paid ?? 0),
    ...(preimage !== undefined && isHex32(preimage) && { preimage }),
    ...(description !== undefined && { description }),
    createdAtMs: told.created_at * 1000,
    ...(settled_at !== undefined && { settledAtMs: settled_at * 1000 }),
  }
}

export function toConnectionState(told: Nip47ConnectionState): ConnectionState {
  const { max_amount, balance, renews_at, expires_at, request_methods } = told
  const may = (['pay', 'receive'] as const).filter((what) =>
    request_methods.includes(what === 'pay' ? 'pay_invoice' : 'make_invoice'),
  )
  return {
    client: told.pubkey,
    parent: told.parent,
    name: told.name,
    state: told.state,
    isolated: told.isolated,
    ...(max_amount !== undefined && { limit: msat(max_amount) }),
    used: msat(told.used_budget),
    locked: msat(told.locked),
    ...(balance !== undefined && { balance: msat(balance) }),
    available: msat(told.available),
    renewal: told.budget_renewal,
    ...(renews_at !== undefined && { renewsAtMs: renews_at * 1000 }),
    ...(expires_at !== undefined && { expiresAtMs: expires_at * 1000 }),
    may: new Set(may),
    createdAtMs: told.created_at * 1000,
  }
}

export function toEvent(type: string, notification: unknown, nowMs: number): WalletEvent | undefined {
  const parsed = v.safeParse(nip47.transactionSchema, notification)
  if (!parsed.success) return undefined
  const transaction = toTransaction(parsed.output)
  if (type === 'payment_received') return { tag: 'received', transaction }
  if (type === 'payment_sent') return { tag: 'sent', transaction }
  if (type !== 'hold_invoice_accepted') return undefined
  const { settle_deadline: deadline = 0 } = parsed.output
  const settleByMs = deadline >= LOCKTIME_THRESHOLD ? deadline * 1000 : nowMs + DEFAULT_SETTLE_MS
  return { tag: 'hold-accepted', transaction, settleByMs }
}

export function moneyOf({ satpatch, network, pubkey }: v.InferOutput<typeof nip47.infoResult>): Money {
  const named = satpatch && parseMoney(satpatch.money)
  if (named) return named
  if (network === 'regtest') return parseMoney(`regtest:${pubkey ?? 'unknown'}`) ?? 'regtest:unknown'
  return network === 'testnet' || network === 'signet' ? 'testnet' : 'bitcoin'
}
