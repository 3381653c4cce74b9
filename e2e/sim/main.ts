/**
 * `npm run sim -- [--seeds N] [--from K] [--devices N] [--cheap] [--tight] [--wide] [--trace] [--json]`: random worlds, one a seed. Each that
 * fails is printed with the command that replays it. Above 50 devices one calm world a seed, to measure; `--makespan`
 * takes the coarse network instead: up to a million devices.
 */
import { parseArgs } from 'node:util'
import { loadSecp } from '#secp'
import { simMakespan } from './coarse.ts'
import { REAL_UP_TO, runSeed } from './fine.ts'
import { simScale } from './swarm.ts'
import type { Seen } from './trace.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    devices: { type: 'string' },
    makespan: { type: 'boolean', default: false },
    cheap: { type: 'boolean', default: false },
    tight: { type: 'boolean', default: false },
    wide: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})

const numberOf = (text: string | undefined, otherwise: number, flag: string): number => {
  const number = text === undefined ? otherwise : Number(text)
  if (Number.isSafeInteger(number) && number > 0) return number
  throw new Error(`--${flag} takes a whole number above 0.`)
}

type Row = Readonly<Record<string, unknown>>
const from = numberOf(values.from, 1, 'from')
const devices = values.devices === undefined ? undefined : numberOf(values.devices, 1, 'devices')
const large = values.makespan || (devices !== undefined && devices > REAL_UP_TO)
const seeds = numberOf(values.seeds, large ? 1 : 200, 'seeds')
const say = (line: string): void => void (values.json ? console.error(line) : console.log(line))
const tap: Seen = (fact, atMs) => say(`${(atMs / 1000).toFixed(3)} ${JSON.stringify(fact)}`)

const rows: Row[] = []
const failed: number[] = []
const startedMs = performance.now()
await loadSecp()
for (let seed = from; seed < from + seeds; seed++) {
  if (values.makespan) {
    const result = simMakespan({ devices: devices ?? 1000, seed })
    rows.push(result)
    say(
      `${result.devices} devices: ${result.steps} steps, bound ${result.bound}, ratio ${result.ratio.toFixed(3)}, ${result.seconds.toFixed(1)} s, digest ${result.digest}`,
    )
  } else if (large) {
    const { outcome, lastS, boundS, ratio, seconds } = simScale(devices ?? 1000, seed)
    rows.push({
      seed,
      devices,
      lastS,
      boundS,
      ratio,
      seconds,
      events: outcome.events,
      digest: outcome.digest,
    })
    say(
      `${outcome.finished} of ${outcome.buyers} devices after ${lastS?.toFixed(1) ?? '?'} s, fluid bound ${boundS.toFixed(1)} s, ${outcome.events} events in ${seconds.toFixed(1)} s, digest ${outcome.digest}`,
    )
    judge(seed, outcome)
  } else
    judge(
      seed,
      runSeed(seed, {
        devices,
        cheap: values.cheap,
        tight: values.tight,
        wide: values.wide,
        ...(values.trace ? { tap } : {}),
      }),
    )
}

function judge(seed: number, outcome: ReturnType<typeof runSeed>): void {
  if (!large)
    rows.push({ seed, digest: outcome.digest, crashes: outcome.crashes, lateMsat: outcome.lateMsat })
  if (outcome.verdicts.length === 0) return
  failed.push(seed)
  say(`✗ seed ${seed}, digest ${outcome.digest}`)
  for (const { judge: name, atMs, says } of outcome.verdicts.slice(0, 5))
    say(`    ${name}, at ${new Date(atMs).toISOString()}: ${says}`)
  const flags = [
    devices === undefined ? '' : ` --devices ${devices}`,
    values.cheap ? ' --cheap' : '',
    values.tight ? ' --tight' : '',
    values.wide ? ' --wide' : '',
  ]
  say(`    replay: npm run sim -- --seeds 1 --from ${seed}${flags.join('')} --trace`)
}

const seconds = (performance.now() - startedMs) / 1000
if (!values.makespan)
  say(`${seeds - failed.length} worlds passed, ${failed.length} failed, in ${seconds.toFixed(1)} s`)
if (values.json) console.log(JSON.stringify({ sim: large ? 'scale' : 'seeds', failed, seconds, rows }))
process.exitCode = failed.length === 0 ? 0 : 1
