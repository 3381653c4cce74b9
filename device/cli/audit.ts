/** `satpatch audit`: recomputes a relay's wallet ledger from its first line. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { audit } from '../../relay/wallet/audit.ts'
import { CliError, EXIT, type Command } from './command.ts'

const DEFAULT_DIR = '.data/relay'
const sats = (msat: number): string => `${msat / 1000} play sats`

export const auditCommand: Command = {
  verb: 'audit',
  summary: 'Recomputes the wallet ledger of a relay and says whether every sat is accounted for.',
  about: `
Reads only, and shares no code with what writes the ledger; the relay may go on meanwhile. Exit 3: something does not add up.`,
  flags: { data: { value: 'DIR', help: `the relay's data directory (default ${DEFAULT_DIR})` } },
  run({ flags, json, out }) {
    const file = join(resolve(flags.text('data') ?? DEFAULT_DIR), 'wallet.sqlite')
    if (!existsSync(file))
      throw new CliError(
        EXIT.failure,
        `There is no ledger at ${file}. Name the relay's data directory with --data.`,
      )
    const report = audit(file)
    if (json) out(JSON.stringify(report))
    else {
      out(`${report.accounts} accounts, ${report.movements} movements`)
      out(
        `granted ${sats(report.grantedMsat)}, locked ${sats(report.lockedMsat)}, fees ${sats(report.feesMsat)}`,
      )
      for (const problem of report.problems) out(`✗ ${problem}`)
      out(
        report.ok
          ? 'Everything adds up.'
          : 'The ledger does not add up: stop the relay and restore a backup.',
      )
    }
    return Promise.resolve(report.ok ? EXIT.ok : EXIT.refused)
  },
}
