/**
 * A distributor's own tally: today, the last hour by the minute, and who just paid. Fed with the sales its shops
 * show; a sale counts once by its id, also across restarts. The wallet's ledger stays the truth about money.
 */
import * as v from 'valibot'
import type { InfoHash } from '../bytes.ts'
import { infoHashSchema, msatSchema, partyKeySchema } from '../release/target.ts'
import { ZERO, msat, type Msat } from '../money/msat.ts'

export const MINUTE_MS = 60_000
export const MINUTES_SHOWN = 60
export const PAID_ROWS = 50
/** Ids of counted sales that are remembered, so that a shop which shows an old sale again adds nothing. */
export const IDS_KEPT = 2_000
/** Releases whose sums are remembered. */
export const RELEASES_KEPT = 500

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))

const paidRowSchema = v.object({
  id: v.pipe(v.string(), v.maxLength(200)),
  buyer: partyKeySchema,
  amount: msatSchema,
  at: count,
  infoHash: infoHashSchema,
})
/** One paid window. */
export type PaidRow = v.InferOutput<typeof paidRowSchema>

const releaseSumSchema = v.object({ earned: msatSchema, today: msatSchema, lastAt: count })

export const earningsSchema = v.object({
  v: v.literal(1),
  /** Local calendar day that the sums of today belong to, `YYYY-MM-DD`, as the caller names it. */
  day: v.pipe(v.string(), v.maxLength(10)),
  today: msatSchema,
  piecesToday: count,
  uploadedToday: count,
  total: msatSchema,
  /** Minute (Unix ms / 60000, whole) of the last bar. */
  minute: count,
  /** One bar a minute, oldest first. */
  lastHour: v.pipe(v.array(msatSchema), v.length(MINUTES_SHOWN)),
  paid: v.pipe(v.array(paidRowSchema), v.maxLength(PAID_ROWS)),
  counted: v.pipe(v.array(v.pipe(v.string(), v.maxLength(200))), v.maxLength(IDS_KEPT)),
  releases: v.record(v.string(), releaseSumSchema),
})
export type Earnings = Readonly<v.InferOutput<typeof earningsSchema>>

export const noEarnings = (day: string, nowMs: number): Earnings => ({
  v: 1,
  day,
  today: ZERO,
  piecesToday: 0,
  uploadedToday: 0,
  total: ZERO,
  minute: Math.floor(nowMs / MINUTE_MS),
  lastHour: Array<Msat>(MINUTES_SHOWN).fill(ZERO),
  paid: [],
  counted: [],
  releases: {},
})

/** Moves bars and day on to `nowMs`. A clock that jumps back moves nothing. */
export function roll(at: Earnings, day: string, nowMs: number): Earnings {
  const minute = Math.floor(nowMs / MINUTE_MS)
  const moved = Math.min(Math.max(minute - at.minute, 0), MINUTES_SHOWN)
  if (moved === 0 && day === at.day) return at
  const lastHour = [...at.lastHour.slice(moved), ...Array<Msat>(moved).fill(ZERO)]
  const next = { ...at, lastHour, minute: Math.max(minute, at.minute) }
  if (day === at.day) return next
  const releases = Object.fromEntries(
    Object.entries(at.releases).map(([key, sum]) => [key, { ...sum, today: ZERO }] as const),
  )
  return { ...next, day, today: ZERO, piecesToday: 0, uploadedToday: 0, releases }
}

/** Counts a paid sale; the same id a second time changes nothing. */
export function recordPaid(at: Earnings, row: PaidRow, pieces: number): Earnings {
  if (at.counted.includes(row.id)) return at
  const bar = MINUTES_SHOWN - 1 - (at.minute - Math.floor(row.at / MINUTE_MS))
  const lastHour = at.lastHour.map((sum, i) =>
    i === Math.min(bar, MINUTES_SHOWN - 1) ? msat(sum + row.amount) : sum,
  )
  const before = at.releases[row.infoHash] ?? { earned: ZERO, today: ZERO, lastAt: 0 }
  const releases = {
    ...at.releases,
    [row.infoHash]: {
      earned: msat(before.earned + row.amount),
      today: msat(before.today + row.amount),
      lastAt: Math.max(before.lastAt, row.at),
    },
  }
  return {
    ...at,
    today: msat(at.today + row.amount),
    total: msat(at.total + row.amount),
    piecesToday: at.piecesToday + pieces,
    lastHour,
    paid: [row, ...at.paid].slice(0, PAID_ROWS),
    counted: [row.id, ...at.counted].slice(0, IDS_KEPT),
    releases: trim(releases),
  }
}

export const recordUpload = (at: Earnings, bytes: number): Earnings =>
  bytes > 0 ? { ...at, uploadedToday: at.uploadedToday + bytes } : at

export const releaseSum = (at: Earnings, infoHash: InfoHash): { earned: Msat; today: Msat; lastAt: number } =>
  at.releases[infoHash] ?? { earned: ZERO, today: ZERO, lastAt: 0 }

/** Reads a stored tally; anything that is not one is `undefined` and a new one begins. */
export function parseEarnings(text: string): Earnings | undefined {
  try {
    const parsed = v.safeParse(earningsSchema, JSON.parse(text))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}

function trim(releases: Earnings['releases']): Earnings['releases'] {
  const entries = Object.entries(releases)
  if (entries.length <= RELEASES_KEPT) return releases
  return Object.fromEntries(entries.sort(([, a], [, b]) => b.lastAt - a.lastAt).slice(0, RELEASES_KEPT))
}
