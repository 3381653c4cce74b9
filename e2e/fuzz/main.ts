/**
 * `npm run fuzz -- [--minutes N] [--seed S] [--only NAME] [--case BASE64]`: every parser of strangers' words gets drawn
 * inputs, for five minutes by default. What breaks is printed with the seed, and with the command that replays the input.
 */
import { parseArgs } from 'node:util'
import { loadSecp } from '#secp'
import { fuzz, SLOW_MS, tryOne, type Broken } from './fuzz.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string' },
    only: { type: 'string' },
    case: { type: 'string' },
  },
})
await loadSecp()
const { parsers } = await import('./parsers.ts')

const chosen = parsers.filter(({ name }) => values.only === undefined || name === values.only)
const minutes = Number(values.minutes)
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(values.seed)
if (chosen.length === 0)
  throw new Error(`--only takes one of: ${parsers.map(({ name }) => name).join(', ')}.`)
if (!(minutes > 0) || !Number.isSafeInteger(seed)) throw new Error('--minutes and --seed take numbers.')

function show({ parser, why, input }: Broken): void {
  console.log(`✗ ${parser}: ${why}`)
  console.log(
    `  npm run fuzz -- --only ${JSON.stringify(parser)} --case ${Buffer.from(input).toString('base64')}`,
  )
}

let broken = 0
if (values.case !== undefined) {
  const input = new Uint8Array(Buffer.from(values.case, 'base64'))
  for (const parser of chosen) {
    const outcome = tryOne(parser, input, SLOW_MS)
    if (typeof outcome === 'string') console.log(`✓ ${parser.name}: ${outcome}`)
    else {
      broken++
      show(outcome)
    }
  }
} else {
  console.log(`seed ${seed}, ${minutes} minutes for ${chosen.length} parsers`)
  const eachMs = (minutes * 60_000) / chosen.length
  for (const parser of chosen) {
    const endMs = performance.now() + eachMs
    const found = fuzz(parser, seed, () => performance.now() < endMs, SLOW_MS)
    if (found.broken === undefined)
      console.log(`✓ ${parser.name}: ${found.cases} inputs, ${found.outcomes} outcomes`)
    else {
      broken++
      console.log(`  seed ${seed}, input ${found.cases + 1}`)
      show(found.broken)
    }
  }
}
process.exitCode = broken === 0 ? 0 : 1
