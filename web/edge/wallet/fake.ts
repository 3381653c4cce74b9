/**
 * Wallets in memory that pay each other, for tests and the simulator: same port, same suite (`wallet-suite.ts`) as
 * the real adapters. Nothing here is random and time comes from outside, so a run can be repeated exactly.
 */
import { parsePartyKey, sha256Hex, toHex, utf8, fromHex, isHex32, type Sha256Hex } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { decodeInvoice, encodeInvoice, prefixOf } from '../../core/money/bolt11.ts'
import { msat, type Money, type Msat } from '../../core/money/msat.ts'
import {
  WalletError,
  type Budget,
  type ConnectionRequest,
  type Invoice,
  type PayResult,
  type Transaction,
  type Wallet,
  type WalletErrorCode,
  type WalletEvent,
  type WalletFeature,
} from './wallet.ts'

export type FakeMoneyOptions = Readonly<{
  money: Money
  /** What every wallet can do; all by default. */
  features?: ReadonlySet<WalletFeature>
  /** Unix ms. */
  now?: () => number
  /** Runs `run` after `delayMs` on the caller's clock. */
  schedule?: (delayMs: number, run: () => void) => void
  /** One way, from wallet to service or back. */
  latencyMs?: () => number
  /** How long an unsettled hold stays locked. */
  holdLimitMs?: number
}>

export interface FakeMoney {
  /** A new account. Names are for messages and must differ. */
  wallet(name: string, balance: Msat): Wallet
  /** The wallet of a connection that `createConnection` made for this client key. */
  connect(client: string): Wallet
  /** Balances and locked sums of everybody: never changes but by `wallet(…, balance)`. */
  total(): Msat
}

const ALL_FEATURES: ReadonlySet<WalletFeature> = new Set([
  'pay',
  'receive',
  'look-up',
  'history',
  'hold-invoices',
  'preimage-invoices',
  'notifications',
  'budget',
  'create-connection',
])
const NODE_KEY = new Uint8Array(32).fill(1)
const DEFAULT_HOLD_LIMIT_MS = 600_000
const ZERO_FEES = 0 as Msat
const RENEWAL_MS = {
  never: 0,
  hourly: 3_600_000,
  daily: 86_400_000,
  weekly: 604_800_000,
  monthly: 2_592_000_000,
}

type Account = { name: string; balance: number }
/** One connection: an account, and what may be done with it. `parent` is whose budget it also counts against. */
type Holder = {
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

/** Money of its own: wallets made here can pay each other and nobody else. */
export function createFakeMoney(options: FakeMoneyOptions): FakeMoney {
  const now = options.now ?? Date.now
  const schedule = options.schedule ?? scheduleOnTimers
  const latencyMs = options.latencyMs ?? (() => 0)
  const holdLimitMs = options.holdLimitMs ?? DEFAULT_HOLD_LIMIT_MS
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
    schedule(latencyMs(), () => {
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
        prefix: prefixOf(options.money),
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
    const decoded = decodeInvoice(text, { prefix: prefixOf(options.money) })
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

  const walletOf = (holder: Holder): Wallet => {
    const status = liveCell<{ connected: boolean; trouble?: string }>({ connected: true })
    const mine = new Set<(event: WalletEvent) => void>()
    const inFlight = new Map<string, Promise<PayResult>>()
    const closing = new Set<() => void>()
    let closed = false
    /** To the service and back; what the service throws arrives as it is. */
    const ask = <T>(feature: WalletFeature | undefined, run: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        if (closed) return reject(new WalletError('unreachable', 'This wallet has been closed.'))
        if (feature && !holder.features.has(feature))
          return reject(new WalletError('not-implemented', `This wallet cannot do that (${feature}).`))
        schedule(latencyMs(), () => {
          try {
            if (holder.expiresAtMs !== undefined && holder.expiresAtMs <= now())
              throw new WalletError('unauthorized', 'This connection has expired.')
            const value = run()
            schedule(latencyMs(), () => resolve(value))
          } catch (error) {
            schedule(latencyMs(), () => reject(error as Error))
          }
        })
      })
    const find = (hash: string): Transaction | undefined => {
      const entry = entries.get(hash)
      if (entry?.payee.account === holder.account) return transaction(entry, 'in')
      return entry?.payer?.account === holder.account ? transaction(entry, 'out') : undefined
    }
    return {
      status,
      info: () =>
        ask(undefined, () => ({
          money: options.money,
          alias: holder.account.name,
          features: featuresOf(holder.features, holder.may),
        })),
      balance: () => ask(undefined, () => msat(holder.account.balance)),
      budget: () =>
        ask(undefined, () => {
          const budget = renewed(holder, now())
          if (!budget) return undefined
          const renewsAtMs = budget.since + RENEWAL_MS[budget.renewal]
          const result: Budget = {
            total: msat(budget.total),
            used: msat(budget.used),
            ...(budget.renewal !== 'never' && { renewsAtMs }),
          }
          return result
        }),
      makeInvoice: (request) =>
        ask(request.preimage ? 'preimage-invoices' : 'receive', () => {
          const preimage = request.preimage ?? sha256Hex(utf8(`preimage ${++counter}`))
          if (!isHex32(preimage)) throw new WalletError('other', 'A preimage is 64 hex digits.')
          return make(holder, request, sha256Hex(fromHex(preimage)), preimage)
        }),
      makeHoldInvoice: (request) =>
        ask('hold-invoices', () => make(holder, request, request.paymentHash, undefined)),
      settleHoldInvoice: (preimage) =>
        ask('hold-invoices', () => {
          const entry = held(holder, sha256Hex(fromHex(preimage)))
          if (entry.state === 'settled') return
          if (entry.state !== 'accepted')
            throw new WalletError('other', 'Nothing is locked for this invoice.')
          settle(entry, preimage)
        }),
      cancelHoldInvoice: (hash) =>
        ask('hold-invoices', () => {
          const entry = held(holder, hash)
          if (entry.state === 'settled') throw new WalletError('other', 'The invoice has been settled.')
          if (entry.state !== 'cancelled') cancel(entry)
        }),
      pay: (text) => {
        const running = inFlight.get(text)
        if (running) return running
        if (closed)
          return Promise.resolve(failed('unreachable', 'This wallet has been closed; nothing was sent.'))
        const result = new Promise<PayResult>((resolve) => {
          const giveUp = (): void =>
            resolve({ tag: 'unknown', message: 'The wallet was closed while paying.' })
          const answer = (paid: PayResult): void => {
            closing.delete(giveUp)
            resolve(paid)
          }
          closing.add(giveUp)
          schedule(latencyMs(), () => pay(holder, text, (paid) => schedule(latencyMs(), () => answer(paid))))
        })
        inFlight.set(text, result)
        void result.then(() => inFlight.delete(text))
        return result
      },
      lookUp: (hash) => ask('look-up', () => find(hash)),
      history: ({ limit, offset, fromMs = 0, untilMs = Infinity }) =>
        ask('history', () =>
          [...entries.keys()]
            .map(find)
            .filter((one) => one !== undefined)
            .filter(({ createdAtMs }) => createdAtMs >= fromMs && createdAtMs <= untilMs)
            .filter(({ state }) => state === 'settled')
            .reverse()
            .slice(offset, offset + limit),
        ),
      createConnection: (request) =>
        ask('create-connection', () => {
          createConnection(holder, request)
          return { walletPubkey: toHex(NODE_KEY), relays: ['wss://fake.invalid'] }
        }),
      ...unmanaged,
      onEvent: (run) => {
        holder.listeners.add(run)
        mine.add(run)
        return () => {
          holder.listeners.delete(run)
          mine.delete(run)
        }
      },
      close: () => {
        closed = true
        for (const run of mine) holder.listeners.delete(run)
        for (const giveUp of [...closing]) giveUp()
        status.set({ connected: false, trouble: 'closed' })
      },
    }
  }

  const features = options.features ?? ALL_FEATURES
  return {
    wallet: (name, balance) =>
      walletOf({
        account: open(name, balance),
        listeners: new Set(),
        may: new Set(['pay', 'receive']),
        features,
      }),
    connect: (client) => {
      const holder = connections.get(client)
      if (!holder) throw new WalletError('unauthorized', 'No such connection.')
      return walletOf(holder)
    },
    total: () => {
      let sum = 0
      for (const { balance } of accounts.values()) sum += balance
      for (const { state, invoice } of entries.values()) if (state === 'accepted') sum += invoice.amount
      return msat(sum)
    },
  }
}

const failed = (code: WalletErrorCode, message: string): PayResult => ({ tag: 'failed', code, message })

const cannotManage = (): Promise<never> =>
  Promise.reject(new WalletError('not-implemented', 'This wallet cannot change what it has made.'))
const unmanaged = {
  listConnections: cannotManage,
  updateConnection: cannotManage,
  deleteConnection: cannotManage,
  onConnection: () => () => undefined,
}

function layersOf(holder: Holder): Holder[] {
  const layers = [holder]
  for (let next = holder.parent; next; next = next.parent) layers.push(next)
  return layers
}

/** A holder's budget, begun anew when its period is over. */
function renewed(holder: Holder, nowMs: number): Holder['budget'] {
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

function featuresOf(
  features: ReadonlySet<WalletFeature>,
  may: ReadonlySet<'pay' | 'receive'>,
): ReadonlySet<WalletFeature> {
  const receiving: WalletFeature[] = ['receive', 'hold-invoices', 'preimage-invoices']
  const out = new Set(features)
  if (!may.has('pay')) for (const feature of ['pay', 'create-connection'] as const) out.delete(feature)
  if (!may.has('receive')) for (const feature of receiving) out.delete(feature)
  return out
}

function scheduleOnTimers(delayMs: number, run: () => void): void {
  const timer: unknown = setTimeout(run, delayMs)
  // A hold's far limit must not keep a finished Node process alive.
  if (delayMs > 1000 && typeof timer === 'object' && timer !== null && 'unref' in timer) {
    ;(timer as { unref(): void }).unref()
  }
}
