/**
 * `npm run sim -- [--seeds N] [--from K] [--devices N] [--cheap] [--json]`: random worlds, one a seed, until one fails.
 * A failing seed is printed with the command that replays it.
 */
import { parseArgs } from 'node:util'
import { runSeed } from './fine.ts'
import type { Seen } from './trace.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    devices: { type: 'string' },
    trace: { type: 'boolean', default: false },
    cheap: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const devices = values.devices === undefined ? undefined : Number(values.devices)
const tap: Seen = (fact, atMs) => console.log(`${(atMs / 1000).toFixed(3)} ${JSON.stringify(fact)}`)
let failed = 0
const startedMs = performance.now()
const from = Number(values.from)
for (let seed = from; seed < from + Number(values.seeds); seed++) {
  const result = runSeed(seed, { devices, cheap: values.cheap, ...(values.trace ? { tap } : {}) })
  if (result.verdicts.length === 0) continue
  failed++
  console.log(`seed ${seed}: ${result.digest}`)
  for (const { judge, atMs, says } of result.verdicts.slice(0, 5))
    console.log(`  ${judge} at ${Math.round(atMs)}: ${says}`)
}
console.log(`${failed} failed, ${(performance.now() - startedMs) / Number(values.seeds)} ms each`)
process.exitCode = failed === 0 ? 0 : 1
