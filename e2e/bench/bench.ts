/** What a bench is, and the ways of running two contenders against each other. */
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Row } from './table.ts'

export type Context = Readonly<{
  /** Everything of this run lies here. */
  dir: string
  quick: boolean
  /** Pairs of runs, when asked for on the command line. */
  pairs?: number
  /** Rows whose name has this, and no others. */
  only?: string
  /** CPU profiles of the contenders. */
  profileDir?: string
  say(text: string): void
}>

export type Bench = Readonly<{
  name: string
  about: string
  run(context: Context): Promise<readonly Row[]>
}>

export const wanted = ({ only }: Context, row: string): boolean => only === undefined || row.includes(only)

/** Runs both in turn, each first as often as the other: A B, B A, … */
export async function alternate<A, B>(
  pairs: number,
  runA: (pair: number) => Promise<A>,
  runB: (pair: number) => Promise<B>,
): Promise<{ a: A; b: B }[]> {
  const results: { a: A; b: B }[] = []
  for (let pair = 0; pair < pairs; pair++) {
    if (pair % 2 === 0) {
      const a = await runA(pair)
      results.push({ a, b: await runB(pair) })
    } else {
      const b = await runB(pair)
      results.push({ a: await runA(pair), b })
    }
  }
  return results
}

/** A directory that is gone afterwards. */
export async function inDir<T>(context: Context, name: string, run: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(path.join(context.dir, `${name}-`))
  try {
    return await run(dir)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

export const MIB = 1024 * 1024
/** MB are millions, as links are sold. */
export const MB = 1_000_000
