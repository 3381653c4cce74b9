/**
 * What happened, as the world saw it: the only thing that judges read. Facts are made where bytes and sats
 * really move (wire, bank, disk), not from what the judged code says of itself.
 */

export type NodeId = number

/** What a buyer's owner allowed, what a seller's owner allowed; amounts msat. */
export type BuyerBounds = Readonly<{
  priceCap: number
  budget: number
  riskBudget: number
  unprovenBudget: number
  lockedTimeoutMs: number
  slots: number
  approved: readonly string[]
  /** One write of its disk. */
  syncMs: number
}>
export type SellerBounds = Readonly<{
  unpaidBytes: number
  unprovenBytes: number
  approved: readonly string[]
}>

export type Fact =
  /** An account is opened with so much. */
  | { t: 'account'; account: NodeId; msat: number }
  | { t: 'locked'; hash: string; payer: NodeId; payee: NodeId; amount: number; fee: number }
  | { t: 'settled'; hash: string; payer: NodeId; payee: NodeId; amount: number; fee: number }
  | { t: 'returned'; hash: string; payer: NodeId; amount: number; fee: number }
  /** The wallet would not even try. */
  | { t: 'refused'; hash: string; payer: NodeId }
  /** The buyer hands an invoice to its wallet: from here on its sats are at stake with `seller`. */
  | {
      t: 'pays'
      buyer: NodeId
      seller: string
      hash: string
      amount: number
      pieces: readonly number[]
      bytes: number
      expiresAtMs: number
    }
  /** What was paid for is decrypted: which of its pieces are the release's is for the judge to say. */
  | { t: 'opened'; buyer: NodeId; hash: string; pieces: readonly { piece: number; bytes: Uint8Array }[] }
  | { t: 'stored'; node: NodeId; piece: number; bytes: Uint8Array }
  /** Ciphertext of a sale left the seller; `gift`: at price 0. */
  | { t: 'sent'; seller: NodeId; buyer: string; sale: string; bytes: number; gift: boolean }
  /** The seller's quote for a sale went out. */
  | {
      t: 'quoted'
      seller: NodeId
      buyer: string
      sale: string
      hash: string
      bytes: number
      expiresAtMs: number
    }
  /** Given up by the buyer, its wire broke while it was being sent, or the seller's own wallet made no invoice. */
  | { t: 'cancelled'; seller: NodeId; buyer: string; sale: string; byWallet: boolean }
  | { t: 'started'; node: NodeId }
  | { t: 'crashed'; node: NodeId }
  | { t: 'complete'; node: NodeId }

/** The fact of this kind. */
export type FactOf<T extends Fact['t']> = Extract<Fact, { t: T }>

export type Seen = (fact: Fact, atMs: number) => void

/** 64 bits over every fact and its time: two runs that agree in it took the same steps. */
export class Digest {
  #a = 0x811c9dc5 | 0
  #b = 0x1b873593 | 0
  facts = 0

  number(value: number): void {
    const low = value | 0
    const high = Math.floor(value / 2 ** 32) | 0
    const fraction = ((value % 1) * 2 ** 30) | 0
    this.#a = Math.imul(this.#a ^ low ^ (fraction << 1), 16777619)
    this.#b = Math.imul((this.#b ^ high ^ low ^ fraction) + (this.#a >>> 15), 2246822519)
  }

  text(value: string): void {
    for (let i = 0; i < value.length; i += 4)
      this.number(value.charCodeAt(i) | (value.charCodeAt(i + 1) << 8) | (value.charCodeAt(i + 2) << 16))
  }

  readonly see: Seen = (fact, atMs) => {
    this.facts++
    this.number(atMs)
    for (const value of Object.values(fact)) {
      if (typeof value === 'number') this.number(value)
      else if (typeof value === 'string') this.text(value)
      else if (typeof value === 'boolean') this.number(value ? 1 : 2)
      else if (value instanceof Uint8Array) this.number(value.length * 31 + (value[0] ?? 0))
      else this.number((value as readonly unknown[]).length)
    }
  }

  toString(): string {
    return [this.#a, this.#b].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }
}
