/** Small sums of each run that `device status` adds up: what was resold, and what came from an HTTP mirror. */
import * as v from 'valibot'
import { fromUtf8, utf8, type Bytes } from '../../web/core/bytes.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { msatSchema, type Release } from '../../web/core/release/target.ts'
import { MAX_RESOLD_BEFORE, type Progress, type Resold } from '../../web/core/rollout/messages.ts'
import type { Journal } from '../../web/edge/swarm/api.ts'

export type Sold = Readonly<{ earned: Msat; pieces: number; bytes: number }>

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const soldSchema = v.object({ earned: msatSchema, pieces: count, bytes: count })

export const soldKey = ({ infoHash }: Release, runMs: number): string => `sold/${infoHash}/${runMs}`
export const mirrorBytesKey = ({ infoHash }: Release, runMs: number): string => `mirror/${infoHash}/${runMs}`
export const encodeSold = (sold: Sold): Bytes => utf8(JSON.stringify(sold))
export const encodeCount = (bytes: number): Bytes => utf8(JSON.stringify(bytes))

type Reader = Pick<Journal, 'get' | 'keys'>

async function all<S extends v.GenericSchema>(
  journal: Reader,
  prefix: string,
  schema: S,
): Promise<v.InferOutput<S>[]> {
  const found: v.InferOutput<S>[] = []
  for (const key of await journal.keys(prefix)) {
    try {
      const bytes = await journal.get(key)
      if (bytes !== undefined) found.push(v.parse(schema, JSON.parse(fromUtf8(bytes))))
    } catch {
      // Torn by a power cut: one run's sum is not known.
    }
  }
  return found
}

/** Of all runs; of all releases where none is named. */
export async function soldOf(journal: Reader, release?: Pick<Release, 'infoHash'>): Promise<Sold> {
  const runs = await all(journal, release === undefined ? 'sold/' : `sold/${release.infoHash}/`, soldSchema)
  const total = (pick: (run: Sold) => number): number => runs.reduce((sum, run) => sum + pick(run), 0)
  return {
    earned: total((run) => run.earned) as Msat,
    pieces: total((run) => run.pieces),
    bytes: total((run) => run.bytes),
  }
}

/** As the vendor is told: nothing where nothing was sold. */
export async function resoldOf(journal: Reader, release: Release): Promise<{ resold?: Resold }> {
  const { earned: earnedMsat, pieces, bytes } = await soldOf(journal, release)
  return pieces === 0 ? {} : { resold: { earnedMsat, pieces, bytes } }
}

/** The same of releases before; `latestFirst`: those that came before the one that is shown. */
export async function resoldBefore(
  journal: Reader,
  latestFirst: readonly Release[],
): Promise<Pick<Progress, 'resoldBefore'>> {
  const runs = await journal.keys('sold/')
  const sold = latestFirst.filter(({ infoHash }) => runs.some((key) => key.startsWith(`sold/${infoHash}/`)))
  const rows = await Promise.all(
    sold.slice(0, MAX_RESOLD_BEFORE).map(async (release) => {
      const { resold } = await resoldOf(journal, release)
      return resold === undefined ? [] : [{ path: release.path, ...resold }]
    }),
  )
  return rows.length === 0 ? {} : { resoldBefore: rows.flat() }
}

export async function mirrorBytesOf(journal: Reader, { infoHash }: Release): Promise<number> {
  return (await all(journal, `mirror/${infoHash}/`, count)).reduce((sum, bytes) => sum + bytes, 0)
}
