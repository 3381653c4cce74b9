import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import { MAX_RESOLD_BEFORE } from '../../web/core/rollout/messages.ts'
import { memoryJournal } from '../../web/edge/swarm/memory.ts'
import { encodeSold, resoldBefore, soldKey } from './sums.ts'

const release = (n: number): Release =>
  ({ path: `pump/${n}/pump.bin`, infoHash: String(n).padStart(40, '0') }) as Release

test('the vendor is told what was sold on of earlier releases, in all runs; latest first, and so many at most', async () => {
  const journal = memoryJournal()
  const sold = (n: number) => ({ earned: msat(n), pieces: n, bytes: 10 * n })
  const many = Array.from({ length: MAX_RESOLD_BEFORE + 3 }, (_, i) => release(20 - i))
  expect(await resoldBefore(journal, many)).toEqual({})

  // In two runs; of the second nothing was sold.
  await journal.put(soldKey(release(20), 1), encodeSold(sold(2)))
  await journal.put(soldKey(release(20), 2), encodeSold(sold(3)))
  await journal.put(soldKey(release(18), 1), encodeSold(sold(7)))
  expect(await resoldBefore(journal, many)).toEqual({
    resoldBefore: [
      { path: release(20).path, earnedMsat: 5, pieces: 5, bytes: 50 },
      { path: release(18).path, earnedMsat: 7, pieces: 7, bytes: 70 },
    ],
  })

  for (const one of many) await journal.put(soldKey(one, 1), encodeSold(sold(1)))
  const { resoldBefore: told = [] } = await resoldBefore(journal, many)
  expect(told.map(({ path }) => path)).toEqual(many.slice(0, MAX_RESOLD_BEFORE).map(({ path }) => path))
})
