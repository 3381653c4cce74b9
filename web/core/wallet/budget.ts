/** When a budget's period began and when it is renewed (NIP-47 `budget_renewal`): calendar periods, UTC. */
import type { Renewal } from './nip47.ts'

/** Start of the period that `atMs` is in; 0 for a budget that is never renewed. Weeks begin on Monday. */
export function periodStart(renewal: Renewal, atMs: number): number {
  const at = new Date(atMs)
  const [year, month, day] = [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()]
  switch (renewal) {
    case 'never':
      return 0
    case 'hourly':
      return Date.UTC(year, month, day, at.getUTCHours())
    case 'daily':
      return Date.UTC(year, month, day)
    case 'weekly':
      return Date.UTC(year, month, day - ((at.getUTCDay() + 6) % 7))
    case 'monthly':
      return Date.UTC(year, month)
    case 'yearly':
      return Date.UTC(year, 0)
    default:
      return renewal satisfies never
  }
}

/** When the period that `atMs` is in ends; `undefined` where it never does. */
export function renewsAt(renewal: Renewal, atMs: number): number | undefined {
  const start = new Date(periodStart(renewal, atMs))
  const [year, month, day] = [start.getUTCFullYear(), start.getUTCMonth(), start.getUTCDate()]
  switch (renewal) {
    case 'never':
      return undefined
    case 'hourly':
      return Date.UTC(year, month, day, start.getUTCHours() + 1)
    case 'daily':
      return Date.UTC(year, month, day + 1)
    case 'weekly':
      return Date.UTC(year, month, day + 7)
    case 'monthly':
      return Date.UTC(year, month + 1)
    case 'yearly':
      return Date.UTC(year + 1, 0)
    default:
      return renewal satisfies never
  }
}
