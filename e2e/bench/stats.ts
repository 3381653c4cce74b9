/** Medians and spreads of a few runs. */

/** @throws RangeError for no values */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[sorted.length >> 1]
  const lower = sorted[(sorted.length - 1) >> 1]
  if (upper === undefined || lower === undefined) throw new RangeError('no values')
  return (upper + lower) / 2
}

/** Lowest and highest. */
export function spread(values: readonly number[]): [number, number] {
  if (values.length === 0) throw new RangeError('no values')
  return [Math.min(...values), Math.max(...values)]
}
