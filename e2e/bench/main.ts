/**
 * `npm run bench -- [NAME…]`: the product against its opponents, in turn and in one run; median and spread against
 * the goals. With `--json` the last line of stdout is one object a bench.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { readArgs, UsageError } from './args.ts'
import type { Bench, Context } from './bench.ts'
import { firstBench } from './first.ts'
import { footprintBench } from './footprint.ts'
import { paidBench } from './paid.ts'
import { paidLndBench } from './paid-lnd.ts'
import { paymentsBench } from './payments.ts'
import { simBench } from './sim.ts'
import { swarmBench } from './swarm.ts'
import { paidTabsBench } from './tabs-bench.ts'
import { json, table } from './table.ts'
import { transportBench } from './transport.ts'
import { walletBench } from './wallet.ts'
import { walletTpsBench } from './wallet-tps.ts'

const benches: readonly Bench[] = [
  paidBench,
  paidTabsBench,
  walletTpsBench,
  paidLndBench,
  walletBench,
  transportBench,
  firstBench,
  swarmBench,
  footprintBench,
  paymentsBench,
  simBench,
]

async function main(): Promise<number> {
  let args
  try {
    args = readArgs(
      process.argv.slice(2),
      benches.map(({ name }) => name),
    )
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(error.message)
    return 2
  }
  const chosen = args.names.length === 0 ? benches : benches.filter(({ name }) => args.names.includes(name))
  const objects: string[] = []
  let failed = 0
  for (const bench of chosen) {
    const dir = await mkdtemp(path.join(tmpdir(), 'satpatch-bench-'))
    const startedMs = performance.now()
    console.log(`${bench.name}: ${bench.about}`)
    const context: Context = {
      dir,
      quick: args.quick,
      say: (text) => console.log(text),
      ...(args.pairs === undefined ? {} : { pairs: args.pairs }),
      ...(args.only === undefined ? {} : { only: args.only }),
      ...(args.profileDir === undefined ? {} : { profileDir: path.resolve(args.profileDir) }),
    }
    try {
      const rows = await bench.run(context)
      // It said why it was left out, unless it is the rows that were.
      if (rows.length === 0 && args.only !== undefined) console.log(`  no row contains "${args.only}"`)
      if (rows.length === 0) continue
      console.log(`\n${table(bench.name, rows)}\n(${Math.round((performance.now() - startedMs) / 1000)} s)\n`)
      objects.push(json(bench.name, rows))
    } catch (error) {
      failed++
      console.error(
        `${bench.name} could not be measured: ${error instanceof Error ? error.message : String(error)}`,
      )
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  }
  if (args.json) for (const object of objects) console.log(object)
  return failed === 0 ? 0 : 1
}

process.exitCode = await main()
