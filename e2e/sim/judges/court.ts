/** All judges over one run. */
import type { Fact, NodeId } from '../trace.ts'
import { BuyerJudge } from './buyer.ts'
import { BytesJudge } from './bytes.ts'
import type { Charter, Cry, Judge } from './judge.ts'
import { MoneyJudge } from './money.ts'
import { SellerJudge } from './seller.ts'

/** What must hold, and did not. */
export type Verdict = Readonly<{ judge: string; atMs: number; says: string }>

/** Only the first verdicts are kept. */
const MOST = 20

export class Court {
  readonly verdicts: Verdict[] = []
  readonly buyer: BuyerJudge
  readonly #money: MoneyJudge
  readonly #judges: readonly Judge[]
  #nowMs = 0

  constructor(charter: Charter) {
    const crying =
      (judge: string): Cry =>
      (says) =>
        this.cry(judge, this.#nowMs, says)
    this.#money = new MoneyJudge(crying('money'))
    this.buyer = new BuyerJudge(charter, crying('buyer'))
    this.#judges = [
      this.#money,
      new BytesJudge(charter, crying('bytes')),
      this.buyer,
      new SellerJudge(charter, crying('seller')),
    ]
  }

  see(fact: Fact, atMs: number): void {
    this.#nowMs = atMs
    for (const judge of this.#judges) judge.see(fact, atMs)
  }

  cry(judge: string, atMs: number, says: string): void {
    if (this.verdicts.length < MOST) this.verdicts.push({ judge, atMs, says })
  }

  /** The bank's own books at the end, against the judge's. */
  audit(balances: ReadonlyMap<NodeId, number>, atMs: number): void {
    this.#nowMs = atMs
    this.#money.audit(balances)
  }
}
