/** The fuzzer for a moment on every parser; `npm run fuzz` goes on for minutes. */
import { beforeAll, describe, expect, test } from 'vitest'
import { loadSecp } from '#secp'
import { fuzz, tryOne } from './fuzz.ts'
import type { Parser } from './parsers.ts'

const CASES = 250
const seed = Number(process.env['SATPATCH_SEED'] ?? 1)
beforeAll(() => loadSecp())

describe('whatever is given to it, a parser keeps its promises', async () => {
  await loadSecp()
  const { parsers } = await import('./parsers.ts')
  test.each(parsers.map((parser) => [parser.name, parser] as const))('%s', (_name, parser) => {
    for (const sample of parser.samples) expect(typeof tryOne(parser, sample)).toBe('string')
    const { broken, outcomes } = fuzz(parser, seed, (cases) => cases < CASES)
    const shown = broken && `${broken.why}: ${Buffer.from(broken.input).toString('base64')}`
    expect(shown).toBeUndefined()
    expect(outcomes).toBeGreaterThan(1)
  })
})

test('a parser that breaks is found, and the input that broke it again', () => {
  const fragile: Parser = {
    name: 'fragile',
    samples: [new TextEncoder().encode('{"length": 12}')],
    run(input) {
      const text = Buffer.from(input).toString('latin1')
      if (/"length": -/.test(text)) throw new RangeError('negative length')
      return text.slice(0, 4)
    },
  }
  const { broken } = fuzz(fragile, 1, (cases) => cases < 20_000)
  expect(broken?.why).toBe('RangeError: negative length')
  expect(tryOne(fragile, broken?.input ?? new Uint8Array())).toEqual(broken)
  expect(fuzz(fragile, 1, (cases) => cases < 20_000).broken).toEqual(broken)
})
