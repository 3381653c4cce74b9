/** Rows of a bench: as a table for people and as one JSON object for programs. */
import { median, spread } from './stats.ts'

export type Row = Readonly<{
  name: string
  value: number
  goal: number
  better: 'higher' | 'lower'
  spread: readonly [number, number]
  /** For people: the figures behind the value. */
  note?: string
  unit?: string
}>

/** A row of the median of `values`. */
export function row(
  name: string,
  values: readonly number[],
  goal: number,
  better: Row['better'],
  more: Pick<Row, 'note' | 'unit'> = {},
): Row {
  return { name, value: median(values), goal, better, spread: spread(values), ...more }
}

export const reached = ({ value, goal, better }: Row): boolean =>
  better === 'higher' ? value >= goal : value <= goal

/** Three significant digits and no more than are told. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 4
  return value.toFixed(digits)
}

export function table(bench: string, rows: readonly Row[]): string {
  const cells = rows.map((one) => [
    one.name,
    figure(one.value),
    `${figure(one.spread[0])} to ${figure(one.spread[1])}`,
    `${one.better === 'higher' ? 'at least' : 'at most'} ${figure(one.goal)}${one.unit === undefined ? '' : ` ${one.unit}`}`,
    reached(one) ? 'reached' : 'missed',
    one.note ?? '',
  ])
  const head = [bench, 'median', 'spread', 'goal', '', '']
  const widths = head.map((title, i) =>
    Math.max(title.length, ...cells.map((line) => (line[i] ?? '').length)),
  )
  return [head, ...cells]
    .map((line) =>
      line
        .map((text, i) => text.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const rounded = (value: number): number => Number(value.toPrecision(6))

export function json(bench: string, rows: readonly Row[]): string {
  return JSON.stringify({
    bench,
    rows: rows.map((one) => ({
      name: one.name,
      value: rounded(one.value),
      goal: one.goal,
      better: one.better,
      spread: one.spread.map(rounded),
    })),
  })
}
