/** Amounts. Everything inside is millisatoshi; sats are for showing only. */
declare const unit: unique symbol
/** Thousandths of a satoshi, a safe integer >= 0: exact up to 90 071 BTC. */
export type Msat = number & { readonly [unit]: 'msat' }

/** What an offer is priced in; peers trade only in the same money. Example: `sandbox:<relay key>`. */
export type Money = 'bitcoin' | 'testnet' | `regtest:${string}` | `sandbox:${string}`

export const MIB = 1024 * 1024
export const ZERO = 0 as Msat
/** Channels carry whole sats. */
export const LEAST_ON_LIGHTNING = 1000 as Msat

/** @throws RangeError when `value` is not a safe integer >= 0. */
export function msat(value: number): Msat {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not an amount in msat: ${value}`)
  return value as Msat
}

export function parseMoney(text: string): Money | undefined {
  if (text === 'bitcoin' || text === 'testnet') return text
  return /^(regtest|sandbox):[\x21-\x7e]{1,200}$/.test(text) ? (text as Money) : undefined
}

/** Price of `bytes` at `perMiB` (msat per MiB), rounded up to a whole msat. Exact for any safe input. */
export function priceOf(bytes: number, perMiB: Msat): Msat {
  // Exact in a double: dividing by a power of two loses nothing.
  const product = bytes * perMiB
  if (Number.isSafeInteger(product)) return msat(Math.ceil(product / MIB))
  return msat(Number((BigInt(bytes) * BigInt(perMiB) + BigInt(MIB - 1)) / BigInt(MIB)))
}

/** The least that a payment can be; play money is exact to the msat. */
export const leastPayment = (money: Money | undefined): Msat =>
  money === undefined || money.startsWith('sandbox:') ? ZERO : LEAST_ON_LIGHTNING

/** What a window costs: its price, yet no less than can be paid; nothing where bytes are free. */
export const windowPrice = (bytes: number, perMiB: Msat, money: Money | undefined): Msat =>
  perMiB === 0 ? ZERO : msat(Math.max(priceOf(bytes, perMiB), leastPayment(money)))

export const sum = (amounts: Iterable<Msat>): Msat => {
  let total = 0
  for (const amount of amounts) total += amount
  return msat(total)
}

/** The words for an amount's unit, never bare "sats" for money that buys nothing elsewhere. */
export function unitOf(money: Money): 'sats' | 'play sats' | 'test sats' {
  if (money === 'bitcoin') return 'sats'
  return money.startsWith('sandbox:') ? 'play sats' : 'test sats'
}
