/** Where a price stands among others: 1 is cheapest; equal prices share a place. */
export function rankOf(price: number, others: readonly number[]): { place: number; of: number } {
  return { place: 1 + others.filter((other) => other < price).length, of: others.length + 1 }
}
