/**
 * What the shell shows of pages that run behind the others: a word beside Releases and Seed, a balance, the link
 * to the relay. Each running page owns one entry of `running` and clears it when it stops.
 */
import type { Money, Msat } from '../../core/money/msat.ts'

export type Balance = Readonly<{ msat: Msat; money: Money }>
export type RelayLink = Readonly<
  { tag: 'connecting' } | { tag: 'connected' } | { tag: 'lost'; sinceMs: number }
>

class Status {
  /** Beside "Releases": `1 live`. */
  releases = $state<string>()
  /** Beside "Fleet": how many are enrolled. */
  devices = $state<string>()
  /** Beside "Seed": `on`. */
  seed = $state<string>()
  /** The vendor's wallet, shown on its pages. */
  vendorBalance = $state.raw<Balance>()
  /** The volunteer's wallet, shown on the Seed page. */
  balance = $state.raw<Balance>()
  /** The wallet that the Wallet page shows. */
  ownBalance = $state.raw<Balance>()
  /** Beside "Shop": `open`. */
  shop = $state<string>()
  relay = $state.raw<RelayLink>({ tag: 'connecting' })
}

export const status = new Status()
