/**
 * Draws inputs for one parser: from its samples, and from whatever drew an outcome that was not seen before, so that a
 * step into a parser is the ground for the next. One seed, one run.
 */
import { Random } from '../sim/random.ts'
import { mutate } from './mutate.ts'
import type { Parser } from './parsers.ts'

/** Longest that a parser may take for 64 KiB; only where `slowMs` is asked for, since machines differ. */
export const SLOW_MS = 2000
const MAX_FOUND = 500

export type Broken = Readonly<{ parser: string; why: string; input: Uint8Array }>
export type Fuzzed = Readonly<{ cases: number; outcomes: number; broken: Broken | undefined }>

/** One input; what it broke, if it did. */
export function tryOne(parser: Parser, input: Uint8Array, slowMs = Infinity): Broken | string {
  const startedMs = performance.now()
  try {
    const outcome = parser.run(input)
    const ms = performance.now() - startedMs
    return ms <= slowMs ? outcome : { parser: parser.name, why: `took ${Math.round(ms)} ms`, input }
  } catch (error) {
    const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    return { parser: parser.name, why, input }
  }
}

/** Goes on while `more` says so, or until something breaks. */
export function fuzz(
  parser: Parser,
  seed: number,
  more: (cases: number) => boolean,
  slowMs?: number,
): Fuzzed {
  const random = new Random(`${seed} ${parser.name}`)
  const found: Uint8Array[] = []
  const outcomes = new Set<string>()
  for (const sample of parser.samples) {
    const outcome = tryOne(parser, sample)
    if (typeof outcome !== 'string') return { cases: 0, outcomes: outcomes.size, broken: outcome }
    outcomes.add(outcome)
  }
  let cases = 0
  for (; more(cases); cases++) {
    const input = mutate(parser.samples, found, random)
    const outcome = tryOne(parser, input, slowMs)
    if (typeof outcome !== 'string') return { cases, outcomes: outcomes.size, broken: outcome }
    if (outcomes.has(outcome)) continue
    outcomes.add(outcome)
    if (found.length < MAX_FOUND) found.push(input)
  }
  return { cases, outcomes: outcomes.size, broken: undefined }
}
