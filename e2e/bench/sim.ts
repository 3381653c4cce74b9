/** `sim`: the coarse simulator's makespan beside the discrete bound. */
import { simMakespan } from '../sim/coarse.ts'
import type { Bench } from './bench.ts'
import { figure, row } from './table.ts'

/** A million devices take minutes; in a hurry a tenth of them. */
const LARGE = { full: 1_000_000, quick: 100_000 }

export const simBench: Bench = {
  name: 'sim',
  about: 'makespan / discrete bound M + floor(log2 N), 128 pieces',
  async run(context) {
    const large = context.quick ? LARGE.quick : LARGE.full
    return [
      { devices: 1_000, seeds: context.pairs ?? 5, goal: 1.1 },
      { devices: large, seeds: 1, goal: 1.2 },
    ].map(({ devices, seeds, goal }) => {
      const runs = Array.from({ length: seeds }, (_, i) => simMakespan({ devices, seed: i + 1 }))
      const [first] = runs
      const note = `${first?.steps ?? 0} steps, bound ${first?.bound ?? 0}; ${figure(first?.seconds ?? 0)} s a run`
      return row(
        `N = ${devices}`,
        runs.map(({ ratio }) => ratio),
        goal,
        'lower',
        { note },
      )
    })
  },
}
