/** Numbers as people read them. Pure; units are said by the caller where they are words. */
import type { Msat } from '../../core/money/msat.ts'

const grouped = (digits: number) =>
  new Intl.NumberFormat('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
const whole = grouped(0)
const one = grouped(1)
const milli = grouped(3)

export const count = (n: number): string => whole.format(n)

/** Sats from msat. Ledgers and live balances show three decimals; tallies none from 100 sats up. */
export function sats(amount: Msat | number, style: 'ledger' | 'tally' = 'ledger'): string {
  const value = amount / 1000
  if (style === 'ledger') return milli.format(value)
  return Math.abs(value) >= 100 || value === 0 ? whole.format(Math.floor(value)) : milli.format(value)
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** `[number, unit]`, for figures whose unit is set smaller. */
export function sizeParts(bytes: number): [string, string] {
  if (bytes < 1024) return [count(bytes), bytes === 1 ? 'byte' : 'bytes']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return [
    value >= 100 ? whole.format(value) : value >= 10 ? one.format(value) : grouped(2).format(value),
    UNITS[unit]!,
  ]
}
export const size = (bytes: number): string => sizeParts(bytes).join(' ')

/** A round piece length, `256 KiB`. */
export const pieceSize = (bytes: number): string =>
  bytes >= 1024 * 1024
    ? `${bytes / 1024 / 1024} MiB`
    : bytes >= 1024
      ? `${bytes / 1024} KiB`
      : `${bytes} bytes`

/** MiB/s, `0.0` when nothing moves. */
export const rate = (bytesPerSecond: number): string => one.format(bytesPerSecond / 1024 / 1024)

/** `m:ss`, or `h:mm:ss` from an hour. */
export function elapsed(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000))
  const pad = (n: number) => String(n).padStart(2, '0')
  const h = Math.floor(s / 3600)
  const rest = `${h > 0 ? pad(Math.floor(s / 60) % 60) : Math.floor(s / 60)}:${pad(s % 60)}`
  return h > 0 ? `${h}:${rest}` : rest
}

const time = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' })
const timeS = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' })

export const clock = (ms: number): string => time.format(ms)
export const clockSeconds = (ms: number): string => timeS.format(ms)

/** `14:02`, or `3 Nov 2026, 14:02` when it was another day. */
export function when(ms: number, nowMs: number): string {
  const sameDay = new Date(ms).toDateString() === new Date(nowMs).toDateString()
  return sameDay ? clock(ms) : `${day.format(ms)}, ${clock(ms)}`
}

/** Relative below a minute, the clock time above it. */
export function ago(ms: number, nowMs: number): string {
  const s = Math.round((nowMs - ms) / 1000)
  if (s < 2) return 'just now'
  return s < 60 ? `${s} s ago` : `at ${when(ms, nowMs)}`
}

/** `1 device`, `3 devices`. */
export const plural = (n: number, one: string, many = `${one}s`): string =>
  `${count(n)} ${n === 1 ? one : many}`

/** A name that a person gave, for the middle of a sentence: its direction of writing stays its own (Unicode's isolates). */
export const isolated = (name: string): string => `\u2068${name}\u2069`

export { keyName } from '../../core/bytes.ts'
