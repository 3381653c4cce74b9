/** What a distributor shows of its wallet: connected, which money, how much, and what is wrong with it for selling here. */
import { liveCell, type Live } from '../../core/live.ts'
import { unitOf, type Money, type Msat } from '../../core/money/msat.ts'
import type { Wallet, WalletInfo } from '../wallet/wallet.ts'

export type WalletView = Readonly<{ connected: boolean; money?: Money; balance?: Msat; trouble?: string }>

/** A balance is asked at most so often while payments come in. */
const BALANCE_EVERY_MS = 1_000
const ASK_AGAIN_MS = 5_000

/** Follows `wallet` until stopped. `money` is what devices here pay in. */
export function watchWallet(wallet: Wallet, money: Money): { view: Live<WalletView>; stop: () => void } {
  let info: WalletInfo | undefined
  let balance: Msat | undefined
  let trouble: string | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let asking = false
  let stopped = false
  const view = liveCell<WalletView>({ connected: wallet.status.get().connected })

  function show(): void {
    if (stopped) return
    const status = wallet.status.get()
    const said = status.trouble ?? trouble ?? (info && unfit(info, money))
    view.set({
      connected: status.connected,
      ...(info && { money: info.money }),
      ...(balance !== undefined && { balance }),
      ...(said !== undefined && { trouble: said }),
    })
  }

  async function ask(): Promise<void> {
    if (stopped) return
    if (asking) return again(BALANCE_EVERY_MS) // what is under way may tell of before
    asking = true
    try {
      info ??= await wallet.info()
      show()
      balance = await wallet.balance()
      trouble = undefined
    } catch (error) {
      // A connection that may only receive need not tell its balance.
      const hidden = info && error instanceof Error && 'code' in error && error.code === 'restricted'
      if (!hidden) {
        trouble = error instanceof Error ? error.message : String(error)
        again(ASK_AGAIN_MS)
      }
    } finally {
      asking = false
      show()
    }
  }

  function again(ms: number): void {
    if (timer !== undefined || stopped) return
    timer = setTimeout(() => {
      timer = undefined
      void ask()
    }, ms)
  }

  const unwatch = [
    wallet.status.subscribe(({ connected }) => {
      show()
      if (connected) again(0)
    }),
    wallet.onEvent((event) => {
      if (event.tag !== 'hold-accepted') again(BALANCE_EVERY_MS)
    }),
  ]
  again(0)
  return {
    view,
    stop() {
      stopped = true
      clearTimeout(timer)
      for (const end of unwatch) end()
    },
  }
}

/** Why this wallet cannot earn here, in words; `undefined` when it can. */
export function unfit(info: WalletInfo, money: Money): string | undefined {
  if (info.money !== money) {
    const [mine, theirs] = [unitOf(info.money), unitOf(money)]
    const other = mine === theirs ? `${mine} of another relay` : mine
    return `Your wallet holds ${other}; devices here pay in ${theirs}. Nobody here can pay you: connect a wallet that holds ${theirs} of this relay. What you carry stays.`
  }
  if (!info.features.has('receive'))
    return 'This wallet connection may not receive. Make one that may (make_invoice), and paste it. What you carry stays.'
  return undefined
}
