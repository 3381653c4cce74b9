/** `satpatch audit`: recomputes a relay's wallet ledger from its first line. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { audit, type AuditReport } from '../../relay/wallet/audit.ts'
import { NODE_LEDGER, PLAY_LEDGER } from '../../relay/wallet/files.ts'
import { CliError, EXIT, type Command } from './command.ts'

const DEFAULT_DIR = '.data/relay'
/** In words; play money has no node, and a node's ledger no play money. */
function tell({ accounts, movements, grantedMsat, ofNodeMsat, lockedMsat, feesMsat }: AuditReport): string[] {
  const play = grantedMsat > 0 || ofNodeMsat === 0
  const sats = (msat: number): string => `${msat / 1000} ${play ? 'play sats' : 'sats'}`
  const has = play ? `granted ${sats(grantedMsat)}` : `the accounts have ${sats(ofNodeMsat)} of the node's`
  return [
    `${accounts} accounts, ${movements} movements`,
    `${has}, locked ${sats(lockedMsat)}, fees ${sats(feesMsat)}`,
  ]
}

export const auditCommand: Command = {
  verb: 'audit',
  summary: 'Recomputes the wallet ledger of a relay and says whether every sat is accounted for.',
  about: `
Reads only, and shares no code with what writes the ledger; the relay may go on meanwhile. A relay that has had both play money
and a Lightning node has two ledgers, and both are read. Exit 3: something does not add up.`,
  flags: { data: { value: 'DIR', help: `the relay's data directory (default ${DEFAULT_DIR})` } },
  run({ flags, json, out }) {
    const dir = resolve(flags.text('data') ?? DEFAULT_DIR)
    const files = [PLAY_LEDGER, NODE_LEDGER].map((name) => join(dir, name)).filter(existsSync)
    if (files.length === 0)
      throw new CliError(
        EXIT.failure,
        `There is no ledger in ${dir}. Name the relay's data directory with --data.`,
      )
    const reports = files.map((file) => ({ file, report: audit(file) }))
    if (json) for (const { report } of reports) out(JSON.stringify(report))
    else
      for (const { file, report } of reports) {
        if (files.length > 1) out(`${file}:`)
        for (const line of tell(report)) out(line)
        for (const problem of report.problems) out(`✗ ${problem}`)
        out(
          report.ok
            ? 'Everything adds up.'
            : 'The ledger does not add up: stop the relay and restore a backup.',
        )
      }
    return Promise.resolve(reports.every(({ report }) => report.ok) ? EXIT.ok : EXIT.refused)
  },
}
