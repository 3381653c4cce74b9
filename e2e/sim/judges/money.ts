/** Sats only move: accounts, locks and fees together are what there was at the start. */
import type { Fact, NodeId } from '../trace.ts'
import type { Cry, Judge } from './judge.ts'

export class MoneyJudge implements Judge {
  readonly #cry: Cry
  readonly #accounts = new Map<NodeId, number>()
  readonly #locks = new Map<string, { amount: number; fee: number }>()
  readonly #paid = new Set<string>()
  #start = 0
  #fees = 0

  constructor(cry: Cry) {
    this.#cry = cry
  }

  see(fact: Fact): void {
    switch (fact.t) {
      case 'account':
        this.#accounts.set(fact.account, fact.msat)
        this.#start += fact.msat
        return
      case 'locked': {
        const key = `${fact.payer} ${fact.hash}`
        if (this.#locks.has(key)) this.#cry(`${key} locked twice`)
        if (this.#paid.has(key)) this.#cry(`${key} locked after it had settled`)
        this.#locks.set(key, fact)
        this.#move(fact.payer, -fact.amount - fact.fee)
        return
      }
      case 'settled':
      case 'returned': {
        const key = `${fact.payer} ${fact.hash}`
        const lock = this.#locks.get(key)
        if (lock === undefined) return this.#cry(`${key} ${fact.t} without a lock`)
        if (lock.amount !== fact.amount || lock.fee !== fact.fee)
          this.#cry(`${key} ${fact.t} at other sums than locked`)
        this.#locks.delete(key)
        if (fact.t === 'returned') return this.#move(fact.payer, fact.amount + fact.fee)
        this.#paid.add(key)
        this.#fees += fact.fee
        this.#move(fact.payee, fact.amount)
        return
      }
      default:
        return
    }
  }

  #move(account: NodeId, by: number): void {
    const balance = (this.#accounts.get(account) ?? 0) + by
    this.#accounts.set(account, balance)
    if (balance < 0) this.#cry(`account ${account} below zero: ${balance}`)
  }

  /** Against the bank's own books. */
  audit(balances: ReadonlyMap<NodeId, number>): void {
    let total = this.#fees
    for (const lock of this.#locks.values()) total += lock.amount + lock.fee
    for (const [account, balance] of balances) {
      total += balance
      const own = this.#accounts.get(account)
      if (own !== balance) this.#cry(`account ${account} holds ${balance}, should hold ${own}`)
    }
    if (total !== this.#start) this.#cry(`${total} msat in the world that began with ${this.#start}`)
  }
}
