/** `satpatch`: one command line, one verb per role. */
import { readFileSync } from 'node:fs'
import { allowanceCommands } from './cli/allowance.ts'
import { applyCommand } from './cli/apply.ts'
import {
  CliError,
  commandHelp,
  EXIT,
  findCommand,
  logFor,
  overview,
  parseFlags,
  type Command,
} from './cli/command.ts'
import { auditCommand } from './cli/audit.ts'
import { deviceInitCommand } from './cli/device-init.ts'
import { deviceRunCommand, deviceStatusCommand } from './cli/device-run.ts'
import { distributorCommand } from './cli/distributor.ts'
import { exportCommand } from './cli/export.ts'
import { installStepCommand, runInstallStep } from './cli/install-step.ts'
import { keysCommands } from './cli/keys.ts'
import { publishCommand } from './cli/publish.ts'
import { relayCommand } from './cli/relay.ts'
import { runTuf, tufCommand } from './cli/tuf.ts'
import { verifyProofCommand } from './cli/verify-proof.ts'
import { verifyReceiptsCommand } from './cli/verify-receipts.ts'
import { walletCommands } from './cli/wallet.ts'
import { installLastResort } from './last-resort.ts'
import { withoutSecrets } from './log.ts'

const commands: readonly Command[] = [
  relayCommand,
  deviceInitCommand,
  deviceRunCommand,
  deviceStatusCommand,
  distributorCommand,
  publishCommand,
  ...keysCommands,
  exportCommand,
  applyCommand,
  verifyReceiptsCommand,
  verifyProofCommand,
  // Its own grammar, which the conformance suite sets: main() hands it over whole.
  { ...tufCommand, run: async () => EXIT.usage },
  { ...installStepCommand, run: async () => EXIT.usage },
  ...walletCommands,
  ...allowanceCommands,
  auditCommand,
]

const version = (): string => {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Errors whose message was written for the person in front of the terminal. */
const SPOKEN = new Set([
  'CliError',
  'ConfigError',
  'RecordError',
  'LockedError',
  'StorageError',
  'WalletError',
  'AllowanceError',
  'VendorError',
  'KeysError',
  'ApiError',
  'RelayConfigError',
  'StartError',
])

const out = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

async function main(args: readonly string[]): Promise<number> {
  const [first] = args
  if (first === '--version' || first === '-v') {
    out(version())
    return EXIT.ok
  }
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    out(overview(commands, version()))
    return first === undefined ? EXIT.usage : EXIT.ok
  }
  if (first === tufCommand.verb && !args.includes('--help')) return runTuf(args.slice(1))
  if (first === installStepCommand.verb && !args.includes('--help')) return runInstallStep(args.slice(1))
  const { command, rest } = findCommand(commands, args)
  const { flags, argument, help } = parseFlags(command, rest)
  if (help) {
    out(commandHelp(command))
    return EXIT.ok
  }
  return command.run({ argument, flags, json: flags.has('json'), log: logFor(flags), out })
}

installLastResort()
try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof Error) || !SPOKEN.has(error.name)) throw error
  const message = withoutSecrets(error.message)
  process.stderr.write(`satpatch: ${message}\n`)
  if (process.argv.includes('--json')) out(JSON.stringify({ error: { code: error.name, message } }))
  process.exitCode = error instanceof CliError ? error.code : EXIT.failure
}
// Whatever a library still holds open must not keep a finished command alive.
process.stdout.write('', () => process.exit())
