/** `npm run lab:lnd [-- --keep DIR]`: the wallet service against real LND and btcd. Exit 0: all is well; 1: something is not; 3: Go is absent. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { buildBinaries, builtBinaries, findGo } from './build.ts'
import { runLab, runRouted } from './lab.ts'

const { values } = parseArgs({ options: { keep: { type: 'string' } } })
const say = (line: string): void => console.log(line)
// Alby's clients talk to the console, among our lines.
console.info = console.warn = console.error = () => undefined

async function main(): Promise<number> {
  const go = findGo()
  if (go.tag === 'absent' && !builtBinaries()) {
    say(`${go.why} The lab was left out; everything else runs without it.`)
    return 3
  }
  const binaries = await buildBinaries(say)
  const dir = values.keep ?? fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-lnd-'))
  try {
    const { rows, killed } = await runLab(dir, binaries, say)
    await runRouted(path.join(dir, 'routed'), binaries, say)
    const wrong = rows.filter(({ verdict }) => verdict === 'wrong')
    say(
      `\n${rows.filter(({ verdict }) => verdict === 'passes').length} checks pass, ${wrong.length} wrong; ${killed.payments} payments under kills, none lost, none twice`,
    )
    return wrong.length === 0 ? 0 : 1
  } finally {
    if (values.keep === undefined) fs.rmSync(dir, { recursive: true, force: true })
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
process.exit()
