/** One wallet as a page shows it: what it is, its balance and budget, its latest payments. Follows it until stopped. */
import { liveCell, type Live } from '../../core/live.ts'
import { ZERO, type Msat } from '../../core/money/msat.ts'
import { WalletError, type Budget, type Transaction, type Wallet, type WalletInfo } from '../wallet/wallet.ts'

export type WatchedWallet = Readonly<{
  connected: boolean
  info?: WalletInfo
  /** Absent until it is told; a connection that may not tell it stays without. */
  balance?: Msat
  budget?: Budget
  /** Latest first; at most `MAX_LINES`. */
  lines: readonly Transaction[]
  /** Round trip of the last question, ms. */
  latencyMs?: number
  /** When the numbers were last true. */
  atMs?: number
  trouble?: string
}>

export interface WalletWatch {
  readonly view: Live<WatchedWallet>
  /** Asks again now: after a payment from here. */
  refresh(): void
  /** Asks for the balance alone: something moved that the wallet does not tell. */
  balanceMoved(): void
  stop(): void
}

export const MAX_LINES = 500
/** Wallets that send no notifications are asked so often; the others too, now and then. */
const POLL_MS = 10_000
const POLL_TOLD_MS = 60_000
/** While payments come in, the balance is asked at most so often. */
const SOON_MS = 250
const ASK_AGAIN_MS = 4_000

export function watchWallet(wallet: Wallet, nowMs: () => number = Date.now): WalletWatch {
  const view = liveCell<WatchedWallet>({ connected: wallet.status.get().connected, lines: [] })
  const change = (part: Partial<WatchedWallet>): void => {
    if (!stopped) view.set({ ...view.get(), ...part })
  }
  let timer: ReturnType<typeof setTimeout> | undefined
  let poll: ReturnType<typeof setTimeout> | undefined
  let dueMs = Infinity
  let asking = false
  let wanted = false
  let stopped = false
  /** Whether the list is asked for too: not after each payment, which notifications tell. */
  let listToo = true
  /** Since the list was asked for, which need not have them. */
  let toldSince: Transaction[] = []

  /** Runs after `ms`, or sooner if something sooner is planned. */
  function plan(ms: number): void {
    if (stopped || nowMs() + ms >= dueMs) return
    clearTimeout(timer)
    dueMs = nowMs() + ms
    timer = setTimeout(() => {
      dueMs = Infinity
      void ask()
    }, ms)
  }

  async function ask(): Promise<void> {
    if (stopped) return
    if (asking) {
      wanted = true
      return
    }
    asking = true
    clearTimeout(poll)
    const withList = listToo
    listToo = false
    toldSince = []
    try {
      const info = view.get().info ?? (await wallet.info())
      change({ info })
      const startedMs = nowMs()
      const balance = await orHidden(wallet.balance())
      const latencyMs = nowMs() - startedMs
      const budget = await orHidden(wallet.budget())
      const lines =
        withList && info.features.has('history')
          ? await orHidden(wallet.history({ limit: MAX_LINES, offset: 0 }))
          : undefined
      const { trouble: _, balance: _b, budget: _g, ...rest } = view.get()
      if (stopped) return
      view.set({
        ...rest,
        latencyMs,
        atMs: nowMs(),
        ...(balance !== undefined && { balance }),
        ...(budget && { budget }),
        ...(lines && { lines: toldSince.reduce(withLine, lines) }),
      })
      poll = setTimeout(again, info.features.has('notifications') ? POLL_TOLD_MS : POLL_MS)
    } catch (error) {
      change({ trouble: error instanceof Error ? error.message : String(error) })
      listToo ||= withList
      plan(ASK_AGAIN_MS)
    } finally {
      asking = false
      if (wanted) {
        wanted = false
        plan(SOON_MS)
      }
    }
  }

  function again(): void {
    listToo = true
    plan(0)
  }

  /** At once on the list; the balance follows. */
  function told(transaction: Transaction): void {
    if (asking) toldSince.push(transaction)
    change({ lines: withLine(view.get().lines, transaction) })
    plan(0)
  }

  const unwatch = [
    wallet.status.subscribe(({ connected, trouble }) => {
      change({ connected, ...(trouble !== undefined && { trouble }) })
      if (connected) again()
    }),
    wallet.onEvent((event) => told(event.transaction)),
    // Its limit moved, or a payment counted elsewhere against the same budget.
    wallet.onConnection(() => plan(0)),
  ]
  plan(0)
  return {
    view,
    refresh: again,
    balanceMoved: () => plan(0),
    stop() {
      stopped = true
      clearTimeout(timer)
      clearTimeout(poll)
      for (const end of unwatch) end()
    },
  }
}

function withLine(lines: readonly Transaction[], transaction: Transaction): readonly Transaction[] {
  const others = lines.filter((line) => !samePayment(line, transaction))
  return [transaction, ...others].slice(0, MAX_LINES)
}

const samePayment = (a: Transaction, b: Transaction): boolean =>
  a.paymentHash === b.paymentHash && a.direction === b.direction

/** What a connection is not allowed to tell is not trouble. */
export async function orHidden<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof WalletError && (error.code === 'restricted' || error.code === 'not-implemented'))
      return undefined
    throw error
  }
}

/** What can be paid from it now: the balance, or the budget's rest where that is less. */
export function spendable({ balance, budget }: Pick<WatchedWallet, 'balance' | 'budget'>): Msat | undefined {
  const left = budget && ((budget.total > budget.used ? budget.total - budget.used : ZERO) as Msat)
  if (left === undefined) return balance
  return balance === undefined || left < balance ? left : balance
}
