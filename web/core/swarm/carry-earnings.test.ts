import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { InfoHash, PartyKey } from '../bytes.ts'
import { msat, sum } from '../money/msat.ts'
import {
  IDS_KEPT,
  MINUTE_MS,
  MINUTES_SHOWN,
  noEarnings,
  PAID_ROWS,
  parseEarnings,
  recordPaid,
  recordUpload,
  releaseSum,
  RELEASES_KEPT,
  roll,
  type Earnings,
  type PaidRow,
} from './carry-earnings.ts'

const START = 100_000 * MINUTE_MS
const infoHash = 'a'.repeat(40) as InfoHash
const paid = (id: string, amount: number, at: number): PaidRow => ({
  id,
  buyer: 'b'.repeat(64) as PartyKey,
  amount: msat(amount),
  at,
  infoHash,
})
const day = (at: number): string => `d${Math.floor(at / (10 * MINUTE_MS))}`

test('a sale counts once, however often it is shown, and the sums agree with the rows', () => {
  const anySales = fc.array(
    fc.record({ id: fc.integer({ min: 0, max: 20 }), wait: fc.integer({ min: 0, max: 3 * MINUTE_MS }) }),
    { maxLength: 60 },
  )
  fc.assert(
    fc.property(anySales, (sales) => {
      let now = START
      let at: Earnings = noEarnings(day(now), now)
      const seen = new Map<number, number>()
      for (const { id, wait } of sales) {
        now += wait
        at = recordPaid(roll(at, day(now), now), paid(`s${id}`, id + 1, now), 1)
        if (!seen.has(id)) seen.set(id, now)
      }
      const total = [...seen.keys()].reduce((sum, id) => sum + id + 1, 0)
      expect(at.total).toBe(total)
      const today = [...seen].filter(([, when]) => day(when) === at.day)
      expect(at.today).toBe(today.reduce((sum, [id]) => sum + id + 1, 0))
      const minute = Math.floor(now / MINUTE_MS)
      const hour = [...seen].filter(([, when]) => Math.floor(when / MINUTE_MS) > minute - MINUTES_SHOWN)
      expect(sum(at.lastHour)).toBe(hour.reduce((sum, [id]) => sum + id + 1, 0))
      expect(releaseSum(at, infoHash)).toMatchObject({ earned: total, today: at.today })
      expect(parseEarnings(JSON.stringify(at))).toEqual(at)
    }),
  )
})

test('the last bar is this minute; after an hour without a sale all bars are empty', () => {
  const at = recordPaid(noEarnings('d', START), paid('a', 7, START + 5), 1)
  expect(at.lastHour.at(-1)).toBe(7)
  const later = roll(at, 'd', START + MINUTE_MS)
  expect([later.lastHour.at(-1), later.lastHour.at(-2)]).toEqual([0, 7])
  expect(sum(roll(at, 'd', START + 59 * MINUTE_MS).lastHour)).toBe(7)
  expect(sum(roll(at, 'd', START + 60 * MINUTE_MS).lastHour)).toBe(0)
})

test('a new day starts at zero and keeps the total; a clock that jumps back moves nothing', () => {
  const at = recordUpload(recordPaid(noEarnings('mon', START), paid('a', 7, START), 3), 100)
  const next = roll(at, 'tue', START + MINUTE_MS)
  expect(next).toMatchObject({ today: 0, piecesToday: 0, uploadedToday: 0, total: 7 })
  expect(releaseSum(next, infoHash)).toMatchObject({ earned: 7, today: 0 })
  expect(roll(at, 'mon', START - 5 * MINUTE_MS)).toBe(at)
})

test('what is remembered is bounded', () => {
  let at = noEarnings('d', START)
  for (let i = 0; i < IDS_KEPT + 1; i++) at = recordPaid(at, paid(`s${i}`, 1, START), 1)
  expect([at.paid.length, at.counted.length, at.total]).toEqual([PAID_ROWS, IDS_KEPT, IDS_KEPT + 1])
  for (let i = 0; i < RELEASES_KEPT + 1; i++) {
    const other = i.toString(16).padStart(40, '0') as InfoHash
    at = recordPaid(at, { ...paid(`r${i}`, 1, START + i), infoHash: other }, 1)
  }
  expect(Object.keys(at.releases)).toHaveLength(RELEASES_KEPT)
})

test('a stored tally that is not one is not read', () => {
  const good = JSON.stringify(noEarnings('d', START))
  expect(parseEarnings(good)).toBeDefined()
  for (const bad of ['', '{}', good.replace('"v":1', '"v":2'), good.replace('"today":0', '"today":-1')])
    expect(parseEarnings(bad)).toBeUndefined()
})
