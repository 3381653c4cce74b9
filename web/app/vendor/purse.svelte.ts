/** The vendor's wallet in this browser as Svelte state: opened until it works, its balance followed. */
import type { Money } from '../../core/money/msat.ts'
import type { TextStore } from '../../edge/release/store.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import { words, type Words } from '../errors.ts'
import { status as shell, type Balance } from '../shell/status.svelte.ts'
import { untilItWorks } from './retry.ts'
import { openVendorWallet } from './wallet.ts'

/** Between attempts to open it; a relay that opens so many accounts a day says no for hours. */
const RETRY_MS = [2000, 5000, 15_000, 60_000, 300_000] as const

export class Purse {
  wallet = $state.raw<Wallet>()
  trouble = $state.raw<Words>()
  balance = $state.raw<Balance>()
  #money: Money | undefined

  /** Settles when there is a wallet, or when there is none for now; `onWallet` hears of it, late or not. */
  open(
    origin: string,
    store: TextStore,
    money: Money,
    onWallet: (wallet: Wallet) => void,
  ): Promise<Wallet | undefined> {
    this.#money = money
    return new Promise((resolve) => {
      const opened = untilItWorks(
        () => openVendorWallet(origin.slice(0, 16), store, money),
        RETRY_MS,
        (error) => {
          this.trouble = words(error)
          resolve(undefined)
        },
      )
      void opened.then((wallet) => {
        this.#use(wallet)
        resolve(wallet)
        onWallet(wallet)
      })
    })
  }

  #use(wallet: Wallet): void {
    this.wallet = wallet
    this.trouble = undefined
    let connected = false
    wallet.status.subscribe((status) => {
      if (status.connected && !connected) this.refresh()
      connected = status.connected
    })
    wallet.onEvent(() => this.refresh())
    void this.#read().catch((error: unknown) => (this.trouble = words(error)))
  }

  /** Moving an allowance out is no payment: no event tells of it. */
  refresh(): void {
    void this.#read().catch(() => undefined)
  }

  async #read(): Promise<void> {
    if (!this.wallet || this.#money === undefined) return
    this.balance = { msat: await this.wallet.balance(), money: this.#money }
    shell.vendorBalance = this.balance
  }
}
