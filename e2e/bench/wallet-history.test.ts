import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { audit } from '../../relay/wallet/audit.ts'
import { createConnections } from '../../relay/wallet/connections.ts'
import { MINT, openLedger } from '../../relay/wallet/ledger.ts'
import { writeHistory } from './wallet-history.ts'

test('past payments are as the service would have left them: the audit finds nothing wrong', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'satpatch-history-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  const file = path.join(dir, 'wallet.sqlite')
  const ledger = openLedger(file)
  const connections = createConnections(ledger)
  const parties = ['a', 'b', 'c'].map((name) => name.repeat(64))
  for (const client of parties) {
    const account = `person:${client}`
    ledger.openAccount({ id: account, name: client, at: 1 })
    connections.open({ client, account, name: client, at: 1 })
    ledger.move({ kind: 'grant', reference: account, from: MINT, to: account, amount: 100_000, at: 1 })
  }
  ledger.close()
  const [payee = '', ...payers] = parties
  writeHistory(file, { payers, payee, count: 101, untilMs: 1_000_000_000 })
  const { problems, movements } = audit(file)
  expect(problems).toEqual([])
  expect(movements).toBe(3 + 101)
})
