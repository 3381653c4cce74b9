/** The drawn repositories, judged by both. */
import { expect, test } from 'vitest'
import { drawRepository } from './corpus.ts'
import { DIFFERENCES, type Seen } from './differences.ts'
import { ours, theirs, type Word } from './visitors.ts'

const same = (a: Word, b: Word): boolean =>
  a.refreshed === b.refreshed && a.found.every((hash, i) => hash === b.found[i])

export function corpus(from: number, count: number, timeoutMs: number): void {
  test(
    `of ${count} repositories each gets the same verdict, but for the listed differences`,
    { timeout: timeoutMs },
    async () => {
      // Expiry is drawn in days, so that the oracle's own clock makes no difference.
      const nowMs = Date.now()
      const sums = { good: 0, refused: 0 }
      const explained = new Map<string, number>()
      const unexplained: unknown[] = []
      for (let seed = from; seed < from + count; seed++) {
        const { repository, trusted, first, second, paths } = drawRepository(seed, nowMs)
        const visitors = [ours(repository, trusted), theirs(repository, trusted)] as const
        const changes = [...first]
        for (const visit of [1, 2]) {
          if (visit === 2) changes.push(...second())
          const [our, their] = [await visitors[0].visit(paths), await visitors[1].visit(paths)]
          sums[our.refreshed ? 'good' : 'refused']++
          if (same(our, their)) continue
          const seen: Seen = { repository, changes, ours: our, theirs: their }
          const difference = DIFFERENCES.find((one) => one.explains(seen))
          if (difference) explained.set(difference.name, (explained.get(difference.name) ?? 0) + 1)
          else unexplained.push({ seed, visit, changes, paths, our, their })
          break // from here on the two have seen different things
        }
        for (const visitor of visitors) visitor.end()
      }
      expect(unexplained).toEqual([])
      // A corpus of one kind would prove little.
      expect(Math.min(sums.good, sums.refused)).toBeGreaterThan(count / 5)
      console.log(
        `${count} repositories: ${JSON.stringify(sums)}; differences: ${JSON.stringify([...explained])}`,
      )
    },
  )
}
