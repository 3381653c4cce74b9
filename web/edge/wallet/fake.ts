/**
 * Wallets in memory that pay each other, for tests and the simulator: same port, same suite (`wallet-suite.ts`) as
 * the real adapters. Nothing here is random and time comes from outside, so a run can be repeated exactly.
 */
import { fromHex, isHex32, sha256Hex, toHex } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { msat, type Money, type Msat } from '../../core/money/msat.ts'
import {
  createFakeBank,
  failed,
  featuresOf,
  layersOf,
  NODE_KEY,
  renewed,
  RENEWAL_MS,
  type Holder,
} from './fake-bank.ts'
import {
  WalletError,
  type Budget,
  type PayResult,
  type Wallet,
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
const DEFAULT_HOLD_LIMIT_MS = 600_000

/** Money of its own: wallets made here can pay each other and nobody else. */
export function createFakeMoney(options: FakeMoneyOptions): FakeMoney {
  const now = options.now ?? Date.now
  const schedule = options.schedule ?? scheduleOnTimers
  const latencyMs = options.latencyMs ?? (() => 0)
  const bank = createFakeBank({
    ...{ money: options.money, now, schedule },
    later: (run) => schedule(latencyMs(), run),
    holdLimitMs: options.holdLimitMs ?? DEFAULT_HOLD_LIMIT_MS,
  })

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
          const left = layersOf(holder).map((layer) => {
            const above = renewed(layer, now())
            return above ? above.total - above.used : Infinity
          })
          const result: Budget = {
            total: msat(Math.min(budget.total, budget.used + Math.max(0, Math.min(...left)))),
            used: msat(budget.used),
            ...(budget.renewal !== 'never' && { renewsAtMs }),
          }
          return result
        }),
      makeInvoice: (request) =>
        ask(request.preimage ? 'preimage-invoices' : 'receive', () => {
          const preimage = request.preimage ?? bank.draw('preimage')
          if (!isHex32(preimage)) throw new WalletError('other', 'A preimage is 64 hex digits.')
          return bank.make(holder, request, sha256Hex(fromHex(preimage)), preimage)
        }),
      makeHoldInvoice: (request) =>
        ask('hold-invoices', () => bank.make(holder, request, request.paymentHash, undefined)),
      settleHoldInvoice: (preimage) =>
        ask('hold-invoices', () => {
          const entry = bank.held(holder, sha256Hex(fromHex(preimage)))
          if (entry.state === 'settled') return
          if (entry.state !== 'accepted')
            throw new WalletError('other', 'Nothing is locked for this invoice.')
          bank.settle(entry, preimage)
        }),
      cancelHoldInvoice: (hash) =>
        ask('hold-invoices', () => {
          const entry = bank.held(holder, hash)
          if (entry.state === 'settled') throw new WalletError('other', 'The invoice has been settled.')
          if (entry.state !== 'cancelled') bank.cancel(entry)
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
          schedule(latencyMs(), () =>
            bank.pay(holder, text, (paid) => schedule(latencyMs(), () => answer(paid))),
          )
        })
        inFlight.set(text, result)
        void result.then(() => inFlight.delete(text))
        return result
      },
      lookUp: (hash) => ask('look-up', () => bank.find(holder, hash)),
      history: ({ limit, offset, fromMs = 0, untilMs = Infinity }) =>
        ask('history', () =>
          bank
            .hashes()
            .map((hash) => bank.find(holder, hash))
            .filter((one) => one !== undefined)
            .filter(({ createdAtMs }) => createdAtMs >= fromMs && createdAtMs <= untilMs)
            .filter(({ state }) => state === 'settled')
            .reverse()
            .slice(offset, offset + limit),
        ),
      createConnection: (request) =>
        ask('create-connection', () => {
          bank.createConnection(holder, request)
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
        account: bank.open(name, balance),
        listeners: new Set(),
        may: new Set(['pay', 'receive']),
        features,
      }),
    connect: (client) => walletOf(bank.holderOf(client)),
    total: () => bank.total(),
  }
}

const cannotManage = (): Promise<never> =>
  Promise.reject(new WalletError('not-implemented', 'This wallet cannot change what it has made.'))
const unmanaged = {
  listConnections: cannotManage,
  updateConnection: cannotManage,
  deleteConnection: cannotManage,
  onConnection: () => () => undefined,
}

function scheduleOnTimers(delayMs: number, run: () => void): void {
  const timer: unknown = setTimeout(run, delayMs)
  // A hold's far limit must not keep a finished Node process alive.
  if (delayMs > 1000 && typeof timer === 'object' && timer !== null && 'unref' in timer) {
    ;(timer as { unref(): void }).unref()
  }
}
