/** `npm run conformance:nwc -- PAYER PAYEE`: holds two wallet connections to NIP-47. Exit 0: nothing is wrong; 1: something is; 2: usage. */
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { allChecks, runSuite } from './run.ts'
import { MOST_MSAT, SAT, type Row } from './suite.ts'

const USAGE = `Usage: npm run conformance:nwc -- PAYER PAYEE [--yes] [--json] [--no-sdk]
Two wallet connections (nostr+walletconnect://…); PAYER pays PAYEE at most ${MOST_MSAT / SAT} sats.
They may also come as NWC_PAYER and NWC_PAYEE, which keeps them out of the process list.
--yes does not ask; --json prints one object; --no-sdk leaves out Alby's clients.`

const MARKS = { passes: '✓', lacks: '–', wrong: '✗' } as const
const line = ({ method, check, verdict, why }: Row): string =>
  `${MARKS[verdict]} ${method.padEnd(20)} ${check}${why === undefined ? '' : `: ${why}`}`

async function agreed(): Promise<boolean> {
  if (!process.stdin.isTTY) return false
  const ask = createInterface({ input: process.stdin, output: process.stdout })
  const answer = await ask.question(
    `This makes real payments from PAYER to PAYEE, at most ${MOST_MSAT / SAT} sats. Go on? (y/N) `,
  )
  ask.close()
  return /^y(es)?$/i.test(answer.trim())
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      yes: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'no-sdk': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const payerUri = positionals[0] ?? process.env['NWC_PAYER']
  const payeeUri = positionals[1] ?? process.env['NWC_PAYEE']
  if (values.help || payerUri === undefined || payeeUri === undefined || positionals.length > 2) {
    console.log(USAGE)
    return values.help ? 0 : 2
  }
  if (!values.yes && !(await agreed())) {
    console.log('Nothing was asked and nothing was paid; --yes goes on without asking.')
    return 2
  }
  const say = values.json ? () => undefined : (row: Row) => console.log(line(row))
  const rows = await runSuite({ payerUri, payeeUri, checks: allChecks({ sdk: !values['no-sdk'] }) }, say)
  const count = (verdict: Row['verdict']): number => rows.filter((row) => row.verdict === verdict).length
  if (values.json) console.log(JSON.stringify({ rows }))
  else console.log(`\n${count('passes')} pass, ${count('lacks')} lacking, ${count('wrong')} wrong`)
  return count('wrong') === 0 ? 0 : 1
}

// Alby's clients talk to the console, among our lines and our JSON.
console.info = console.warn = console.error = () => undefined
try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 2
}
process.exit()
