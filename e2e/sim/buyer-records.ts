/** What a buyer has on disk: purchases under way, receipts of those that are over, and losses to keys that cheated. */
import type { Bytes, PartyKey, Sha256Hex } from '../../web/core/bytes.ts'
import type { SignedQuote } from '../../web/core/exchange/quote.ts'
import type { Wait } from './clock.ts'
import type { Disk } from './node.ts'

export type Purchase = Readonly<{ signed: SignedQuote; leaves: Bytes; cipher: Bytes; requestedAtMs: number }>
export type Paid = Readonly<{ paymentHash: string; amount: number; fees: number; bytes: number }>
export type Loss = Readonly<{ why: string; amount: number }>

const PURCHASE = 'buy/'
const RECEIPT = 'receipt/'
const LOSS = 'bad/'

export class BuyerRecords {
  readonly #disk: Disk
  constructor(disk: Disk) {
    this.#disk = disk
  }

  begin(purchase: Purchase): Wait<undefined> {
    return this.#disk.put(PURCHASE + purchase.signed.quote.id, purchase)
  }
  end(quote: Sha256Hex): Wait<undefined> {
    return this.#disk.delete(PURCHASE + quote)
  }
  keepReceipt(quote: Sha256Hex, paid: Paid): Wait<undefined> {
    return this.#disk.put(RECEIPT + quote, paid)
  }
  receipt(quote: Sha256Hex): Paid | undefined {
    return this.#disk.records.get(RECEIPT + quote) as Paid | undefined
  }
  keepLoss(key: PartyKey, loss: Loss): Wait<undefined> {
    return this.#disk.put(LOSS + key, loss)
  }

  /** By quote id. */
  receipts(): [Sha256Hex, Paid][] {
    return this.#all(RECEIPT) as [Sha256Hex, Paid][]
  }
  /** By seller's key. */
  losses(): [PartyKey, Loss][] {
    return this.#all(LOSS) as [PartyKey, Loss][]
  }
  /** Those that have no receipt: what a crash left of the others is taken off the disk. */
  unfinished(): Purchase[] {
    const purchases = this.#all(PURCHASE) as [Sha256Hex, Purchase][]
    return purchases.flatMap(([quote, purchase]) => {
      if (this.receipt(quote) === undefined) return [purchase]
      this.#disk.records.delete(PURCHASE + quote)
      return []
    })
  }

  #all(prefix: string): [string, unknown][] {
    return [...this.#disk.keys(prefix)].map((key) => [key.slice(prefix.length), this.#disk.records.get(key)])
  }
}
