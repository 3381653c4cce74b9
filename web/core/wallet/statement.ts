/** A wallet's history as a statement: what a line is about, which lines match a search, and CSV (RFC 4180). */
import type { Msat } from '../money/msat.ts'

export type StatementLine = Readonly<{
  direction: 'in' | 'out'
  state: string
  paymentHash: string
  amount: Msat
  fees: Msat
  description?: string
  createdAtMs: number
  settledAtMs?: number
}>

/** Every word of `search` must occur in the description, the hash, the state, the amount in sats or the ISO date. */
export function matches(line: StatementLine, search: string): boolean {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean)
  if (words.length === 0) return true
  const date = new Date(line.createdAtMs).toISOString()
  const direction = line.direction === 'in' ? 'in received' : 'out sent paid'
  const text = [line.description ?? '', line.paymentHash, line.state, line.amount / 1000, date, direction]
    .join(' ')
    .toLowerCase()
  return words.every((word) => text.includes(word))
}

const HEAD = [
  'created (UTC)',
  'settled (UTC)',
  'direction',
  'state',
  'amount (msat)',
  'fees (msat)',
  'for',
  'payment hash',
]

/** Amounts are msat, coming in positive and going out negative. Lines end with CRLF, the last one too. */
export function toCsv(lines: readonly StatementLine[]): string {
  const rows = lines.map((line) => [
    new Date(line.createdAtMs).toISOString(),
    line.settledAtMs === undefined ? '' : new Date(line.settledAtMs).toISOString(),
    line.direction,
    line.state,
    (line.direction === 'in' ? '' : '-') + String(line.amount),
    String(line.fees),
    harmless(line.description ?? ''),
    line.paymentHash,
  ])
  return [HEAD, ...rows].map((cells) => `${cells.map(quoted).join(',')}\r\n`).join('')
}

const quoted = (cell: string): string => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)
/** The payee writes the description: a spreadsheet must not run it as a formula. */
const harmless = (text: string): string => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text)
