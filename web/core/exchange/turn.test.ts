import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LONGEST_WAIT_MS, whoseTurn } from './turn.ts'

const NOW_MS = 100_000
const anyWaiting = fc.array(
  fc.record({
    pieces: fc.array(fc.nat(7), { minLength: 1, maxLength: 4 }),
    sinceMs: fc.integer({ min: NOW_MS - 2 * LONGEST_WAIT_MS, max: NOW_MS }),
  }),
  { maxLength: 8 },
)
const anyServed = fc.array(fc.nat(5), { minLength: 8, maxLength: 8 })

test('who has waited longest beyond the bound goes first, else what went out least, in the order of coming', () => {
  fc.assert(
    fc.property(anyWaiting, anyServed, (waiting, served) => {
      const turn = whoseTurn(waiting, served, NOW_MS)
      const long = waiting.filter(({ sinceMs }) => NOW_MS - sinceMs >= LONGEST_WAIT_MS)
      const mean = ({ pieces }: { pieces: readonly number[] }): number =>
        pieces.reduce((total, piece) => total + (served[piece] ?? 0), 0) / pieces.length
      const expected =
        waiting.length > 0 && long.length > 0
          ? waiting.findIndex(({ sinceMs }) => sinceMs === Math.min(...long.map((at) => at.sinceMs)))
          : waiting.findIndex((at) => mean(at) === Math.min(...waiting.map(mean)))
      expect(turn).toBe(expected)
    }),
  )
})

test('a first copy: of three buyers the one that wants what nobody got yet', () => {
  const waiting = [[0], [1], [2]].map((pieces) => ({ pieces, sinceMs: NOW_MS }))
  expect(whoseTurn(waiting, [4, 0, 1], NOW_MS)).toBe(1)
})
