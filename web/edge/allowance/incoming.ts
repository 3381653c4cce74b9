/** Invoices made through an allowance: the money goes to its source, the allowance knows which are its own. */
import type { Sha256Hex } from '../../core/bytes.ts'
import { msat, ZERO, type Msat } from '../../core/money/msat.ts'
import type { Invoice, Transaction, WalletEvent } from '../wallet/wallet.ts'
import type { Incoming } from './records.ts'

export class IncomingBook {
  readonly #invoices: Map<Sha256Hex, Incoming>
  readonly #save: (invoice: Incoming) => Promise<void>

  constructor(invoices: Map<Sha256Hex, Incoming>, save: (invoice: Incoming) => Promise<void>) {
    this.#invoices = invoices
    this.#save = save
  }

  get all(): readonly Incoming[] {
    return [...this.#invoices.values()]
  }
  get received(): Msat {
    let total = ZERO
    for (const { state, amount } of this.#invoices.values())
      if (state === 'settled') total = msat(total + amount)
    return total
  }
  find = (hash: Sha256Hex): Incoming | undefined => this.#invoices.get(hash)

  async made(
    { bolt11, paymentHash, amount, expiresAtMs }: Invoice,
    about: { description: string; hold: boolean; nowMs: number },
  ): Promise<Incoming> {
    const known = this.#invoices.get(paymentHash)
    if (known) return known
    const { description, hold, nowMs } = about
    const invoice: Incoming = {
      ...{ bolt11, paymentHash, amount, expiresAtMs, description, hold, state: 'open', createdAtMs: nowMs },
    }
    await this.#put(invoice)
    return invoice
  }

  /** Whether it is ours, and news. */
  async onEvent(event: WalletEvent): Promise<boolean> {
    const state = event.tag === 'hold-accepted' ? 'accepted' : 'settled'
    return (await this.#becomes(event.transaction.paymentHash, state, event.transaction)) !== undefined
  }

  /** What the source says now of one of ours; it knows better than we do. */
  async learned(found: Transaction): Promise<Incoming | undefined> {
    const known = this.#invoices.get(found.paymentHash)
    if (!known || found.direction !== 'in') return known
    if (found.state === 'settled' || found.state === 'accepted')
      return (await this.#becomes(found.paymentHash, found.state, found)) ?? known
    if (found.state === 'failed') return (await this.cancelled(found.paymentHash)) ?? known
    return known
  }

  cancelled = (hash: Sha256Hex): Promise<Incoming | undefined> => this.#becomes(hash, 'cancelled')

  async #becomes(
    hash: Sha256Hex,
    state: Incoming['state'],
    told?: Transaction,
  ): Promise<Incoming | undefined> {
    const known = this.#invoices.get(hash)
    if (!known || known.state === state || known.state === 'settled') return undefined
    const next: Incoming = {
      ...known,
      state,
      ...(told?.preimage !== undefined && { preimage: told.preimage }),
      ...(told?.settledAtMs !== undefined && { settledAtMs: told.settledAtMs }),
    }
    await this.#put(next)
    return next
  }

  async #put(invoice: Incoming): Promise<void> {
    await this.#save(invoice)
    this.#invoices.set(invoice.paymentHash, invoice)
  }
}

export const toTransaction = (invoice: Incoming, nowMs: number): Transaction => ({
  direction: 'in',
  state: stateOf(invoice, nowMs),
  ...{
    paymentHash: invoice.paymentHash,
    amount: invoice.amount,
    fees: ZERO,
    createdAtMs: invoice.createdAtMs,
  },
  ...(invoice.description !== '' && { description: invoice.description }),
  ...(invoice.preimage !== undefined && { preimage: invoice.preimage }),
  ...(invoice.settledAtMs !== undefined && { settledAtMs: invoice.settledAtMs }),
})

function stateOf({ state, expiresAtMs }: Incoming, nowMs: number): Transaction['state'] {
  if (state === 'open') return expiresAtMs <= nowMs ? 'expired' : 'pending'
  return state === 'cancelled' ? 'failed' : state
}
