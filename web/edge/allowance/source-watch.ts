/** What an allowance spends from, followed: is it there, what is left in it, how long does it take to say so. */
import { liveCell, type Live } from '../../core/live.ts'
import type { Msat } from '../../core/money/msat.ts'
import type { Wallet, WalletEvent, WalletInfo } from '../wallet/wallet.ts'
import { orHidden, spendable } from '../wallets/watch.ts'

export type SourceState = Readonly<{
  connected: boolean
  trouble?: string
  info?: WalletInfo
  left?: Msat
  latencyMs?: number
}>

export interface SourceWatch {
  readonly wallet: Wallet
  readonly state: Live<SourceState>
  /** `back`: it is reachable again, or told of a change: what is unknown may be known now. */
  on(run: (event: WalletEvent | { tag: 'back' }) => void): () => void
  /** Soon; many calls are one question. */
  refresh(): void
  stop(): void
}

const SOON_MS = 50
/** Sources that tell of changes are asked now and then all the same, for the latency. */
const POLL_TOLD_MS = 30_000
const POLL_MS = 10_000
const AGAIN_MS = 2_000

export function watchSource(wallet: Wallet, nowMs: () => number): SourceWatch {
  const state = liveCell<SourceState>({ connected: wallet.status.get().connected })
  const listeners = new Set<(event: WalletEvent | { tag: 'back' }) => void>()
  let timer: ReturnType<typeof setTimeout> | undefined
  let dueMs = Infinity
  let asking = false
  let stopped = false
  const tell = (event: WalletEvent | { tag: 'back' }): void => {
    for (const run of [...listeners]) run(event)
  }
  const plan = (ms: number): void => {
    if (stopped || nowMs() + ms >= dueMs) return
    clearTimeout(timer)
    dueMs = nowMs() + ms
    timer = setTimeout(() => {
      dueMs = Infinity
      void ask()
    }, ms)
  }

  async function ask(): Promise<void> {
    if (asking) return plan(SOON_MS)
    asking = true
    try {
      const info = state.get().info ?? (await wallet.info())
      const startedMs = nowMs()
      const balance = await orHidden(wallet.balance())
      const latencyMs = Math.max(0, nowMs() - startedMs)
      const budget = await orHidden(wallet.budget())
      const left = spendable({ ...(balance !== undefined && { balance }), ...(budget && { budget }) })
      const { connected } = wallet.status.get()
      if (!stopped) state.set({ connected, info, latencyMs, ...(left !== undefined && { left }) })
      plan(info.features.has('notifications') ? POLL_TOLD_MS : POLL_MS)
    } catch (error) {
      const trouble = error instanceof Error ? error.message : String(error)
      if (!stopped) state.set({ ...state.get(), trouble })
      plan(AGAIN_MS)
    } finally {
      asking = false
    }
  }

  const unwatch = [
    wallet.status.subscribe(({ connected, trouble }) => {
      const before = state.get()
      state.set({ ...before, connected, ...(trouble !== undefined && { trouble }) })
      if (connected) plan(0)
      if (connected && !before.connected) tell({ tag: 'back' })
    }),
    wallet.onEvent((event) => {
      tell(event)
      plan(SOON_MS)
    }),
    wallet.onConnection(() => {
      tell({ tag: 'back' })
      plan(SOON_MS)
    }),
  ]
  plan(0)
  return {
    wallet,
    state,
    on(run) {
      listeners.add(run)
      return () => listeners.delete(run)
    },
    refresh: () => plan(SOON_MS),
    stop() {
      stopped = true
      clearTimeout(timer)
      for (const end of unwatch) end()
      listeners.clear()
    },
  }
}
