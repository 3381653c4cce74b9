/** The device's wallet as the loop sees it: is it there, what does it hold, and an invoice for what it lacks. */
import type { Money, Msat } from '../../web/core/money/msat.ts'
import type { Facts } from '../../web/core/rollout/lifecycle-wait.ts'
import type { Invoice, Wallet, WalletInfo } from '../../web/edge/wallet/wallet.ts'
import type { Logger } from '../log.ts'
import type { Ports } from './ports.ts'

export interface Funds {
  /** `connection` is a secret. */
  open(connection: string): Promise<void>
  wallet(): Wallet | undefined
  state(): Promise<Facts['wallet']>
  /** As last heard. */
  balance(): Msat | undefined
  money(): Money
  /** An invoice that brings at least `need`; `undefined` when the wallet makes none. */
  invoice(need: Msat): Promise<string | undefined>
  close(): void
}

const INVOICE_SECONDS = 3600
/** A shown invoice is renewed when it has less time left. */
const INVOICE_LEFT_MS = 120_000
/** Events come with every payment; the balance is asked for this often at most. */
const BALANCE_SPACING_MS = 2000

export function createFunds(deps: { ports: Ports; log: Logger; onChange: () => void }): Funds {
  const { ports, log } = deps
  let wallet: Wallet | undefined
  let info: WalletInfo | undefined
  let balance: Msat | undefined
  let invoice: Invoice | undefined
  let making: Promise<void> | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let stops: (() => void)[] = []

  const words = (error: unknown): string => (error instanceof Error ? error.message : String(error))

  function refreshSoon(): void {
    timer ??= setTimeout(() => {
      timer = undefined
      refresh().catch((error: unknown) => log.debug({ reason: words(error) }, 'balance unknown'))
    }, BALANCE_SPACING_MS)
  }

  async function refresh(): Promise<void> {
    if (wallet === undefined) return
    info ??= await wallet.info() // first, so that a balance is never told in another money
    const now = await wallet.balance()
    const changed = now !== balance
    balance = now
    if (changed) deps.onChange()
  }

  async function make(need: Msat): Promise<void> {
    const amount = (Math.ceil(need / 1000) * 1000) as Msat
    try {
      const request = { amount, description: 'Satpatch: funds for an update', expirySeconds: INVOICE_SECONDS }
      invoice = await wallet?.makeInvoice(request)
    } catch (error) {
      log.debug({ reason: words(error) }, 'no invoice for the missing funds')
    }
  }

  const usable = (need: Msat): boolean =>
    invoice !== undefined &&
    invoice.amount >= need &&
    invoice.amount <= need * 2 + 1000 &&
    invoice.expiresAtMs > ports.nowMs() + INVOICE_LEFT_MS

  return {
    async open(connection) {
      const opened = await ports.openWallet(connection)
      wallet = opened
      stops = [
        opened.onEvent((event) => {
          if (event.tag === 'received') invoice = undefined
          deps.onChange()
          refreshSoon()
        }),
        opened.status.subscribe(({ connected }) => {
          if (!connected) return
          deps.onChange()
          refreshSoon() // nobody tells again what came meanwhile
        }),
      ]
      refreshSoon()
    },
    wallet: () => wallet,
    async state() {
      if (wallet === undefined) return { tag: 'none' }
      try {
        info ??= await wallet.info()
        balance = await wallet.balance()
        return { tag: 'ready', money: info.money, balance }
      } catch (error) {
        return { tag: 'unreachable', text: `the wallet does not answer: ${words(error)}`.slice(0, 500) }
      }
    },
    balance: () => balance,
    money: () => info?.money ?? 'bitcoin',
    async invoice(need) {
      if (wallet === undefined) return undefined
      if (!usable(need)) {
        making ??= make(need).finally(() => (making = undefined))
        await making
      }
      return invoice?.bolt11
    },
    close() {
      clearTimeout(timer)
      for (const stop of stops) stop()
      wallet?.close()
    },
  }
}
