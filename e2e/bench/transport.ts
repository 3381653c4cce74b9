/** `transport`: the paid product beside a raw data channel at its best message size. */
import { alternate, MIB, wanted, type Bench } from './bench.ts'
import { openHouse, paidTransfer } from './contest.ts'
import { makeMaterial } from './material.ts'
import { tabsTransport } from './tabs-bench.ts'
import { bestMessageSize, rawTransfer } from './raw.ts'
import { median } from './stats.ts'
import { figure, row, type Row } from './table.ts'

const TIMEOUT_MS = 280_000

export const transportBench: Bench = {
  name: 'transport',
  about: 'paid product / raw data channel at its best message size',
  async run(context) {
    const rows: Row[] = [...(await tabsTransport(context))]
    if (!wanted(context, 'Node to Node')) return rows
    const bytes = (context.quick ? 128 : 512) * MIB
    const size = await bestMessageSize(context)
    const material = await makeMaterial(context.dir, bytes, 'transport')
    const house = await openHouse(context.dir, { latencyMs: 0 }, context.profileDir)
    try {
      const runs = await alternate(
        context.pairs ?? (context.quick ? 1 : 5),
        () => rawTransfer(bytes, size),
        async () =>
          (
            await paidTransfer(context, {
              material,
              house,
              timeoutMs: TIMEOUT_MS,
              profileDir: context.profileDir,
            })
          ).ms,
      )
      const rate = (ms: readonly number[]): string => figure(bytes / 1000 / median(ms))
      rows.push(
        row(
          'Node to Node',
          runs.map(({ a, b }) => a / b),
          0.55,
          'higher',
          {
            note: `raw ${rate(runs.map(({ a }) => a))} MB/s at ${size / 1024} KiB, paid ${rate(runs.map(({ b }) => b))} MB/s`,
          },
        ),
      )
    } finally {
      await house.child.stop()
    }
    return rows
  },
}
