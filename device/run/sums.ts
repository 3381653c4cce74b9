/** Small sums of each run that `device status` adds up: what was resold, and what came from an HTTP mirror. */
import * as v from 'valibot'
import { fromUtf8, utf8, type Bytes } from '../../web/core/bytes.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { msatSchema, type Release } from '../../web/core/release/target.ts'
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

/** Of all releases and runs. */
export async function soldOf(journal: Reader): Promise<Sold> {
  const runs = await all(journal, 'sold/', soldSchema)
  const total = (pick: (run: Sold) => number): number => runs.reduce((sum, run) => sum + pick(run), 0)
  return {
    earned: total((run) => run.earned) as Msat,
    pieces: total((run) => run.pieces),
    bytes: total((run) => run.bytes),
  }
}

export async function mirrorBytesOf(journal: Reader, { infoHash }: Release): Promise<number> {
  return (await all(journal, `mirror/${infoHash}/`, count)).reduce((sum, bytes) => sum + bytes, 0)
}
