/**
 * What stands behind the wallets in memory (`fake.ts`): accounts, invoices, payments and connections, with their
 * budgets. Nothing here is random, and time comes from outside.
 */
import { parsePartyKey, sha256Hex, utf8, type Sha256Hex } from '../../core/bytes.ts'
import { decodeInvoice, encodeInvoice, prefixOf } from '../../core/money/bolt11.ts'
import { msat, type Money, type Msat } from '../../core/money/msat.ts'
import {
  WalletError,
  type ConnectionRequest,
  type Invoice,
  type PayResult,
  type Transaction,
  type WalletErrorCode,
  type WalletEvent,
  type WalletFeature,
} from './wallet.ts'

export type FakeBankOptions = Readonly<{
  money: Money
  /** Unix ms. */
  now: () => number
  /** Tells of what happened, as late as a message takes. */
  later: (run: () => void) => void
  /** Runs `run` after `delayMs` on the caller's clock. */
  schedule: (delayMs: number, run: () => void) => void
  /** How long an unsettled hold stays locked. */
  holdLimitMs: number
}>

/** Signs every invoice. */
export const NODE_KEY = new Uint8Array(32).fill(1)
const ZERO_FEES = 0 as Msat
export const RENEWAL_MS = {
  never: 0,
  hourly: 3_600_000,
  daily: 86_400_000,
  weekly: 604_800_000,
  monthly: 2_592_000_000,
}

export type Account = { name: string; balance: number }
/** One connection: an account, and what may be done with it. `parent` is whose budget it also counts against. */
export type Holder = {
  account: Account
  may: ReadonlySet<'pay' | 'receive'>
  features: ReadonlySet<WalletFeature>
  listeners: Set<(event: WalletEvent) => void>
  budget?: { total: number; used: number; renewal: keyof typeof RENEWAL_MS; since: number }
  expiresAtMs?: number
  parent?: Holder
}
type Entry = {
  payee: Holder
  invoice: Invoice
  description: string
  preimage?: string
  hold: boolean
  createdAtMs: number
  state: 'open' | 'accepted' | 'settled' | 'cancelled'
  payer?: Holder
  settledAtMs?: number
  waiting: ((result: PayResult) => void)[]
}

export type FakeBank = ReturnType<typeof createFakeBank>

export function createFakeBank({ money, now, later, schedule, holdLimitMs }: FakeBankOptions) {
  const entries = new Map<string, Entry>()
  const accounts = new Map<string, Account>()
  const connections = new Map<string, Holder>()
  let counter = 0

  const open = (name: string, balance: number): Account => {
    if (accounts.has(name)) throw new Error(`fake wallet ${name} exists`)
    const account: Account = { name, balance }
    accounts.set(name, account)
    return account
  }

  const transaction = (entry: Entry, direction: 'in' | 'out'): Transaction => ({
    direction,
    state: stateOf(entry),
    paymentHash: entry.invoice.paymentHash,
    amount: entry.invoice.amount,
    fees: ZERO_FEES,
    ...(entry.state === 'settled' && entry.preimage && { preimage: entry.preimage }),
    description: entry.description,
    createdAtMs: entry.createdAtMs,
    ...(entry.settledAtMs !== undefined && { settledAtMs: entry.settledAtMs }),
  })
  const stateOf = (entry: Entry): Transaction['state'] => {
    if (entry.state === 'open') return entry.invoice.expiresAtMs <= now() ? 'expired' : 'pending'
    return entry.state === 'cancelled' ? 'failed' : entry.state
  }
  /** Those who paid or made the invoice hear of it, and those whose money it also is. */
  const tell = (holder: Holder, event: WalletEvent): void => {
    later(() => {
      for (const layer of layersOf(holder)) for (const run of [...layer.listeners]) run(event)
    })
  }

  const settle = (entry: Entry, preimage: string): void => {
    entry.state = 'settled'
    entry.preimage = preimage
    entry.settledAtMs = now()
    entry.payee.account.balance += entry.invoice.amount
    tell(entry.payee, { tag: 'received', transaction: transaction(entry, 'in') })
    if (entry.payer) tell(entry.payer, { tag: 'sent', transaction: transaction(entry, 'out') })
    finish(entry, { tag: 'paid', preimage, fees: ZERO_FEES })
  }
  const cancel = (entry: Entry): void => {
    if (entry.state === 'accepted' && entry.payer) {
      entry.payer.account.balance += entry.invoice.amount
      for (const layer of layersOf(entry.payer)) if (layer.budget) layer.budget.used -= entry.invoice.amount
    }
    entry.state = 'cancelled'
    finish(entry, failed('payment-failed', 'The seller gave the payment back.'))
  }
  const finish = (entry: Entry, result: PayResult): void => {
    for (const answer of entry.waiting.splice(0)) answer(result)
  }

  const make = (
    holder: Holder,
    request: { amount: Msat; description: string; expirySeconds: number },
    hash: Sha256Hex,
    preimage: string | undefined,
  ): Invoice => {
    if (!holder.may.has('receive')) throw new WalletError('restricted', 'This connection may not receive.')
    if (request.amount <= 0) throw new WalletError('other', 'An invoice needs an amount.')
    if (entries.has(hash))
      throw new WalletError('other', 'There is an invoice for this payment hash already.')
    const createdAtMs = now()
    const bolt11 = encodeInvoice(
      {
        prefix: prefixOf(money),
        amount: request.amount,
        paymentHash: hash,
        paymentSecret: sha256Hex(utf8(`secret ${++counter}`)),
        description: request.description,
        createdAtMs,
        expirySeconds: request.expirySeconds,
      },
      NODE_KEY,
    )
    const expiresAtMs = (Math.floor(createdAtMs / 1000) + request.expirySeconds) * 1000
    const invoice = { bolt11, paymentHash: hash, amount: request.amount, expiresAtMs }
    const hold = preimage === undefined
    const { description } = request
    entries.set(hash, {
      payee: holder,
      invoice,
      description,
      hold,
      createdAtMs,
      state: 'open',
      waiting: [],
      ...(preimage && { preimage }),
    })
    return invoice
  }

  const pay = (holder: Holder, text: string, answer: (result: PayResult) => void): void => {
    const decoded = decodeInvoice(text, { prefix: prefixOf(money) })
    const entry = decoded.ok ? entries.get(decoded.invoice.paymentHash) : undefined
    const refuse = (code: WalletErrorCode, message: string): void => answer(failed(code, message))
    if (!holder.may.has('pay')) return refuse('restricted', 'This connection may not pay.')
    if (!entry || entry.invoice.bolt11 !== text)
      return refuse('payment-failed', 'Nobody here made this invoice.')
    const amount = entry.invoice.amount
    const mine = entry.payer?.account === holder.account
    if (entry.state === 'settled' && mine && entry.preimage)
      return answer({ tag: 'paid', preimage: entry.preimage, fees: ZERO_FEES })
    if (entry.state === 'accepted' && mine) return void entry.waiting.push(answer)
    if (entry.state !== 'open') return refuse('payment-failed', 'The invoice has been used.')
    if (entry.invoice.expiresAtMs <= now()) return refuse('expired', 'The invoice has expired.')
    if (entry.payee.account === holder.account) return refuse('payment-failed', 'A wallet cannot pay itself.')
    for (const layer of layersOf(holder)) {
      if (layer.expiresAtMs !== undefined && layer.expiresAtMs <= now())
        return refuse('unauthorized', 'This connection has expired.')
      const budget = renewed(layer, now())
      if (budget && budget.used + amount > budget.total)
        return refuse('quota-exceeded', 'The allowance is used up.')
    }
    if (holder.account.balance < amount) return refuse('insufficient-balance', 'The balance is too small.')

    holder.account.balance -= amount
    for (const layer of layersOf(holder)) if (layer.budget) layer.budget.used += amount
    entry.payer = holder
    entry.waiting.push(answer)
    if (!entry.hold && entry.preimage) return settle(entry, entry.preimage)
    entry.state = 'accepted'
    const settleByMs = now() + holdLimitMs
    tell(entry.payee, { tag: 'hold-accepted', transaction: transaction(entry, 'in'), settleByMs })
    schedule(holdLimitMs, () => {
      if (entry.state === 'accepted') cancel(entry)
    })
  }

  const held = (holder: Holder, hash: string): Entry => {
    const entry = entries.get(hash)
    if (!entry?.hold || entry.payee.account !== holder.account)
      throw new WalletError('not-found', 'This wallet has no such hold invoice.')
    return entry
  }

  const createConnection = (holder: Holder, request: ConnectionRequest): void => {
    const client = parsePartyKey(request.client)
    if (!client) throw new WalletError('other', 'The client key is not a Nostr public key.')
    if (connections.has(client)) throw new WalletError('other', 'That client has a connection already.')
    let { account } = holder
    if (request.isolated) {
      if (account.balance < request.limit)
        throw new WalletError('insufficient-balance', 'The balance is too small for this allowance.')
      for (const layer of layersOf(holder)) {
        const budget = renewed(layer, now())
        if (budget && budget.used + request.limit > budget.total)
          throw new WalletError('quota-exceeded', 'The allowance is used up.')
      }
      for (const layer of layersOf(holder)) if (layer.budget) layer.budget.used += request.limit
      account.balance -= request.limit
      account = open(`${account.name}/${client}`, request.limit)
    }
    connections.set(client, {
      account,
      listeners: new Set(),
      may: request.may,
      features: featuresOf(holder.features, request.may),
      ...(!request.isolated && {
        parent: holder,
        budget: { total: request.limit, used: 0, renewal: request.renewal, since: now() },
      }),
      ...(request.expiresAtMs !== undefined && { expiresAtMs: request.expiresAtMs }),
    })
  }

  /** As this holder sees it. */
  const find = (holder: Holder, hash: string): Transaction | undefined => {
    const entry = entries.get(hash)
    if (entry?.payee.account === holder.account) return transaction(entry, 'in')
    return entry?.payer?.account === holder.account ? transaction(entry, 'out') : undefined
  }
  return {
    open,
    make,
    pay,
    held,
    settle,
    cancel,
    find,
    createConnection,
    /** @throws WalletError when nobody made it */
    holderOf(client: string): Holder {
      const holder = connections.get(client)
      if (!holder) throw new WalletError('unauthorized', 'No such connection.')
      return holder
    },
    /** Payment hashes in the order of their invoices. */
    hashes: (): string[] => [...entries.keys()],
    /** Another value at each call. */
    draw: (what: string): Sha256Hex => sha256Hex(utf8(`${what} ${++counter}`)),
    total(): Msat {
      let sum = 0
      for (const { balance } of accounts.values()) sum += balance
      for (const { state, invoice } of entries.values()) if (state === 'accepted') sum += invoice.amount
      return msat(sum)
    },
  }
}

export const failed = (code: WalletErrorCode, message: string): PayResult => ({
  tag: 'failed',
  code,
  message,
})

export function layersOf(holder: Holder): Holder[] {
  const layers = [holder]
  for (let next = holder.parent; next; next = next.parent) layers.push(next)
  return layers
}

/** A holder's budget, begun anew when its period is over. */
export function renewed(holder: Holder, nowMs: number): Holder['budget'] {
  const { budget } = holder
  if (!budget || budget.renewal === 'never') return budget
  const period = RENEWAL_MS[budget.renewal]
  const periods = Math.floor((nowMs - budget.since) / period)
  if (periods > 0) {
    budget.since += periods * period
    budget.used = 0
  }
  return budget
}

export function featuresOf(
  features: ReadonlySet<WalletFeature>,
  may: ReadonlySet<'pay' | 'receive'>,
): ReadonlySet<WalletFeature> {
  const receiving: WalletFeature[] = ['receive', 'hold-invoices', 'preimage-invoices']
  const out = new Set(features)
  if (!may.has('pay')) for (const feature of ['pay', 'create-connection'] as const) out.delete(feature)
  if (!may.has('receive')) for (const feature of receiving) out.delete(feature)
  return out
}
